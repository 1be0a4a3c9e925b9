//! Every command on a disk that is really full or read-only, and under limits on the size of files
//! and the number of open ones.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use crate::driver::Driver;
use crate::reader::{After, Snapshot};
use crate::scenarios::Scenario;
use crate::testkit::run_alone;
use crate::testkit::skip::{has, skipped};
use crate::usage;
use crate::world::{self, World};

/// Runs a test of this file that mounts something, in a namespace of its own.
#[expect(clippy::print_stdout, reason = "it passes on what the test said")]
fn in_a_namespace(test: &str) {
    let can = Command::new("unshare").args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return skipped("the right to mount");
    }
    let output = run_alone(&["unshare", "-rm"], module_path!(), test).unwrap();
    let printed = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{}{}", printed.0, printed.1);
    assert!(output.status.success(), "{test}");
}

fn mount(options: &str, at: &Path) {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).status();
    assert!(status.unwrap().success());
}

/// Checks a command that met the fault: it has its whole effect, or none and prints one line with the reason.
fn all_or_nothing(
    world: &World,
    scenario: &Scenario,
    output: &Output,
    (start, effect, base): (&Snapshot, &Snapshot, &Snapshot),
    words: &[&str],
) -> bool {
    let printed = String::from_utf8_lossy(&output.stderr);
    let left = usage::look(world, After::Kill, scenario.name);
    let between = scenario.may_stop_at(&left, (base, start, effect));
    if output.status.success() {
        // Changes that are due by time are reported even if they cannot be written.
        if scenario.name.starts_with("next") && left == *start {
            return false;
        }
        // The end of a task stands, whether or not its dependents could be released at once.
        let owes_releases = scenario.releases && between && left != *start;
        assert!(
            owes_releases || left.named(base) == *effect,
            "{}: success without effect: {left:#?}",
            scenario.name
        );
        return true;
    }
    assert_eq!(output.status.code(), Some(1), "{}: {printed}", scenario.name);
    // A repair continues after a step that fails, and reports it.
    let report = String::from_utf8_lossy(&output.stdout);
    if scenario.name == "repair" && words.iter().any(|word| report.contains(word)) {
        return false;
    }
    let lines: Vec<&str> = printed.trim_end().lines().collect();
    let is_short = lines.len() == 1 || scenario.by_line;
    assert!(is_short && lines.iter().all(|line| world::reports(line)), "{}: {printed}", scenario.name);
    assert!(words.iter().any(|word| printed.contains(word)), "{}: {printed}", scenario.name);
    assert!(output.stdout.is_empty() || scenario.by_line, "{}: reported a success", scenario.name);
    // `next` first writes the changes that are due by time, and may then fail to look further.
    let is_due = scenario.name.starts_with("next") && left.named(base) == *effect;
    assert!(
        left == *start || (scenario.steps || scenario.prepares) && between || is_due,
        "{}: {printed}: something was done: {left:#?}",
        scenario.name
    );
    usage::nothing_is_lost(world, After::Kill, scenario, start, scenario.name);
    false
}

/// Reads and waits work whatever happened to the disk.
fn can_be_read(world: &World) {
    for words in [&["status"][..], &["list"], &["show", &world.tasks.full], &["events", &world.tasks.full]] {
        world.ok(words);
    }
    let mut answers = vec![(&world.tasks.failed, "no"), (&world.tasks.answered, "the answer")];
    answers.retain(|(id, _)| world.store().join("tasks").join(id).exists());
    for (id, body) in answers {
        if *id == world.tasks.failed {
            assert_eq!(world.ok(&["wait", id, "--timeout", "0", "--body"]), body);
        } else {
            assert!(world.ok(&["show", id]).contains(id.as_str()));
        }
    }
}

/// Returns the state before a command, the one after it, and the tasks that keep their names in both.
fn effect(world: &World, scenario: &Scenario, base: &Snapshot) -> (Snapshot, Snapshot, Snapshot) {
    world.set_up(scenario);
    let start = usage::look(world, After::Kill, "before");
    let base = base.clone().with_names_of(&start);
    let words: Vec<&str> = scenario.args.iter().map(String::as_str).collect();
    world.ok(&words);
    let effect = usage::look(world, After::Kill, "after").named(&base);
    world.set_up(scenario);
    (start, effect, base)
}

/// The scenarios that do not need strace to be prepared.
fn scenarios(world: &World) -> Vec<Scenario> {
    let mut scenarios = world.scenarios();
    scenarios.retain(|scenario| !scenario.name.ends_with("after a crash"));
    scenarios
}

