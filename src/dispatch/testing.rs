//! Values that several unit tests use.

use std::path::Path;

use crate::model::json::parse_object;
use crate::model::{Bookkeeping, Event, LaneName, Sha256, Status, Task, TaskId, TaskSpec, Time};

/// Returns an event of a task's history; `data` is JSON text.
pub(super) fn event(kind: &str, data: &str) -> Event {
    Event {
        n: None,
        created_at: Time::from_micros(0),
        kind: kind.to_string(),
        message: String::new(),
        data: parse_object(data.as_bytes()).expect("an object"),
    }
}

/// Returns a queued task with nothing but the required fields.
pub(super) fn task() -> Task {
    let now = Time::from_micros(1_795_000_000_000_000);
    Task {
        id: TaskId::generate(now, "demo", "0123456789abcdef", 1),
        spec: TaskSpec {
            workspace_id: "demo".to_string(),
            correlation_id: "demo".to_string(),
            source_agent: "orchestrator".to_string(),
            workspace_root: "/".to_string(),
            prompt: "do it".to_string(),
            ..TaskSpec::new(LaneName::stored("work"))
        },
        request_path: "/request.md".to_string(),
        request_sha256: Sha256::default(),
        response_path: String::new(),
        status: Status::Queued,
        created_at: now,
        updated_at: now,
        attempt: 0,
        fence: 0,
        retried_as: None,
        questions: Vec::new(),
        messages: Vec::new(),
        bookkeeping: Bookkeeping::default(),
        extra: Default::default(),
    }
}

/// Returns a workspace whose file was discovered in a repository, in `dir`.
pub(super) fn found_in_repository(dir: &Path, text: &str) -> crate::workspace::Config {
    let holder = dir.canonicalize().unwrap();
    std::fs::create_dir_all(holder.join(".git")).unwrap();
    std::fs::create_dir_all(holder.join("handoff")).unwrap();
    let file = holder.join("handoff/handoff.yaml");
    std::fs::write(&file, format!("workspace_id: w\n{text}")).unwrap();
    let identity = crate::workspace::Identity::of_process(None);
    crate::workspace::Config::load_found(crate::workspace::FoundConfig { holder, file, identity }, None)
        .unwrap()
}
