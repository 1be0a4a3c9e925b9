//! The fields that requests may have.

use super::params::{
    Field, FieldKind, MAX_MESSAGE, MAX_NAME, MAX_PATH, MAX_SHORT_TEXT, MAX_TEXT, optional, required,
};
use crate::model::task_selection::TaskOrder;
use crate::model::{Status, duration, limits};
use crate::workspace::{SUBMIT_FIELDS, SubmitField, SubmitValue};

pub(crate) const NAME_TEXT: FieldKind = FieldKind::Text(MAX_NAME);
pub(crate) const SHORT_TEXT: FieldKind = FieldKind::Text(MAX_SHORT_TEXT);
pub(crate) const MESSAGE_TEXT: FieldKind = FieldKind::Text(MAX_MESSAGE);
pub(crate) const PATH_TEXT: FieldKind = FieldKind::Text(MAX_PATH);
/// Several names, in queries: the request line must have room for the longest.
pub(crate) const NAMES: FieldKind = FieldKind::Texts(MAX_NAME);
pub(crate) const SHORT_TEXTS: FieldKind = FieldKind::Texts(MAX_SHORT_TEXT);
/// Conditions on the metadata, in queries.
pub(crate) const CONDITIONS: FieldKind = FieldKind::Texts(2048);
pub(crate) const TEXTS: FieldKind = FieldKind::Texts(MAX_PATH);
pub(crate) const NO_QUERY: &[Field] = &[];
pub(crate) const WAIT: FieldKind = FieldKind::Seconds(duration::LONGEST);
pub(crate) const LEASE: FieldKind = FieldKind::Seconds(limits::MAX_LEASE);
pub(crate) const DELAY: FieldKind = FieldKind::Seconds(limits::MAX_DELAY);
pub(crate) const CLASSES: FieldKind =
    FieldKind::OneOf(&["error", "timeout", "lost", "usage_limit", "permanent"]);
pub(crate) const LANE_NAME: FieldKind = NAME_TEXT;

pub(crate) const WAIT_SECONDS: Field =
    optional("wait_seconds", WAIT, "How long to wait for it, in seconds; the default is six hours.");
pub(crate) const TOKEN: Field = required("claim_token", NAME_TEXT, "The token returned by claim.");
pub(crate) const OWNER: Field = optional("owner", SHORT_TEXT, "The owner of the claim; `worker` by default.");
pub(crate) const LEASE_SECONDS: Field =
    optional("lease_seconds", LEASE, "The length of the lease, in seconds; 7200 by default.");
pub(crate) const BY: Field = optional("by", SHORT_TEXT, "Who makes the change; `api` by default.");
pub(crate) const SINCE: Field =
    optional("since", FieldKind::Whole(0, i64::MAX), "The number of the last event that the client has.");

/// The maximum number of tasks on one page.
const MAX_PAGE: i64 = 1000;

pub(crate) const FIELDS: Field = optional(
    "fields",
    FieldKind::OneOf(&["all", "summary"]),
    "`summary` for tasks in brief (the schema TaskSummary); `all` by default.",
);

