//! Every command, with each system call that changes or syncs a file failing once; full and
//! read-only disks; limits on file size and open files.
//!
//! Without LANES_TEST_EVERY_POINT a sample of the calls is made to fail.

use std::process::Output;

use crate::concurrent::{ScenarioRunner, Stage};
use crate::driver::Driver;
use crate::points::{self, Point};
use crate::reader::{After, Snapshot};
use crate::scenarios::Scenario;
use crate::testkit::skip::has;
use crate::usage;
use crate::world::{self, asked_for};

/// One in this many points is tried, unless all are.
const SAMPLE: usize = 7;

/// The scenarios that take any task.
const LOOKS_FOR_WORK: [&str; 2] = ["claim next", "claim after a crash"];

/// After one in this many points the queue is processed by commands, after the others by the library.
const COMMANDS: usize = 8;

/// An error of the kernel, and its text in messages.
const ERRORS: [(&str, &str); 5] = [
    ("ENOSPC", "No space left on device"),
    ("EIO", "Input/output error"),
    ("EDQUOT", "Disk quota exceeded"),
    ("EACCES", "Permission denied"),
    ("EMFILE", "Too many open files"),
];

/// Returns whether a call can fail.
fn can_fail_with(point: &Point, error: &str) -> bool {
    let call = point.call.as_str();
    match error {
        "EACCES" => !matches!(call, "write" | "pwrite64" | "fsync" | "ftruncate" | "copy_file_range"),
        "EMFILE" => call.starts_with("open"),
        // What exists already needs no more space.
        "ENOSPC" | "EDQUOT" => !point.reads,
        _ => true,
    }
}

/// Returns whether a call only concerns derived data or cleaning up, so that its failure need not stop the
/// command.
fn may_be_ignored(scenario: &Scenario, point: &Point) -> bool {
    let shown = &point.shown;
    let derived =
        ["/indexes", "feed.jsonl", "events.jsonl", "/bells", "response.json", "response.md", "/workers"];
    (point.call != "fsync" || shown.contains("/indexes")) && derived.iter().any(|part| shown.contains(part))
        // Old changes that stay in the feed do no harm.
        || scenario.name.starts_with("gc") && ["/state/tmp/", "feed.jsonl", "\"lock\""].iter().any(|part| shown.contains(part))
        || matches!(point.call.as_str(), "utimensat" | "unlinkat" | "unlink")
        || shown.starts_with("write(2<")
        // The search before a claim uses the index as it is.
        || scenario.name.starts_with("claim") && shown.contains("\"lock\"")
        // The next claim or edit gives the new prompt its name.
        || scenario.name == "edit" && point.call == "renameat" && point.shown.contains("request.next.md")
        // A second copy of an answer that the store keeps already; what keeps it is synced first.
        || scenario.name == "wait for our own file" && (point.call.as_str(), point.nth) != ("fsync", 1)
}

/// Returns the report of the failure: one line, or one for each line of the input.
fn complaint(output: &Output, scenario: &Scenario, what: &str) -> String {
    let printed = String::from_utf8(output.stderr.clone()).unwrap();
    // `wait`, `tell` and `gc` print a note about what they did.
    let is_note = |line: &str| {
        ["lanes wait: ", "lanes tell: "].iter().any(|start| line.starts_with(start))
            || line.ends_with(" removed\n")
    };
    let printed: String = printed.split_inclusive('\n').filter(|line| !is_note(line)).collect();
    let lines = printed.trim_end().lines().count();
    assert!(printed.lines().all(world::reports), "{what}: printed {printed:?}");
    assert!(lines == 1 || scenario.by_line && lines > 1, "{what}: printed {printed:?}");
    assert!(!printed.contains("internal error"), "{what}: {printed}");
    printed
}

#[test]
fn any_call_of_any_command_may_fail() {
    if !has("strace") {
        return;
    }
    let every = asked_for("LANES_TEST_EVERY_POINT");
    let runner = ScenarioRunner::play(|runner, stage| {
        let points = points::of_run(stage.world, stage.scenario);
        let effect = usage::look(stage.world, After::Kill, "after").named(&stage.base);
        for (n, point) in points.iter().enumerate() {
            let number = n + stage.number;
            if !every && !number.is_multiple_of(SAMPLE) {
                continue;
            }
            let errors: Vec<_> = ERRORS.iter().filter(|error| can_fail_with(point, error.0)).collect();
            // Each kind of call occurs in many scenarios, so every error is tried with it.
            let chosen = number % errors.len();
            let is_tried =
                |at: usize| at == chosen || every && !point.reads && at == (chosen + 1) % errors.len();
            for (at, error) in errors.iter().enumerate().filter(|(at, _)| is_tried(*at)) {
                let driver = if number.is_multiple_of(COMMANDS) { Driver::Commands } else { Driver::Library };
                // What is left is the same for each error.
                runner.attempt(|| fail(stage, point, **error, &effect, (at == chosen).then_some(driver)));
            }
        }
    });
    let (faults, scenarios) = runner.finish();
    println!("failed with {faults} faults in {scenarios} scenarios");
}