/// Fills the disk.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [65536, 4096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk() {
    in_a_namespace("on_a_full_disk");
}

#[test]
#[ignore = "run by a_full_disk in a namespace of its own"]
fn on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    mount("size=4m", dir.path());
    let world = World::in_dir(dir.path());
    let base = usage::look(&world, After::Kill, "the prepared store");
    let filler = dir.path().join("filler");
    let (mut done, mut refused) = (0, 0);
    for scenario in scenarios(&world) {
        let (start, effect, base) = effect(&world, &scenario, &base);
        fill(&filler);
        let words: Vec<&str> = scenario.args.iter().map(String::as_str).collect();
        let output = world.run(&words);
        if world.store().join("tasks").exists() && !start.tasks.is_empty() {
            can_be_read(&world);
        }
        std::fs::remove_file(&filler).unwrap();
        let worked = all_or_nothing(&world, &scenario, &output, (&start, &effect, &base), &["No space left"]);
        *(if worked { &mut done } else { &mut refused }) += 1;
        // Reads, waits and the removal of old tasks must work; otherwise space could never be freed.
        assert!(worked || !matches!(scenario.name, "gc" | "wait for our own file"), "{}", scenario.name);
        usage::repair(&world, After::Kill, scenario.name);
        usage::work_it_off(&world, After::Kill, Driver::Commands, scenario.name);
    }
    println!("full disk: {done} done, {refused} refused");
    assert!(refused > done);
}

#[test]
fn a_read_only_disk() {
    in_a_namespace("on_a_read_only_disk");
}

#[test]
#[ignore = "run by a_read_only_disk in a namespace of its own"]
fn on_a_read_only_disk() {
    let dir = tempfile::tempdir().unwrap();
    mount("size=8m", dir.path());
    let world = World::in_dir(dir.path());
    let base = usage::look(&world, After::Kill, "the prepared store");
    for scenario in scenarios(&world) {
        let (start, effect, base) = effect(&world, &scenario, &base);
        mount("remount,ro", dir.path());
        let words: Vec<&str> = scenario.args.iter().map(String::as_str).collect();
        let output = world.run(&words);
        if world.store().join("tasks").exists() && !start.tasks.is_empty() {
            can_be_read(&world);
        }
        mount("remount,rw", dir.path());
        let worked = all_or_nothing(&world, &scenario, &output, (&start, &effect, &base), &["Read-only"]);
        // The store contains that answer, so it can be printed.
        assert_eq!(worked, scenario.name == "wait for our own file", "{}", scenario.name);
    }
    usage::repair(&world, After::Kill, "after all");
    usage::work_it_off(&world, After::Kill, Driver::Commands, "after all");
}

#[test]
fn a_limit_on_the_size_of_files() {
    if !has("prlimit") {
        return;
    }
    let world = World::new();
    let base = usage::look(&world, After::Kill, "the prepared store");
    for (number, scenario) in scenarios(&world).iter().enumerate() {
        let (start, effect, base) = effect(&world, scenario, &base);
        // Nothing, a part of the index, part of a task, all but a large answer.
        let limit = format!("--fsize={}", [0, 600, 1000, 20_000][number % 4]);
        let output = world.through("prlimit", &[&limit], scenario);
        all_or_nothing(&world, scenario, &output, (&start, &effect, &base), &["File too large"]);
        usage::repair(&world, After::Kill, scenario.name);
        usage::work_it_off(&world, After::Kill, Driver::Commands, &format!("{} with {limit}", scenario.name));
    }
}

#[test]
fn a_limit_on_open_files() {
    if !has("prlimit") {
        return;
    }
    let world = World::new();
    let base = usage::look(&world, After::Kill, "the prepared store");
    for (number, scenario) in scenarios(&world).iter().enumerate() {
        let (start, effect, base) = effect(&world, scenario, &base);
        for limit in (5..22).filter(|limit| (limit + number).is_multiple_of(4)) {
            world.set_up(scenario);
            let output = world.through("prlimit", &[&format!("--nofile={limit}")], scenario);
            all_or_nothing(&world, scenario, &output, (&start, &effect, &base), &["Too many open files"]);
        }
        usage::repair(&world, After::Kill, scenario.name);
        usage::work_it_off(
            &world,
            After::Kill,
            Driver::Commands,
            &format!("{} with few open files", scenario.name),
        );
    }
}