/// The fields that select tasks.
pub(crate) const SELECTION: [Field; 9] = [
    optional("lane", NAMES, "Only tasks of these lanes."),
    optional("state", FieldKind::SomeOf(&Status::NAMES), "Only tasks in these states."),
    optional("group", NAME_TEXT, "Only tasks of this group."),
    optional("failure_class", NAMES, "Only tasks that failed with one of these classes."),
    optional("label", NAMES, "Only tasks with one of these labels."),
    optional("owner", SHORT_TEXTS, "Only tasks that one of these workers holds, or held last."),
    optional("key", SHORT_TEXT, "Only the task with this idempotency key."),
    optional("match", CONDITIONS, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
    optional(
        "q",
        SHORT_TEXT,
        "Only tasks whose title, prompt, id, labels or owner contain this text, in upper or lower case.",
    ),
];

/// The fields of `POST /tasks/bulk`.
pub(crate) const BULK: &[Field] = &[
    required(
        "action",
        FieldKind::OneOf(&["cancel", "retry", "redrive", "move"]),
        "What is done to each of the tasks.",
    ),
    required("filter", FieldKind::Map, "What selects tasks in `GET /tasks`; lists may be single values."),
    optional(
        "expect_count",
        FieldKind::Whole(0, 1_000_000_000),
        "How many tasks the client has seen; if the filter selects another number, nothing is changed.",
    ),
    optional("lane", LANE_NAME, "Where to move the tasks."),
    optional("reason", MESSAGE_TEXT, "Why they are cancelled."),
    BY,
    optional("key", NAME_TEXT, "A repeated request with the same key gets the first answer again."),
];

/// The fields of `GET /tasks`.
pub(crate) const LIST: &[Field] = &{
    let mut fields = [FIELDS; SELECTION.len() + 4];
    let mut at = 0;
    while at < SELECTION.len() {
        fields[at] = SELECTION[at];
        at += 1;
    }
    fields[at] = optional(
        "order",
        FieldKind::OneOf(&TaskOrder::NAMES),
        "`oldest` (the default) or `newest` first, by the time of the submit; or `updated`, last change first.",
    );
    fields[at + 1] =
        optional("limit", FieldKind::Whole(1, MAX_PAGE), "The number of tasks on a page; 100 by default.");
    fields[at + 2] = optional("cursor", SHORT_TEXT, "The `next_cursor` of the previous page.");
    fields
};

/// The fields of `POST /tasks` in addition to [`SUBMIT_FIELDS`]: other names, and agent-lanes' form.
const SUBMIT_ALSO: [Field; 7] = [
    optional("queue_name", LANE_NAME, "The lane, as boards call it."),
    optional(
        "description",
        FieldKind::Text(MAX_TEXT),
        "The prompt, as boards call it; `prompt` takes precedence.",
    ),
    optional(
        "workspace_id",
        SHORT_TEXT,
        "agent-lanes' form, which also needs correlation_id and the next three fields.",
    ),
    optional("workspace_root", PATH_TEXT, "The workspace: the server's own, or one that it allows."),
    optional("request_path", PATH_TEXT, "The file to work on."),
    optional("response_path", PATH_TEXT, "The file that the answer is written to."),
    optional("checkpoint_id", SHORT_TEXT, "An old name of correlation_id."),
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
            fields[filled] = optional(name, kind_of(field), field.help);
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

const fn kind_of(field: &SubmitField) -> FieldKind {
    match field.value {
        SubmitValue::Text(most, _) => FieldKind::Text(most),
        SubmitValue::Path(_) => PATH_TEXT,
        SubmitValue::Paths(_) | SubmitValue::Texts(_) => TEXTS,
        SubmitValue::Integer(least, most, _) => FieldKind::Whole(least, most),
        SubmitValue::Seconds(most, _) => FieldKind::Seconds(most),
        SubmitValue::Time(_) => FieldKind::Time,
        SubmitValue::Map(_) | SubmitValue::Schema(_) => FieldKind::Map,
        SubmitValue::Dependencies(..) => FieldKind::Dependencies,
        SubmitValue::Commands(_) => FieldKind::Commands,
    }
}

pub(crate) const RESPOND: &[Field] = &[
    required("body", FieldKind::Text(MAX_TEXT), "The answer."),
    optional(
        "claim_token",
        NAME_TEXT,
        "The token returned by claim; not needed for a task that is not claimed.",
    ),
    optional("reviewer", SHORT_TEXT, "Who answers; `worker` by default."),
    optional("status", FieldKind::OneOf(&["completed", "failed"]), "The result; `completed` by default."),
    optional("failure_class", CLASSES, "Why it failed; `error` by default."),
    optional(
        "verdict",
        FieldKind::OneOf(&["accept", "accept-with-follow-ups", "needs-revision"]),
        "The verdict of a review.",
    ),
    optional("blocking_count", FieldKind::Whole(0, 1_000_000), "The number of blocking findings."),
    optional(
        "nonblocking_count",
        FieldKind::Whole(0, 1_000_000),
        "The number of findings that do not block.",
    ),
    optional("follow_up_required", FieldKind::Flag, "Whether more work is requested."),
    optional("expect_sha256", NAME_TEXT, "The SHA-256 of the request as the worker read it."),
    optional("metadata", FieldKind::Map, "Free-form values."),
];

pub(crate) const ASK: &[Field] = &[
    TOKEN,
    required("question", MESSAGE_TEXT, "The question."),
    optional("choices", TEXTS, "The answers that it suggests."),
    optional("default", MESSAGE_TEXT, "The answer that counts after `expires_seconds`."),
    optional("expires_seconds", DELAY, "After how many seconds the default applies."),
    optional("keep_claim", FieldKind::Flag, "Whether the worker keeps its claim until the answer."),
];
pub(crate) const ANSWER: &[Field] = &[
    required("answer", MESSAGE_TEXT, "The answer."),
    optional(
        "question",
        FieldKind::Whole(1, 1_000_000),
        "The number of the question; the only open one by default.",
    ),
    optional("choice", FieldKind::Flag, "Whether the answer must be one of the choices."),
    BY,
];
pub(crate) const TELL: &[Field] = &[required("message", MESSAGE_TEXT, "The message."), BY];

const ONE_MODEL: Field = optional("model", NAME_TEXT, "One of its models; all by default.");
pub(crate) const PAUSE_VENDOR: &[Field] = &[
    ONE_MODEL,
    optional("for_seconds", DELAY, "How long, in seconds; until it is resumed by default."),
    optional("until", FieldKind::Time, "The end of the pause, instead of its length."),
    optional("reason", MESSAGE_TEXT, "Why."),
];
pub(crate) const ADD_TO_BUDGET: &[Field] = &[
    required("amount", FieldKind::Amount(1e12), "How much is added, above 0."),
    optional("of", FieldKind::OneOf(&["usd", "tokens", "runs"]), "What it counts; usd by default."),
    optional("lane", LANE_NAME, "To the budget of this lane; to that of the store by default."),
    optional("vendor", NAME_TEXT, "To the budget of this vendor."),
];
pub(crate) const RESUME_VENDOR: &[Field] = &[ONE_MODEL];
pub(crate) const CREATE_LANE: &[Field] =
    &[required("name", LANE_NAME, "The lane."), optional("description", MESSAGE_TEXT, "What it is for.")];
pub(crate) const EDIT_LANE: &[Field] = &[
    optional("name", LANE_NAME, "A new name; only of a lane without tasks."),
    optional("description", MESSAGE_TEXT, "What it is for."),
    optional("paused", FieldKind::Flag, "Whether its tasks cannot be claimed."),
    optional("reason", MESSAGE_TEXT, "Why it is paused."),
];

const SETTINGS: &str = "The keys of a route in handoff.yaml. Those that choose programs, models, arguments, environment, \
    directories or rights, and wider limits, are accepted only with --allow-route-programs.";
pub(crate) const CREATE_ROUTE: &[Field] = &[
    optional("lane", LANE_NAME, "The lane."),
    optional("queue_name", LANE_NAME, "The same, as boards call it."),
    required("settings", FieldKind::Map, SETTINGS),
];
pub(crate) const EDIT_ROUTE: &[Field] = &[required("settings", FieldKind::Map, SETTINGS)];

pub(crate) const RENEW: &[Field] = &[
    TOKEN,
    optional(
        "lease_seconds",
        LEASE,
        "The new length of the lease from now, in seconds; as before by default.",
    ),
];

pub(crate) const RELEASE: &[Field] = &[
    TOKEN,
    optional("reason", MESSAGE_TEXT, "Why."),
    optional("delay_seconds", DELAY, "The task cannot be claimed again for this many seconds."),
    optional("failure_class", CLASSES, "Counts the attempt as failed, for this reason."),
];

pub(crate) const NOTE: &[Field] = &[
    optional("type", NAME_TEXT, "The type of the event; `note` by default."),
    optional("message", MESSAGE_TEXT, "What happened."),
    optional("data", FieldKind::Map, "Details."),
    optional(
        "claim_token",
        NAME_TEXT,
        "The token returned by claim, to prove that the writer holds the task.",
    ),
];

pub(crate) const CANCEL: &[Field] = &[optional("reason", MESSAGE_TEXT, "Why."), BY];

/// The fields of `GET /store/v1/{read}`; each read takes some of them.
pub(crate) const STORE_READ: &[Field] = &[
    optional("id", NAMES, "A task, or for `tasks` several."),
    optional("text", SHORT_TEXT, "The beginning or the end of the id of a task."),
    optional("group", NAME_TEXT, "A group."),
    optional("lane", NAMES, "A lane, or several."),
    optional("match", CONDITIONS, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
    optional("kind", NAME_TEXT, "A kind of workers."),
    SINCE,
    optional("limit", FieldKind::Whole(1, MAX_PAGE), "The largest number of changes."),
];

/// The fields of `GET /store/v1/watch`.
pub(crate) const STORE_WATCH: &[Field] = &[
    optional("id", NAMES, "Only changes of these tasks."),
    optional("lane", NAMES, "Only changes of these lanes."),
    optional(
        "is_working",
        FieldKind::Flag,
        "Whether the client is a worker that waits for tasks of these lanes.",
    ),
    SINCE,
    optional("wait_seconds", WAIT, "How long to wait for it, in seconds; 0 by default."),
];

/// By which a repeated request is known.
pub(crate) const REQUEST_ID: Field = required(
    "request_id",
    FieldKind::Text(100),
    "A random text; a request that is repeated with it gets the first reply.",
);

const ONE_TASK: Field = required("task", NAME_TEXT, "The full id of the task.");

/// The fields of `POST /store/v1/change`.
pub(crate) const STORE_CHANGE: &[Field] = &[
    REQUEST_ID,
    ONE_TASK,
    required(
        "change",
        FieldKind::OneOf(&[
            "renew", "release", "respond", "ask", "answer", "tell", "read", "note", "cancel", "move", "edit",
        ]),
        "What is done.",
    ),
    optional("fields", FieldKind::Map, "What the route for that takes."),
];

/// The fields of `POST /store/v1/claim`.
pub(crate) const STORE_CLAIM: &[Field] = &[
    REQUEST_ID,
    optional("task", NAME_TEXT, "The full id of the task; the next one of the lanes by default."),
    optional("lanes", NAMES, "The lanes, in the order in which they are looked at."),
    optional("match", TEXTS, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
    OWNER,
    LEASE_SECONDS,
    required("claim_token", NAME_TEXT, "The token of the claim: 32 random hexadecimal digits."),
    optional(
        "is_repeated",
        FieldKind::Flag,
        "Whether the reply to a request with this token may have been lost.",
    ),
];

/// The fields of `POST /store/v1/submit`.
pub(crate) const STORE_SUBMISSION: &[Field] =
    &[REQUEST_ID, required("tasks", FieldKind::Items, "The tasks, each as for `POST /tasks`.")];

/// The fields of `POST /store/v1/retry`.
pub(crate) const STORE_RETRY: &[Field] = &[
    REQUEST_ID,
    ONE_TASK,
    BY,
    optional(
        "with_dependents",
        FieldKind::Flag,
        "Whether the tasks that failed because of it are retried too.",
    ),
];

/// The fields of `POST /store/v1/pause`.
pub(crate) const STORE_PAUSE: &[Field] = &[
    REQUEST_ID,
    optional("paused", FieldKind::Flag, "Whether it is paused, or else resumed."),
    optional("lane", LANE_NAME, "The lane."),
    optional("vendor", NAME_TEXT, "The vendor, instead of a lane."),
    ONE_MODEL,
    optional("until", FieldKind::Time, "The end of the pause of a vendor."),
    optional("reason", MESSAGE_TEXT, "Why."),
];

/// The fields of a move to another lane.
pub(crate) const MOVE: &[Field] = &[required("lane", LANE_NAME, "The lane.")];

/// The fields of the record that messages were read.
pub(crate) const READ_MESSAGES: &[Field] =
    &[TOKEN, required("through", FieldKind::Whole(0, u32::MAX as i64), "The number of the last of them.")];

/// The fields of an edit, lists among them as a whole or as changes.
pub(crate) const STORE_EDIT: &[Field] = &[
    optional("prompt", FieldKind::Text(limits::MAX_PROMPT_ONLY), "The prompt."),
    optional(
        "priority",
        FieldKind::Whole(-(limits::MAX_PRIORITY as i64), limits::MAX_PRIORITY as i64),
        "Higher goes first.",
    ),
    optional("name", NAME_TEXT, "The title."),
    optional("description", FieldKind::Text(MAX_TEXT), "The description."),
    optional("labels", TEXTS, "All labels."),
    optional("assignees", TEXTS, "All assignees."),
    optional("add_labels", TEXTS, "Labels to add."),
    optional("remove_labels", TEXTS, "Labels to remove."),
    optional("add_assignees", TEXTS, "Assignees to add."),
    optional("remove_assignees", TEXTS, "Assignees to remove."),
];

/// The fields of one task of a submit: those of `POST /tasks`, and the text of the request file of another machine.
pub(crate) const STORE_SUBMIT: &[Field] = &{
    let mut fields = [REQUEST_TEXT; SUBMIT.len() + 1];
    let mut at = 0;
    while at < SUBMIT.len() {
        fields[at] = SUBMIT[at];
        at += 1;
    }
    fields
};

const REQUEST_TEXT: Field = optional(
    "request_text",
    FieldKind::Text(limits::MAX_PROMPT_ONLY),
    "The content of the request file, next to a prompt.",
);
