//! The dispatcher that runs only while somebody needs it.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::testkit::pool::{Dispatcher, Pool};
use crate::testkit::wait::eventually;

/// A pool with the agents `infra` and `web`, and the lane `work`.
fn pool() -> Pool {
    Pool::scripted("  max_concurrent: 2\n  routes:\n    agent/infra: {concurrency: 1}\n    agent/web: {}\n")
}

fn submit(pool: &Pool, lane: &str, script: &str) -> String {
    pool.ok(&["submit", "--lane", lane, "--prompt", &format!("DO: {script}\n")])
}

/// Returns how many on-demand dispatchers are running, and whether one of them is draining.
fn on_demand(pool: &Pool) -> (usize, bool) {
    let workers = pool.json(&["workers"])["workers"].as_array().unwrap().clone();
    let datas: Vec<_> =
        workers.iter().map(|worker| &worker["data"]).filter(|data| data["on_demand"] == true).collect();
    (datas.len(), datas.iter().any(|data| data["draining"] == true))
}

const BLOCK: &str = "while [ ! -e go ]; do sleep 0.02; done; result finished";

#[test]
fn it_serves_the_agents_and_leaves_when_it_is_idle() {
    let pool = pool();
    let ids = [submit(&pool, "agent/infra", "result one"), submit(&pool, "agent/web", "result two")];
    let other = submit(&pool, "work", "result three");
    pool.ok(&["dispatch", "--on-demand", "--idle-exit", "0"]);
    assert_eq!(ids.map(|id| pool.state(&id)), ["completed", "completed"]);
    assert_eq!(pool.state(&other), "queued", "it is not an agent's");
    let log = pool.path("state/logs/on-demand.log");
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("serves agent/infra, agent/web") && text.contains("2 answered"), "{text}");
    assert!(!pool.path("state/on-demand.lock").exists());
}

#[test]
fn a_store_has_one_at_most() {
    let pool = pool();
    let first = pool.dispatcher(&["--on-demand"]);
    pool.until("it is registered", || on_demand(&pool) == (1, false));
    let second = pool.output(&["dispatch", "--on-demand"]);
    assert_eq!(second.status.code(), Some(0));
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(said, "lanes: another on-demand dispatcher serves this store\n");
    // One that is killed leaves no lock.
    first.kill();
    pool.ok(&["dispatch", "--on-demand", "--idle-exit", "0"]);
}

#[test]
fn it_leaves_lanes_to_another_dispatcher() {
    let pool = pool();
    let _other = pool.dispatcher(&["--lane", "agent/infra"]);
    let running = submit(&pool, "agent/infra", BLOCK);
    pool.until("it is claimed", || pool.state(&running) == "claimed");
    let (waiting, web) = (submit(&pool, "agent/infra", "result x"), submit(&pool, "agent/web", "result y"));
    pool.ok(&["dispatch", "--on-demand", "--idle-exit", "0"]);
    assert_eq!((pool.state(&waiting), pool.state(&web)), ("queued".to_string(), "completed".to_string()));
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the other serves it", || pool.state(&waiting) == "completed");
}

#[test]
fn the_next_one_waits_until_the_one_that_drains_has_left() {
    let pool = pool();
    let running = submit(&pool, "agent/infra", BLOCK);
    let first = pool.dispatcher(&["--on-demand", "--idle-exit", "0"]);
    pool.until("it is claimed", || pool.state(&running) == "claimed");
    first.signal(Signal::TERM);
    pool.until("it is draining", || on_demand(&pool) == (1, true));
    let late = submit(&pool, "agent/web", "result late");
    let mut next = [(); 2].map(|()| pool.dispatcher(&["--on-demand", "--idle-exit", "0"]));
    // One of them waits, so that the other one is not needed.
    eventually("one gives way", || next.iter_mut().any(Dispatcher::has_ended));
    assert!(!next.iter_mut().all(Dispatcher::has_ended));
    assert_eq!((pool.state(&running), pool.state(&late)), ("claimed".to_string(), "queued".to_string()));
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(first.wait().success());
    assert!(next.map(|one| one.wait().success()).iter().all(|is_success| *is_success));
    assert_eq!((pool.state(&running), pool.state(&late)), ("completed".to_string(), "completed".to_string()));
}

#[test]
fn it_stays_for_a_task_whose_time_comes() {
    let pool = pool();
    let retried = submit(&pool, "agent/infra", "[ -e again ] && result fine; touch again; exit 1");
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    let file = file.replace("agent/infra: {concurrency: 1}", "agent/infra: {max_retries: 1, retry_delay: 1}");
    std::fs::write(pool.path("handoff.yaml"), file).unwrap();
    pool.ok(&["dispatch", "--on-demand", "--idle-exit", "0"]);
    assert_eq!(pool.state(&retried), "completed");
    assert_eq!(pool.task(&retried)["attempt"], 2);
}

