//! A bridge that is killed at its system calls.
//!
//! A sample of the points is tried; `LANES_TEST_EVERY_POINT=1` tries all of them.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::json;

use super::desk::Desk;
use crate::testkit::command;
use crate::testkit::pool::Pool;
use crate::testkit::skip::has;

/// The calls at which something becomes visible or durable.
const CALLS: &str = "renameat,renameat2,rename,linkat,unlinkat,mkdirat,fsync,fdatasync,pwrite64";

/// One in this many points is tried, unless all are.
const SAMPLE: usize = 6;

#[expect(clippy::disallowed_methods, reason = "it says how much is tested")]
fn tries_every_point() -> bool {
    std::env::var_os("LANES_TEST_EVERY_POINT").is_some()
}

/// `lanes` under strace, which kills it at one of its calls.
pub fn killed_at(pool: &Pool, point: usize, words: &[&str]) -> Command {
    let lanes = pool.lanes(words);
    let mut traced = command::clean("strace");
    let inject = format!("inject={CALLS}:signal=KILL:when={point}");
    traced
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &inject])
        .arg(lanes.get_program())
        .args(lanes.get_args());
    command::with_variables_of(&mut traced, &lanes);
    traced.current_dir(pool.path(""));
    traced
}

/// Runs such a command; returns whether it was killed.
pub fn was_killed(command: &mut Command) -> bool {
    let status = command.output().unwrap().status;
    status.signal() == Some(9) || status.code() == Some(128 + 9)
}

/// Makes rounds until nothing changes any more.
fn rounds_until_quiet(desk: &Desk) {
    for _ in 0..10 {
        let before = (desk.board(), desk.tasks().len());
        desk.round();
        if before == (desk.board(), desk.tasks().len()) {
            return;
        }
    }
    panic!("it does not come to rest: {}", desk.board());
}

/// Plays the life of two cards, in which the `stage`-th round of the bridge is killed at `point`. Returns whether it was.
fn life(stage: usize, point: usize) -> bool {
    let what = format!("round {stage}, call {point}");
    let desk = Desk::new("        dead_letter: Attic\n");
    desk.add(json!("1"), "result Yes");
    desk.add(json!(2), "exit 3");
    let mut killed = false;
    for round in 0..2 {
        if round == stage {
            killed = was_killed(&mut killed_at(&desk.pool, point, &["bridge", "team", "--once"]));
        }
        rounds_until_quiet(&desk);
        assert_eq!(desk.tasks().len(), 2, "{what}");
        if round == 0 {
            desk.pool.dispatch_once(&[]);
        }
    }
    assert_eq!(desk.cards("Done"), [json!("1")], "{what}");
    assert_eq!(desk.cards("Attic"), [json!(2)], "{what}");
    assert_eq!(desk.comments(&json!("1")), ["Yes"], "{what}");
    let comments = desk.comments(&json!(2));
    assert_eq!(comments.len(), 2, "{what}: {comments:?}");
    assert!(comments[0].starts_with("Attempt 1 of 2 failed") && comments[1].starts_with("Gave up"), "{what}");
    killed
}

#[test]
fn a_bridge_that_is_killed_anywhere_loses_and_doubles_nothing() {
    if !has("strace") {
        return;
    }
    let step = if tries_every_point() { 1 } else { SAMPLE };
    let mut kills = 0;
    for stage in 0..2 {
        for point in (1 + stage..).step_by(step) {
            if !life(stage, point) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 2, "only {kills}");
}
