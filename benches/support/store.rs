//! Creates a store with many tasks quickly, as it would look after months of use.
//!
//! The library creates one task of each kind; its files are then copied under other ids and times,
//! without syncing. The copies are therefore what `lanes` writes, only faster.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lanes::internals::model::{
    Answer, AnswerOutcome, Command, FailureClass, IdempotencyKey, LaneName, NewTask, Owner, TaskId, TaskSpec,
    Time, json,
};
use lanes::internals::store::{Clock, Store, StoreOptions};

/// How many tasks of each kind a store gets; the oldest have ended.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Completed tasks.
    pub completed: u64,
    /// Failed tasks.
    pub failed: u64,
    /// Queued tasks.
    pub queued: u64,
    /// Scheduled tasks.
    pub scheduled: u64,
    /// Tasks claimed under a lease of ten days.
    pub claimed: u64,
    /// Number of lanes `lane-00`, `lane-01`, … that the tasks are spread over; at most 100.
    pub lanes: u64,
    /// One in so many tasks has an idempotency key; 0 for none.
    pub keyed: u64,
}

impl Plan {
    /// Describes a store after months of use: 95 % of the tasks have ended, and eight lanes are in use.
    pub fn of(tasks: u64) -> Self {
        let share = |percent: u64| tasks * percent / 100;
        let (failed, queued, scheduled, claimed) = (share(5), share(3), share(1), share(1));
        let completed = tasks - failed - queued - scheduled - claimed;
        Self { completed, failed, queued, scheduled, claimed, lanes: 8, keyed: 20 }
    }

    /// Describes a queue of one lane, `lane-00`, in which nothing has been done yet.
    pub fn queue(tasks: u64) -> Self {
        Self { completed: 0, failed: 0, queued: tasks, scheduled: 0, claimed: 0, lanes: 1, keyed: 0 }
    }

    /// Returns the number of all tasks.
    pub fn total(&self) -> u64 {
        self.kinds().iter().map(|(_, count)| count).sum()
    }

