//! What dispatchers, servers and bridges do by themselves beside their main work: they submit the tasks of schedules, and
//! deliver notices.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::output::print_error_line;
use crate::dispatch::config::consent::ConsentPolicy;
use crate::dispatch::config::load::current_sensitive_files;
use crate::error::{Result, printable};
use crate::model::{TaskId, Time};
use crate::store::{FileLock, FileVersion, Store, Watch};
use crate::workspace::{Config, NoticeRule, Notifier, ScheduledTask, notice_rules, run_schedules, schedules};

/// The time between two looks at the configuration.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which what has failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// The same for the delivery of notices, when the store cannot be used.
const NOTICE_RETRY_INTERVAL: Duration = Duration::from_secs(10);

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

impl AutomationEvent {
    /// Prints the event to standard error.
    pub(super) fn print(self) {
        match self {
            Self::Scheduled { schedule, task_id } => {
                print_error_line(&format!("lanes: schedule {schedule} submitted {task_id}"));
            }
            Self::Warning(message) => print_error_line(&format!("lanes: warning: {message}")),
        }
    }
}

/// Runs the schedules of a workspace, and delivers its notices, for as long as something else runs.
pub(super) struct Automation<'a> {
    store: &'a Store,
    config: Config,
    consent: ConsentPolicy,
    /// Whether nothing else in this process reports that the configuration cannot be used.
    reports_settings: bool,
    observe: &'a (dyn Fn(AutomationEvent) + Sync),
    seen: Option<Vec<Option<FileVersion>>>,
    schedules: Vec<ScheduledTask>,
    notice_rules: SharedRules,
    retry_at: Option<Time>,
    /// Shows others that schedules and notices are run, unless another process shows that.
    running: Option<FileLock>,
}

/// The rules for notices as they are now, for the thread that delivers.
type SharedRules = Arc<Mutex<Arc<Vec<NoticeRule>>>>;

impl<'a> Automation<'a> {
    /// Prepares the schedules and notices of `config`. `reports_settings` means that settings which cannot be used are
    /// reported here; a dispatcher does that itself.
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
            notice_rules: SharedRules::default(),
            retry_at: None,
            running: None,
        }
    }

    /// Submits what is due, then does `work`. Meanwhile submits what becomes due and delivers notices, those of the
    /// last moment too.
    pub(super) fn during<R>(mut self, work: impl FnOnce() -> R) -> R {
        self.pass();
        let mut notices = NoticeLoop {
            store: self.store,
            config: self.config.clone(),
            rules: Arc::clone(&self.notice_rules),
            observe: self.observe,
            active: None,
        };
        // Before the work begins, so that notices begin with it.
        let _ = notices.start();
        let store = self.store;
        let ((stop, stopped), (stop_notices, notices_stopped)) =
            (mpsc::channel::<()>(), mpsc::channel::<()>());
        std::thread::scope(|scope| {
            scope.spawn(move || self.run(&stopped));
            scope.spawn(move || notices.run(&notices_stopped));
            let result = work();
            drop((stop, stop_notices));
            store.wake_waiters(&[]);
            result
        })
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let mut wait = CHECK_INTERVAL;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let next = self.pass();
            wait = time_until(self.store, next).min(CHECK_INTERVAL);
        }
    }

    /// Submits what is due. Returns when something is due again.
    fn pass(&mut self) -> Option<Time> {
        self.reload_if_changed();
        self.show_that_it_runs();
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
                    warn(self.observe, &format!("schedule {schedule} cannot submit its task: {error}"));
                }
                self.retry_at.or(pass.next)
            }
            Err(error) => {
                warn(self.observe, &format!("schedules cannot be run: {error}"));
                self.retry_at = Some(retry_at);
                self.retry_at
            }
        }
    }

    /// Takes the lock by which `doctor` sees that schedules and notices are run, if there are any. Without it they are run
    /// nevertheless.
    fn show_that_it_runs(&mut self) {
        let has_rules = !self.notice_rules.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if self.schedules.is_empty() && !has_rules {
            self.running = None;
        } else if self.running.is_none() {
            self.running = self.store.try_automation_lock(&self.config.workspace_id).ok().flatten();
        }
    }

    /// Reads the settings if the configuration or the consent to it has changed. Those that cannot be used are
    /// ignored, and the ones before stay.
    fn reload_if_changed(&mut self) {
        let seen = self.versions();
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen);
        self.retry_at = None;
        match self.read() {
            Ok((config, schedules, rules)) => {
                (self.config, self.schedules) = (config, schedules);
                *self.notice_rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
            }
            Err(error) if self.reports_settings => {
                warn(self.observe, &format!("no schedules are run, and no notices delivered: {error}"));
            }
            Err(_) => {}
        }
    }

    fn read(&self) -> Result<(Config, Vec<ScheduledTask>, Vec<NoticeRule>)> {
        let config = self.config.reload(Some(self.store.address()))?;
        let (schedules, rules) = (schedules(&config)?, notice_rules(&config)?);
        if !schedules.is_empty() || !rules.is_empty() {
            self.consent.check(&current_sensitive_files(&config, Some(self.store))?)?;
        }
        Ok((config, schedules, rules))
    }

    fn versions(&self) -> Vec<Option<FileVersion>> {
        let mut versions = vec![self.config.path().and_then(FileVersion::at)];
        versions.extend(self.consent.record_versions(&self.config, self.store));
        versions
    }
}

