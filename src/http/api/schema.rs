//! The JSON schemas of responses.

use serde_json::{Map, Value, json};

use crate::model::spec::{FieldType, SPEC_FIELDS};

/// Every `code` of an error. Their meaning never changes; new ones may be added.
const CODES: &[&str] = &[
    // Errors of the queue, as in `--json` output of the command line.
    "invalid",
    "config",
    "not_found",
    "refused",
    "timed_out",
    "nothing_available",
    "task_failed",
    "locked",
    "newer_format",
    "corrupt",
    "io",
    "unavailable",
    // Errors of the server.
    "bad_request",
    "unauthorized",
    "code_refused",
    "count_differs",
    "host_refused",
    "origin_refused",
    "management_disabled",
    "programs_disabled",
    "read_only",
    "unknown_route",
    "method_not_allowed",
    "request_timeout",
    "body_too_large",
    "uri_too_long",
    "content_type_refused",
    "expectation_failed",
    "headers_too_large",
    "internal",
    "encoding_unsupported",
    "gzip_only",
    "too_many_answers",
    "too_many_bodies",
    "too_many_files",
    "files_too_large",
    "too_many_waits",
    "running",
    "stopping",
    "store_gone",
    "unhealthy",
    "version_unsupported",
];

fn text() -> Value {
    json!({"type": "string"})
}

fn text_or_null() -> Value {
    json!({"type": ["string", "null"]})
}

fn time_or_null() -> Value {
    json!({"type": ["string", "null"], "format": "date-time"})
}

