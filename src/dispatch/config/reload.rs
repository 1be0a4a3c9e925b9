//! Reloads the settings of a running dispatcher: new runs use the current files.

use std::path::Path;

use super::consent::ConsentPolicy;
use super::options::{DispatchOptions, ProcessContext};
use super::plan::Plan;
use crate::Result;
use crate::store::{FileVersion, Store};
use crate::workspace::Config;

/// The inputs of a plan, and the versions of the files from which the current one was made.
#[derive(Debug)]
pub(crate) struct PlanReloader {
    workspace: Config,
    options: DispatchOptions,
    process: ProcessContext,
    seen: FileVersions,
}

type FileVersions = Vec<Option<FileVersion>>;

impl PlanReloader {
    /// Makes the first plan.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(crate) fn start(
        workspace: Config,
        store: &Store,
        options: DispatchOptions,
        process: ProcessContext,
    ) -> Result<(Plan, Self)> {
        // Taken before the files are read, so that a change in between is noticed.
        let seen = file_versions(&workspace, store, &process.consent);
        let plan = Plan::new(&workspace, store, options.clone(), process.clone())?;
        Ok((plan, Self { workspace, options, process, seen }))
    }

    /// Returns a new plan, or the error that prevents it, if one of the files has changed since the last call.
    ///
    /// Owner, lease length and drain time stay as they were, because existing claims depend on them.
    pub(crate) fn reload_if_changed(&mut self, store: &Store, present: &Plan) -> Option<Result<Plan>> {
        let seen = file_versions(&self.workspace, store, &self.process.consent);
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        Some(self.read(store).map(|plan| Plan {
            owner: present.owner.clone(),
            lease: present.lease,
            drain: present.drain,
            ..plan
        }))
    }

    fn read(&mut self, store: &Store) -> Result<Plan> {
        // Kept even if no plan can be made of it: it says which other files are read.
        self.workspace = self.workspace.reload(Some(store.address()))?;
        Plan::new(&self.workspace, store, self.options.clone(), self.process.clone())
    }
}

/// Returns the versions of the files and of the consent given to them.
fn file_versions(workspace: &Config, store: &Store, consent: &ConsentPolicy) -> FileVersions {
    let at = |path: Option<&Path>| path.and_then(FileVersion::at);
    let mut versions = vec![at(workspace.path()), at(workspace.agents_from.as_deref())];
    versions.extend([store.routes_version(), store.agents_version()]);
    versions.extend(consent.record_versions(workspace, store));
    versions
}
