//! What `lanes doctor` reports of the bridges.

use super::bridge_settings::configured_bridges;
use super::context::CommandContext;
use crate::workspace::{Diagnosis, DiagnosisLevel};

/// Returns the diagnoses about bridges; none if the configuration has none, or cannot be read, which has a diagnosis of
/// its own.
pub(super) fn diagnoses(context: &CommandContext) -> Vec<Diagnosis> {
    if context.config().is_ok_and(|config| config.bridges.is_none()) {
        return Vec::new();
    }
    match configured_bridges(context) {
        Err(error) if context.config().is_ok() => {
            let remedy = error.hint().unwrap_or("correct it; until then no bridge runs");
            vec![diagnosis(DiagnosisLevel::Blocking, error.message().to_string(), Some(remedy.to_string()))]
        }
        Err(_) => Vec::new(),
        Ok((_, bridges)) => {
            let names: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
            let message = format!("the settings of these bridges can be used: {}", names.join(", "));
            vec![diagnosis(DiagnosisLevel::Ok, message, None)]
        }
    }
}

fn diagnosis(level: DiagnosisLevel, message: String, remedy: Option<String>) -> Diagnosis {
    Diagnosis { area: "bridges", code: "bridges", level, message, remedy }
}
