//! Following the settings of a dispatcher at work: new runs use what the files say now.

use super::consent::Gate;
use super::options::{Options, Surroundings};
use super::plan::Plan;
use crate::Result;
use crate::store::{FileVersion, Store};
use crate::workspace::Config;

/// All that a plan is made from, and the versions of the files it was last made from.
#[derive(Debug)]
pub struct Follower {
    workspace: Config,
    options: Options,
    surroundings: Surroundings,
    seen: Seen,
}

type Seen = [Option<FileVersion>; 4];

impl Follower {
    /// Makes the first plan.
    ///
    /// # Errors
    /// As [`Plan::make`].
    pub fn start(
        workspace: Config,
        store: &Store,
        options: Options,
        surroundings: Surroundings,
    ) -> Result<(Plan, Self)> {
        // Before they are read: what changes meanwhile is seen as a change.
        let seen = stamps(&workspace, store, &surroundings.gate);
        let plan = Plan::make(&workspace, store, options.clone(), surroundings.clone())?;
        Ok((plan, Self { workspace, options, surroundings, seen }))
    }

    /// A new plan, or why there is none, when one of the files has changed since the last look.
    ///
    /// Under which name and for how long tasks are claimed stays as it was: claims that exist are
    /// known by that.
    pub fn look(&mut self, store: &Store, present: &Plan) -> Option<Result<Plan>> {
        let seen = stamps(&self.workspace, store, &self.surroundings.gate);
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        Some(self.read(store).map(|plan| Plan {
            owner: present.owner.clone(),
            lease_seconds: present.lease_seconds,
            drain: present.drain,
            ..plan
        }))
    }

    fn read(&mut self, store: &Store) -> Result<Plan> {
        let workspace = self.workspace.reload(Some(store.root()))?;
        Plan::make(&workspace, store, self.options.clone(), self.surroundings.clone())
    }
}

/// The versions of the files, and of what was agreed to about them.
fn stamps(workspace: &Config, store: &Store, gate: &Gate) -> Seen {
    let [file, routes] = gate.stamps(workspace, store);
    [workspace.path.as_deref().and_then(FileVersion::at), store.routes_version(), file, routes]
}