    fn kinds(&self) -> [(Kind, u64); 5] {
        [
            (Kind::Completed, self.completed),
            (Kind::Failed, self.failed),
            (Kind::Scheduled, self.scheduled),
            (Kind::Queued, self.queued),
            (Kind::Claimed, self.claimed),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Completed,
    Failed,
    Queued,
    Scheduled,
    Claimed,
}

/// Placeholder in the model tasks for the number of a copy, or of its lane.
const NUMBER: &str = "zqnumberqz";
const LANE: &str = "zqlaneqz";

/// Start time of the model tasks; everything that happens to one happens within this second.
const BASE: i64 = 1_700_000_000_000_000;
const LEASE: Duration = Duration::from_secs(10 * 86_400);
const DELAY: f64 = 30.0 * 86_400.0;

/// Period over which the store seems to have been filled, up to an hour ago.
const SPAN: i64 = 90 * 86_400;

/// Fills the store at `root`, which must not exist, and brings its index up to date.
pub fn make(root: &Path, plan: &Plan) {
    assert!(!root.exists(), "{} exists already", root.display());
    assert!((1..=100).contains(&plan.lanes), "{} lanes", plan.lanes);
    let models: Vec<(Kind, [Model; 2])> = plan
        .kinds()
        .iter()
        .map(|(kind, _)| (*kind, [Model::make(root, *kind, false), Model::make(root, *kind, true)]))
        .collect();
    without_index(root);
    fs::remove_file(root.join("feed.jsonl")).expect("the models left a feed");

    let total = i64::try_from(plan.total()).expect("so many fit nowhere");
    let newest = micros_now() / 1_000_000 - 3600;
    let kinds = plan.kinds();
    let kind_of = |number: u64| {
        let mut before = 0;
        let found = kinds.iter().find(|(_, count)| {
            before += count;
            number < before
        });
        found.expect("a number below the total").0
    };
    let copy = |number: u64| {
        let second = newest - (total - number as i64) * SPAN / total;
        let keyed = plan.keyed > 0 && number.is_multiple_of(plan.keyed);
        let (_, models) =
            models.iter().find(|(kind, _)| *kind == kind_of(number)).expect("every kind has one");
        models[usize::from(keyed)].copy(root, number, number % plan.lanes, second)
    };
    // The threads share the tasks; the feed is written in order afterwards.
    let half = |first: u64| (first..total as u64).step_by(2).map(copy).collect::<Vec<String>>();
    let (even, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        (half(0), odd.join().expect("a copying thread died"))
    });
    let mut feed = BufWriter::new(create(&root.join("feed.jsonl")));
    let mut seq = 0;
    for lines in
        (0..total as usize).map(|number| if number % 2 == 0 { &even } else { &odd }[number / 2].lines())
    {
        for line in lines {
            seq += 1;
            writeln!(feed, "{}", line.replace(SEQ, &format!("\"seq\":{seq},")))
                .expect("the feed can be written");
        }
    }
    feed.flush().expect("the feed can be written");
    let store = Store::open(root, StoreOptions::default()).expect("the store opens");
    store.queue_depth(&lane_name("lane-00")).expect("the index can be built");
}

/// The name of a lane.
pub fn lane_name(name: &str) -> LaneName {
    LaneName::new(name).expect("a valid name")
}

/// Returns the name of a worker.
pub fn owner(name: &str) -> Owner {
    Owner::new(name).expect("a valid name")
}

/// Deletes the index, so that the next command that needs it rebuilds it.
pub fn without_index(root: &Path) {
    for name in ["lanes", "keys"] {
        let _ = fs::remove_dir_all(root.join("indexes").join(name));
    }
    let _ = fs::remove_file(root.join("indexes/state"));
}

const SEQ: &str = "\"seq\":0,";

/// The files of one model task.
struct Model {
    id: String,
    files: Vec<(String, String)>,
    correlation: (String, String),
    feed: String,
}

impl Model {
    fn make(root: &Path, kind: Kind, keyed: bool) -> Self {
        let clock = Arc::new(AtomicI64::new(BASE));
        let options = StoreOptions { clock: Clock::settable(Arc::clone(&clock)), ..StoreOptions::default() };
        let store = Store::open(root, options).expect("the store opens");
        let pass = || clock.fetch_add(100_000, Ordering::SeqCst);
        let before = store.feed_end().expect("the feed can be read");
        let delayed = (kind == Kind::Scheduled).then(|| Time::from_micros(BASE).plus_seconds(DELAY));
        let id = store.submit(wish(root, delayed, keyed)).expect("a task can be submitted").task.id;
        if !matches!(kind, Kind::Queued | Kind::Scheduled) {
            pass();
            let task = store.claim(&id, &owner("worker@host:4711"), LEASE).expect("it can be claimed");
            pass();
            let token = task.status.claim().map(|claim| claim.token.clone());
            if kind != Kind::Claimed {
                let renew = Command::Renew { token: token.clone().expect("it is claimed"), lease: None };
                store.apply(&id, &renew).expect("it can be renewed");
                pass();
                let outcome = if kind == Kind::Failed {
                    AnswerOutcome::Failed(FailureClass::Error)
                } else {
                    AnswerOutcome::Completed
                };
                store.apply(&id, &answer(token, outcome)).expect("it can be answered");
            }
        }
        let dir = root.join("tasks").join(id.as_str());
        let text = |path: &Path| fs::read_to_string(path).expect("a file of the store can be read");
        let names = fs::read_dir(&dir).expect("the task has a directory").map(|entry| {
            entry.expect("its files can be listed").file_name().into_string().expect("our names are UTF-8")
        });
        let files = names.map(|name| (name.clone(), text(&dir.join(name)))).collect();
        let correlation_name = format!("bench--topic-{NUMBER}.json");
        let correlation_path = root.join("indexes/correlations").join(&correlation_name);
        let feed = store.feed_since(before, 100).expect("the feed can be read");
        let feed = feed.into_iter().map(|entry| {
            let seq = format!("\"seq\":{},", entry.seq);
            json::to_ascii_line(&entry.to_object()).replace(&seq, SEQ)
        });
        let model = Self {
            id: id.to_string(),
            files,
            correlation: (correlation_name, text(&correlation_path)),
            feed: feed.collect(),
        };
        for path in [dir.clone(), root.join("indexes/keys")] {
            let _ = fs::remove_dir_all(path);
        }
        fs::remove_file(correlation_path).expect("it was just read");
        model
    }

