//! What `indexes/state` says: whether the index fits the store.

use super::super::clock::boot_id;

/// The version of the index; one of another version is built anew.
const FORMAT: &str = "index-2";

/// The boot id as one word.
pub(super) fn boot_word() -> String {
    match boot_id() {
        "" => "unknown".to_string(),
        id => id.to_string(),
    }
}

/// What `indexes/state` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct State {
    pub(super) boot: String,
    pub(super) stamp: i64,
    pub(super) known: u64,
    pub(super) newest: String,
    /// The number of the last change of the store.
    pub(in crate::store) seq: u64,
    pub(super) busy: Option<String>,
}

impl State {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if words.next() != Some(FORMAT) {
            return None;
        }
        let state = Self {
            boot: words.next()?.to_string(),
            stamp: words.next()?.parse().ok()?,
            known: words.next()?.parse().ok()?,
            newest: words.next()?.to_string(),
            seq: words.next()?.parse().ok()?,
            busy: words.next().filter(|word| *word != "-").map(str::to_string),
        };
        (words.next() == Some(".")).then_some(state)
    }

    /// Always of one length, so that it can be overwritten in place by one call.
    pub(super) fn line(&self) -> String {
        let busy = self.busy.as_deref().unwrap_or("-");
        let Self { boot, stamp, known, newest, seq, .. } = self;
        let line = format!("{FORMAT} {boot} {stamp} {known} {newest} {seq} {busy} .");
        format!("{line:<639}\n")
    }
}
