//! The lock of the store, its holder stopped in the middle of a change.

use std::path::Path;
use std::process::{Child, Output, Stdio};

use crate::testkit::command::{LANES, clean_with_path, lanes};
use crate::testkit::skip::has;
use crate::testkit::wait::eventually;
use rustix::process::{Pid, Signal, kill_process};

/// Ends a process that is still there when a test fails.
struct Stopped(Child);

impl Stopped {
    fn go_on(&self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::CONT);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.go_on();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(store: &Path, words: &[&str]) -> Output {
    lanes().current_dir(store.parent().unwrap()).arg("--store").arg(store).args(words).output().unwrap()
}

fn count(store: &Path) -> usize {
    std::fs::read_dir(store.join("tasks")).unwrap().count()
}

#[test]
fn nobody_gets_past_a_stopped_holder_even_when_the_lock_file_is_deleted() {
    if !has("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("state");
    let submit = ["submit", "--lane", "l", "--prompt", "x"];
    assert!(run(&store, &submit).status.success());
    // The rename of the task into its place happens under the lock; the tracer is not our child.
    let mut holder = clean_with_path("strace");
    holder.args(["-D", "-f", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2"]);
    holder.args(["-e", "inject=rename,renameat,renameat2:signal=SIGSTOP:when=1"]);
    holder.arg(LANES).arg("--store").arg(&store).args(submit);
    holder.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut holder = Stopped(holder.spawn().unwrap());
    eventually("a second task", || {
        assert!(holder.0.try_wait().unwrap().is_none(), "it ended without a second task");
        count(&store) == 2
    });
    for delete in [false, true] {
        if delete {
            std::fs::remove_file(store.join("lock")).unwrap();
        }
        let refused = run(&store, &[&["--lock-timeout", "0.2"], &submit[..]].concat());
        let printed = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{printed}");
        let who = format!(" has been locked for 0.2 seconds by process {} (", holder.0.id());
        assert!(
            printed.contains(&who) && printed.contains("submit --lane l") && printed.lines().count() == 1,
            "{printed}"
        );
        assert_eq!(count(&store), 2, "lock deleted: {delete}");
    }
    assert!(run(&store, &["list"]).status.success(), "readers take no lock");
    // It may have been stopped at another kind of rename as well, which has a count of its own.
    eventually("the end of the holder", || {
        holder.go_on();
        holder.0.try_wait().unwrap().is_some()
    });
    assert!(holder.0.wait().unwrap().success());
    assert!(run(&store, &submit).status.success());
    assert_eq!(count(&store), 3);
    assert_eq!(run(&store, &["fsck"]).status.code(), Some(0));
}