    /// Writes the copy with this number and returns its lines of the feed.
    fn copy(&self, root: &Path, number: u64, lane: u64, second: i64) -> String {
        let created = Time::from_micros(second * 1_000_000);
        let (number_text, lane) = (format!("{number:08}"), format!("{lane:02}"));
        let correlation = format!("topic-{number_text}");
        let hash = self.id.rsplit('-').nth(1).expect("an id ends with two hashes");
        let id = TaskId::generate(created, &correlation, hash, (number % 0x100_0000) as u32);
        let date = |time: Time| time.to_string()[..19].to_string();
        let later =
            |seconds: f64| [Time::from_micros(BASE), created].map(|time| date(time.plus_seconds(seconds)));
        let [old, new] = later(0.0);
        let [old_lease, new_lease] = later(LEASE.as_secs_f64());
        let [old_delay, new_delay] = later(DELAY);
        let adapt = |text: &str| {
            text.replace(&self.id, id.as_str())
                .replace(NUMBER, &number_text)
                .replace(LANE, &lane)
                .replace(&old, &new)
                .replace(&old_lease, &new_lease)
                .replace(&old_delay, &new_delay)
        };
        let dir = root.join("tasks").join(id.as_str());
        fs::DirBuilder::new().mode(0o700).create(&dir).expect("a new directory");
        for (name, text) in &self.files {
            write(&dir.join(name), &adapt(text));
        }
        let (name, text) = &self.correlation;
        write(&root.join("indexes/correlations").join(adapt(name)), &adapt(text));
        adapt(&self.feed)
    }
}

fn wish(root: &Path, not_before: Option<Time>, keyed: bool) -> NewTask {
    let prompt =
        paragraph("Please review the change in the worktree and answer every question of the request.");
    let mut new = NewTask::prompt(lane_name(&format!("lane-{LANE}")), prompt);
    new.not_before = not_before;
    new.spec = TaskSpec {
        workspace_id: "bench".into(),
        correlation_id: format!("topic-{NUMBER}"),
        source_agent: "orchestrator".into(),
        workspace_root: root.to_string_lossy().into_owned(),
        expected_branch: Some("feature/topic".into()),
        metadata: json::Object::from_iter([
            ("required_vendor".to_string(), "any".into()),
            ("kind".to_string(), "review".into()),
        ]),
        max_attempts: Some(3),
        key: keyed.then(|| IdempotencyKey::new(format!("key-{NUMBER}")).expect("a valid key")),
        name: Some(format!("Review topic {NUMBER}")),
        labels: vec!["review".into()],
        ..new.spec
    };
    new
}

fn answer(token: Option<lanes::internals::model::ClaimToken>, outcome: AnswerOutcome) -> Command {
    Command::Respond(Answer {
        token,
        outcome,
        nonblocking_count: Some(2),
        ..Answer::completed(
            "worker@host:4711",
            paragraph("The change does what it says; two remarks on names, none of them blocking."),
        )
    })
}

/// Returns about a kilobyte of text with lines, similar to prompts and answers.
fn paragraph(sentence: &str) -> String {
    let line = format!("{sentence} \"Quoted\", with an é.\n");
    line.repeat(1024 / line.len())
}

fn write(path: &Path, text: &str) {
    create(path).write_all(text.as_bytes()).expect("a new file can be written");
}

fn create(path: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a new file")
}

fn micros_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("it is later than 1970").as_micros()).expect("it is not that late")
}
