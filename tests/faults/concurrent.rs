//! Runs every scenario on several threads, each with a world of its own, and counts the trials.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::reader::{After, Snapshot};
use crate::scenarios::Scenario;
use crate::usage;
use crate::world::World;

/// One scenario in progress: its world, and the state of the store before.
pub struct Stage<'a> {
    pub world: &'a World,
    pub scenario: &'a Scenario,
    pub number: usize,
    /// The tasks that keep their names: those of the prepared store and those of the scenario.
    pub base: Snapshot,
    /// The same when all is prepared for the scenario.
    pub start: Snapshot,
}

/// The number of trials, and the failures.
#[derive(Default)]
pub struct ScenarioRunner {
    scenarios: AtomicUsize,
    tried: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl ScenarioRunner {
    /// Runs every scenario with `play`, whose store has been set up.
    pub fn play(play: impl Fn(&Self, &Stage<'_>) + Sync) -> Self {
        let runner = Self::default();
        let next = AtomicUsize::new(0);
        let work = || {
            let world = World::new();
            let base = usage::look(&world, After::Kill, "the prepared store");
            let scenarios = world.scenarios();
            // The long ones are last in the list and are started first.
            while let Some(number) = scenarios.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1) {
                let scenario = &scenarios[number];
                runner.watch(|| {
                    world.set_up(scenario);
                    let start = usage::look(&world, After::Kill, scenario.name);
                    let base = base.clone().with_names_of(&start);
                    play(&runner, &Stage { world: &world, scenario, number, base, start });
                    runner.scenarios.fetch_add(1, Ordering::Relaxed);
                });
            }
        };
        thread::scope(|scope| {
            // A trial waits for other processes more than half of the time.
            for _ in 0..thread::available_parallelism().map_or(2, usize::from) + 1 {
                scope.spawn(work);
            }
        });
        runner
    }

    /// Tries one point. A failure does not stop the others.
    pub fn attempt(&self, attempt: impl FnOnce()) {
        self.tried.fetch_add(1, Ordering::Relaxed);
        self.watch(attempt);
    }

    fn watch(&self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            self.failures.lock().unwrap().push(text.unwrap_or_default());
        }
    }

    /// Returns the numbers of points and of scenarios tried; panics if any failed.
    pub fn finish(self) -> (usize, usize) {
        let failures = self.failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), failures.join("\n\n"));
        (self.tried.into_inner(), self.scenarios.into_inner())
    }
}