fn fail(
    stage: &Stage<'_>,
    point: &Point,
    (error, words): (&str, &str),
    effect: &Snapshot,
    driver: Option<Driver>,
) {
    let Stage { world, scenario, base, start, .. } = stage;
    let what = format!("{} with {error} at {} {}: {}", scenario.name, point.call, point.nth, point.shown);
    world.set_up(scenario);
    let output = world.traced(&point.inject(&format!("error={error}")), scenario);
    let trace = world.trace();
    let left = usage::look(world, After::Kill, &what);
    let is_after = left.named(base) == *effect;
    // Calls are counted for each thread, and which thread makes one may differ between runs.
    if !trace.contains("(INJECTED)") {
        assert!(
            (scenario.steps || scenario.releases) && output.status.success() && is_after,
            "{what}: nothing failed: {left:#?}"
        );
        return;
    }
    // What `next` prints is true, whether or not it could be recorded.
    let only_tells = scenario.name.starts_with("next");
    // The end of a task stands, whether or not its dependents could be released at once.
    let owes_releases = scenario.releases && scenario.may_stop_at(&left, (base, start, effect));
    if output.status.success() {
        // gc leaves tasks that it cannot read, and reports them.
        let printed = String::from_utf8_lossy(&output.stderr);
        let left_out = point.reads && scenario.name.starts_with("gc") && printed.contains(words);
        let is_fine = is_after || left_out || owes_releases || only_tells && left == *start;
        assert!(is_fine, "{what}: success without effect: {left:#?}");
        assert!(
            only_tells || point.reads || scenario.releases || may_be_ignored(scenario, point),
            "{what}: success"
        );
    } else {
        // A worker skips a task that cannot be read.
        let passed_over = point.reads && LOOKS_FOR_WORK.iter().any(|name| scenario.name.starts_with(name));
        let is_untouched =
            left == *start || scenario.prepares && scenario.may_stop_at(&left, (base, start, effect));
        let nothing_else = passed_over && is_untouched && output.status.code() == Some(4);
        assert!(output.status.code() == Some(1) || nothing_else, "{what}: {:?}", output.status);
        let on_output = point.shown.starts_with("write(1");
        // Another thread with that number may be the one that reports the failure.
        let is_mute = trace.lines().any(|line| line.contains("write(2, ") && line.ends_with("(INJECTED)"));
        // fsck reports it on standard output.
        let is_told = scenario.name == "repair" && String::from_utf8_lossy(&output.stdout).contains(words);
        if !is_mute && !is_told && !nothing_else {
            let printed = complaint(&output, scenario, &what);
            assert!(printed.contains(words), "{what}: no cause in {printed:?}");
            let home = world.home();
            let named = [home.to_str().unwrap(), "batch.jsonl", "exported.jsonl"];
            let names_file = named.iter().any(|name| printed.contains(name));
            assert!(on_output || names_file, "{what}: no file in {printed:?}");
        }
        assert!(on_output || scenario.steps || output.stdout.is_empty(), "{what}: reported a success");
        // A claim that could not be printed is released.
        let between = !scenario.releases && scenario.may_stop_at(&left, (base, start, effect))
            || on_output && scenario.name.starts_with("claim");
        // A change that may not be durable is reported, and its dependents are left to the next command.
        let is_owed = owes_releases && point.call == "fsync";
        assert!(
            left == *start || is_after || between || is_owed,
            "{what}: between before and after: {left:#?}"
        );
        // After the commit, only failures to make it durable or to print it may be reported.
        if is_after && left != *start && !between {
            let printed = String::from_utf8_lossy(&output.stderr);
            let is_shown = point.reads && (only_tells || scenario.name == "respond at length");
            assert!(on_output || is_shown || point.call == "fsync", "{what}: it stands, and yet: {printed}");
        }
    }
    usage::nothing_is_lost(world, After::Kill, scenario, start, &what);
    let Some(driver) = driver else { return };
    if point.reads {
        usage::repair(world, After::Kill, &what);
    }
    if scenario.steps && !point.reads && (point.nth.is_multiple_of(2) || !left.broken.is_empty()) {
        usage::repeat(world, After::Kill, scenario, (base, effect), &what);
    }
    usage::work_it_off(world, After::Kill, driver, &what);
}
