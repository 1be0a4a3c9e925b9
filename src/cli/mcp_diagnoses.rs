//! What `lanes doctor` reports of the server for chats: the clients with which it is registered, whether it answers, and
//! which servers run.

use std::path::Path;

use serde_json::Value;

use super::context::CommandContext;
use super::env;
use super::mcp_self_test;
use crate::error::{brief, printable};
use crate::mcp::registration::{FoundRegistration, RegistrationFault, find_registrations};
use crate::os::process_table::has_replaced_program;
use crate::store::{Store, WorkerInfo};
use crate::workspace::Diagnosis;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The group of these checks.
const AREA: &str = "mcp";

/// Returns a diagnosis for each registration, and for each fault of one; then whether the server
/// answers, if it is registered; then those about running servers.
pub(super) fn diagnoses(context: &CommandContext) -> Vec<Diagnosis> {
    let (Ok(directory), Ok(program)) = (context.base.directory(), std::env::current_exe()) else {
        return Vec::new();
    };
    let found = find_registrations(&env::client_homes(), directory, &program);
    let mut diagnoses: Vec<Diagnosis> = found.iter().flat_map(of_registration).collect();
    if !found.is_empty() {
        diagnoses.push(of_self_test(&program));
    }
    diagnoses.extend(of_running_servers(context));
    diagnoses
}

fn of_self_test(program: &Path) -> Diagnosis {
    match mcp_self_test::check(program) {
        Ok((count, bytes)) => {
            let message = format!("the server answers, with {count} tools of {bytes} bytes");
            Diagnosis::ok(AREA, "self-test", message)
        }
        Err(error) => {
            let remedy = "run `lanes mcp` by hand: it must wait for messages, and print nothing".to_string();
            Diagnosis::warning(AREA, "self-test", error.message().to_string(), remedy)
        }
    }
}

/// Returns the diagnoses about the servers that have opened the queue; none if there is no queue.
fn of_running_servers(context: &CommandContext) -> Vec<Diagnosis> {
    let open = || -> Option<Vec<WorkerInfo>> {
        let config = context.config().ok().filter(|config| config.store_root.is_dir())?;
        let store = Store::open_to_read(&config.store_root, context.store_options().ok()?).ok()?;
        store.live_chat_servers().ok()
    };
    let servers = open().unwrap_or_default();
    let mut diagnoses = Vec::new();
    let mut current = 0;
    for server in &servers {
        let version = server.data.get("version").and_then(Value::as_str).unwrap_or_default();
        let what = if version != VERSION {
            format!("is version {}, and this is {VERSION}", brief(version))
        } else if has_replaced_program(server.pid) {
            "runs a program file that has been replaced since it started".to_string()
        } else {
            current += 1;
            continue;
        };
        let message = format!("the server with process id {} {what}", server.pid);
        let remedy = "restart the client that started it, or `lanes serve`".to_string();
        diagnoses.push(Diagnosis::warning(AREA, "server-version", message, remedy));
    }
    if current > 0 {
        let message = format!("running servers of this version: {current}");
        diagnoses.push(Diagnosis::ok(AREA, "servers", message));
    }
    diagnoses
}

fn of_registration(found: &FoundRegistration) -> Vec<Diagnosis> {
    let (client, path) = (found.client.as_str(), show(&found.path));
    let scope = found.scope.as_str();
    let again = format!("`lanes mcp install --client {client} --scope {scope}` changes it");
    let unattended = (!found.refused_tools.is_empty()).then(|| {
        let tools = found.refused_tools.join(", ");
        let message = format!(
            "{client} asks before these tools, and refuses them where it cannot ask: {tools}; `lanes mcp install \
             --client {client} --scope {scope} --approve` allows them ({path})"
        );
        Diagnosis::ok(AREA, "registration-approval", message)
    });
    if found.faults.is_empty() {
        let message = format!("registered with {client} ({scope}) in {path}");
        let registered = Diagnosis::ok(AREA, "registration", message);
        return std::iter::once(registered).chain(unattended).collect();
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
        Diagnosis::warning(AREA, code, format!("{message} ({path})"), again.clone())
    };
    found.faults.iter().map(of_fault).chain(unattended).collect()
}

fn show(path: &Path) -> String {
    printable(&path.to_string_lossy())
}
