//! The commands that are tried, with the changes of the prepared store before each.

use std::os::unix::process::ExitStatusExt;

use crate::points;
use crate::reader::Snapshot;
use crate::world::{Tasks, World, copy_tree};

/// One command that is tried.
pub struct Scenario {
    pub name: &'static str,
    pub args: Vec<String>,
    /// The changes of the prepared store before the command.
    pub before: Option<fn(&World)>,
    /// Whether each of its tasks or steps is a separate change, so that repeating the command completes it.
    pub steps: bool,
    /// Whether dependents follow its change, each by a change of its own that the next command makes if need be.
    pub releases: bool,
    /// Whether a change of another task comes before its own, and stands if it then fails.
    pub prepares: bool,
    /// Whether it prints one error for each line of a file.
    pub by_line: bool,
}

impl Scenario {
    /// Returns whether the command may stop in the state `left` with only a part of its changes made, or with all.
    /// `start` is the state before, `effect` the one after with the names of `base`.
    pub fn may_stop_at(
        &self,
        left: &Snapshot,
        (base, start, effect): (&Snapshot, &Snapshot, &Snapshot),
    ) -> bool {
        (self.steps || self.releases || self.prepares)
            && left.named(base).is_between(&start.named(base), effect)
    }
}

/// Three tasks of two lanes. Their keys make it harmless to submit them again.
pub const BATCH: &str = r#"{"lane": "l", "prompt": "one", "key": "b1"}
{"lane": "n", "prompt": "two", "key": "b2"}
{"lane": "l", "prompt": "three", "key": "b3", "request_from": "request.md"}
"#;

impl World {
    pub fn scenario(&self, name: &'static str, words: &[&str]) -> Scenario {
        let args = words.iter().map(ToString::to_string).collect();
        Scenario { name, args, before: None, steps: false, releases: false, prepares: false, by_line: false }
    }

