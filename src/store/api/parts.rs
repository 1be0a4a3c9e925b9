//! The parts of a store besides its queue.

use super::{Engine, Store};
use crate::store::Blobs;
use crate::store::spool::Spool;

impl Store {
    /// Returns what the store keeps of its tasks in addition to the queue.
    #[doc(hidden)]
    pub fn blobs(&self) -> Blobs<'_> {
        engine!(self, blobs())
    }

    /// Returns what this machine keeps for the store.
    pub(crate) fn spool(&self) -> Spool<'_> {
        engine!(self, spool())
    }
}
