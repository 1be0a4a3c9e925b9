//! The operations as an OpenAPI 3.1 document.

use serde_json::map::Entry;
use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::params::{Field, schema_of};
use super::schema;
use crate::http::auth::OPEN_PATHS;
use crate::http::transport::response::members;
use crate::model::json::Object;

/// The pattern of the ids of tasks.
const ID_PATTERN: &str = r"^(?!.*\.\.)[a-zA-Z0-9][a-zA-Z0-9._-]*$";
/// The pattern of the names of lanes.
const LANE_PATTERN: &str = r"^(?!-|\.$|\.\.$|\s*$)[^\u0000-\u001f\u007f-\u009f]+$";

/// Returns the document that describes these operations.
pub(crate) fn document<'a>(operations: impl Iterator<Item = &'a Operation>) -> Object {
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = path {
            methods.insert(operation.method.to_lowercase(), describe(operation));
        }
    }
    members([
        ("openapi", "3.1.0".into()),
        (
            "info",
            json!({
                "title": "lanes",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "A task queue for agents, scripts and people on one machine.",
                "license": {"name": "MIT", "identifier": "MIT"},
            }),
        ),
        ("paths", Value::Object(paths)),
        (
            "components",
            json!({
                "schemas": schema::schemas(),
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            }),
        ),
        // A server that requires no token accepts one as well.
        ("security", json!([{"token": []}])),
    ])
}

fn describe(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = operation.query.iter().map(|field| parameter(field, "query")).collect();
    if let Some(name) = path_parameter(operation.path) {
        let about = if name == "id" { "The full id of a task." } else { "The name, percent-encoded." };
        let pattern = if name == "id" { ID_PATTERN } else { LANE_PATTERN };
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": about,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": pattern},
        }));
    }
    let repeats = match operation.id {
        "submitTask" => Some("A second submit with the same key and content returns the task of the first."),
        "submitTasks" => Some("A task without a key of its own gets this one, followed by # and its index."),
        _ => None,
    };
    if let Some(about) = repeats {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 200},
            "description": about,
        }));
    }
    if operation.responses.iter().any(|(_, shape)| *shape == "text/event-stream") {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "schema": {"type": "string"},
            "description": "The id of the last event that was received; takes precedence over `since`.",
        }));
    }
    let mut described = members([
        ("operationId", operation.id.into()),
        ("summary", operation.summary.into()),
        ("parameters", parameters.into()),
        ("responses", Value::Object(responses(operation))),
    ]);
    if OPEN_PATHS.contains(&operation.path) {
        described.insert("security".into(), json!([]));
    }
    if let Some(fields) = operation.body {
        let needs_body = fields.iter().any(|field| field.is_required);
        described.insert(
            "requestBody".into(),
            json!({"required": needs_body, "content": {"application/json": {"schema": schema_of(fields)}}}),
        );
    }
    Value::Object(described)
}

fn path_parameter(path: &str) -> Option<&str> {
    path.split_once('{')?.1.split_once('}').map(|(name, _)| name)
}

fn parameter(field: &Field, place: &str) -> Value {
    json!({
        "name": field.name, "in": place, "required": field.is_required, "description": field.about,
        "schema": field.kind.schema(),
    })
}

fn responses(operation: &Operation) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, shape) in operation.responses {
        let mut response = json!({"description": operation.summary});
        match *shape {
            "" => {}
            // Some programs would read a schema as that of one event, others as that of the whole text.
            "text/event-stream" => response["content"] = json!({"text/event-stream": {}}),
            kind if kind.contains('/') => {
                response["content"] = json!({kind: {"schema": {"type": "string"}}});
            }
            name => {
                let schema = json!({"$ref": format!("#/components/schemas/{name}")});
                response["content"] = json!({"application/json": {"schema": schema}});
            }
        }
        match responses.entry(status.to_string()) {
            Entry::Vacant(free) => drop(free.insert(response)),
            // Another media type of the same response.
            Entry::Occupied(mut first) => {
                if let (Some(Value::Object(all)), Some(Value::Object(more))) =
                    (first.get_mut().get_mut("content"), response.get_mut("content"))
                {
                    all.append(more);
                }
            }
        }
    }
    for (status, about) in errors(operation) {
        let schema = json!({"$ref": "#/components/schemas/Error"});
        responses.insert(
            status.to_string(),
            json!({"description": about, "content": {"application/json": {"schema": schema}}}),
        );
    }
    responses
}

/// Returns the errors of an operation, by status.
fn errors(operation: &Operation) -> Vec<(u16, &'static str)> {
    let has_parameter = path_parameter(operation.path).is_some();
    let mut errors = vec![
        (400, "The request is malformed or invalid."),
        (401, "The token is missing or wrong."),
        (
            403,
            "The Host or the Origin is not served, the change is not allowed, the server is read-only, or the code is refused.",
        ),
        (405, "The path does not have this method."),
        (408, "The request did not arrive in time, or the wait timed out."),
        (413, "The body is too large, or the files that it names."),
        (414, "The request line is too long."),
        (417, "The Expect header is not 100-continue."),
        (431, "The headers are too large."),
        (500, "The store cannot be read or written."),
        (501, "The Transfer-Encoding is not chunked."),
        (
            503,
            "The store is locked, gone or of a newer format, the server is stopping, or too many requests are in progress.",
        ),
        (505, "The version of HTTP is neither 1.1 nor 1.0."),
    ];
    if has_parameter || matches!(operation.id, "waitForTasks" | "showGraph") {
        errors.push((404, "Not found."));
    }
    if operation.body.is_some() {
        errors.push((409, "The rules of the queue do not allow it."));
        errors.push((415, "The body comes from a browser and is not declared as JSON."));
    } else if operation.needs_management {
        errors.push((409, "It is in use, or handoff.yaml names it."));
    }
    errors
}
