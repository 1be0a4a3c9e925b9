//! Submits that come at the same time, made durable together.
//!
//! What a submit costs is mostly waiting for the disk, and a file system commits what comes together
//! in one go. So the first of several submits takes along those that came while the one before was
//! under way, as one batch; each still succeeds or fails for itself.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::contain::contain;
use crate::error::{Error, Result};
use crate::model::NewTask;
use crate::store::{Store, Submitted};

#[derive(Default)]
struct Inner {
    waiting: Vec<(u64, NewTask)>,
    done: HashMap<u64, Result<Submitted>>,
    last: u64,
    /// Whether somebody is at it.
    is_led: bool,
}

/// The submits under way.
#[derive(Default)]
pub struct Gather {
    inner: Mutex<Inner>,
    turn: Condvar,
}

impl Gather {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Store::submit`].
    ///
    /// # Errors
    /// As there.
    pub fn submit(&self, store: &Store, task: NewTask) -> Result<Submitted> {
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        inner.waiting.push((number, task));
        loop {
            if let Some(result) = inner.done.remove(&number) {
                return result;
            }
            if inner.is_led {
                inner = self.turn.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner.is_led = true;
            let batch = std::mem::take(&mut inner.waiting);
            drop(inner);
            let (numbers, tasks): (Vec<u64>, Vec<NewTask>) = batch.into_iter().unzip();
            let mut results = contain(|| submit_all(store, tasks)).unwrap_or_default().into_iter();
            inner = self.inner();
            for number in numbers {
                let result = results.next().unwrap_or_else(|| Err(Error::corrupt("an internal error")));
                inner.done.insert(number, result);
            }
            inner.is_led = false;
            self.turn.notify_all();
        }
    }
}

fn submit_all(store: &Store, mut tasks: Vec<NewTask>) -> Vec<Result<Submitted>> {
    let count = tasks.len();
    if count == 1 {
        return tasks.pop().map(|task| store.submit(task)).into_iter().collect();
    }
    store.submit_batch(tasks).unwrap_or_else(|error| {
        let again = || Err(Error::new(error.kind(), error.to_string()));
        (0..count).map(|_| again()).collect()
    })
}