#[test]
fn no_task_is_left_behind_by_one_that_leaves() {
    let pool = pool();
    let mut started = Vec::new();
    for number in 0..40 {
        let id = submit(&pool, "agent/web", &format!("result {number}"));
        // As whoever submits does: looks for a dispatcher that claims, and starts one if there is none.
        if on_demand(&pool) != (1, false) {
            started.push(pool.dispatcher(&["--on-demand", "--idle-exit", "0"]));
        }
        // Now and then the next task comes while the dispatcher is about to leave.
        if number % 4 == 3 {
            pool.until("it is answered", || pool.state(&id) == "completed");
        }
    }
    pool.until("all are answered", || {
        let tasks = pool.json(&["list"])["tasks"].as_array().unwrap().clone();
        tasks.iter().all(|task| task["state"] == "completed")
    });
    assert!(started.len() > 1, "they leave when they are idle");
    for dispatcher in started {
        assert!(dispatcher.wait().success());
    }
    let tasks = pool.json(&["list"])["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.len(), 40);
    assert!(tasks.iter().all(|task| task["state"] == "completed" && task["attempt"] == 1), "{tasks:?}");
}

#[test]
fn its_flags_exclude_others() {
    let pool = pool();
    for more in [&["--lane", "work"][..], &["--once"], &["--vendor", "claude"], &["--dry-run"]] {
        let said = pool.refused(&[&["dispatch", "--on-demand"], more].concat());
        assert!(said.contains("--on-demand"), "{said}");
    }
    assert!(pool.refused(&["dispatch", "--idle-exit", "5"]).contains("--on-demand"));
    let none = Pool::scripted("");
    let said = none.refused(&["dispatch", "--on-demand"]);
    assert!(said.contains("no agent to serve; give the lane agent/NAME a route"), "{said}");
}

#[test]
fn one_that_is_stopped_or_drains_is_shown_as_such() {
    let pool = pool();
    let running = submit(&pool, "agent/infra", BLOCK);
    let dispatcher = pool.dispatcher(&["--on-demand", "--idle-exit", "0"]);
    pool.until("it is claimed", || pool.state(&running) == "claimed");
    let shown = |kind: &str| pool.ok(&["workers"]).lines().any(|line| line.contains(kind));
    let reason = |id: &str| pool.json(&["why", id])["reason"].as_str().unwrap().to_string();
    let diagnosis = |code: &str| {
        let report: serde_json::Value =
            serde_json::from_slice(&pool.output(&["doctor", "--json"]).stdout).unwrap();
        let all = report["checks"].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["code"] == code)
            .map(|one| one["message"].as_str().unwrap().to_string())
    };
    assert!(shown(" dispatcher on demand "));
    assert!(diagnosis("on-demand").unwrap().starts_with("on-demand dispatcher running: process "));
    dispatcher.signal(Signal::STOP);
    pool.until("it is stopped", || shown(" dispatcher on demand, stopped "));
    let waiting = submit(&pool, "agent/web", "result x");
    assert_eq!(reason(&waiting), "worker_stopped");
    assert!(pool.ok(&["why", &running]).contains("; its process is stopped: `kill -CONT "));
    assert!(diagnosis("worker-stopped").unwrap().contains("keeps its claims and does nothing"));
    dispatcher.signal(Signal::CONT);
    pool.until("it goes on", || pool.state(&waiting) == "completed");
    dispatcher.signal(Signal::TERM);
    pool.until("it drains", || shown(" dispatcher on demand, draining "));
    let late = submit(&pool, "agent/web", "result y");
    assert_eq!(reason(&late), "draining");
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(dispatcher.wait().success());
    assert_eq!(reason(&late), "no_worker");
}

#[test]
fn doctor_reports_what_keeps_its_place_without_serving() {
    let pool = pool();
    submit(&pool, "agent/web", "result x");
    let mut holder = std::process::Command::new("flock");
    let script = "echo held > held; read line";
    holder.args(["state/on-demand.lock", "-c", script]).current_dir(pool.path(""));
    let mut holder = holder.stdin(std::process::Stdio::piped()).spawn().unwrap();
    pool.until_file("held");
    let report = String::from_utf8(pool.output(&["doctor"]).stdout).unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(
        report.contains("on-demand.lock and does not serve: no on-demand dispatcher can start"),
        "{report}"
    );
    assert!(report.contains("lane agent/web has work (1) and no worker"), "{report}");
    assert!(report.contains("start one: `lanes dispatch --on-demand`"), "{report}");
}