/// The thread that delivers notices.
struct NoticeLoop<'a> {
    store: &'a Store,
    config: Config,
    rules: SharedRules,
    observe: &'a (dyn Fn(AutomationEvent) + Sync),
    /// What this process delivers with; `None` while there are no rules, or another process delivers.
    active: Option<(Notifier, Watch)>,
}

impl NoticeLoop<'_> {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            // Looked at first: what has happened until the end is still delivered.
            let is_over = stopped.try_recv() == Err(TryRecvError::Disconnected);
            let started = self.start();
            let next = started.and_then(|()| self.deliver());
            if is_over {
                return;
            }
            match (&mut self.active, next) {
                (Some((_, watch)), Ok(next)) => {
                    watch.wait(Instant::now() + time_until(self.store, next).min(CHECK_INTERVAL));
                }
                (None, Ok(_)) => drop(stopped.recv_timeout(CHECK_INTERVAL)),
                (_, Err(())) => drop(stopped.recv_timeout(NOTICE_RETRY_INTERVAL)),
            }
        }
    }

    /// Begins to deliver if there are rules and no other process does, and ends it if there are none any more. An
    /// error is reported.
    fn start(&mut self) -> std::result::Result<(), ()> {
        let has_rules = !self.rules.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !has_rules {
            self.active = None;
        } else if self.active.is_none() {
            match Notifier::start(self.store, &self.config) {
                Ok(notifier) => self.active = notifier.map(|notifier| (notifier, self.store.watch_feed())),
                Err(error) => {
                    warn(self.observe, &format!("notices cannot be delivered: {error}"));
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// Delivers what there is. Returns when something is to be delivered again, or an error that was reported.
    fn deliver(&mut self) -> std::result::Result<Option<Time>, ()> {
        let rules = Arc::clone(&self.rules.lock().unwrap_or_else(PoisonError::into_inner));
        let Some((notifier, _)) = &mut self.active else { return Ok(None) };
        match notifier.deliver(self.store, &rules) {
            Ok((warnings, next)) => {
                warnings.iter().for_each(|warning| warn(self.observe, warning));
                Ok(next)
            }
            Err(error) => {
                warn(self.observe, &format!("notices cannot be delivered: {error}"));
                Err(())
            }
        }
    }
}

/// Returns the time until `time`, at least a moment; the longest one if there is none.
fn time_until(store: &Store, time: Option<Time>) -> Duration {
    let left = time.map_or(f64::MAX, |time| time.seconds_since(store.now().wall).max(0.01));
    Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)
}

fn warn(observe: &(dyn Fn(AutomationEvent) + Sync), message: &str) {
    observe(AutomationEvent::Warning(printable(message)));
}
