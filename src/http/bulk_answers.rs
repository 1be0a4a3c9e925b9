//! Remembers the answers to changes of many tasks, so that a client that repeats one by its key gets its answer again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::model::Sha256;
use crate::model::json::Object;

/// The maximum number of answers that are remembered.
const MAX_ANSWERS: usize = 64;

/// A change that was requested under a key.
struct BulkAnswer {
    key: String,
    /// The hash of the request.
    request: Sha256,
    /// The answer; `None` while it is being worked out.
    answer: Option<Object>,
}

/// The answers of the last changes that had a key.
#[derive(Default)]
pub(crate) struct BulkAnswers(Mutex<VecDeque<BulkAnswer>>);

impl BulkAnswers {
    /// Begins a change under a key. Returns the answer if it was made before; otherwise [`BulkAnswers::finish`] must
    /// follow.
    ///
    /// # Errors
    /// `Refused` when the key belongs to another request, or this request is being worked on.
    pub(crate) fn begin(&self, key: &str, request: &Sha256) -> Result<Option<Object>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = answers.iter().find(|known| known.key == key) {
            if known.request != *request {
                return Err(Error::refused("this key belongs to another change of many tasks")
                    .with_hint("use a new key for a new change"));
            }
            let busy = || Error::refused("the change with this key is being made");
            return known.answer.clone().map(Some).ok_or_else(busy);
        }
        if answers.len() >= MAX_ANSWERS {
            answers.pop_front();
        }
        answers.push_back(BulkAnswer { key: key.to_string(), request: request.clone(), answer: None });
        Ok(None)
    }

    /// Ends the change under a key; without an answer, it may be requested again.
    pub(crate) fn finish(&self, key: &str, answer: Option<Object>) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            None => answers.retain(|known| known.key != key),
            some => answers
                .iter_mut()
                .filter(|known| known.key == key)
                .for_each(|known| known.answer.clone_from(&some)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::sha256_bytes;

    #[test]
    fn a_key_is_one_change() {
        let answers = BulkAnswers::default();
        let (one, other) = (sha256_bytes(b"1"), sha256_bytes(b"2"));
        assert_eq!(answers.begin("k", &one).unwrap(), None);
        assert!(answers.begin("k", &one).unwrap_err().message().contains("being made"));
        answers.finish("k", None);
        assert_eq!(answers.begin("k", &one).unwrap(), None);
        answers.finish("k", Some(Object::new()));
        assert_eq!(answers.begin("k", &one).unwrap(), Some(Object::new()));
        assert!(answers.begin("k", &other).unwrap_err().message().contains("another change"));
        for number in 0..MAX_ANSWERS {
            assert_eq!(answers.begin(&number.to_string(), &one).unwrap(), None);
        }
        assert_eq!(answers.begin("k", &other).unwrap(), None, "the oldest is forgotten");
    }
}
