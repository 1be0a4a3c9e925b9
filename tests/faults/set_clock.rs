//! The real program while the machine's clock is set a day forwards or backwards: libfaketime gives each process
//! its own wall clock, and does not change the uptime.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::testkit::command;
use crate::testkit::skip::skipped;
use crate::testkit::wait::until_a_lane_is_waited_for;
use serde_json::Value;

const FORWARDS: &str = "+1d";
const BACKWARDS: &str = "-1d";

/// libfaketime, where Debian and others put it.
fn library() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = vec!["/usr/lib/faketime".into(), "/usr/local/lib/faketime".into()];
    for parent in ["/usr/lib", "/usr/lib64"] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| entry.path().join("faketime")));
    }
    places.into_iter().map(|place| place.join("libfaketime.so.1")).find(|file| file.exists())
}

struct World {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl World {
    /// Returns `None` if the clock cannot be faked.
    #[track_caller]
    fn new() -> Option<Self> {
        if !cfg!(debug_assertions) {
            skipped("a debug build: a release build loads no library that could fake its clock");
            return None;
        }
        let Some(library) = library() else {
            skipped("libfaketime (Debian package faketime)");
            return None;
        };
        let world = Self { dir: tempfile::tempdir().unwrap(), library };
        let date = world.program("date", FORWARDS).arg("+%s").output().unwrap();
        let shown: u64 = String::from_utf8_lossy(&date.stdout).trim().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(shown > now + 86_000, "libfaketime does nothing here: {shown}");
        Some(world)
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Returns a program whose wall clock is off by `shift`; empty for the true time.
    fn program(&self, program: &str, shift: &str) -> Command {
        let mut command = command::clean_with_path(program);
        command.current_dir(self.dir.path());
        if !shift.is_empty() {
            command
                .env("LD_PRELOAD", &self.library)
                .env("FAKETIME", shift)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_NO_CACHE", "1");
        }
        command
    }

    fn lanes(&self, shift: &str, words: &[&str]) -> Command {
        let mut command = self.program(command::LANES, shift);
        command.arg("--store").arg(self.store()).args(words);
        command
    }

    fn run(&self, shift: &str, words: &[&str]) -> Output {
        self.lanes(shift, words).output().unwrap()
    }

    fn ok(&self, shift: &str, words: &[&str]) -> String {
        command::ok(&mut self.lanes(shift, words))
    }

    fn submit(&self, shift: &str) -> String {
        self.ok(shift, &["submit", "--lane", "l", "--prompt", "do it"])
    }

    /// Claims the next task: its id and its token.
    fn claim(&self, shift: &str, lease: &str) -> Option<(String, String)> {
        let words = ["claim", "--lane", "l", "--lease-seconds", lease, "--json"];
        let output = self.run(shift, &words);
        if output.status.code() == Some(4) {
            return None;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |key: &str| reply["task"][key].as_str().unwrap().to_string();
        Some((text("id"), text("claim_token")))
    }

    fn start(&self, shift: &str, words: &[&str]) -> Child {
        let mut command = self.lanes(shift, words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

#[test]
fn the_wall_clock_of_the_program_is_really_another() {
    let Some(world) = World::new() else { return };
    let (yesterday, tomorrow) = (world.submit(BACKWARDS), world.submit(FORWARDS));
    let today = world.submit("");
    assert!(yesterday < today && today < tomorrow, "{yesterday} {today} {tomorrow}");
}

#[test]
fn a_live_lease_lasts_whatever_the_clock_shows() {
    let Some(world) = World::new() else { return };
    for shift in [FORWARDS, BACKWARDS] {
        let id = world.submit("");
        let (claimed, token) = world.claim("", "3600").unwrap();
        assert_eq!(claimed, id);
        assert_eq!(world.claim(shift, "60"), None, "{shift}: taken from a live worker");
        assert_eq!(world.run(shift, &["claim", &id]).status.code(), Some(1), "{shift}");
        world.ok(shift, &["renew", &id, "--claim-token", &token]);
        assert_eq!(world.claim("", "60"), None, "{shift}: renewed, and taken all the same");
        world.ok(shift, &["respond", &id, "--claim-token", &token, "--body", "done"]);
        assert_eq!(world.ok("", &["wait", &id, "--timeout", "0", "--body"]), "done");
    }
}

#[test]
fn a_lease_ends_after_its_length_whatever_the_clock_shows() {
    let Some(world) = World::new() else { return };
    for (then, now) in [("", BACKWARDS), (FORWARDS, ""), (BACKWARDS, FORWARDS)] {
        let id = world.submit("");
        let (_, token) = world.claim(then, "0.2").unwrap();
        std::thread::sleep(Duration::from_millis(250));
        let (again, new) = world.claim(now, "3600").unwrap_or_else(|| panic!("{then} {now}: never over"));
        assert_eq!(again, id);
        let late = world.run("", &["respond", &id, "--claim-token", &token, "--body", "late"]);
        assert_eq!(late.status.code(), Some(1), "{then} {now}: the old token still counts");
        world.ok("", &["respond", &id, "--claim-token", &new, "--body", "done"]);
    }
}

#[test]
fn a_wait_ends_after_its_time_and_wakes_at_once() {
    let Some(world) = World::new() else { return };
    for shift in [FORWARDS, BACKWARDS] {
        let id = world.submit("");
        let begin = Instant::now();
        let output = world.run(shift, &["wait", &id, "--timeout", "0.3"]);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(begin.elapsed() >= Duration::from_millis(300), "{shift}: it gave up early");
        // The wait starts with one clock, and the answer comes with another.
        let wait = world.start(shift, &["wait", &id, "--timeout", "120", "--body"]);
        let (_, token) = world.claim("", "60").unwrap();
        world.ok("", &["respond", &id, "--claim-token", &token, "--body", "done"]);
        let output = wait.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "done", "{shift}");
    }
}

#[test]
fn a_parked_claim_gets_a_task_of_another_clock() {
    let Some(world) = World::new() else { return };
    for shift in [FORWARDS, BACKWARDS] {
        let claim = world.start(shift, &["claim", "--lane", "l", "--wait", "--timeout", "120"]);
        until_a_lane_is_waited_for(&world.store());
        let id = world.submit("");
        let output = claim.wait_with_output().unwrap();
        assert!(output.status.success(), "{shift}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains(&id), "{shift}");
        std::fs::remove_dir_all(world.store().join("bells")).unwrap();
    }
}

#[test]
fn what_was_made_tomorrow_is_served_and_kept_in_order() {
    let Some(world) = World::new() else { return };
    let tomorrow = world.submit(FORWARDS);
    let today = world.submit("");
    let yesterday = world.submit(BACKWARDS);
    let mut served = Vec::new();
    while let Some((id, token)) = world.claim("", "60") {
        world.ok("", &["respond", &id, "--claim-token", &token, "--body", "done"]);
        served.push(id);
    }
    assert_eq!(served, [yesterday, today, tomorrow], "the oldest first, by the time of its making");
    world.ok("", &["fsck"]);
    // For a process that is a day behind, what ended now has not ended long ago.
    let kept = world.ok(BACKWARDS, &["gc", "--older-than", "1h", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap()["count"], 0);
    let gone = world.ok(FORWARDS, &["gc", "--older-than", "1h", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&gone).unwrap()["count"], 3);
}

#[test]
fn a_scheduled_task_comes_due_by_the_wall_clock() {
    let Some(world) = World::new() else { return };
    let id = world.ok("", &["submit", "--lane", "l", "--prompt", "later", "--delay", "1h"]);
    assert_eq!(world.claim("", "60"), None);
    assert_eq!(world.claim(BACKWARDS, "60"), None);
    assert_eq!(world.claim(FORWARDS, "60").map(|claimed| claimed.0), Some(id));
}
