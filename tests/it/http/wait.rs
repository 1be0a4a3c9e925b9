//! Requests that wait.

use std::collections::HashSet;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use lanes::internals::model::{Command, Filter};
use lanes::internals::store::LaneQuery;
use serde_json::{Value, json};

use crate::testkit::server::{Client, Server};
use crate::testkit::store::{lane_name, owner};
use crate::testkit::wait::eventually;

const CLAIM: &str = "/tasks/claim";

/// Checks that waits end at once, and not with the periodic check two seconds after the last one. Each of `lags` is the time
/// of one wait beyond what it had to wait. One of them may be long on a loaded machine.
#[track_caller]
fn wake_at_once(lags: &[Duration]) {
    assert!(lags.len() >= 8, "few say little");
    let sum: Duration = lags.iter().sum();
    assert!(sum < lags.len() as u32 * Duration::from_secs(1), "{lags:?}");
}

fn parked(server: &Server, count: u64) {
    eventually(&format!("{count} requests wait"), || {
        server.get("/status").at("/waiting_requests") == json!(count)
    });
}

#[test]
fn a_poll_ends_with_a_submit_by_anybody() {
    let server = Server::new();
    let mut here = server.client();
    let (mut lags, mut lags_of_others) = (Vec::new(), Vec::new());
    for round in 0..8 {
        let lane = format!("l{round}");
        here.request("GET", &format!("/tasks/next?lane=other&lane={lane}&wait_seconds=20"), &[], None);
        parked(&server, 1);
        let start = Instant::now();
        let id = server.submit(&lane);
        assert_eq!(here.reply(false).text_at("/task/id"), id);
        lags.push(start.elapsed());

        // By a process that does not know about the server.
        here.request("GET", &format!("/tasks/{id}/response?wait_seconds=20"), &[], None);
        parked(&server, 1);
        let cancel = Command::Cancel { reason: None, by: "me".into() };
        let start = Instant::now();
        server.store().apply(&lanes::internals::model::TaskId::parse(&id).unwrap(), &cancel).unwrap();
        assert_eq!(here.reply(false).text_at("/response/status"), "failed");
        lags_of_others.push(start.elapsed());
    }
    wake_at_once(&lags);
    wake_at_once(&lags_of_others);
}

#[test]
fn a_poll_ends_what_is_overdue_in_a_lane_where_nobody_looks() {
    let server = Server::new();
    let submit = |more: &[(&str, Value)]| {
        let mut body = json!({"lane": "nobody", "prompt": "x"});
        body.as_object_mut()
            .unwrap()
            .extend(more.iter().map(|(key, value)| ((*key).to_string(), value.clone())));
        server.post("/tasks", &body).text_at("/task/id")
    };
    let late = submit(&[("deadline", json!("2020-01-01T00:00:00Z"))]);
    let middle = submit(&[("after", json!([late]))]);
    let last = submit(&[("after", json!([middle]))]);
    let answer = server.get(&format!("/tasks/{last}/response?wait_seconds=20"));
    assert_eq!((answer.status, answer.text_at("/response/status").as_str()), (200, "failed"));
    for (id, class) in [(&late, "expired"), (&middle, "upstream"), (&last, "upstream")] {
        assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/failure_class"), class);
    }
}

