//! Pages of tasks: order, selection, tasks in brief.

use serde_json::{Value, json};

use crate::testkit::server::{Reply, Server};
use crate::testkit::wait::eventually;

/// A server with tasks that differ in everything that selects; returns their ids.
fn queue() -> (Server, Vec<String>) {
    let server = Server::new();
    let ids: Vec<String> = [
        json!({"lane": "work", "name": "Paint", "prompt": "the fence", "labels": ["Home", "red"]}),
        json!({"lane": "work", "prompt": "\nFix the ÄRGER\nsoon", "key": "k1", "metadata": {"card": "7"}}),
        json!({"lane": "play", "prompt": "rest", "group": "g", "priority": 2, "max_attempts": 3}),
        json!({"lane": "play", "prompt": "sleep", "metadata": {"card": "8"}}),
    ]
    .iter()
    .map(|body| {
        let reply = server.post("/tasks", body);
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.text_at("/task_id")
    })
    .collect();
    server.claim(&ids[0]);
    server.post(&format!("/tasks/{}/cancel", ids[3]), &json!({"reason": "no"}));
    (server, ids)
}

/// The tasks of a page, by their places in `ids`.
fn places(page: &Reply, ids: &[String]) -> Vec<usize> {
    let of = |task: &Value| ids.iter().position(|id| task["id"] == id.as_str()).unwrap();
    page.at("/tasks").as_array().unwrap().iter().map(of).collect()
}

