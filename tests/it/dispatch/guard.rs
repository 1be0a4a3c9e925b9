//! However a run, its dispatcher or its guard ends: nothing that the agent started is left.

use crate::testkit::pool::{Dispatcher, Pool, stand_in};
use crate::testkit::wait::is_alive;
use rustix::process::{Pid, Signal, kill_process};

/// The script of an agent that leaves an unmarked process behind, and prints the process ids.
fn leaves_a_stray(then: &str) -> String {
    format!("{} stray\necho $PPID > guard\necho $$ > agent\n{then}", stand_in("stray.sh"))
}

fn kill(pid: &str, signal: Signal) {
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), signal).unwrap();
}

/// A dispatcher whose agent has left a process behind: the process ids of the guard, the agent and that process.
fn with_stray(pool: &Pool) -> (String, Dispatcher, [String; 3]) {
    let id = pool.submit(&leaves_a_stray("sleep 1000"), &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until_file("agent");
    let pids = ["guard", "agent", "stray"].map(|name| pool.until_file(name));
    assert!(pids.iter().all(is_alive), "{pids:?}");
    (id, dispatcher, pids)
}

fn until_all_are_gone(pool: &Pool, pids: &[String; 3]) {
    pool.until("all are gone", || !pids.iter().any(is_alive));
    assert_eq!(pool.processes(), Vec::<String>::new());
}

#[test]
fn nothing_is_left_after_an_answer() {
    let pool = Pool::scripted("");
    let id = pool.submit(&leaves_a_stray("result fine"), &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "fine");
    for name in ["stray", "guard"] {
        assert!(!is_alive(pool.until_file(name)), "{name}");
    }
}

#[test]
fn nothing_is_left_after_a_cancel() {
    let pool = Pool::scripted("");
    let (id, dispatcher, pids) = with_stray(&pool);
    pool.ok(&["cancel", &id]);
    until_all_are_gone(&pool, &pids);
    drop(dispatcher);
}

#[test]
fn a_stopped_guard_is_no_way_out() {
    let pool = Pool::scripted("");
    let (id, dispatcher, pids) = with_stray(&pool);
    kill(&pids[0], Signal::STOP);
    let start = std::time::Instant::now();
    pool.ok(&["cancel", &id]);
    until_all_are_gone(&pool, &pids);
    // Well before the dispatcher would give up the guard.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    drop(dispatcher);
}

#[test]
fn nothing_is_left_by_a_killed_dispatcher() {
    let pool = Pool::scripted("");
    let (id, dispatcher, pids) = with_stray(&pool);
    dispatcher.kill();
    until_all_are_gone(&pool, &pids);
    // No other dispatcher has run so far: the next one finds only the task.
    assert_eq!(pool.state(&id), "claimed");
}

#[test]
fn nothing_is_left_by_a_killed_guard() {
    let pool = Pool::scripted("");
    let (id, dispatcher, pids) = with_stray(&pool);
    kill(&pids[0], Signal::KILL);
    until_all_are_gone(&pool, &pids);
    pool.until("the run failed", || pool.state(&id) == "failed");
    // The dispatcher continues, and other runs are not affected.
    let next = pool.submit("result fine", &[]);
    pool.until("the next answer", || pool.state(&next) == "completed");
    drop(dispatcher);
}

#[test]
fn a_killed_guard_does_not_disturb_other_runs() {
    let pool = Pool::scripted("");
    let other = pool.submit("while [ ! -e go ]; do sleep 0.02; done\nresult fine", &[]);
    let (_, dispatcher, pids) = with_stray(&pool);
    kill(&pids[0], Signal::KILL);
    pool.until("all are gone", || !pids.iter().any(is_alive));
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the other answer", || pool.state(&other) == "completed");
    drop(dispatcher);
}

#[test]
fn a_guard_that_is_asked_to_end_ends_its_run() {
    let pool = Pool::scripted("");
    let (id, dispatcher, pids) = with_stray(&pool);
    kill(&pids[0], Signal::TERM);
    until_all_are_gone(&pool, &pids);
    pool.until("the run failed", || pool.state(&id) == "failed");
    drop(dispatcher);
}
