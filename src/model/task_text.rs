//! Parses a task from the text of its task.json.
//!
//! The parser is written by hand instead of derived: unknown keys and exact numbers must survive, missing keys
//! of older files need defaults, and the key of a wrong type must be reported. Nothing is copied until it is
//! requested: a reader of many tasks needs few fields of each, but must know that all of them are valid.

use std::borrow::Cow;

use super::duration::StoredDuration;
use super::event::Event;
use super::id::{ClaimToken, TaskId};
use super::json::raw::{Raw, RawString, members};
use super::json::{Object, parse_object};
use super::message::TaskMessage;
use super::owner::Owner;
use super::question::Question;
use super::response::Response;
use super::sha256::Sha256;
use super::spec::SpecText;
use super::spec::reader::{BOOKKEEPING_KEY, KEYS, Members, key};
use super::task::{Bookkeeping, Claim, FailureClass, LeaseClock, Status, Task};
use super::task_title::title;
use super::time::Time;

/// The fields of a task in its file, each checked for its type.
pub struct TaskText<'a> {
    /// See [`Task::id`].
    pub id: TaskId,
    /// See [`Task::spec`].
    pub spec: SpecText<'a>,
    /// See [`Task::created_at`].
    pub created_at: Time,
    /// See [`Task::updated_at`].
    pub updated_at: Time,
    /// See [`Task::retried_as`].
    pub retried_as: Option<RawString<'a>>,
    /// See [`Task::fence`].
    pub fence: u64,
    /// See [`Task::attempt`].
    pub attempt: u32,
    state: RawString<'a>,
    state_fields: StateFields<'a>,
    request_path: RawString<'a>,
    request_sha256: RawString<'a>,
    response_path: RawString<'a>,
    questions: Option<Raw<'a>>,
    /// Whether a question has no answer yet.
    is_asking: bool,
    messages: Option<Raw<'a>>,
    bookkeeping: Option<Raw<'a>>,
    others: Vec<(&'a str, Raw<'a>)>,
}

/// The part of the bookkeeping that a check of the store needs.
#[derive(Default)]
pub struct BookkeepingExcerpt<'a> {
    /// The number of the newest event, according to task.json.
    pub last_event: u64,
    /// The number of the newest event contained in task.json, at least.
    pub newest_event: u64,
    /// The answer contained in task.json, if there is one.
    pub response: Option<Raw<'a>>,
}

/// What the bookkeeping tells about the last run of a task. What it does not tell is `None`: it has the newest events
/// and small answers only.
#[cfg(feature = "cli")]
#[derive(Default)]
pub(crate) struct RunFacts {
    /// The vendor.
    pub vendor: Option<String>,
    /// The cost in US dollars.
    pub cost_usd: Option<f64>,
    /// The verdict of the answer.
    pub verdict: Option<String>,
}

/// Returns whether a state has the meaning that it has here. Another implementation may block tasks for reasons of its
/// own; here only dependencies and exclusive keys do.
fn is_own_state(state: &str, spec: &SpecText<'_>) -> bool {
    Status::NAMES.contains(&state) && (state != "blocked" || spec.has_gate())
}

/// The data that exists only in some states.
#[derive(Default)]
struct StateFields<'a> {
    owner: Option<RawString<'a>>,
    token: Option<RawString<'a>>,
    claimed_at: Option<Time>,
    lease_expires_at: Option<Time>,
    lease: Option<StoredDuration>,
    completed_at: Option<Time>,
    failed_at: Option<Time>,
    reason: Option<RawString<'a>>,
    class: Option<RawString<'a>>,
    not_before: Option<Time>,
}

impl<'a> StateFields<'a> {
    fn take(fields: &mut Members<'a>, state: &str, is_known: bool) -> Self {
        if !is_known {
            // The data of a state of a newer version stays among the unknown keys, unchanged.
            for key in [
                key!("claim_owner"),
                key!("claim_token"),
                key!("claimed_at"),
                key!("completed_at"),
                key!("failed_at"),
                key!("failure_class"),
                key!("failure_reason"),
                key!("lease_expires_at"),
                key!("lease_seconds"),
                key!("not_before"),
            ] {
                if let Some(raw) = fields.known[key].take() {
                    fields.others.push((KEYS[key], raw));
                }
            }
            return Self::default();
        }
        let own = Self {
            owner: fields.optional_text(key!("claim_owner")),
            token: fields.optional_text(key!("claim_token")),
            claimed_at: fields.optional_time(key!("claimed_at")),
            lease_expires_at: fields.optional_time(key!("lease_expires_at")),
            lease: fields.duration(key!("lease_seconds")),
            completed_at: fields.optional_time(key!("completed_at")),
            failed_at: fields.optional_time(key!("failed_at")),
            reason: fields.optional_text(key!("failure_reason")),
            class: fields.optional_text(key!("failure_class")),
            not_before: fields.optional_time(key!("not_before")),
        };
        if state == "claimed" && own.claim().is_none() {
            fields.fail(key!("claim_token"), "text in a claimed task, with claimed_at and lease_expires_at");
        }
        own
    }

