//! What `lanes doctor` reports of the clients with which the server is registered.

use std::path::Path;

use super::context::CommandContext;
use super::env;
use crate::error::printable;
use crate::mcp::registration::{FoundRegistration, RegistrationFault, find_registrations};
use crate::workspace::{Diagnosis, DiagnosisLevel};

/// Returns a diagnosis for each registration, and for each thing that is wrong with one.
pub(super) fn diagnoses(context: &CommandContext) -> Vec<Diagnosis> {
    let (Ok(directory), Ok(program)) = (context.base.directory(), std::env::current_exe()) else {
        return Vec::new();
    };
    find_registrations(&env::client_homes(), directory, &program).iter().flat_map(of_registration).collect()
}

fn of_registration(found: &FoundRegistration) -> Vec<Diagnosis> {
    let (client, path) = (found.client.as_str(), show(&found.path));
    let scope = found.scope.as_str();
    let again = format!("`lanes mcp install --client {client} --scope {scope}` changes it");
    let diagnosis = |code, level, message, remedy| Diagnosis { area: "mcp", code, level, message, remedy };
    if found.faults.is_empty() {
        let message = format!("registered with {client} ({scope}) in {path}");
        return vec![diagnosis("registration", DiagnosisLevel::Ok, message, None)];
    }
    let of_fault = |fault: &RegistrationFault| {
        let (code, message) = match fault {
            RegistrationFault::ProgramMissing(program) => (
                "registration-program",
                format!("{client} starts {}, which does not exist", printable(program)),
            ),
            RegistrationFault::OtherProgram(program) => {
                ("registration-program", format!("{client} starts another lanes: {}", printable(program)))
            }
            RegistrationFault::NotRequired => {
                ("registration-required", format!("{client} does not wait until the tools are there"))
            }
            RegistrationFault::ShortTimeout => {
                ("registration-timeout", format!("{client} ends calls after less than a minute"))
            }
        };
        diagnosis(code, DiagnosisLevel::Warning, format!("{message} ({path})"), Some(again.clone()))
    };
    found.faults.iter().map(of_fault).collect()
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
