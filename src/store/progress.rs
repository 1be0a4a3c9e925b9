//! Progress of work on the store that takes long.

use std::fmt;
use std::sync::Arc;

/// A callback for the number of tasks done and the number of all tasks; at the end the two are equal.
#[derive(Clone, Default)]
pub struct ProgressListener(Option<Arc<dyn Fn(u64, u64) + Send + Sync>>);

impl ProgressListener {
    /// Calls `listener`.
    pub fn new(listener: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(super) fn report(&self, done: usize, total: usize) {
        if let Some(listener) = &self.0 {
            listener(done as u64, total as u64);
        }
    }
}

impl fmt::Debug for ProgressListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ProgressListener(..)" } else { "ProgressListener" })
    }
}
