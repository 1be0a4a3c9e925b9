//! Streams.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testkit::server::{Client, Server};
use crate::testkit::store::task_file;
use crate::testkit::wait::eventually;

/// Reads the events of a stream until one for which `is_last` holds.
fn events(client: &mut Client, mut is_last: impl FnMut(&Value) -> bool) -> Vec<(u64, Value)> {
    let mut seen = Vec::new();
    loop {
        let frame = client.until("\n\n");
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name).map(str::to_string));
        let (Some(id), Some(data)) = (field("id: "), field("data: ")) else { continue };
        let data: Value = serde_json::from_str(&data).unwrap();
        let ends = is_last(&data);
        seen.push((id.parse().unwrap(), data));
        if ends {
            return seen;
        }
    }
}

fn is_note(text: &str) -> impl FnMut(&Value) -> bool + '_ {
    move |event| event["message"] == text
}

fn note(server: &Server, id: &str, text: &str) {
    let answer = server.post(&format!("/tasks/{id}/events"), &json!({"message": text}));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn a_stream_goes_on_where_it_broke() {
    let server = Server::new();
    let mut first = server.client();
    first.request("GET", "/events?since=0", &[], None);
    assert!(first.until("\r\n\r\n").contains("Content-Type: text/event-stream"));
    let id = server.submit("l");
    note(&server, &id, "one\nid: 99\n\ndata: forged\u{2028}");
    note(&server, &id, "two");
    let seen = events(&mut first, is_note("two"));
    assert_eq!(seen.len(), 3, "{seen:?}");
    let last = seen.last().unwrap().0;
    drop(first);

    note(&server, &id, "three");
    server.submit("other");
    let mut second = server.client();
    let since = last.to_string();
    second.request("GET", "/events?since=0", &[("Last-Event-ID", &since)], None);
    note(&server, &id, "four");
    let more = events(&mut second, is_note("four"));
    let ids: Vec<u64> = more.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [last + 1, last + 2, last + 3]);

    let mut lane = server.client();
    lane.request("GET", "/events?since=0&lane=other", &[], None);
    assert_eq!(events(&mut lane, |event| event["type"] == "created").len(), 1);
    for path in ["/events".to_string(), format!("/tasks/{id}/events")] {
        for wrong in ["x", "+1", "-1", "1.0", "18446744073709551615", "9223372036854775808"] {
            let wrong = server.client().ask("GET", &path, &[("Last-Event-ID", wrong)], None);
            assert_eq!(wrong.status, 400, "{}", wrong.text);
        }
    }
}

#[test]
fn a_server_that_starts_again_goes_on_counting() {
    let mut server = Server::new();
    let id = server.submit("l");
    note(&server, &id, "before");
    let mut client = server.client();
    client.request("GET", "/events?since=0", &[], None);
    let last = events(&mut client, is_note("before")).last().unwrap().0;
    server.restart();
    note(&server, &id, "after");
    let mut client = server.client();
    client.request("GET", &format!("/events?since={last}"), &[], None);
    assert_eq!(events(&mut client, is_note("after")).first().unwrap().0, last + 1);
}

#[test]
fn a_long_history_arrives_whole_at_a_slow_reader() {
    let server = Server::new();
    let id = server.submit("l");
    let long = "x".repeat(10_000);
    let mut poster = server.client();
    for n in 0..150 {
        let body = json!({"message": format!("{n} {long}")});
        assert_eq!(poster.ask("POST", &format!("/tasks/{id}/events"), &[], Some(&body)).status, 200);
    }
    note(&server, &id, "end");
    for path in ["/events?since=0".to_string(), format!("/tasks/{id}/events")] {
        let mut slow = server.client();
        slow.request("GET", &path, &[], None);
        std::thread::sleep(Duration::from_millis(300));
        let seen = events(&mut slow, is_note("end"));
        let ids: Vec<u64> = seen.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (1..=152).collect::<Vec<u64>>(), "{path}");
    }
}

#[test]
fn a_tasks_stream_ends_with_the_task() {
    let server = Server::new();
    let id = server.submit("l");
    let mut client = server.client();
    client.request("GET", &format!("/tasks/{id}/events"), &[], None);
    server.claim(&id);
    let cancelled = server.post(&format!("/tasks/{id}/cancel"), &json!({"reason": "enough"}));
    assert_eq!(cancelled.status, 200);
    let seen = events(&mut client, |event| event["type"] == "cancelled");
    let kinds: Vec<&str> = seen.iter().map(|(_, event)| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "claimed", "cancelled"]);
    assert!(client.is_closed());
    let again = server.client().ask("GET", &format!("/tasks/{id}/events"), &[("Last-Event-ID", "3")], None);
    assert_eq!(again.status, 204);
    assert_eq!(server.get("/tasks/20260101T000000000000Z-a-b/events").status, 404);
}

#[test]
fn a_runs_output_is_shown_and_followed() {
    let server = Server::new();
    let id = server.submit("l");
    let path = format!("/tasks/{id}/log");
    assert_eq!(server.get(&path).status, 404);
    let runs = task_file(&server.store(), &lanes::internals::model::TaskId::parse(&id).unwrap(), "attempts");
    std::fs::create_dir_all(runs.join("1")).unwrap();
    std::fs::write(runs.join("1/stdout.log"), "one\n").unwrap();
    assert_eq!(server.get(&path).text, "one\n");
    let mut client = server.client();
    client.request("GET", &format!("{path}?follow=1"), &[], None);
    client.until("one\n");
    std::fs::write(runs.join("1/stdout.log"), "one\ntwo\n").unwrap();
    assert_eq!(client.until("two\n"), "two\n");
    std::fs::create_dir(runs.join("2")).unwrap();
    std::fs::write(runs.join("2/stdout.log"), "again\n").unwrap();
    client.until("again\n");
    server.respond(&id, "done");
    assert!(client.is_closed());
    assert_eq!(server.get(&format!("{path}?attempt=1")).text, "one\ntwo\n");
    assert_eq!(server.get(&format!("{path}?stream=stderr")).status, 404);
    assert_eq!(server.get(&format!("{path}?stream=../../task.json")).status, 400);
}

