//! Signals that the parent of a dispatcher made it ignore, and the signals of its agents.

use crate::testkit::pool::{Dispatcher, Pool};
use rustix::process::Signal;

/// A dispatcher started as with nohup, or with `&` in a script.
fn ignoring(pool: &Pool, signals: &str) -> Dispatcher {
    let script = format!("trap '' {signals}; exec \"$@\"");
    pool.dispatcher_under(&["sh", "-c", &script, "sh"], &["--lane", "work"])
}

/// Returns the signals that a process ignores and blocks, as the kernel reports them.
const MASKS: &str = "grep -E 'Sig(Ign|Blk)' /proc/self/status | tr -s '\\t\\n' '  ' > masks";

#[test]
fn what_was_ignored_at_the_start_does_not_end_a_dispatcher_and_does_not_bind_its_agents() {
    let pool = Pool::scripted("");
    let dispatcher = ignoring(&pool, "HUP INT QUIT PIPE");
    pool.until("it runs", || pool.log().contains("serves"));
    let id = pool.submit(
        &format!("echo $PPID > guard\n{MASKS}\nuntil [ -e go ]; do sleep 0.02; done\nresult fine"),
        &[],
    );
    // 64 signals, none ignored: not HUP and INT, and not those of the C library (32 and 33).
    assert_eq!(pool.until_file("masks"), "SigBlk: 0000000000000000 SigIgn: 0000000000000000");
    dispatcher.signal(Signal::HUP);
    dispatcher.signal(Signal::INT);
    let guard = rustix::process::Pid::from_raw(pool.until_file("guard").parse().unwrap()).unwrap();
    rustix::process::kill_process(guard, Signal::HUP).unwrap();
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the answer", || pool.state(&id) == "completed");
    let next = pool.submit("result more", &[]);
    pool.until("it works on", || pool.state(&next) == "completed");
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.wait().success());
}

#[test]
fn what_was_not_ignored_ends_it() {
    for signal in [Signal::HUP, Signal::INT] {
        let pool = Pool::scripted("");
        let dispatcher = pool.dispatcher(&[]);
        pool.until("it runs", || pool.log().contains("serves"));
        dispatcher.signal(signal);
        assert!(dispatcher.wait().success());
    }
}
