//! The members of a task.json, each in its place.

use crate::model::json::raw::{Raw, Text};
use crate::model::time::Time;

/// The key under which our bookkeeping lives in task.json.
pub(in crate::model) const JOURNAL_KEY: &str = "_lanes";

/// The keys that are understood, sorted.
pub(super) const KEYS: [&str; 39] = [
    JOURNAL_KEY,
    "attempt",
    "checkpoint_id",
    "claim_owner",
    "claim_token",
    "claimed_at",
    "completed_at",
    "correlation_id",
    "created_at",
    "expected_branch",
    "failed_at",
    "failure_class",
    "failure_reason",
    "fence",
    "id",
    "idempotency_key",
    "labels",
    "lane",
    "lease_expires_at",
    "lease_seconds",
    "max_attempts",
    "metadata",
    "name",
    "not_before",
    "priority",
    "prompt",
    "request_path",
    "request_sha256",
    "response_path",
    "retried_as",
    "retry_of",
    "source_agent",
    "state",
    "supporting_paths",
    "timeout_seconds",
    "updated_at",
    "workspace_id",
    "workspace_root",
    "worktree_path",
];

/// The place of a key in [`KEYS`].
pub(super) const fn place(key: &str) -> usize {
    let mut place = 0;
    loop {
        let (a, b) = (KEYS[place].as_bytes(), key.as_bytes());
        let mut at = 0;
        while at < a.len() && at < b.len() && a[at] == b[at] {
            at += 1;
        }
        if at == a.len() && at == b.len() {
            return place;
        }
        place += 1;
    }
}

const TIME: &str = "a time like 2026-11-21T07:00:00.000000Z";

/// Takes typed values out of a task's text and remembers the first that was wrong.
pub(super) struct Fields<'a> {
    pub(super) known: [Option<Raw<'a>>; KEYS.len()],
    pub(super) others: Vec<(&'a str, Raw<'a>)>,
    pub(super) wrong: Option<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self { known: [None; KEYS.len()], others: Vec::new(), wrong: None }
    }

    /// Puts a member where it belongs. Files are written with their keys sorted, so that `next`
    /// nearly always tells where.
    pub(super) fn put(&mut self, key: &'a str, raw: Raw<'a>, next: &mut usize) {
        let place = match KEYS.get(*next) {
            Some(expected) if *expected == key => Ok(*next),
            _ => KEYS.binary_search(&key),
        };
        match place {
            Ok(place) => {
                self.known[place] = Some(raw);
                *next = place + 1;
            }
            Err(place) => {
                self.others.push((key, raw));
                *next = place;
            }
        }
    }

    pub(super) fn fail(&mut self, key: usize, expected: &str) {
        if self.wrong.is_none() {
            self.wrong = Some(format!("'{}' must be {expected}", KEYS[key]));
        }
    }

    /// Takes the value of a key that is not null.
    pub(super) fn take(&mut self, key: usize) -> Option<Raw<'a>> {
        self.known[key].take().filter(|raw| !raw.is_null())
    }

    pub(super) fn optional_text(&mut self, key: usize) -> Option<Text<'a>> {
        let raw = self.take(key)?;
        let text = raw.text();
        if text.is_none() {
            self.fail(key, "text");
        }
        text
    }

    pub(super) fn text(&mut self, key: usize) -> Text<'a> {
        self.optional_text(key).unwrap_or_else(|| {
            self.fail(key, "text");
            Text::default()
        })
    }

    pub(super) fn optional_time(&mut self, key: usize) -> Option<Time> {
        let text = self.optional_text(key)?;
        let time = Time::parse(&text.decode()).ok();
        if time.is_none() {
            self.fail(key, TIME);
        }
        time
    }

    pub(super) fn time(&mut self, key: usize) -> Time {
        self.optional_time(key).unwrap_or_else(|| {
            self.fail(key, TIME);
            Time::from_micros(0)
        })
    }

    pub(super) fn number<T>(&mut self, key: usize, convert: impl Fn(Raw<'a>) -> Option<T>) -> Option<T> {
        let raw = self.take(key)?;
        let number = convert(raw);
        if number.is_none() {
            self.fail(key, "a number in range");
        }
        number
    }

    pub(super) fn of_kind(&mut self, key: usize, is: fn(Raw<'a>) -> bool, kind: &str) -> Option<Raw<'a>> {
        let raw = self.take(key)?;
        if !is(raw) {
            self.fail(key, kind);
        }
        Some(raw).filter(|raw| is(*raw))
    }

    pub(super) fn map(&mut self, key: usize) -> Option<Raw<'a>> {
        self.of_kind(key, Raw::is_object, "an object")
    }

    pub(super) fn list(&mut self, key: usize) -> Option<Raw<'a>> {
        self.of_kind(key, Raw::is_array, "a list")
    }
}