#[test]
fn every_filter_selects() {
    let (server, ids) = queue();
    for (query, expected) in [
        ("", vec![0, 1, 2, 3]),
        ("lane=play", vec![2, 3]),
        ("lane=play&lane=work&state=queued", vec![1, 2]),
        ("state=failed", vec![3]),
        ("failure_class=cancelled", vec![3]),
        ("failure_class=dead", vec![]),
        ("group=g", vec![2]),
        ("label=red", vec![0]),
        ("label=blue&label=Home", vec![0]),
        ("owner=w", vec![0]),
        ("key=k1", vec![1]),
        ("key=K1", vec![]),
        ("match=card%3D7", vec![1]),
        ("match=card%3D7,8&state=failed", vec![3]),
        ("match=card%3D7,any", vec![0, 1, 2]),
        ("q=%C3%A4rger", vec![1]),
        ("q=paint", vec![0]),
        ("q=HOME", vec![0]),
        ("q=nowhere", vec![]),
        ("q=rest&lane=work", vec![]),
    ] {
        for fields in ["", "&fields=summary"] {
            let page = server.get(&format!("/tasks?{query}{fields}"));
            assert_eq!(page.status, 200, "{}", page.text);
            assert_eq!(places(&page, &ids), expected, "{query}");
            assert_eq!(page.at("/total"), json!(expected.len()), "{query}");
        }
    }
    let end = ids[2].rsplit('-').next().unwrap();
    assert_eq!(places(&server.get(&format!("/tasks?q={end}")), &ids), [2]);
    for wrong in ["order=random", "fields=few", "match=card", "key=a&key=b", "state=done"] {
        assert_eq!(server.get(&format!("/tasks?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn orders_and_their_cursors() {
    let (server, ids) = queue();
    for (order, expected) in [("oldest", [0, 1, 2, 3]), ("newest", [3, 2, 1, 0]), ("updated", [3, 0, 2, 1])] {
        let first = server.get(&format!("/tasks?order={order}&limit=3&fields=summary"));
        assert_eq!(places(&first, &ids), expected[..3], "{order}");
        let cursor = first.text_at("/next_cursor");
        let rest = server.get(&format!("/tasks?order={order}&limit=3&cursor={cursor}"));
        assert_eq!(places(&rest, &ids), expected[3..], "{order}");
        assert_eq!((rest.at("/next_cursor"), rest.at("/total")), (Value::Null, json!(4)));
        let other = if order == "newest" { "oldest" } else { "newest" };
        for foreign in [format!("order={other}"), format!("order={order}&lane=play")] {
            let refused = server.get(&format!("/tasks?{foreign}&cursor={cursor}"));
            assert_eq!((refused.status, refused.code().as_str()), (400, "invalid"), "{foreign}");
        }
    }
    assert_eq!(server.get(&format!("/tasks?cursor={}", ids[0])).status, 400);
    // A change moves a task to the front, and its row is never the old one.
    server.post(&format!("/tasks/{}/move", ids[1]), &json!({"lane": "later"}));
    let page = server.get("/tasks?order=updated&limit=1&fields=summary");
    assert_eq!((places(&page, &ids), page.text_at("/tasks/0/lane").as_str()), (vec![1], "later"));
    assert_eq!(server.get("/tasks?lane=work").at("/total"), json!(1));
}

#[test]
fn a_task_in_brief_has_what_a_row_shows() {
    let (server, ids) = queue();
    let page = server.get("/tasks?fields=summary");
    for (pointer, value) in [
        ("/tasks/0/title", json!("Paint")),
        ("/tasks/0/state", json!("claimed")),
        ("/tasks/0/owner", json!("w")),
        ("/tasks/0/labels", json!(["Home", "red"])),
        ("/tasks/0/attempt", json!(1)),
        ("/tasks/1/title", json!("Fix the ÄRGER")),
        ("/tasks/1/owner", Value::Null),
        ("/tasks/1/open_questions", json!(0)),
        ("/tasks/2/group", json!("g")),
        ("/tasks/2/priority", json!(2)),
        ("/tasks/2/max_attempts", json!(3)),
        ("/tasks/3/failure_class", json!("cancelled")),
        ("/tasks/3/lease_expires_at", Value::Null),
    ] {
        assert_eq!(page.at(pointer), value, "{pointer}");
    }
    for pointer in ["/tasks/0/lease_expires_at", "/tasks/0/claimed_at", "/tasks/3/ended_at"] {
        assert!(page.at(pointer).is_string(), "{pointer}");
    }
    let document = Value::Object(lanes::internals::http::document());
    let schema = &document["components"]["schemas"]["TaskSummary"]["required"];
    let keys: Vec<String> = page.at("/tasks/0").as_object().unwrap().keys().cloned().collect();
    assert_eq!(schema.as_array().unwrap().len(), keys.len());
    assert!(schema.as_array().unwrap().iter().all(|key| keys.contains(&key.as_str().unwrap().to_string())));
    let size = page.text.len() / ids.len();
    assert!(size < 700, "{size} bytes for a task: {}", page.text);

    let one = server.get(&format!("/tasks/{}?fields=summary", ids[0]));
    assert_eq!(one.at("/task"), page.at("/tasks/0"));
    assert_eq!(server.get("/tasks/nobody?fields=summary").status, 404);
    let token = server.post(&format!("/tasks/{}/claim", ids[1]), &json!({})).text_at("/claim_token");
    let question = json!({"claim_token": token, "question": "red?"});
    server.post(&format!("/tasks/{}/questions", ids[1]), &question);
    let one = server.get(&format!("/tasks/{}?fields=summary", ids[1]));
    assert_eq!(
        (one.text_at("/task/state").as_str(), one.at("/task/open_questions")),
        ("input_required", json!(1))
    );
    assert_eq!(server.get("/tasks?state=input_required&fields=summary").at("/tasks/0"), one.at("/task"));
}

#[test]
fn what_other_programs_do_to_the_files_is_seen() {
    let (server, ids) = queue();
    assert_eq!(server.get("/tasks?state=queued").at("/total"), json!(2));
    // agent-lanes leaves nothing in the feed.
    let tasks = server.dir.path().join("state/tasks");
    let file = tasks.join(&ids[1]).join("task.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"priority\": 0", "\"priority\": 5")).unwrap();
    let shown = server.get("/tasks?key=k1&fields=summary");
    assert_eq!(shown.at("/tasks/0/priority"), json!(5), "what is shown is compared with its file");

    let new = tasks.join("copy");
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("task.json"), text.replace(&ids[1], "copy").replace("\"k1\"", "null")).unwrap();
    std::fs::remove_dir_all(tasks.join(&ids[2])).unwrap();
    eventually("the other files are seen", || {
        let page = server.get("/tasks?fields=summary");
        let has = |id: &str| page.at("/tasks").as_array().unwrap().iter().any(|task| task["id"] == id);
        has("copy") && !has(&ids[2]) && page.at("/total") == json!(4)
    });
    assert_eq!(server.get("/tasks?q=rger").at("/total"), json!(2));
}

#[test]
fn tasks_of_another_process_are_seen_at_once() {
    let server = Server::new();
    assert_eq!(server.get("/tasks").at("/total"), json!(0));
    for number in 1..=20 {
        let id = server.lanes(&["submit", "--lane", "work", "--prompt", "x", "-q"]);
        let page = server.get("/tasks?order=newest&limit=1&fields=summary");
        assert_eq!((page.text_at("/tasks/0/id"), page.at("/total")), (id, json!(number)));
    }
}

#[test]
fn many_requests_at_the_start_all_get_their_page() {
    let server = Server::new();
    let tasks: Vec<Value> = (0..300).map(|_| json!({"lane": "work", "prompt": "x"})).collect();
    assert_eq!(server.post("/tasks/batch", &json!({"tasks": tasks})).at("/count"), json!(300));
    let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    for client in &mut clients {
        client.request("GET", "/tasks?fields=summary&limit=5", &[], None);
    }
    for client in &mut clients {
        let page = client.reply(false);
        assert_eq!((page.status, page.at("/total")), (200, json!(300)));
    }
}