    /// Returns every command that changes something; with LANES_TEST_ONLY those whose names begin with it.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = self.scenarios_of_one_task();
        scenarios.extend(self.scenarios_of_dependents());
        scenarios.extend(self.scenarios_of_keys());
        scenarios.extend(self.scenarios_of_many_tasks());
        if let Some(only) = crate::world::setting("LANES_TEST_ONLY") {
            scenarios.retain(|scenario| scenario.name.starts_with(&only));
        }
        scenarios
    }

    fn scenarios_of_one_task(&self) -> Vec<Scenario> {
        let Tasks { waiting, other, held, token, failed, answered, full, full_token, .. } = &self.tasks;
        let plain = |name, words: &[&str]| self.scenario(name, words);
        let large = self.home().join("large.md");
        let large = large.to_str().unwrap();
        vec![
            plain("submit", &["submit", "--lane", "l", "--prompt", "new"]),
            plain("submit a file", &["submit", "--lane", "n", "--request-from", "request.md"]),
            plain("submit a key", &["submit", "--lane", "l", "--prompt", "new", "--key", "k"]),
            Scenario {
                before: Some(|world| std::fs::remove_dir_all(world.store()).unwrap()),
                ..plain("submit into nothing", &["submit", "--lane", "l", "--prompt", "new"])
            },
            Scenario {
                before: Some(without_index),
                ..plain("submit without an index", &["submit", "--lane", "l", "--prompt", "new"])
            },
            plain("claim", &["claim", waiting]),
            plain("ask", &["ask", held, "--claim-token", token, "--question", "Which one?"]),
            Scenario {
                before: Some(asking_task),
                ..plain("answer", &["answer", held, "--body", "The first."])
            },
            plain("tell", &["tell", held, "Use the new one.", "--by", "eve"]),
            plain("claim next", &["claim", "--lane", "l"]),
            Scenario { before: Some(expired_claim), ..plain("claim of a lost lease", &["claim", waiting]) },
            Scenario {
                before: Some(expired_claim),
                ..plain("claim next of a lost lease", &["claim", "--lane", "l"])
            },
            Scenario {
                before: Some(expired_claim),
                ..plain("next of a lost lease", &["next", "--lane", "l", "--timeout", "0", "--json"])
            },
            Scenario {
                before: Some(spent_task),
                ..plain("next of a spent task", &["next", "--lane", "m", "--timeout", "0", "--json"])
            },
            Scenario {
                before: Some(without_index),
                ..plain("claim next without an index", &["claim", "--lane", "l"])
            },
            Scenario {
                before: Some(interrupted_claim),
                ..plain("claim after a crash", &["claim", "--lane", "l"])
            },
            Scenario {
                before: Some(interrupted_submit),
                ..plain("submit after a crash", &["submit", "--lane", "l", "--prompt", "new"])
            },
            plain("renew", &["renew", held, "--claim-token", token, "--lease-seconds", "9000"]),
            plain("release", &["release", held, "--claim-token", token]),
            plain("release later", &["release", held, "--claim-token", token, "--delay", "3600"]),
            plain("respond", &["respond", held, "--claim-token", token, "--body", "done"]),
            plain("respond at length", &["respond", held, "--claim-token", token, "--file", large]),
            plain(
                "respond after many events",
                &["respond", full, "--claim-token", full_token, "--body", "ok"],
            ),
            plain("wait", &["wait", answered, "--timeout", "0"]),
            plain("wait for our own file", &["wait", failed, "--timeout", "0"]),
            plain("cancel", &["cancel", waiting]),
            plain("cancel a claim", &["cancel", held]),
            plain("move", &["move", waiting, "--to", "m"]),
            plain("edit", &["edit", other, "--prompt", "something else", "--priority", "3"]),
            plain("edit a request file's prompt", &["edit", waiting, "--prompt", "carefully"]),
            plain("pause", &["pause", "l"]),
            Scenario {
                before: Some(|world| drop(world.ok(&["pause", "l"]))),
                ..plain("resume", &["resume", "l"])
            },
            plain("event", &["event", held, "--type", "note", "--message", "half way"]),
            plain("event after many", &["event", full, "--type", "note", "--message", "more"]),
        ]
    }

    fn scenarios_of_dependents(&self) -> Vec<Scenario> {
        let Tasks { held, token, .. } = &self.tasks;
        let releases = |name, words: &[&str]| Scenario { releases: true, ..self.scenario(name, words) };
        vec![
            self.scenario(
                "submit after a task",
                &["submit", "--lane", "l", "--prompt", "new", "--after", held],
            ),
            Scenario {
                before: Some(dependents),
                ..releases(
                    "end with dependents",
                    &["respond", held, "--claim-token", token, "--body", "done"],
                )
            },
            Scenario { before: Some(dependents), ..releases("end with a failure", &["cancel", held]) },
            Scenario {
                before: Some(interrupted_end),
                ..releases("release after a crash", &["submit", "--lane", "n", "--prompt", "new"])
            },
        ]
    }

    fn scenarios_of_keys(&self) -> Vec<Scenario> {
        vec![
            self.scenario(
                "submit with an exclusive key",
                &["submit", "--lane", "n", "--prompt", "new", "--exclusive", "k"],
            ),
            Scenario {
                before: Some(keyed_task),
                ..self.scenario("claim next with a key", &["claim", "--lane", "n"])
            },
            Scenario {
                before: Some(expired_key),
                // The task whose lease has ended is written back, and then another one claimed.
                prepares: true,
                ..self.scenario("claim next with the key of a lost lease", &["claim", "--lane", "n"])
            },
            Scenario {
                before: Some(held_key),
                steps: true,
                ..self.scenario("free a key", &["cancel", "--group", "holder"])
            },
        ]
    }

    fn scenarios_of_many_tasks(&self) -> Vec<Scenario> {
        let steps = |name, words: &[&str]| Scenario { steps: true, ..self.scenario(name, words) };
        vec![
            steps("retry", &["retry", &self.tasks.failed]),
            steps("redrive", &["redrive", &self.tasks.dead]),
            Scenario { by_line: true, ..steps("batch", &["submit", "--batch", "batch.jsonl"]) },
            steps("gc", &["gc", "--all-ended", "--json"]),
            steps("gc with an archive", &["gc", "--all-ended", "--archive", "archive"]),
            Scenario {
                before: Some(|world| drop(world.ok(&["gc", "--all-ended"]))),
                by_line: true,
                ..steps("import", &["import", "exported.jsonl"])
            },
            Scenario { before: Some(damage), ..steps("repair", &["fsck", "--repair"]) },
        ]
    }
}

/// Leaves two tasks that wait for the held one, and one that waits for the first of them.
fn dependents(world: &World) {
    let submit = |after: &str| world.ok(&["submit", "--lane", "l", "--prompt", "later", "--after", after]);
    let first = submit(&world.tasks.held);
    submit(&world.tasks.held);
    submit(&first);
}

/// Leaves the end of a task on which others depend, and nothing more.
fn interrupted_end(world: &World) {
    dependents(world);
    let Tasks { held, token, .. } = &world.tasks;
    interrupt_after_commit(world, &["respond", held, "--claim-token", token, "--body", "done"]);
}

/// Leaves a task with an exclusive key.
fn keyed_task(world: &World) {
    world.ok(&["submit", "--lane", "n", "--prompt", "keyed", "--exclusive", "k", "--group", "holder"]);
}