    fn claim(&self) -> Option<Claim> {
        Some(Claim {
            token: ClaimToken::from_text(self.token?.decode()),
            claimed_at: self.claimed_at?,
            lease_expires_at: self.lease_expires_at?,
            owner: Owner::stored(text(self.owner)),
            lease: self.lease,
        })
    }
}

fn text(text: Option<RawString<'_>>) -> String {
    text.map(|text| text.decode().into_owned()).unwrap_or_default()
}

fn optional(text: Option<RawString<'_>>) -> Option<String> {
    text.map(|text| text.decode().into_owned())
}

impl<'a> TaskText<'a> {
    /// Parses a task from strictly valid JSON. Returns `None` for other text, which may still be a task.
    ///
    /// # Errors
    /// The first key that is missing or has the wrong type.
    pub fn parse(text: &'a str) -> Option<Result<Self, String>> {
        let mut fields = Members::new();
        let mut next = 0;
        members(text, |key, raw| fields.put(key, raw, &mut next))?;
        Some(Self::from_fields(fields))
    }

    /// Parses the content of a task file, including what only Python writes, and calls `extract` with the task.
    ///
    /// # Errors
    /// The reason, if the content is not a valid task.
    pub fn read<T>(bytes: &[u8], extract: impl FnOnce(&TaskText<'_>) -> T) -> Result<T, String> {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Some(task) = TaskText::parse(text)
        {
            return task.map(|task| extract(&task));
        }
        let text = serde_json::to_string(&parse_object(bytes)?).map_err(|error| error.to_string())?;
        TaskText::parse_ours(&text).map(|task| extract(&task))
    }

    /// Parses a task from the text of an object that this crate has written.
    fn parse_ours(text: &'a str) -> Result<Self, String> {
        let mut fields = Members::new();
        let mut next = 0;
        match Raw::from_valid(text).members(|key, raw| fields.put(key, raw, &mut next)) {
            true => Self::from_fields(fields),
            false => Err("not a JSON object".to_string()),
        }
    }

    fn from_fields(mut fields: Members<'a>) -> Result<Self, String> {
        let Ok(id) = TaskId::parse(&fields.text(key!("id")).decode()) else {
            return Err(fields.wrong.unwrap_or_else(|| "'id' is not a valid task id".to_string()));
        };
        let spec = SpecText::take(&mut fields);
        let state = fields.text(key!("state"));
        let is_known = is_own_state(&state.decode(), &spec);
        let state_fields = StateFields::take(&mut fields, &state.decode(), is_known);
        let questions = fields.list(key!("questions"));
        let is_asking = questions.is_some_and(|raw| check_questions(&mut fields, raw));
        let messages = fields.list(key!("messages"));
        if let Some(raw) = messages {
            check_messages(&mut fields, raw);
        }
        let task = Self {
            id,
            spec,
            request_path: fields.text(key!("request_path")),
            request_sha256: fields.text(key!("request_sha256")),
            response_path: fields.text(key!("response_path")),
            state,
            state_fields,
            created_at: fields.time(key!("created_at")),
            updated_at: fields.time(key!("updated_at")),
            attempt: fields.number(key!("attempt"), Raw::integer).unwrap_or(0),
            fence: fields.number(key!("fence"), Raw::integer).unwrap_or(0),
            retried_as: fields.optional_text(key!("retried_as")),
            questions,
            is_asking,
            messages,
            bookkeeping: fields.map(key!(BOOKKEEPING_KEY)),
            others: Vec::new(),
        };
        match fields.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(Self { others: fields.others, ..task }),
        }
    }

