//! `lanes doctor`: checks everything that `lanes` needs.

use clap::Args;
use serde_json::Value;

use super::agents_diagnoses;
use super::bridge_diagnoses;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
#[cfg(feature = "mcp")]
use super::mcp_diagnoses;
use super::output::ProgressLine;
use super::trust;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::load;
use crate::dispatch::config::unknown_cost;
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::{Diagnosis, DiagnosisLevel, DoctorOptions, LocateOptions, doctor};

/// Check installation, configuration, store and workers.
///
/// Every problem comes with a remedy. Exits with code 1 when something does not work at all.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes doctor")]
pub(super) struct DoctorCommand {}

impl DoctorCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let (config, store) = context.explicit_paths();
        let wish = DoctorOptions {
            locate: LocateOptions {
                config: config.as_deref(),
                store: store.as_deref(),
                fallback_store: None,
                base: &context.base,
                identity: env::identity(),
            },
            options: context.store_options()?,
            search_path: env::search_path(),
            program: std::env::current_exe().ok(),
        };
        let mut progress = ProgressLine::new(&context.out, "lanes doctor");
        let mut diagnoses = doctor(&wish, &mut |done, of| progress.update_count(done, of));
        drop(progress);
        add_consent(context, &mut diagnoses);
        if let Some(diagnosis) = dispatch_section(context) {
            let place = diagnoses.iter().rposition(|other| other.area == diagnosis.area);
            diagnoses.insert(place.map_or(0, |last| last + 1), diagnosis);
        }
        diagnoses.extend(agents_diagnoses::diagnoses(context));
        diagnoses.extend(bridge_diagnoses::diagnoses(context));
        #[cfg(feature = "mcp")]
        diagnoses.extend(mcp_diagnoses::diagnoses(context));
        let worst = diagnoses.iter().map(|diagnosis| diagnosis.level).max().unwrap_or(DiagnosisLevel::Ok);
        if context.out.json {
            let checks: Vec<Value> =
                diagnoses.iter().map(|diagnosis| Value::Object(diagnosis.to_object())).collect();
            context.out.object(&object([("status", worst.as_str().into()), ("checks", checks.into())]))?;
        } else {
            let mut area = "";
            for diagnosis in &diagnoses {
                if diagnosis.area != area {
                    area = diagnosis.area;
                    context.out.line(area)?;
                }
                let level = context.out.state(&format!("{:<8}", diagnosis.level.as_str())).into_owned();
                let message = context.out.sentence(&diagnosis.message);
                context.out.line(&format!("  {level} {message}"))?;
                if let Some(remedy) = &diagnosis.remedy {
                    context.out.line(&format!("  {:<8} → {remedy}", ""))?;
                }
            }
        }
        Ok(if worst == DiagnosisLevel::Blocking { CommandExit::Problems } else { CommandExit::Done })
    }
}

/// Adds the diagnosis whether the configuration may choose what runs, after its other diagnoses.
fn add_consent(context: &CommandContext, diagnoses: &mut Vec<Diagnosis>) {
    let Ok(config) = context.config() else { return };
    let Ok(files) = trust::files_to_trust(context, &config) else { return };
    let policy = ConsentPolicy::new(env::trust_records());
    let files: Vec<_> = files.into_iter().filter(|file| file.needs_consent).collect();
    let place = diagnoses.iter().rposition(|other| other.area == "configuration");
    let place = place.map_or(diagnoses.len(), |last| last + 1);
    for (place, file) in (place..).zip(files) {
        let (level, message, remedy) = match policy.check(std::slice::from_ref(&file)) {
            Ok(()) => {
                let path = printable(&file.path.to_string_lossy());
                (
                    DiagnosisLevel::Ok,
                    format!("you have agreed to what {path} lets dispatchers and bridges use"),
                    None,
                )
            }
            Err(error) => {
                let remedy = error.hint().unwrap_or("check it; until then nothing is dispatched");
                (DiagnosisLevel::Warning, error.message().to_string(), Some(remedy.to_string()))
            }
        };
        diagnoses.insert(place, Diagnosis { area: "configuration", code: "trust", level, message, remedy });
    }
}

/// Returns the diagnosis of the configuration's `dispatch` section; `None` if it has none, or if it cannot be
/// checked, for example since there is no queue yet.
fn dispatch_section(context: &CommandContext) -> Option<Diagnosis> {
    let config = context.config().ok().filter(|config| config.store_root.is_dir())?;
    let store = Store::open_to_read(&config.store_root, context.store_options().ok()?).ok()?;
    let (level, message, remedy) = match load(&config, &store, &ConsentPolicy::AllowAll) {
        Ok(_) if config.dispatch.is_none() => return None,
        Ok(dispatch) => match unknown_cost::of_configuration(&config, &dispatch).into_iter().next() {
            None => (DiagnosisLevel::Ok, "its dispatch settings are valid".to_string(), None),
            Some(warning) => {
                let (what, remedy) = warning.split_once("; ").unwrap_or((&warning, "change the budget"));
                (DiagnosisLevel::Warning, what.to_string(), Some(remedy.to_string()))
            }
        },
        Err(error) => {
            let remedy = error.hint().unwrap_or("correct it; until then nothing is dispatched");
            (DiagnosisLevel::Blocking, error.message().to_string(), Some(remedy.to_string()))
        }
    };
    Some(Diagnosis { area: "configuration", code: "dispatch", level, message, remedy })
}