/// Leaves a task that holds a key, and one that waits for it.
fn held_key(world: &World) {
    keyed_task(world);
    world.ok(&["claim", "--lane", "n"]);
    world.ok(&["submit", "--lane", "n", "--prompt", "keyed", "--exclusive", "k"]);
}

/// Leaves a task whose lease has ended and which has a key that another task waits for.
fn expired_key(world: &World) {
    world.ok(&["submit", "--lane", "h", "--prompt", "keyed", "--exclusive", "k"]);
    world.ok(&["claim", "--lane", "h", "--lease-seconds", "0.001"]);
    world.ok(&["submit", "--lane", "n", "--prompt", "keyed", "--exclusive", "k"]);
    std::thread::sleep(std::time::Duration::from_millis(2));
}

fn without_index(world: &World) {
    std::fs::remove_dir_all(world.store().join("indexes")).unwrap();
}

/// Leaves a claim whose lease is over.
fn expired_claim(world: &World) {
    world.ok(&["claim", &world.tasks.waiting, "--lease-seconds", "0.001"]);
    std::thread::sleep(std::time::Duration::from_millis(2));
}

/// Leaves the held task with an open question.
fn asking_task(world: &World) {
    let Tasks { held, token, .. } = &world.tasks;
    world.ok(&["ask", held, "--claim-token", token, "--question", "Which one?"]);
}

/// Leaves the held task with a message that nobody has read.
pub fn told_task(world: &World) {
    world.ok(&["tell", &world.tasks.held, "Use the new one."]);
}

/// Leaves a task in lane `m` whose only attempt is over, which no command has recorded yet.
fn spent_task(world: &World) {
    let id = world.ok(&["submit", "--lane", "m", "--prompt", "once", "--max-attempts", "1"]);
    world.ok(&["claim", &id, "--lease-seconds", "0.001"]);
    std::thread::sleep(std::time::Duration::from_millis(2));
}

/// Leaves one fault of every kind that a repair fixes.
fn damage(world: &World) {
    let store = world.store();
    let Tasks { waiting, other, held, answered, failed, .. } = &world.tasks;
    let task = |id: &str, name: &str| store.join("tasks").join(id).join(name);
    let append = |path: &std::path::Path, text: &str| {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        std::fs::write(path, content + text).unwrap();
    };
    let text = std::fs::read_to_string(task(waiting, "task.json")).unwrap();
    std::fs::write(task(waiting, "task.json"), &text[..text.len() / 2]).unwrap();
    std::fs::write(store.join("tasks/stray"), "not a task").unwrap();
    let history = std::fs::read_to_string(task(other, "events.jsonl")).unwrap();
    std::fs::write(task(other, "events.jsonl"), history.replacen('\n', "\nnot an event\n", 3)).unwrap();
    append(&task(held, "events.jsonl"), "{\"half a li");
    std::fs::write(task(held, "response.1.json"), "{}").unwrap();
    std::fs::write(task(held, "response.json"), "{}").unwrap();
    std::fs::remove_file(task(answered, "response.json")).unwrap();
    std::fs::write(task(failed, "response.json"), "no answer").unwrap();
    append(&store.join("feed.jsonl"), "{\"half a li");
    std::fs::write(store.join("lanes.json"), "{").unwrap();
    std::fs::write(store.join("indexes/keys").join("0".repeat(64)), "gone\n").unwrap();
    std::fs::write(store.join("indexes/correlations/w--gone.json"), "{}").unwrap();
    std::fs::create_dir_all(store.join("tmp/999999-1-1")).unwrap();
    std::fs::write(store.join("tmp/999999-1-1/task.json"), "{}").unwrap();
}

/// Leaves a claim that was committed and nothing more: the rename is done, the next write is not.
fn interrupted_claim(world: &World) {
    interrupt_after_commit(world, &["claim", &world.tasks.other.clone()]);
}

fn interrupted_submit(world: &World) {
    interrupt_after_commit(world, &["submit", "--lane", "l", "--prompt", "crashed", "--key", "crashed"]);
}

/// Kills a command right after its first rename into `tasks/`.
fn interrupt_after_commit(world: &World, words: &[&str]) {
    let dry = world.scenario("", words);
    let copy = world.aside("before-crash");
    copy_tree(&world.home(), &copy);
    let points = points::of_changes(world, &dry);
    let commit = points.iter().position(|point| point.commits).unwrap();
    let next = &points[commit + 1];
    copy_tree(&copy, &world.home());
    assert_eq!(world.traced(&next.inject("signal=KILL"), &dry).status.signal(), Some(9));
}
