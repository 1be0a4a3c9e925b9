//! What runs have used and cost.

use super::{Engine, Store};
use crate::error::Result;
#[cfg(feature = "cli")]
use crate::model::spending::SpendingRecord;
#[cfg(feature = "cli")]
use crate::store::spending::ReadRun;

impl Store {
    /// Returns what dispatchers have spent. `read_run` reads the lines of the usage log that are not counted yet.
    ///
    /// # Errors
    /// `Corrupt` when budget.json cannot be read; `Io`.
    #[cfg(feature = "cli")]
    pub(crate) fn spending(&self, read_run: &ReadRun) -> Result<SpendingRecord> {
        files!(self, spending(read_run))
    }

    /// Returns what was recorded of spending when a budget was last looked at.
    ///
    /// # Errors
    /// `Corrupt` when budget.json cannot be read; `Io`.
    #[cfg(feature = "cli")]
    pub(crate) fn recorded_spending(&self) -> Result<SpendingRecord> {
        engine!(self, recorded_spending())
    }

    /// Changes what is recorded of spending, under the store lock, after the runs of the usage log are counted. Wakes
    /// those who wait for the lanes that are over their budgets no more.
    ///
    /// # Errors
    /// `Corrupt` when budget.json cannot be read, `NewerFormat`, `Locked`, `Io`; each with nothing changed.
    #[cfg(feature = "cli")]
    pub(crate) fn change_spending<R>(
        &self,
        read_run: &ReadRun,
        change: impl FnOnce(&mut SpendingRecord) -> Result<R>,
    ) -> Result<R> {
        files!(self, change_spending(read_run, change))
    }

    /// Adds a line to the usage log. A log that has become too long replaces the old one.
    ///
    /// # Errors
    /// `Io`; `Corrupt` when something other than a file has its name; `Locked` when it has to be rotated.
    pub(crate) fn append_usage(&self, line: &str) -> Result<()> {
        files!(self, append_usage(line))
    }

    /// Reads the usage log as text, the old one first.
    ///
    /// # Errors
    /// `Corrupt` when a log is not a regular file or too large; `Io`.
    pub(crate) fn usage_log_text(&self) -> Result<String> {
        files!(self, usage_log_text())
    }
}
