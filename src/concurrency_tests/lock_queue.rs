//! The permits of threads: one at a time for each file, and no thread waits forever.

use std::time::{Duration, Instant};

use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, mpsc};
use shuttle::thread::{self, JoinHandle};

use super::check;
use queue::{FileId, LockQueue};

mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic};
}

#[path = "../store/lock_queue.rs"]
#[expect(clippy::duplicate_mod, reason = "with the locks of shuttle")]
mod queue;

const STORE: FileId = (1, 1);
const TASK: FileId = (1, 2);

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("the thread ends"));
}

#[test]
fn every_thread_gets_the_permit_and_no_two_have_it_at_once() {
    check(|| {
        let queue = Arc::new(LockQueue::new());
        let inside = Arc::new(AtomicBool::new(false));
        let threads = (0..3).map(|_| {
            let (queue, inside) = (queue.clone(), inside.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let permit = queue.enter(STORE, later()).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two threads have the permit");
                    inside.store(false, Ordering::SeqCst);
                    drop(permit);
                }
            })
        });
        join(threads.collect());
    });
}

#[test]
fn a_file_that_is_taken_holds_up_no_other() {
    check(|| {
        let queue = Arc::new(LockQueue::new());
        let (done, wait) = mpsc::channel();
        let holder = {
            let queue = queue.clone();
            thread::spawn(move || {
                let _permit = queue.enter(STORE, later()).unwrap();
                wait.recv().unwrap();
            })
        };
        let other = thread::spawn(move || {
            drop(queue.enter(TASK, later()).unwrap());
            done.send(()).unwrap();
        });
        join(vec![holder, other]);
    });
}

#[test]
fn closing_ends_every_wait_for_a_permit_that_is_never_given_back() {
    check(|| {
        let queue = Arc::new(LockQueue::new());
        let _permit = queue.enter(STORE, later()).unwrap();
        let threads = (0..2).map(|_| {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.enter(STORE, later()).is_none()))
        });
        let threads = threads.collect();
        queue.close();
        join(threads);
        assert!(queue.enter(TASK, later()).is_some(), "a permit that nobody has can still be had");
    });
}

#[test]
fn who_does_not_wait_gets_the_permit_only_when_it_is_free() {
    check(|| {
        let queue = Arc::new(LockQueue::new());
        let (inside, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..3).map(|_| {
            let (queue, inside, got) = (queue.clone(), inside.clone(), got.clone());
            thread::spawn(move || {
                if let Some(_permit) = queue.enter(STORE, Instant::now()) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    got.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            })
        });
        join(threads.collect());
        assert!(got.load(Ordering::SeqCst) > 0, "a free permit was refused to all");
        assert!(queue.enter(STORE, Instant::now()).is_some(), "a permit was not given back");
    });
}
