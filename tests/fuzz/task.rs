//! task.json: read in two ways, and written again without loss.

use lanes::internals::model::json::{parse_object, to_text};
use lanes::internals::model::{Task, TaskText};

use crate::noise::Noise;
use crate::run::Target;

macro_rules! task {
    ($($path:literal),*) => {
        [$(include_bytes!(concat!("../frozen/", $path, "/task.json"))),*]
    };
}

const GOOD: [&[u8]; 8] = task!(
    "lanes-1/state/tasks/20261121T070004000000Z-review-c20dea4d876b-60e6dd",
    "lanes-1/state/tasks/20261121T070011000000Z-other-ab8ea0d11108-7d069c",
    "lanes-1/state/tasks/20261121T070025000000Z-third-9d4c2dcc3dde-e89b81",
    "agent-lanes-0.1.1/state/tasks/20261121T090102715818Z-claimed-one-552be7e17b70",
    "agent-lanes-0.1.1/state/tasks/20261121T090104851281Z-supported-1dd94eb1a1a2",
    "oddities/state/tasks/20260101T000000000002Z-unknown-8cb601e00de8",
    "oddities/state/tasks/20260101T000000000003Z-numbers-8cb601e00de8",
    "oddities/state/tasks/20260101T000000000004Z-characters-8cb601e00de8"
);

const WORDS: [&str; 36] = [
    "\"state\": \"queued\"",
    "\"state\": \"claimed\"",
    "\"state\": \"scheduled\"",
    "\"state\": \"parked\"",
    "\"completed\"",
    "\"failed\"",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "NaN",
    "-Infinity",
    "1e999",
    "\"_lanes\": {",
    "\"recent\": [",
    "\"response\": {",
    "\"last_event\": ",
    "\"lease\": {",
    "\"priority\": ",
    "\"attempt\": -1,",
    "\"max_attempts\": 4294967296,",
    "\"labels\": [1, \"a\"],",
    "\"supporting_paths\": [{\"path\": \"a\", \"sha256\": 1}],",
    "\"not_before\": \"9999-12-31T23:59:59Z\",",
    "\"claim_token\": null,",
    "\"lease_seconds\": 1e300,",
    "\"checkpoint_id\": \"c\",",
    "\"key\": \"\\ud800\",",
    "\"st\\u0061te\": \"x\",",
    "\"metadata\": [1],",
    "2026-01-01T00:00:00.000000Z",
    "2026-13-45T99:99:99Z",
    "0000-00-00T00:00:00Z",
    "\"x\": 1, ",
    ",",
];

#[test]
fn task() {
    let target = Target { name: "task", found: &[], make, check };
    target.run(3_000);
}

fn make(noise: &mut Noise) -> Vec<u8> {
    if noise.one_in(2) {
        return noise.changed(&GOOD, &WORDS);
    }
    // Values of any type in place of valid ones: the text stays JSON.
    let mut object = parse_object(noise.pick(&GOOD)).unwrap();
    let keys: Vec<String> = object.keys().cloned().collect();
    for _ in 0..=noise.size(4) {
        let text = format!("{{\"v\": {}}}", crate::json::value(noise, 2, false));
        let value = parse_object(text.as_bytes()).ok().and_then(|mut made| made.remove("v"));
        let key = if noise.one_in(8) {
            noise.text(&["a", "_lanes", "state"])
        } else {
            keys[noise.below(keys.len())].clone()
        };
        match value {
            Some(value) => drop(object.insert(key, value)),
            None => drop(object.remove(&key)),
        }
    }
    to_text(&object).into_bytes()
}

fn check(bytes: &[u8]) {
    let quick = TaskText::read(bytes, |task| {
        let _ = (task.bookkeeping_excerpt(), task.is_terminal(), task.request());
        (task.state().into_owned(), task.to_task())
    });
    let careful = parse_object(bytes).and_then(Task::from_object);
    let ((state, task), other) = match (quick, careful) {
        (Ok(quick), Ok(careful)) => (quick, careful),
        (Err(_), Err(_)) => return,
        (quick, careful) => {
            panic!("read in two ways: {:?} and {:?}", quick.map(|q| q.1.id), careful.map(|t| t.id))
        }
    };
    assert_eq!(task.to_object(), other.to_object(), "read in two ways");
    let _ = task.to_public_object();
    let written = task.to_object();
    let text = to_text(&written);
    let again = Task::from_object(parse_object(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(again.to_object(), written, "what was written reads as something else");
    let before = parse_object(bytes).unwrap();
    assert_eq!(before["state"], state);
    let known = parse_object(GOOD[0]).unwrap();
    for (key, value) in &before {
        if known.contains_key(key) || ["checkpoint_id", "failure_class"].contains(&key.as_str()) {
            continue;
        }
        assert_eq!(written.get(key), Some(value), "an unknown key is lost: {key}");
    }
}
