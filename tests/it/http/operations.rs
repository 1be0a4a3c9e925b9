//! Running a server: the binary, its log, its counters, its OpenAPI document.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::testkit::server::Server;
use crate::testkit::store::{lane_name, owner};
use crate::testkit::wait::eventually;

#[test]
fn the_log_has_a_line_for_each_answer() {
    let server = Server::with(&["--log"]);
    server.get("/tasks?lane=secret");
    server.get("/nowhere");
    server.get("/tasks/next?lane=l&wait_seconds=0.1");
    server.client().send("nonsense\r\n\r\n");
    eventually("four lines are logged", || server.stderr().lines().count() >= 4);
    let text = server.stderr();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["path"], &line["status"])).collect();
    let expected = [
        (&json!("/tasks"), &json!(200)),
        (&json!("/nowhere"), &json!(404)),
        (&json!("/tasks/next"), &json!(200)),
        (&json!(""), &json!(400)),
    ];
    assert_eq!(seen, expected);
    assert!(!text.contains("secret"), "{text}");
    assert!(lines[2]["seconds"].as_f64().unwrap() >= 0.1);
}

#[test]
fn changes_by_any_program_are_counted() {
    let server = Server::new();
    let id = server.submit("a \"lane\"");
    let token = server.claim(&id);
    server.post(&format!("/tasks/{id}/response"), &json!({"claim_token": token, "body": "b"}));
    let lost = server.submit("l");
    server.post(&format!("/tasks/{lost}/claim"), &json!({"lease_seconds": 0.05}));
    let store = server.store();
    let want = lanes::internals::store::LaneQuery {
        lanes: vec![lane_name("l")],
        filter: lanes::internals::model::Filter::default(),
    };
    eventually("the lease is over", || {
        store.claim_next(&want, &owner("elsewhere"), Duration::from_secs(60)).unwrap().is_some()
    });
    let metrics = server.get("/metrics").text;
    for line in [
        "lanes_tasks{lane=\"a \\\"lane\\\"\",state=\"completed\"} 1",
        "lanes_tasks{lane=\"l\",state=\"claimed\"} 1",
        "lanes_claims_total{lane=\"l\"} 2",
        "lanes_lease_expiries_total{lane=\"l\"} 1",
        "lanes_ended_total{lane=\"a \\\"lane\\\"\",outcome=\"completed\"} 1",
        "lanes_wait_seconds_count 2",
        "lanes_run_seconds_count 1",
        "lanes_http_requests_total{method=\"POST\",route=\"/tasks\",status=\"201\"} 2",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} in\n{metrics}");
    }
}

#[test]
fn the_document_describes_what_is_served() {
    let server = Server::new();
    let document = server.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let names: BTreeSet<&str> =
        document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
    let text = document.to_string();
    assert!(!text.contains(":null"), "no keyword of a schema is null");
    for used in text.split("#/components/schemas/").skip(1) {
        let name = used.split('"').next().unwrap();
        assert!(names.contains(name), "{name} is used and not described");
    }
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let target =
            path.replace("{id}", "20260101T000000000000Z-a-b").replace("{name}", "n").replace("{lane}", "n");
        let options = server.client().ask("OPTIONS", &target, &[], None);
        let allowed: BTreeSet<String> = options
            .header("allow")
            .unwrap()
            .split(", ")
            .filter(|method| !matches!(*method, "HEAD" | "OPTIONS"))
            .map(str::to_lowercase)
            .collect();
        let described: BTreeSet<String> = methods.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, allowed, "{path}");
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operations.insert(operation["operationId"].as_str().unwrap().to_string()));
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with(['2', '3'])), "{method} {path}");
            // What an empty request gets is one of the answers that are described.
            let body = (method == "post" || method == "patch").then(|| json!({}));
            let mut client = server.client();
            let status = client.ask(&method.to_uppercase(), &target, &[], body.as_ref()).status;
            assert!(answers.contains_key(&status.to_string()), "{method} {path} gave {status}");
        }
    }
    assert_eq!(operations.len(), lanes_routes(&document));
}

fn lanes_routes(document: &Value) -> usize {
    document["paths"].as_object().unwrap().values().map(|methods| methods.as_object().unwrap().len()).sum()
}

