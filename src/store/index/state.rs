//! The file `indexes/state`, which shows whether the index is up to date.

use crate::model::Now;
use crate::os::machine::boot_id;

/// The version of the index; one of another version is rebuilt.
const FORMAT: &str = "index-5";

/// Returns the boot id without white space.
pub(super) fn boot_word() -> String {
    match boot_id() {
        "" => "unknown".to_string(),
        id => id.to_string(),
    }
}

/// What `indexes/state` says of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum DependentsMark {
    /// No task waits for another one.
    Absent,
    /// Some tasks wait for others.
    Present,
    /// Some tasks wait for others that have ended, and are still to be released.
    Due,
    /// An older version has written the state.
    Unknown,
}

impl DependentsMark {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Due => "due",
            Self::Unknown => "-",
        }
    }

    pub(super) fn parse(word: Option<&str>) -> Self {
        let known = [Self::Absent, Self::Present, Self::Due];
        known.into_iter().find(|mark| Some(mark.word()) == word).unwrap_or(Self::Unknown)
    }
}

/// What `indexes/state` says of a part of the index that most stores do without: the one for exclusive keys, or for groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum UseMark {
    /// No task ever had one.
    Absent,
    /// Some tasks have had one, and the part tells which.
    Present,
    /// An older version has written the state.
    Unknown,
}

impl UseMark {
    fn word(self) -> &'static str {
        match self {
            Self::Absent => "unused",
            Self::Present => "used",
            Self::Unknown => "-",
        }
    }

    fn parse(word: Option<&str>) -> Self {
        let known = [Self::Absent, Self::Present];
        known.into_iter().find(|mark| Some(mark.word()) == word).unwrap_or(Self::Unknown)
    }
}

/// The content of `indexes/state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct IndexState {
    pub(super) boot: String,
    pub(super) stamp: i64,
    pub(super) known: u64,
    pub(super) newest: String,
    /// The number of the last change of the store.
    pub(in crate::store) seq: u64,
    /// By how much the wall clock was at most ahead of the uptime when a lease was given, in microseconds.
    pub(super) clock: i64,
    /// The ids of the tasks that are being changed.
    pub(super) busy: Vec<String>,
    /// The ids of the tasks that were answered last and whose responses may not have their names yet, the
    /// newest last.
    pub(super) owed: Vec<String>,
    /// Whether tasks wait for others.
    pub(in crate::store) dependents: DependentsMark,
    /// Whether tasks have exclusive keys.
    pub(in crate::store) exclusive: UseMark,
    /// Whether tasks are in groups.
    pub(in crate::store) groups: UseMark,
}

/// The maximum number of those ids: more responses are hardly ever synced at the same time.
const MAX_OWED: usize = 16;

/// The length of the line, in bytes.
const LINE_BYTES: usize = 4095;

/// By how much the other words may grow while tasks are being changed, in bytes.
const MARK_BYTES: usize = 64;

/// By how much the two clocks may drift apart before the wall clock counts as set back, in microseconds.
const MAX_DRIFT_MICROS: i64 = 1_000_000;

impl IndexState {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if words.next() != Some(FORMAT) {
            return None;
        }
        let mut state = Self {
            boot: words.next()?.to_string(),
            stamp: words.next()?.parse().ok()?,
            known: words.next()?.parse().ok()?,
            newest: words.next()?.to_string(),
            seq: words.next()?.parse().ok()?,
            clock: words.next()?.parse().ok()?,
            busy: ids(words.next()?),
            owed: ids(words.next()?),
            dependents: DependentsMark::Unknown,
            exclusive: UseMark::Unknown,
            groups: UseMark::Unknown,
        };
        let is_complete = words.next() == Some(".");
        // Older versions read no further, and write nothing after it.
        state.dependents = DependentsMark::parse(words.next());
        state.exclusive = UseMark::parse(words.next());
        state.groups = UseMark::parse(words.next());
        is_complete.then_some(state)
    }

    /// Returns whether the wall clock has been set back since a lease was given. Then leases do not end in the
    /// order of their wall-clock ends.
    pub(super) fn is_set_back(&self, now: &Now) -> bool {
        now.wall.micros().saturating_sub(now.uptime) < self.clock.saturating_sub(MAX_DRIFT_MICROS)
    }

    /// Returns the state after `id` was answered.
    pub(super) fn with_owed(&self, id: &str) -> Self {
        let mut owed = self.owed.clone();
        owed.push(id.to_string());
        owed.drain(..owed.len().saturating_sub(MAX_OWED));
        Self { owed, ..self.clone() }
    }

    /// Adds tasks to those that are being changed, as many as the line has room for. Returns how many that are.
    pub(super) fn add_busy<'a>(&mut self, ids: impl Iterator<Item = &'a str>) -> usize {
        let mut room = LINE_BYTES.saturating_sub(self.words().len() + MARK_BYTES);
        let before = self.busy.len();
        for id in ids {
            let Some(left) = room.checked_sub(id.len() + 1) else { break };
            room = left;
            self.busy.push(id.to_string());
        }
        self.busy.len() - before
    }

    /// Returns the line of the file, always of one length so that one call replaces it in place.
    pub(super) fn line(&self) -> String {
        format!("{:<LINE_BYTES$}\n", self.words())
    }

    fn words(&self) -> String {
        let word = |ids: &[String]| if ids.is_empty() { "-".to_string() } else { ids.join(",") };
        let (busy, owed) = (word(&self.busy), word(&self.owed));
        let Self { boot, stamp, known, newest, seq, clock, .. } = self;
        let marks = [self.dependents.word(), self.exclusive.word(), self.groups.word()].join(" ");
        format!("{FORMAT} {boot} {stamp} {known} {newest} {seq} {clock} {busy} {owed} . {marks}")
    }
}

/// Reads the ids in one word.
fn ids(word: &str) -> Vec<String> {
    word.split(',').filter(|word| *word != "-").map(str::to_string).collect()
}
