//! `lanes fsck`: checks the store and repairs it.

use clap::Args;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::inside_run;
use super::output::ProgressLine;
use super::text_format::count;
use crate::error::{Result, printable};
use crate::store::{FsckReport, Severity, Store, StoreOptions};

/// Check the whole store, and repair what can be repaired.
///
/// Without --repair, nothing is changed. With it, derived files are rebuilt, leftovers of dead processes are
/// removed, and what cannot be read is moved to quarantine/ in the store, never deleted. Exits with code 1
/// when something is damaged and has not been repaired; leftovers are harmless.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes fsck\n  lanes fsck --repair")]
pub(super) struct FsckCommand {
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
}

impl FsckCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        if self.repair {
            inside_run::refuse(context, "fsck --repair")?;
        }
        let root = context.store_root()?;
        if !Store::exists(&root) && (root.is_dir() || !root.exists()) {
            // A configuration's store that does not exist is sound; any other missing store is an error.
            context.store()?;
            return print_report(context, &FsckReport::default());
        }
        let options = StoreOptions { workspace_root: context.workspace_root(), ..context.store_options()? };
        let mut progress = ProgressLine::new(&context.out, "lanes fsck");
        let report =
            Store::fsck_at(&root, options, self.repair, &mut |done, of| progress.update_count(done, of))?;
        drop(progress);
        print_report(context, &report)
    }
}

fn print_report(context: &mut CommandContext, report: &FsckReport) -> Result<CommandExit> {
    let sound = report.worst().is_none_or(|worst| worst == Severity::Leftover);
    if context.out.json {
        let mut object = report.to_object();
        object.insert("status".into(), if sound { "ok" } else { "damaged" }.into());
        context.out.object(&object)?;
    } else {
        print(context, report)?;
    }
    Ok(if sound { CommandExit::Done } else { CommandExit::Problems })
}

fn print(context: &mut CommandContext, report: &FsckReport) -> Result<()> {
    for finding in &report.findings {
        let done = if finding.repaired { "repaired: " } else { "" };
        let path = printable(&finding.path.to_string_lossy());
        let (severity, code) = (finding.severity.as_str(), finding.code);
        let message = printable(&finding.message);
        context.out.line(&format!("{severity} {code} {path}: {message} ({done}{})", finding.remedy))?;
    }
    let total: u64 = report.counts.values().sum();
    if total > report.findings.len() as u64 {
        context.out.line(&format!("and {} more", total - report.findings.len() as u64))?;
    }
    if let Some(quarantine) = &report.quarantine {
        let path = printable(&quarantine.to_string_lossy());
        context.out.line(&format!("what could not be read was moved to {path}"))?;
    }
    let found = if total == 0 { "nothing wrong".to_string() } else { count(total, "finding") };
    context.out.line(&format!("{}, {found}", count(report.tasks, "task")))
}