#[test]
fn every_shape_holds_what_the_document_promises() {
    let server = Server::with(&["--enable-queue-management"]);
    let document = server.get("/openapi.json").json();
    let id = server.submit("l");
    let claimed = server.post(&format!("/tasks/{id}/claim"), &json!({})).json();
    check(&document, "Claimed", &claimed);
    let token = claimed["claim_token"].clone();
    check(&document, "BoardTask", &server.get(&format!("/tasks/{id}")).json());
    let given = server.post(&format!("/tasks/{id}/response"), &json!({"body": "b", "claim_token": token}));
    check(&document, "Responded", &given.json());
    check(&document, "OneResponse", &server.get(&format!("/tasks/{id}/response")).json());
    check(&document, "Answered", &server.get(&format!("/tasks/wait?id={id}")).json());
    check(&document, "TaskPage", &server.get("/tasks").json());
    check(&document, "MaybeTask", &server.get("/tasks/next?lane=l&wait_seconds=0").json());
    check(&document, "Submitted", &server.post("/tasks", &json!({"lane": "l", "prompt": "p"})).json());
    check(&document, "History", &server.get(&format!("/tasks/{id}/history")).json());
    check(&document, "Reason", &server.get(&format!("/tasks/{id}/why")).json());
    let batch = json!({"tasks": [{"lane": "l", "prompt": "p"}, {}]});
    check(&document, "SubmittedBatch", &server.post("/tasks/batch", &batch).json());
    check(&document, "Paused", &server.post("/lanes/l/pause", &json!({})).json());
    let pause = server.post("/vendors/claude/pause", &json!({"model": "opus", "for_seconds": 60}));
    check(&document, "PausedVendor", &pause.json());
    check(&document, "Vendors", &server.get("/vendors").json());
    check(&document, "Schedules", &server.get("/schedules").json());
    check(&document, "Budgets", &server.get("/budget").json());
    check(&document, "PausedVendor", &server.post("/vendors/claude/resume", &json!({})).json());
    check(&document, "Redriven", &server.post("/lanes/l/redrive", &json!({})).json());
    let new = server.submit("l");
    check(&document, "Changed", &server.post(&format!("/tasks/{new}/cancel"), &json!({})).json());
    check(&document, "Retried", &server.post(&format!("/tasks/{new}/retry"), &json!({})).json());
    check(&document, "Lanes", &server.get("/lanes").json());
    check(&document, "OneLane", &server.get("/queues/review").json());
    check(&document, "ServerStatus", &server.get("/status").json());
    check(&document, "Agents", &server.get("/agents").json());
    check(&document, "Routes", &server.get("/routes").json());
    check(&document, "Error", &server.get("/nowhere").json());
}

/// Checks types and required members, as far as our schemas use them.
fn check(document: &Value, name: &str, value: &Value) {
    fits(document, &document["components"]["schemas"][name], value, name);
}

fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, reference.rsplit('/').next().unwrap(), value);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let option = options.iter().find(|option| (option["type"] == "null") == value.is_null()).unwrap();
        return fits(document, option, value, place);
    }
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => vec![own],
    };
    let is_number = own == "integer" && types.contains(&"number");
    assert!(types.contains(&own) || is_number, "{place}: {value} is not {types:?}");
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{place}: no {required} in {value}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            fits(document, schema, member, &format!("{place}.{name}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item, &format!("{place}[]"));
    }
}

#[test]
fn the_server_answers_waiting_requests_and_ends() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut server = Server::under("true");
        let mut client = server.client();
        client.request("GET", "/tasks/next?lane=l", &[], None);
        eventually("the poll waits", || server.get("/status").at("/waiting_requests") == json!(1));
        let start = Instant::now();
        server.signal(signal);
        assert_eq!(client.reply(false).at("/task"), Value::Null);
        assert!(server.child.wait().unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(server.stderr(), "");
    }
}

#[test]
fn a_store_of_a_newer_format_is_read_and_a_change_is_no_fault_of_the_client() {
    let mut server = Server::new();
    let id = server.submit("l");
    std::fs::write(server.dir.path().join("state/format.json"), "{\"version\": 2}\n").unwrap();
    server.restart();
    assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/state"), "queued");
    let file = server.dir.path().join("state/tasks").join(&id).join("task.json");
    let before = std::fs::read(&file).unwrap();
    let (submit, cancel) = (json!({"lane": "l", "prompt": "p"}), format!("/tasks/{id}/cancel"));
    for (path, body) in [("/tasks", submit), (cancel.as_str(), json!({}))] {
        let refused = server.post(path, &body);
        assert_eq!((refused.status, refused.code().as_str()), (503, "newer_format"), "{path}");
        assert!(refused.text.contains("only a newer lanes can change it"), "{}", refused.text);
        // It does not pass by itself.
        assert_eq!(refused.header("Retry-After"), None);
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
