//! The fields that requests may have.

use super::params::{BODY, Field, Kind, MESSAGE, NAME, PATH, WORD, may, must};
use crate::workspace::{SUBMIT_FIELDS, SubmitField, SubmitValue};

pub(crate) const TEXT: Kind = Kind::Text(NAME);
pub(crate) const WORDS: Kind = Kind::Text(WORD);
pub(crate) const LONG: Kind = Kind::Text(MESSAGE);
pub(crate) const FILE: Kind = Kind::Text(PATH);
pub(crate) const NO_QUERY: &[Field] = &[];
pub(crate) const WAIT: Kind = Kind::Seconds(315_360_000.0);
pub(crate) const LEASE: Kind = Kind::Seconds(2_592_000.0);
pub(crate) const DELAY: Kind = Kind::Seconds(315_360_000.0);
pub(crate) const CLASSES: Kind = Kind::Word(&["error", "timeout", "lost", "usage_limit", "permanent"]);
pub(crate) const LANE_TEXT: Kind = TEXT;

pub(crate) const WAIT_SECONDS: Field =
    may("wait_seconds", WAIT, "How long to wait for it, in seconds; the default is six hours.");
pub(crate) const TOKEN: Field = must("claim_token", TEXT, "The token returned by claim.");
pub(crate) const OWNER: Field = may("owner", WORDS, "The owner of the claim; `worker` by default.");
pub(crate) const LEASE_SECONDS: Field =
    may("lease_seconds", LEASE, "The length of the lease, in seconds; 7200 by default.");
pub(crate) const BY: Field = may("by", WORDS, "Who makes the change; `api` by default.");
pub(crate) const SINCE: Field =
    may("since", Kind::Whole(0, i64::MAX), "The number of the last event that the client has.");

/// The fields of `POST /tasks` in addition to [`SUBMIT_FIELDS`]: other names, and agent-lanes' form.
const SUBMIT_ALSO: [Field; 7] = [
    may("queue_name", LANE_TEXT, "The lane, as boards call it."),
    may("description", Kind::Text(BODY), "The prompt, as boards call it; `prompt` takes precedence."),
    may(
        "workspace_id",
        WORDS,
        "agent-lanes' form, which also needs correlation_id and the next three fields.",
    ),
    may("workspace_root", FILE, "The workspace: the server's own, or one that it allows."),
    may("request_path", FILE, "The file to work on."),
    may("response_path", FILE, "The file that the answer is written to."),
    may("checkpoint_id", WORDS, "An old name of correlation_id."),
];

/// How many of [`SUBMIT_FIELDS`] a body may have.
const SUBMIT_BODY: usize = {
    let (mut count, mut at) = (0, 0);
    while at < SUBMIT_FIELDS.len() {
        count += SUBMIT_FIELDS[at].body.is_some() as usize;
        at += 1;
    }
    count
};

/// The fields of `POST /tasks`.
pub(crate) const SUBMIT: &[Field] = &{
    let mut fields = [SUBMIT_ALSO[0]; SUBMIT_BODY + SUBMIT_ALSO.len()];
    let (mut filled, mut at) = (0, 0);
    while at < SUBMIT_FIELDS.len() {
        let field = &SUBMIT_FIELDS[at];
        if let Some(name) = field.body {
            fields[filled] = may(name, kind_of(field), field.help);
            filled += 1;
        }
        at += 1;
    }
    at = 0;
    while at < SUBMIT_ALSO.len() {
        fields[filled + at] = SUBMIT_ALSO[at];
        at += 1;
    }
    fields
};

const fn kind_of(field: &SubmitField) -> Kind {
    match field.value {
        SubmitValue::Text(most, _) => Kind::Text(most),
        SubmitValue::Path(_) => FILE,
        SubmitValue::Paths(_) | SubmitValue::Texts(_) => Kind::Texts,
        SubmitValue::Integer(least, most, _) => Kind::Whole(least, most),
        SubmitValue::Seconds(most, _) => Kind::Seconds(most),
        SubmitValue::Time(_) => Kind::Time,
        SubmitValue::Map(_) => Kind::Map,
    }
}

pub(crate) const RESPOND: &[Field] = &[
    must("body", Kind::Text(BODY), "The answer."),
    may("claim_token", TEXT, "The token returned by claim; not needed for a task that is not claimed."),
    may("reviewer", WORDS, "Who answers; `worker` by default."),
    may("status", Kind::Word(&["completed", "failed"]), "The result; `completed` by default."),
    may("failure_class", CLASSES, "Why it failed; `error` by default."),
    may(
        "verdict",
        Kind::Word(&["accept", "accept-with-follow-ups", "needs-revision"]),
        "The verdict of a review.",
    ),
    may("blocking_count", Kind::Whole(0, 1_000_000), "The number of blocking findings."),
    may("nonblocking_count", Kind::Whole(0, 1_000_000), "The number of findings that do not block."),
    may("follow_up_required", Kind::Flag, "Whether more work is requested."),
    may("expect_sha256", TEXT, "The SHA-256 of the request as the worker read it."),
    may("metadata", Kind::Map, "Free-form values."),
];

const ONE_MODEL: Field = may("model", TEXT, "One of its models; all by default.");
pub(crate) const PAUSE_VENDOR: &[Field] = &[
    ONE_MODEL,
    may("for_seconds", DELAY, "How long, in seconds; until it is resumed by default."),
    may("until", Kind::Time, "The end of the pause, instead of its length."),
    may("reason", LONG, "Why."),
];
pub(crate) const RESUME_VENDOR: &[Field] = &[ONE_MODEL];
pub(crate) const CREATE_LANE: &[Field] =
    &[must("name", LANE_TEXT, "The lane."), may("description", LONG, "What it is for.")];
pub(crate) const EDIT_LANE: &[Field] = &[
    may("name", LANE_TEXT, "A new name; only of a lane without tasks."),
    may("description", LONG, "What it is for."),
    may("paused", Kind::Flag, "Whether its tasks cannot be claimed."),
    may("reason", LONG, "Why it is paused."),
];

const SETTINGS: &str = "The keys of a route in handoff.yaml. Those that choose programs, models, arguments, environment, \
    directories or rights, and wider limits, are accepted only with --allow-route-programs.";
pub(crate) const CREATE_ROUTE: &[Field] = &[
    may("lane", LANE_TEXT, "The lane."),
    may("queue_name", LANE_TEXT, "The same, as boards call it."),
    must("settings", Kind::Map, SETTINGS),
];
pub(crate) const EDIT_ROUTE: &[Field] = &[must("settings", Kind::Map, SETTINGS)];