#[test]
fn a_reader_that_hangs_up_is_forgotten() {
    let server = Server::new();
    let mut streams: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for stream in &mut streams {
        stream.request("GET", "/events", &[], None);
        stream.until("retry");
    }
    assert_eq!(server.get("/status").at("/waiting_requests"), json!(10));
    drop(streams);
    eventually("streams without readers are forgotten", || {
        server.get("/status").at("/waiting_requests") == json!(0)
    });
}

/// Reads a stream from after event `since` until `is_last`, as a client that reconnects does.
fn go_on(server: &Server, since: u64, is_last: impl FnMut(&Value) -> bool) -> Vec<(u64, Value)> {
    let mut client = server.client();
    client.request("GET", "/events?since=0", &[("Last-Event-ID", &since.to_string())], None);
    events(&mut client, is_last)
}

#[test]
fn no_event_is_missed_or_repeated_by_any_writer_however_often_the_stream_breaks() {
    let mut server = Server::new();
    let id = server.submit("l");
    let mut seen: Vec<(u64, Value)> = Vec::new();
    for round in 0..6 {
        let since = seen.last().map_or(0, |(id, _)| *id);
        let mut client = server.client();
        client.request("GET", "/events?since=0", &[("Last-Event-ID", &since.to_string())], None);
        client.until("retry");
        // Some changes happen while a client listens, by the server and by others; some while no client does.
        note(&server, &id, &format!("{round} heard"));
        let other = format!("{round} heard of others");
        server.lanes(&["event", &id, "--message", &other]);
        seen.extend(events(&mut client, is_note(&other)));
        drop(client);
        server.lanes(&["submit", "--lane", "elsewhere", "--prompt", "p"]);
        note(&server, &id, &format!("{round} unheard"));
        if round % 2 == 1 {
            server.restart();
            server.lanes(&["event", &id, "--message", &format!("{round} after a restart")]);
        }
    }
    note(&server, &id, "end");
    let since = seen.last().unwrap().0;
    seen.extend(go_on(&server, since, is_note("end")));
    let ids: Vec<u64> = seen.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<u64>>());
    // One for the submit, four in each round, three after restarts, the end.
    assert_eq!(ids.len(), 1 + 6 * 4 + 3 + 1);
}

#[test]
fn a_client_learns_that_what_it_asks_for_is_gone() {
    let server = Server::new();
    let old = server.submit("l");
    note(&server, &old, "first");
    server.respond(&old, "done");
    // The newest change is never forgotten, so that numbering continues from it.
    let last = go_on(&server, 0, |event| event["type"] == "response").last().unwrap().0;
    server.lanes(&["gc", "--all-ended"]);
    let new = server.submit("l");

    for since in [0, 1] {
        let mut client = server.client();
        client.request("GET", &format!("/events?since={since}"), &[], None);
        client.until("retry: 1000\n\n");
        let gap = client.until("\n\n");
        assert_eq!(gap, format!("event: gap\ndata: {{\"first\": {last}}}\n\n"));
        let next = events(&mut client, |event| event["type"] == "created");
        assert_eq!((next[0].0, next[1].0, &next[1].1["task_id"]), (last, last + 1, &json!(new)));
    }
    // A client that has everything up to there has missed nothing.
    let mut client = server.client();
    client.request("GET", "/events", &[("Last-Event-ID", &(last - 1).to_string())], None);
    assert!(!client.until(&format!("id: {last}\n")).contains("gap"));
}

#[test]
fn a_client_ahead_of_the_feed_gets_a_gap_event_and_continues() {
    let server = Server::new();
    let id = server.submit("l");
    for ahead in [1, 1_000_000, i64::MAX as u64 / 2] {
        for by_header in [true, false] {
            let end = server.store().feed_end().unwrap();
            let text = (end + ahead).to_string();
            let mut client = server.client();
            if by_header {
                client.request("GET", "/events", &[("Last-Event-ID", &text)], None);
            } else {
                client.request("GET", &format!("/events?since={text}"), &[], None);
            }
            client.until("retry: 1000\n\n");
            let first = end + 1;
            assert_eq!(
                client.until("\n\n"),
                format!("event: gap\nid: {end}\ndata: {{\"first\": {first}}}\n\n")
            );
            note(&server, &id, "live");
            let live = events(&mut client, |event| event["message"] == "live");
            assert_eq!((live.len(), live[0].0), (1, first), "nothing old comes first");
        }
    }
    // The history of one task numbers its events from 1.
    let path = format!("/tasks/{id}/events?since=1000000");
    let mut client = server.client();
    client.request("GET", &path, &[], None);
    client.until("retry: 1000\n\n");
    assert_eq!(client.until("\n\n"), "event: gap\nid: 7\ndata: {\"first\": 8}\n\n");
    server.respond(&id, "done");
    client.until("\"type\":\"response\"");
    let mut late = server.client();
    late.request("GET", &path, &[], None);
    late.until("event: gap\n");
    assert_eq!(server.get(&format!("/tasks/{id}/events?since=8")).status, 204);
}