    /// Returns the name of the state.
    ///
    /// A task waits for input exactly as long as a question is open, whatever another implementation has made of its
    /// state.
    pub fn state(&self) -> Cow<'a, str> {
        match self.state.decode() {
            state if self.is_asking && matches!(&*state, "queued" | "scheduled") => INPUT_REQUIRED.into(),
            state if !self.is_asking && state == INPUT_REQUIRED => "queued".into(),
            state => state,
        }
    }

    /// Returns whether the state is final.
    pub fn is_terminal(&self) -> bool {
        self.state.is("completed") || self.state.is("failed")
    }

    /// Returns whether it has failed because it was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        let word = FailureClass::Cancelled.as_str();
        self.state.is("failed") && self.state_fields.class.is_some_and(|class| class.is(word))
    }

    /// Returns [`Task::request_path`] and [`Task::request_sha256`].
    pub fn request(&self) -> (RawString<'a>, RawString<'a>) {
        (self.request_path, self.request_sha256)
    }

    /// Returns [`Task::response_path`].
    pub fn response_path(&self) -> RawString<'a> {
        self.response_path
    }

    /// Returns the state.
    pub fn status(&self) -> Status {
        let own = &self.state_fields;
        let state = self.state();
        match (&*state, own.not_before, own.claim()) {
            ("scheduled", Some(until), _) => Status::Scheduled { until },
            ("queued" | "scheduled", ..) => Status::Queued,
            ("blocked", until, _) if is_own_state("blocked", &self.spec) => Status::Blocked { until },
            (INPUT_REQUIRED, ..) => Status::InputRequired,
            ("claimed", _, Some(claim)) => Status::Claimed(claim),
            ("completed", _, claim) => {
                Status::Completed { at: own.completed_at.unwrap_or(self.updated_at), claim }
            }
            ("failed", _, claim) => Status::Failed {
                at: own.failed_at.unwrap_or(self.updated_at),
                claim,
                reason: text(own.reason),
                class: own.class.map_or(FailureClass::Error, |word| FailureClass::parse(&word.decode())),
            },
            _ => Status::Unknown(state.into_owned()),
        }
    }

    /// Returns the title of the task for people.
    pub(crate) fn title(&self) -> String {
        let name = self.spec.name.map(RawString::decode);
        title(name.as_deref(), &self.spec.prompt.decode(), self.id.as_str())
    }

    /// Returns the questions.
    pub fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        if let Some(raw) = self.questions {
            raw.items(|raw| questions.extend(Question::from_raw(raw)));
        }
        questions
    }

    /// Returns the messages to its workers.
    pub fn messages(&self) -> Vec<TaskMessage> {
        let mut messages = Vec::new();
        if let Some(raw) = self.messages {
            raw.items(|raw| messages.extend(TaskMessage::from_raw(raw)));
        }
        messages
    }

    /// Returns the part of the bookkeeping that a check of the store needs.
    pub fn bookkeeping_excerpt(&self) -> BookkeepingExcerpt<'a> {
        let mut marks = BookkeepingExcerpt::default();
        if let Some(bookkeeping) = self.bookkeeping {
            bookkeeping.members(|key, raw| match key {
                "recent" => {
                    raw.items(|event| {
                        event.members(|key, raw| {
                            if key == "n" {
                                marks.newest_event = marks.newest_event.max(raw.integer().unwrap_or(0));
                            }
                        });
                    });
                }
                "last_event" => marks.last_event = raw.integer().unwrap_or(0),
                "response" => marks.response = Some(raw).filter(|raw| raw.is_object()),
                _ => {}
            });
        }
        marks
    }

    /// Returns what the bookkeeping tells about the last run.
    #[cfg(feature = "cli")]
    pub(crate) fn run_facts(&self) -> RunFacts {
        let mut of_events = RunFacts::default();
        let mut of_answer = RunFacts::default();
        let Some(bookkeeping) = self.bookkeeping else { return of_events };
        bookkeeping.members(|key, raw| match key {
            "recent" => {
                raw.items(|event| of_events.add_event(event));
            }
            "response" => {
                raw.members(|key, raw| match key {
                    "verdict" => of_answer.verdict = optional(raw.text()),
                    "metadata" => of_answer.add_run(raw),
                    _ => {}
                });
            }
            _ => {}
        });
        RunFacts {
            vendor: of_answer.vendor.or(of_events.vendor),
            cost_usd: of_answer.cost_usd.or(of_events.cost_usd),
            verdict: of_answer.verdict,
        }
    }

    /// Returns the bookkeeping, parsed leniently: what is missing or has the wrong type gets its default.
    pub fn bookkeeping(&self) -> Bookkeeping {
        self.bookkeeping.map(bookkeeping).unwrap_or_default()
    }

    /// Converts everything to a [`Task`].
    pub fn to_task(&self) -> Task {
        let mut extra = Object::new();
        for (key, raw) in &self.others {
            extra.insert(RawString::of_key(key).decode().into_owned(), raw.value());
        }
        Task {
            id: self.id.clone(),
            spec: self.spec.to_spec(&mut extra),
            request_path: self.request_path.decode().into_owned(),
            request_sha256: Sha256::stored(self.request_sha256.decode()),
            response_path: self.response_path.decode().into_owned(),
            status: self.status(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            attempt: self.attempt,
            fence: self.fence,
            retried_as: optional(self.retried_as),
            questions: self.questions(),
            messages: self.messages(),
            bookkeeping: self.bookkeeping(),
            extra,
        }
    }
}

