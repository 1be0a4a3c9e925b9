//! What a dispatcher and a server do by themselves beside their main work: they submit the tasks of schedules.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::current_sensitive_files;
use crate::error::{Result, printable};
use crate::model::{TaskId, Time};
use crate::store::{FileVersion, Store};
use crate::workspace::{Config, ScheduledTask, run_schedules, schedules};

/// The time between two looks at the configuration.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which what has failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Something that happened beside the main work of a process.
pub(super) enum AutomationEvent {
    /// A schedule has submitted a task.
    Scheduled {
        /// The schedule.
        schedule: String,
        /// The task.
        task_id: TaskId,
    },
    /// A problem that does not end anything.
    Warning(String),
}

/// Runs the schedules of a workspace for as long as something else runs.
pub(super) struct Automation<'a> {
    store: &'a Store,
    config: Config,
    consent: ConsentPolicy,
    /// Whether nothing else in this process reports that the configuration cannot be used.
    reports_settings: bool,
    observe: &'a (dyn Fn(AutomationEvent) + Sync),
    seen: Option<Vec<Option<FileVersion>>>,
    schedules: Vec<ScheduledTask>,
    retry_at: Option<Time>,
}

impl<'a> Automation<'a> {
    /// Prepares the schedules of `config`. `reports_settings` means that settings which cannot be used are reported
    /// here; a dispatcher does that itself.
    pub(super) fn new(
        store: &'a Store,
        config: Config,
        consent: ConsentPolicy,
        reports_settings: bool,
        observe: &'a (dyn Fn(AutomationEvent) + Sync),
    ) -> Self {
        Self {
            store,
            config,
            consent,
            reports_settings,
            observe,
            seen: None,
            schedules: Vec::new(),
            retry_at: None,
        }
    }

    /// Submits what is due, then does `work`, and meanwhile submits what becomes due.
    pub(super) fn during<R>(mut self, work: impl FnOnce() -> R) -> R {
        self.pass();
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || self.run(&stopped));
            let result = work();
            drop(stop);
            result
        })
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let mut wait = CHECK_INTERVAL;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let next = self.pass();
            let left = next.map_or(f64::MAX, |next| next.seconds_since(self.store.now().wall).max(0.01));
            wait = Duration::try_from_secs_f64(left).unwrap_or(CHECK_INTERVAL).min(CHECK_INTERVAL);
        }
    }

    /// Submits what is due. Returns when something is due again.
    fn pass(&mut self) -> Option<Time> {
        self.reload_if_changed();
        let now = self.store.now().wall;
        if self.retry_at.is_some_and(|at| now < at) {
            return self.retry_at;
        }
        let retry_at = now + RETRY_INTERVAL;
        match run_schedules(self.store, &self.config, &self.schedules) {
            Ok(pass) => {
                for (schedule, task_id) in pass.submitted {
                    (self.observe)(AutomationEvent::Scheduled { schedule, task_id });
                }
                self.retry_at = (!pass.failed.is_empty()).then_some(retry_at);
                for (schedule, error) in pass.failed {
                    self.warn(format!("schedule {schedule} cannot submit its task: {error}"));
                }
                self.retry_at.or(pass.next)
            }
            Err(error) => {
                self.warn(format!("schedules cannot be run: {error}"));
                self.retry_at = Some(retry_at);
                self.retry_at
            }
        }
    }

    /// Reads the schedules if the configuration or the consent to it has changed. Those that cannot be used are
    /// ignored, and the ones before stay.
    fn reload_if_changed(&mut self) {
        let seen = self.versions();
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen);
        self.retry_at = None;
        match self.read() {
            Ok((config, schedules)) => (self.config, self.schedules) = (config, schedules),
            Err(error) if self.reports_settings => self.warn(format!("no schedules are run: {error}")),
            Err(_) => {}
        }
    }

    fn read(&self) -> Result<(Config, Vec<ScheduledTask>)> {
        let config = self.config.reload(Some(self.store.root()))?;
        let schedules = schedules(&config)?;
        if !schedules.is_empty() {
            self.consent.check(&current_sensitive_files(&config, Some(self.store))?)?;
        }
        Ok((config, schedules))
    }

    fn versions(&self) -> Vec<Option<FileVersion>> {
        let mut versions = vec![self.config.path().and_then(FileVersion::at)];
        versions.extend(self.consent.record_versions(&self.config, self.store));
        versions
    }

    fn warn(&self, message: String) {
        (self.observe)(AutomationEvent::Warning(printable(&message)));
    }
}
