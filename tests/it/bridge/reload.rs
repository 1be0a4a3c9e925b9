//! Running bridges follow changes of handoff.yaml.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use super::desk::Desk;
use crate::testkit::pool::Dispatcher;
use crate::testkit::wait::eventually;

/// Bridges that are running, with a log of what they say.
struct Bridges {
    process: Dispatcher,
    log: PathBuf,
}

impl Bridges {
    fn start(desk: &Desk, words: &[&str]) -> Self {
        let log = desk.pool.path("bridge.log");
        let file = std::fs::File::create(&log).unwrap();
        let process = Dispatcher::of(desk.bridge(words).stdout(file.try_clone().unwrap()).stderr(file));
        Self { process, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn says(&self, text: &str) {
        eventually(text, || self.log().contains(text));
    }

    fn stop(self) {
        self.process.signal(Signal::TERM);
        assert!(self.process.wait().success());
    }
}

/// Replaces a part of handoff.yaml, as an editor does.
fn edit(desk: &Desk, old: &str, new: &str) {
    let file = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(old), "{text}");
    let new_file = tempfile::NamedTempFile::new_in(desk.pool.path("")).unwrap();
    std::fs::write(new_file.path(), text.replace(old, new)).unwrap();
    new_file.persist(&file).unwrap();
}

const SECOND: &str =
    "  second: {adapter: json, path: second.json, poll_interval: 50ms, queues: {Todo: {lane: more}}}\n";

#[test]
fn bridges_are_added_changed_and_removed_while_others_run() {
    let desk = Desk::new("");
    std::fs::write(desk.pool.path("second.json"), r#"{"queues": {"Todo": [{"id": 9, "name": "x"}]}}"#)
        .unwrap();
    let bridges = Bridges::start(&desk, &["--all"]);
    bridges.says("team: connected");
    edit(&desk, "bridges:\n", &format!("bridges:\n{SECOND}"));
    bridges.says("second: card 9: submitted to more");
    edit(&desk, "      Todo:\n", "      Attic:\n");
    bridges.says("team: its settings have changed; restarting it");
    bridges.says("team: connected to json 0.1.0 as lanes; watching Attic");
    desk.add(json!(1), "result Yes");
    desk.put(&json!(1), "Attic");
    bridges.says("team: card 1: submitted to work");
    edit(&desk, SECOND, "");
    bridges.says("second: is no longer in the configuration; stopping it");
    let running = || desk.pool.json(&["status"])["bridges"].clone();
    eventually("one is left", || running() == json!({"running": 1, "failing": 0, "stopped": 0}));
    let connected = |name: &str| bridges.log().matches(&format!(" {name}: connected")).count();
    assert_eq!((connected("team"), connected("second")), (2, 1), "{}", bridges.log());
    bridges.stop();
}

#[test]
fn a_mistake_is_said_once_and_the_bridge_goes_on() {
    let desk = Desk::new("");
    let bridges = Bridges::start(&desk, &["team"]);
    bridges.says("team: connected");
    edit(&desk, "        lane: work\n", "        lane: [\n");
    bridges.says("; the bridges stay as they were");
    desk.add(json!(1), "result Yes");
    bridges.says("team: card 1: submitted to work");
    edit(&desk, "        lane: [\n", "        lane: other\n");
    bridges.says("restarting it");
    desk.add(json!(2), "result Yes");
    bridges.says("team: card 2: submitted to other");
    assert_eq!(bridges.log().matches("stay as they were").count(), 1, "{}", bridges.log());
    assert_eq!(desk.tasks().len(), 2);
    edit(&desk, "  team:\n", "  renamed:\n");
    bridges.says("stopping it");
    edit(&desk, "  renamed:\n", "  team:\n");
    desk.add(json!(3), "result Yes");
    bridges.says("team: card 3: submitted to other");
    bridges.stop();
}