#[cfg(feature = "cli")]
impl RunFacts {
    /// Adds what an event of a dispatcher tells: of its start, or of its end.
    fn add_event(&mut self, event: Raw<'_>) {
        let (mut kind, mut data) = (None, None);
        event.members(|key, raw| match key {
            "type" => kind = raw.text(),
            "data" => data = Some(raw),
            _ => {}
        });
        let Some((kind, data)) = kind.zip(data) else { return };
        if kind.is("headless_started") {
            *self = Self::default();
            self.add_run(data);
        } else if kind.is("headless_completed") || kind.is("headless_failed") {
            self.add_run(data);
        }
    }

    fn add_run(&mut self, data: Raw<'_>) {
        data.members(|key, raw| match key {
            "vendor" => self.vendor = optional(raw.text()).or(self.vendor.take()),
            "cost_usd" => self.cost_usd = raw.float().or(self.cost_usd),
            _ => {}
        });
    }
}

impl Task {
    /// Parses a task.
    ///
    /// # Errors
    /// The first key that is missing or has the wrong type.
    pub fn from_object(object: Object) -> Result<Self, String> {
        let text = serde_json::to_string(&object).map_err(|error| error.to_string())?;
        TaskText::parse_ours(&text).map(|task| task.to_task())
    }
}

/// The name of the state in which a task waits for an answer.
const INPUT_REQUIRED: &str = "input_required";

/// Checks that all questions can be read; returns whether one has no answer.
fn check_questions(fields: &mut Members<'_>, questions: Raw<'_>) -> bool {
    let (mut is_asking, mut are_valid, mut last) = (false, true, 0);
    questions.items(|raw| match Question::from_raw(raw) {
        Some(question) if question.number > last => {
            last = question.number;
            is_asking |= question.answer.is_none();
        }
        _ => are_valid = false,
    });
    if !are_valid {
        fields.fail(key!("questions"), "a list of questions, each with n, question, asked_by and asked_at");
    }
    is_asking
}

/// Checks that all messages can be read.
fn check_messages(fields: &mut Members<'_>, messages: Raw<'_>) {
    let (mut are_valid, mut last) = (true, 0);
    messages.items(|raw| match TaskMessage::from_raw(raw) {
        Some(message) if message.number > last => last = message.number,
        _ => are_valid = false,
    });
    if !are_valid {
        fields.fail(key!("messages"), "a list of messages, each with n, message, sent_by and sent_at");
    }
}

fn time(raw: Raw<'_>) -> Option<Time> {
    Time::parse(&raw.text()?.decode()).ok()
}

fn bookkeeping(raw: Raw<'_>) -> Bookkeeping {
    let mut bookkeeping = Bookkeeping::default();
    raw.members(|key, raw| match key {
        "written_at" => bookkeeping.written_at = time(raw),
        "last_event" => bookkeeping.last_event = raw.integer().unwrap_or(0),
        "synced_event" => bookkeeping.synced_event = raw.integer().unwrap_or(0),
        "recent" => {
            bookkeeping.recent.clear();
            raw.items(|raw| bookkeeping.recent.extend(Event::from_raw(raw)));
        }
        "response" => bookkeeping.response = Response::from_raw(raw).ok(),
        "lease" => bookkeeping.lease = lease(raw),
        "content_sha256" => bookkeeping.content_sha256 = optional(raw.text()).map(Sha256::stored),
        "name_is_durable" => bookkeeping.name_is_durable = raw.boolean().unwrap_or(false),
        "dependencies_met" => bookkeeping.dependencies_met = raw.boolean().unwrap_or(false),
        _ => {}
    });
    let newest = bookkeeping.recent.iter().filter_map(|event| event.n).max().unwrap_or(0);
    bookkeeping.last_event = bookkeeping.last_event.max(newest);
    bookkeeping
}

fn lease(raw: Raw<'_>) -> Option<LeaseClock> {
    let (mut expires_at, mut boot, mut until) = (None, None, None);
    raw.members(|key, raw| match key {
        "expires_at" => expires_at = time(raw),
        "boot" => boot = optional(raw.text()),
        "until" => until = raw.integer(),
        _ => {}
    });
    Some(LeaseClock { expires_at: expires_at?, boot: boot?, until: until? })
}