#[test]
fn a_poll_without_a_task_ends_in_time() {
    let server = Server::new();
    let start = Instant::now();
    let answer = server.get("/tasks/next?lane=l&wait_seconds=0.3");
    assert_eq!((answer.status, answer.at("/task")), (200, Value::Null));
    let claim = server.post(CLAIM, &json!({"lanes": ["l"], "wait_seconds": 0.3}));
    assert_eq!((claim.status, claim.at("/task")), (200, Value::Null));
    let id = server.submit("l");
    let answer = server.get(&format!("/tasks/{id}/response?wait_seconds=0.3"));
    assert_eq!((answer.status, answer.code().as_str()), (408, "timed_out"));
    let took = start.elapsed();
    // Without their own times they would wait for half a minute each.
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn every_task_has_one_winner() {
    let server = Server::new();
    let mut workers: Vec<Client> = (0..60).map(|_| server.client()).collect();
    let wish = json!({"lanes": ["l"], "owner": "w", "wait_seconds": 20});
    for worker in &mut workers {
        worker.request("POST", CLAIM, &[], Some(&wish));
    }
    parked(&server, 60);
    let submitted: HashSet<String> = (0..60).map(|_| server.submit("l")).collect();
    let mut tokens = HashSet::new();
    let claimed: HashSet<String> = workers
        .iter_mut()
        .map(|worker| {
            let answer = worker.reply(false);
            tokens.insert(answer.text_at("/claim_token"));
            answer.text_at("/task/id")
        })
        .collect();
    assert_eq!(claimed, submitted);
    assert_eq!(tokens.len(), 60);
}

#[test]
fn a_filter_passes_over_what_does_not_fit() {
    let server = Server::new();
    let mut codex = server.client();
    let wish = json!({"lane": "l", "match": ["required_vendor=codex"], "wait_seconds": 20});
    codex.request("POST", CLAIM, &[], Some(&wish));
    parked(&server, 1);
    let submit = |vendor: &str| {
        let body = json!({"lane": "l", "prompt": "p", "metadata": {"required_vendor": vendor}});
        server.post("/tasks", &body).text_at("/task/id")
    };
    let other = submit("claude");
    let fitting = submit("codex");
    assert_eq!(codex.reply(false).text_at("/task/id"), fitting);
    let next = server.post(CLAIM, &json!({"lane": "l", "match": ["required_vendor=claude,any"]}));
    assert_eq!(next.text_at("/task/id"), other);
    assert_eq!(server.post(CLAIM, &json!({"lane": "l", "match": ["x"]})).status, 400);
    assert_eq!(server.post(CLAIM, &json!({})).text_at("/error"), "missing field: lanes");
}

#[test]
fn nothing_is_claimed_for_a_client_that_has_gone() {
    let server = Server::new();
    let wish = json!({"lane": "l", "wait_seconds": 20});
    let mut gone: Vec<Client> = (0..5).map(|_| server.client()).collect();
    for client in &mut gone {
        client.request("POST", CLAIM, &[], Some(&wish));
    }
    let mut stays = server.client();
    stays.request("GET", "/tasks/next?lane=other&wait_seconds=20", &[], None);
    parked(&server, 6);
    drop(gone);
    parked(&server, 1);
    let id = server.submit("l");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.get(&format!("/tasks/{id}")).text_at("/task/state"), "queued");
}

#[test]
fn a_claim_whose_client_hangs_up_at_once_is_nobodys() {
    let server = Server::with(&["--log"]);
    let id = server.submit("l");
    let holder = server.hold_lock();
    for _ in 0..3 {
        server.client().request("POST", CLAIM, &[], Some(&json!({"lane": "l"})));
    }
    // One that only closes its side gets a response that there is nothing.
    let mut half = server.client();
    half.request("POST", CLAIM, &[], Some(&json!({"lane": "l"})));
    half.stream.shutdown(Shutdown::Write).unwrap();
    drop(holder);
    assert_eq!(half.reply(false).at("/task"), Value::Null);
    eventually("all are done with", || server.stderr().matches("/tasks/claim").count() == 4);
    let task = server.get(&format!("/tasks/{id}"));
    assert_eq!((task.text_at("/task/state").as_str(), task.at("/task/attempt")), ("queued", json!(0)));

    let mut waits = server.client();
    waits.request("POST", CLAIM, &[], Some(&json!({"lane": "other", "wait_seconds": 20})));
    waits.stream.shutdown(Shutdown::Write).unwrap();
    assert!(waits.is_closed());
}

#[test]
fn time_wakes_as_well() {
    let server = Server::new();
    let mut client = server.client();
    let mut lags = Vec::new();
    let time = Duration::from_millis(300);
    for round in 0..4 {
        let lane = format!("l{round}");
        let body = json!({"lane": lane, "prompt": "p", "delay_seconds": time.as_secs_f64()});
        let start = Instant::now();
        let late = server.post("/tasks", &body).text_at("/task/id");
        let wish = json!({"lane": lane, "lease_seconds": time.as_secs_f64(), "wait_seconds": 20});
        client.request("POST", CLAIM, &[], Some(&wish));
        assert_eq!(client.reply(false).text_at("/task/id"), late);
        lags.push(start.elapsed().saturating_sub(time));
        // The lease of that claim ends.
        let start = Instant::now();
        client.request("POST", CLAIM, &[], Some(&json!({"lane": lane, "wait_seconds": 20})));
        assert_eq!(client.reply(false).text_at("/task/id"), late);
        lags.push(start.elapsed().saturating_sub(time));
    }
    wake_at_once(&lags);
}

