//! How far the store is with work that takes it long.

use std::fmt;
use std::sync::Arc;

/// Is told how far the store is with what takes it long: at how many of how many tasks, and at the
/// end that it is at all of them.
#[derive(Clone, Default)]
pub struct ProgressListener(Option<Arc<dyn Fn(u64, u64) + Send + Sync>>);

impl ProgressListener {
    /// Tells `listener`.
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