fn number_or_null() -> Value {
    json!({"type": ["number", "null"]})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn map() -> Value {
    json!({"type": "object"})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Returns the schema of an object that has all of these members, and may have others.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| (name.to_string(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn task() -> Value {
    let token = json!({
        "type": ["string", "null"],
        "description": "Present in the response to claim and renew, and null everywhere else.",
    });
    let mut schema = object([
        ("id", text()),
        ("request_path", text()),
        ("request_sha256", text()),
        ("response_path", text()),
        ("state", text()),
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("updated_at", json!({"type": "string", "format": "date-time"})),
        ("attempt", count()),
        ("fence", count()),
        ("retried_as", text_or_null()),
        ("claim_owner", text_or_null()),
        ("claim_token", token),
        ("claimed_at", time_or_null()),
        ("lease_expires_at", time_or_null()),
        ("lease_seconds", number_or_null()),
        ("completed_at", time_or_null()),
        ("failed_at", time_or_null()),
        ("failure_reason", text_or_null()),
        ("failure_class", text_or_null()),
        ("not_before", time_or_null()),
    ]);
    for (key, kind) in SPEC_FIELDS {
        schema["properties"][key] = match kind {
            FieldType::Text => text(),
            FieldType::OptionalText => text_or_null(),
            FieldType::Integer => json!({"type": "integer"}),
            FieldType::OptionalInteger => json!({"type": ["integer", "null"]}),
            FieldType::OptionalNumber => number_or_null(),
            FieldType::Texts => list(&text()),
            FieldType::Files => list(&object([("path", text()), ("sha256", text())])),
            FieldType::Object => map(),
            FieldType::OptionalObject => json!({"type": ["object", "null"]}),
            FieldType::Commands => list(&list(&text())),
            FieldType::Dependencies => list(&object([("on", text()), ("task", text())])),
        };
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(key.into());
        }
    }
    schema
}

fn task_summary() -> Value {
    object([
        ("id", text()),
        ("title", text()),
        ("lane", text()),
        ("state", text()),
        ("failure_class", text_or_null()),
        ("attempt", count()),
        ("max_attempts", json!({"type": ["integer", "null"]})),
        ("priority", json!({"type": "integer"})),
        ("owner", text_or_null()),
        ("vendor", text_or_null()),
        ("labels", list(&text())),
        ("group", text_or_null()),
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("updated_at", json!({"type": "string", "format": "date-time"})),
        ("claimed_at", time_or_null()),
        ("ended_at", time_or_null()),
        ("lease_expires_at", time_or_null()),
        ("not_before", time_or_null()),
        ("open_questions", count()),
        ("cost_usd", number_or_null()),
        ("verdict", text_or_null()),
    ])
}

fn response() -> Value {
    let count_or_null = json!({"type": ["integer", "null"], "minimum": 0});
    object([
        ("task_id", text()),
        ("reviewer", text()),
        ("status", json!({"type": "string", "enum": ["completed", "failed"]})),
        ("body", text()),
        ("reviewed_request_sha256", text()),
        ("request_changed_before_response", flag()),
        ("follow_up_required", flag()),
        ("verdict", text_or_null()),
        ("blocking_count", count_or_null.clone()),
        ("nonblocking_count", count_or_null),
        ("metadata", map()),
        ("created_at", json!({"type": "string", "format": "date-time"})),
    ])
}

fn event() -> Value {
    object([
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("type", text()),
        ("message", text()),
        ("data", map()),
    ])
}

fn run_stats() -> Value {
    let totals = object([
        ("runs", count()),
        ("completed", count()),
        ("failed", count()),
        ("cost_usd", number_or_null()),
        ("runs_without_cost", count()),
        ("median_usd", number_or_null()),
        ("p90_usd", number_or_null()),
        ("median_seconds", number_or_null()),
        ("p90_seconds", number_or_null()),
    ]);
    let groups = json!({"type": "object", "additionalProperties": &totals});
    let day = object([
        ("day", text()),
        ("runs", count()),
        ("completed", count()),
        ("failed", count()),
        ("cost_usd", number_or_null()),
        ("runs_without_cost", count()),
    ]);
    let stats =
        object([("all", totals), ("lanes", groups.clone()), ("vendors", groups.clone()), ("models", groups)]);
    object([("stats", stats), ("series", list(&day)), ("budgets", list(&map()))])
}

/// Returns the schema of a value or null.
fn maybe(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// Returns all named schemas.
pub(crate) fn schemas() -> Map<String, Value> {
    let parts = [
        resources(),
        task_responses(),
        change_responses(),
        dialogue_responses(),
        history_responses(),
        server_responses(),
    ];
    parts.into_iter().flatten().map(|(name, schema)| (name.to_string(), schema)).collect()
}

/// A schema with its name.
type NamedSchema = (&'static str, Value);

/// Returns the schemas of errors and of the resources that responses contain.
fn resources() -> Vec<NamedSchema> {
    let lane = object([
        ("name", text()),
        ("description", text()),
        ("paused", flag()),
        ("pause", maybe(&object([("since", text()), ("reason", text_or_null())]))),
        ("task_count", count()),
        ("cancelled", count()),
        ("tasks_by_state", json!({"type": "object", "additionalProperties": count()})),
    ]);
    let route = object([("lane", text()), ("queue_name", text()), ("source", text()), ("settings", map())]);
    let agent = object([
        ("task_id", text()),
        ("name", text()),
        ("lane", text()),
        ("queue", text()),
        ("attempt", count()),
        ("dispatcher", text()),
        ("runtime_seconds", number_or_null()),
        ("timeout_seconds", number_or_null()),
    ]);
    let attention = object([
        ("kind", text()),
        ("text", text()),
        ("command", text_or_null()),
        ("task_id", text_or_null()),
        ("lane", text_or_null()),
        ("vendor", text_or_null()),
        ("group", text_or_null()),
        ("count", count()),
        ("since", time_or_null()),
        ("until", time_or_null()),
    ]);
    let dispatcher = object([
        ("name", text()),
        ("pid", count()),
        ("host", text_or_null()),
        ("lanes", list(&text())),
        ("slots", count()),
        ("running", list(&object([("task_id", text()), ("lane", text()), ("since", text())]))),
        ("serves", list(&map())),
        ("unready", list(&object([("lane", text()), ("vendor", text_or_null()), ("text", text())]))),
        ("draining", flag()),
    ]);
    vec![
        ("AttentionItem", attention),
        ("Dispatcher", dispatcher),
        ("Error", object([("error", text()), ("code", json!({"type": "string", "enum": CODES}))])),
        ("Task", task()),
        ("TaskSummary", task_summary()),
        ("Response", response()),
        ("Lane", lane),
        ("Route", route),
        ("Agent", agent),
    ]
}

/// Returns the schemas of responses about tasks and their runs.
fn task_responses() -> Vec<NamedSchema> {
    vec![
        ("OneTask", object([("task", named("Task"))])),
        ("MaybeTask", object([("task", maybe(&named("Task")))])),
        ("MaybeClaimed", object([("task", maybe(&named("Task")))])),
        (
            "Claimed",
            object([
                ("task", named("Task")),
                ("task_id", text()),
                ("claim_token", text()),
                ("messages", list(&named("Message"))),
            ]),
        ),
        (
            "TaskPage",
            object([
                ("tasks", list(&json!({"anyOf": [named("Task"), named("TaskSummary")]}))),
                ("count", count()),
                ("total", count()),
                ("unreadable", list(&object([("id", text()), ("error", text())]))),
                ("next_cursor", text_or_null()),
            ]),
        ),
        (
            "Submitted",
            object([
                ("task", named("Task")),
                ("task_id", text()),
                ("existing", flag()),
                ("warnings", list(&text())),
                ("id", text()),
                ("name", text_or_null()),
                ("queue", text()),
            ]),
        ),
        (
            "SubmittedBatch",
            object([
                ("status", json!({"type": "string", "enum": ["ok", "partly_refused"]})),
                ("count", count()),
                (
                    "tasks",
                    list(&object([
                        ("index", count()),
                        ("task_id", text()),
                        ("existing", flag()),
                        ("warnings", list(&text())),
                    ])),
                ),
                ("errors", list(&object([("index", count()), ("code", text()), ("error", text())]))),
            ]),
        ),
        (
            "Graph",
            object([
                (
                    "nodes",
                    list(&object([
                        ("id", text()),
                        ("title", text()),
                        ("lane", text()),
                        ("state", text()),
                        ("group", text_or_null()),
                        ("failure_class", text_or_null()),
                    ])),
                ),
                ("edges", list(&object([("from", text()), ("to", text()), ("on", text())]))),
            ]),
        ),
        // Only `lanes` of the same protocol reads it.
        ("StoreReply", map()),
        ("RunStats", run_stats()),
        ("Schedules", object([("schedules", list(&map())), ("count", count())])),
        ("Budgets", object([("budgets", list(&map())), ("count", count())])),
        ("Reason", object([("task_id", text()), ("state", text()), ("reason", text()), ("message", text())])),
    ]
}

/// Returns the schemas of responses to changes of tasks, lanes and vendors.
fn change_responses() -> Vec<NamedSchema> {
    vec![
        (
            "Retried",
            object([
                ("retry_of", text()),
                ("task_id", text()),
                ("existing", flag()),
                ("task", named("Task")),
            ]),
        ),
        (
            "Redriven",
            object([
                ("count", count()),
                ("results", list(&object([("retry_of", text()), ("task_id", text()), ("existing", flag())]))),
            ]),
        ),
        (
            "BulkChanged",
            object([
                ("matched", count()),
                ("changed", count()),
                ("remaining", count()),
                ("results", list(&object([("task_id", text()), ("new_task_id", text_or_null())]))),
                ("refused", list(&object([("task_id", text()), ("error", text()), ("code", text())]))),
            ]),
        ),
        ("CancelledGroup", object([("count", count()), ("task_ids", list(&text()))])),
        ("Changed", object([("task", named("Task")), ("changed", flag())])),
        ("Paused", object([("lane", text()), ("paused", flag()), ("changed", flag())])),
        ("Vendors", object([("parked", map()), ("count", count())])),
        (
            "PausedVendor",
            object([("vendor", text()), ("paused", flag()), ("changed", flag()), ("pauses", list(&map()))]),
        ),
    ]
}

/// Returns the schemas of responses about questions and messages.
fn dialogue_responses() -> Vec<NamedSchema> {
    vec![
        (
            "Message",
            object([
                ("n", count()),
                ("message", text()),
                ("sent_by", text()),
                ("sent_at", text()),
                ("read_by", text_or_null()),
                ("read_at", text_or_null()),
            ]),
        ),
        ("Told", object([("message", named("Message")), ("delivery", text()), ("task", named("Task"))])),
        (
            "Inbox",
            object([
                ("count", count()),
                (
                    "items",
                    list(&object([
                        ("kind", text()),
                        ("task_id", text()),
                        ("lane", text()),
                        ("since", text()),
                    ])),
                ),
            ]),
        ),
        (
            "Asked",
            object([("question", count()), ("task", named("Task")), ("messages", list(&named("Message")))]),
        ),
    ]
}

/// Returns the schemas of responses about events, comments and responses to tasks.
fn history_responses() -> Vec<NamedSchema> {
    let comments = list(&object([("comment", text()), ("author", text_or_null()), ("created_at", text())]));
    let noted = json!({"type": "object", "required": ["ok"], "properties": {
        "ok": {"const": true},
        "messages": list(&named("Message")),
    }});
    let answered = object([("task_id", text()), ("state", text()), ("response", maybe(&named("Response")))]);
    vec![
        ("Event", event()),
        (
            "History",
            object([
                ("task", named("Task")),
                ("events", list(&named("Event"))),
                ("attempts", list(&named("Attempt"))),
                ("response", maybe(&named("Response"))),
            ]),
        ),
        (
            "Attempt",
            object([
                ("n", count()),
                ("owner", text_or_null()),
                ("vendor", text_or_null()),
                ("model", text_or_null()),
                ("started_at", time_or_null()),
                ("ended_at", time_or_null()),
                ("outcome", text_or_null()),
                ("failure_class", text_or_null()),
                ("message", text_or_null()),
                ("cost_usd", number_or_null()),
                ("tokens", json!({"type": ["object", "null"]})),
                ("session_id", text_or_null()),
                ("exit_code", number_or_null()),
                ("verified", json!({"type": ["boolean", "null"]})),
                ("has_diff", flag()),
            ]),
        ),
        (
            "BoardTask",
            object([
                ("task", named("Task")),
                ("id", text()),
                ("name", text()),
                ("description", text()),
                ("labels", list(&text())),
                ("assignees", list(&text())),
                ("comments", comments.clone()),
                ("queue", text()),
                ("retry_count", count()),
            ]),
        ),
        ("BriefTask", object([("task", named("TaskSummary"))])),
        ("ShownTask", json!({"anyOf": [named("BoardTask"), named("BriefTask")]})),
        ("OneResponse", object([("response", named("Response"))])),
        ("Responded", object([("response", named("Response")), ("task", named("Task"))])),
        ("Answered", object([("answered", list(&answered)), ("pending", list(&text()))])),
        ("Done", object([("ok", json!({"const": true}))])),
        ("Noted", noted),
        ("Comments", object([("comments", comments)])),
    ]
}

/// Returns the schemas of responses about lanes, routes, agents and the server.
fn server_responses() -> Vec<NamedSchema> {
    vec![
        (
            "Lanes",
            object([("lanes", list(&named("Lane"))), ("queues", list(&named("Lane"))), ("count", count())]),
        ),
        ("OneLane", object([("lane", named("Lane")), ("queue", named("Lane")), ("name", text())])),
        ("Routes", object([("routes", list(&named("Route"))), ("count", count())])),
        ("OneRoute", object([("route", named("Route"))])),
        ("Agents", object([("agents", list(&named("Agent"))), ("count", count())])),
        ("OneAgent", object([("agent", named("Agent"))])),
        (
            "ServerStatus",
            object([
                ("status", json!({"const": "ok"})),
                ("version", text()),
                ("workspace_id", text()),
                ("read_only", json!({"type": "boolean"})),
                ("queue_management", json!({"type": "boolean"})),
                ("started_at", text()),
                ("uptime_seconds", json!({"type": "number", "minimum": 0})),
                ("capacity", count()),
                ("active_agents", count()),
                ("free_slots", count()),
                ("dispatchers", list(&named("Dispatcher"))),
                ("workers", list(&map())),
                ("waiting_requests", count()),
                ("parked", list(&map())),
                ("attention", list(&named("AttentionItem"))),
                ("now", text()),
                ("feed", count()),
                ("lanes", list(&named("Lane"))),
            ]),
        ),
        ("Health", object([("status", json!({"const": "ok"}))])),
        ("Document", map()),
    ]
}