#[test]
fn a_lane_that_is_opened_again_hands_out() {
    let server = Server::new();
    let mut client = server.client();
    let mut lags = Vec::new();
    for round in 0..8 {
        let lane = lane_name(&format!("l{round}"));
        server.store().pause(&lane, None).unwrap();
        let id = server.submit(lane.as_str());
        client.request("POST", CLAIM, &[], Some(&json!({"lane": lane.as_str(), "wait_seconds": 20})));
        parked(&server, 1);
        let start = Instant::now();
        server.store().resume(&lane).unwrap();
        assert_eq!(client.reply(false).text_at("/task/id"), id);
        lags.push(start.elapsed());
    }
    wake_at_once(&lags);
}

#[test]
fn several_tasks_are_waited_for_together() {
    let server = Server::new();
    let ids: Vec<String> = (0..3).map(|_| server.submit("l")).collect();
    let query: String = ids.iter().map(|id| format!("id={id}&")).collect();
    let (mut any, mut all) = (server.client(), server.client());
    any.request("GET", &format!("/tasks/wait?{query}mode=any&wait_seconds=20"), &[], None);
    all.request("GET", &format!("/tasks/wait?{query}wait_seconds=20"), &[], None);
    parked(&server, 2);
    server.respond(&ids[1], "second");
    let first = any.reply(false);
    assert_eq!(first.at("/answered").as_array().unwrap().len(), 1);
    assert_eq!(first.text_at("/answered/0/response/body"), "second");
    assert_eq!(first.at("/pending"), json!([ids[0], ids[2]]));
    server.respond(&ids[0], "first");
    server.respond(&ids[2], "third");
    let whole = all.reply(false);
    let bodies: Vec<String> =
        (0..3).map(|n| whole.text_at(&format!("/answered/{n}/response/body"))).collect();
    assert_eq!(bodies, ["first", "second", "third"]);
    assert_eq!(server.get("/tasks/wait?id=20260101T000000000000Z-a-b").status, 404);
    assert_eq!(server.get("/tasks/wait").status, 400);
}

#[test]
fn who_waits_is_seen_and_answered_when_the_server_ends() {
    let mut server = Server::new();
    let store = server.store();
    let mut claim = server.client();
    claim.request("POST", CLAIM, &[], Some(&json!({"lanes": ["a", "b"], "wait_seconds": 600})));
    let id = server.submit("c");
    let mut response = server.client();
    response.request("GET", &format!("/tasks/{id}/response"), &[], None);
    let mut stream = server.client();
    stream.request("GET", "/events", &[], None);
    parked(&server, 3);
    let serves = |worker: &lanes::internals::store::WorkerInfo| worker.lanes == ["a", "b"];
    eventually("the server is a worker of the lanes", || store.live_workers().unwrap().iter().any(serves));

    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(claim.reply(false).at("/task"), Value::Null);
    let stopping = response.reply(false);
    assert_eq!((stopping.status, stopping.code().as_str()), (503, "stopping"));
    stream.until("retry: 1000\n\n");
    assert!(stream.is_closed());
    assert!(store.live_workers().unwrap().is_empty());
    let want = LaneQuery { lanes: vec![lane_name("c")], filter: Filter::default() };
    assert_eq!(
        store.claim_next(&want, &owner("x"), Duration::from_secs(9)).unwrap().unwrap().id.as_str(),
        id
    );
}

#[test]
fn a_thousand_polls_cost_no_threads() {
    let server = Server::new();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap().count();
    let mut clients: Vec<Client> = (0..1000)
        .map(|_| {
            let mut client = server.client();
            client.request("GET", "/tasks/next?lane=l&wait_seconds=60", &[], None);
            client
        })
        .collect();
    parked(&server, 1000);
    assert!(threads() < 20, "{} threads", threads());
    let id = server.submit("l");
    for client in &mut clients {
        assert_eq!(client.reply(false).text_at("/task/id"), id);
    }
}

#[test]
fn a_wait_for_a_group_is_for_the_successors_of_retried_tasks() {
    let server = Server::new();
    let submit = |prompt: &str| {
        let task = json!({"lane": "l", "prompt": prompt, "group": "g"});
        server.post("/tasks", &task).text_at("/task/id")
    };
    let (fine, broken) = (submit("fine"), submit("broken"));
    server.respond(&fine, "fine");
    server.post(&format!("/tasks/{broken}/cancel"), &json!({}));
    let again = server.post("/groups/g/retry", &json!({})).text_at("/results/0/task_id");
    server.respond(&again, "fixed");
    let whole = server.get("/tasks/wait?group=g").json();
    let answered: Vec<&str> =
        whole["answered"].as_array().unwrap().iter().map(|one| one["task_id"].as_str().unwrap()).collect();
    assert_eq!(answered, [&fine, &again]);
}
