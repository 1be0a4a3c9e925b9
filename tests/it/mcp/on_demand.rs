//! Agents that nobody serves until a chat delegates to them.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Client;
use crate::testkit::command;
use crate::testkit::pool::Pool;
use crate::testkit::wait::{eventually, is_alive};

const BLOCK: &str = "echo run >> runs; while [ ! -e go ]; do sleep 0.02; done; result finished";

fn pool() -> Pool {
    Pool::scripted("  max_concurrent: 2\n  routes:\n    agent/infra: {}\n    agent/web: {}\n")
}

fn task(script: &str) -> String {
    format!("DO: {script}")
}

/// A client of a server whose dispatchers leave as soon as they are idle.
fn connect(pool: &Pool, more: &[&str]) -> Client {
    let own = if more.contains(&"--no-dispatch") { &["mcp"][..] } else { &["mcp", "--idle-exit", "0"] };
    Client::connect(pool.lanes(&[own, more].concat()))
}

/// The process ids of the on-demand dispatchers.
fn dispatchers(pool: &Pool) -> Vec<i32> {
    let workers = pool.json(&["workers"])["workers"].as_array().unwrap().clone();
    let on_demand = workers.iter().filter(|worker| worker["data"]["on_demand"] == true);
    on_demand.map(|worker| i32::try_from(worker["pid"].as_i64().unwrap()).unwrap()).collect()
}

#[track_caller]
fn until_dispatcher(pool: &Pool) -> i32 {
    pool.until("a dispatcher was started", || dispatchers(pool).len() == 1);
    dispatchers(pool)[0]
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // It may have left just now.
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

/// Parent and session of a process; `None` when it is gone altogether.
fn parent_and_session(pid: i32) -> Option<(i32, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields[1].parse().unwrap(), fields[3].parse().unwrap()))
}

#[test]
fn an_agent_that_nobody_serves_gets_a_dispatcher() {
    let pool = pool();
    let mut client = connect(&pool, &[]);
    let call = client.begin("delegate", json!({"agent": "infra", "task": task(BLOCK), "wait": 50}));
    let pid = until_dispatcher(&pool);
    assert_eq!(parent_and_session(pid).map(|(_, session)| session), Some(pid), "a session of its own");
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(client.reply(call).fine().ends_with("\n\nfinished"));
    pool.until("it leaves, and is no zombie", || parent_and_session(pid).is_none());
    // The next one is found again.
    let reply = client.call("delegate", json!({"agent": "web", "task": task("result again"), "wait": 50}));
    assert!(reply.fine().ends_with("\n\nagain"));
    // While it runs, no call has to wait for the end of a start.
    let queued = client.call("delegate", json!({"agent": "web", "task": task("result x"), "wait": 0})).fine();
    assert!(!queued.contains("nobody serves"), "{queued}");
}

#[test]
fn a_run_outlives_every_end_of_the_server() {
    for end in [Some(Signal::INT), Some(Signal::TERM), Some(Signal::KILL), None] {
        let pool = pool();
        let mut client = connect(&pool, &[]);
        let ask = json!({"agent": "infra", "task": task(BLOCK), "key": "k", "wait": 50});
        client.begin("delegate", ask.clone());
        pool.until_file("runs");
        let pid = until_dispatcher(&pool);
        match end {
            Some(signal) => client.signal(signal),
            None => client.close_input(),
        }
        client.end();
        std::fs::write(pool.path("go"), "").unwrap();
        let reply = connect(&pool, &[]).call("delegate", ask);
        assert!(reply.text.ends_with("\n\nfinished"), "{end:?}: {reply:?}");
        assert_eq!(pool.until_file("runs"), "run", "{end:?}: it ran once");
        pool.until("no process is left", || !is_alive(pid) && pool.processes().is_empty());
    }
}

#[test]
fn nothing_is_started_where_it_is_not_needed() {
    let pool = pool();
    let log = pool.path("state/logs");
    let mut client = connect(&pool, &[]);
    let reply = client.call("delegate", json!({"lane": "work", "task": "x", "wait": 0})).fine();
    assert!(reply.contains("nobody serves lane work"), "{reply}");
    let _other = pool.dispatcher(&["--lane", "agent/infra"]);
    pool.until("it serves", || pool.json(&["workers"])["count"] == 1);
    let reply = client.call("delegate", json!({"agent": "infra", "task": task("result fine"), "wait": 50}));
    assert!(reply.fine().ends_with("\n\nfine"));
    assert!(!log.exists());
    // A server that starts nothing says so.
    let mut client = connect(&pool, &["--no-dispatch"]);
    let reply = client.call("delegate", json!({"agent": "web", "task": "x", "wait": 0})).fine();
    assert!(
        reply.contains("nobody serves lane agent/web; no dispatcher is started: --no-dispatch"),
        "{reply}"
    );
    assert!(!log.exists());
}

#[test]
fn an_agent_that_cannot_run_is_refused_before_anything_is_submitted() {
    let pool = Pool::new("dispatch:\n  routes:\n    agent/gone: {command: ./none}\n    agent/none: {}\n");
    let mut client = connect(&pool, &[]);
    let gone = client.call("delegate", json!({"agent": "gone", "task": "x"}));
    gone.refused("not_found", "./none is not installed. Do: install it, or name another");
    let none = client.call("delegate", json!({"agent": "none", "task": "x"}));
    none.refused("config", "no vendor is configured for lane agent/none");
    assert_eq!(pool.json(&["list"])["tasks"], json!([]));
    assert!(!pool.path("state/logs").exists());
}

#[test]
fn a_found_configuration_needs_the_consent_of_a_person() {
    let home = tempfile::tempdir().unwrap();
    let pool = Pool::new("");
    let project = pool.path("project");
    std::fs::create_dir_all(project.join("handoff")).unwrap();
    std::fs::create_dir(project.join(".git")).unwrap();
    let text = "workspace_id: w\ndispatch: {routes: {agent/infra: {command: /bin/cat}}}\n";
    std::fs::write(project.join("handoff/handoff.yaml"), text).unwrap();
    let lanes = |words: &[&str]| {
        let mut command = pool.lanes(words);
        command.env_remove("LANES_CONFIG").env("HOME", home.path()).current_dir(&project);
        command
    };
    let ask = json!({"agent": "infra", "task": "x", "wait": 50});
    let mut client = Client::connect(lanes(&["mcp", "--idle-exit", "0"]));
    let refused = client.call("delegate", ask.clone());
    refused.refused("refused", "which you have not agreed to");
    assert!(
        refused.text.contains("Do: a person must review it, then agree with `lanes trust "),
        "{refused:?}"
    );
    command::ok(&mut lanes(&["trust", "."]));
    client.call("delegate", ask.clone()).fine();
    // The dispatcher that is started checks it again, and is not told the name of the file, which would be consent.
    let log = std::fs::read_to_string(project.join("handoff/state/logs/on-demand.log")).unwrap();
    assert!(log.contains("serves agent/infra"), "{log}");
    eventually("it leaves", || {
        command::parse(&command::ok(&mut lanes(&["workers", "--json"])))["count"] == 0
    });
    command::ok(&mut lanes(&["trust", "--revoke", "."]));
    client.call("delegate", ask).refused("refused", "which you have not agreed to");
    let mut directly = lanes(&["dispatch", "--on-demand", "--idle-exit", "0"]);
    assert!(!directly.output().unwrap().status.success());
}

#[test]
fn inside_a_run_no_dispatcher_is_started() {
    let pool = Pool::scripted("  routes:\n    agent/infra: {mcp: inherit}\n    agent/web: {}\n");
    let _outer = pool.dispatcher(&["--lane", "agent/infra"]);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "delegate", "arguments": {"agent": "web", "task": "x", "wait": 0},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}}});
    std::fs::write(pool.path("call"), format!("{call}\n")).unwrap();
    // With the mark of the run, and without it: codex passes no variables to servers.
    for (file, prefix) in [("marked", ""), ("bare", "env -u LANES_RUN_ID -u LANES_DEPTH ")] {
        let answered = format!("until [ -s {file} ]; do sleep 0.02; done");
        let script = format!("(cat call; {answered}) | {prefix}lanes mcp > {file}; result fine");
        let id = pool.ok(&["submit", "--lane", "agent/infra", "--prompt", &task(&script)]);
        pool.until("it is answered", || pool.state(&id) == "completed");
        let reply = std::fs::read_to_string(pool.path(file)).unwrap();
        let expected =
            "nobody serves lane agent/web; no dispatcher is started: an agent of a dispatcher asks";
        assert!(reply.contains(expected), "{file}: {reply}");
    }
    assert!(!pool.path("state/logs").exists());
}

#[test]
fn a_wait_replaces_a_dispatcher_that_was_killed() {
    let pool = pool();
    let mut client = connect(&pool, &[]);
    let call = client.begin("delegate", json!({"agent": "infra", "task": task(BLOCK), "wait": 50}));
    pool.until_file("runs");
    let first = until_dispatcher(&pool);
    kill(first);
    // The call that waits notices it, and the next dispatcher recovers the task.
    pool.until("it runs again", || pool.until_file("runs") == "run\nrun");
    assert_ne!(until_dispatcher(&pool), first);
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(client.reply(call).fine().ends_with("\n\nfinished"));
}

#[test]
fn an_attached_dispatcher_ends_with_the_server() {
    for is_killed in [false, true] {
        let pool = pool();
        let mut client = connect(&pool, &["--attached"]);
        let id = client.call("delegate", json!({"agent": "infra", "task": task(BLOCK), "wait": 0})).id();
        pool.until_file("runs");
        let pid = until_dispatcher(&pool);
        if is_killed {
            client.signal(Signal::KILL);
        } else {
            client.close_input();
        }
        client.end();
        if !is_killed {
            assert_eq!(parent_and_session(pid), None, "the server has waited for it");
        }
        pool.until("it is gone, with its agent", || !is_alive(pid) && pool.processes().is_empty());
        assert_eq!(pool.state(&id), "queued", "the task is not lost");
    }
}

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn killed_servers_and_dispatchers_lose_nothing_and_run_nothing_twice_at_a_time() {
    const TASKS: usize = 50;
    let pool = pool();
    std::fs::create_dir(pool.path("locks")).unwrap();
    let mut dice = Dice(7);
    let mut client = connect(&pool, &[]);
    let ask = |number: usize| {
        let script = format!(
            "exec 9>> locks/{number}; flock -n 9 || echo {number} >> twice; sleep 0.05; result done-{number}"
        );
        json!({"agent": "web", "task": task(&script), "key": format!("task-{number}"), "wait": 0})
    };
    for number in 0..TASKS {
        if dice.roll(3) == 0 {
            // Killed with a call in its hands, which is repeated.
            client.begin("delegate", ask(number));
            client.signal(Signal::KILL);
            client.end();
            client = connect(&pool, &[]);
        }
        client.call("delegate", ask(number)).fine();
        if dice.roll(5) == 0 {
            dispatchers(&pool).into_iter().for_each(kill);
        }
    }
    for number in 0..TASKS {
        let mut ask = ask(number);
        ask["wait"] = json!(50);
        let reply = client.call("delegate", ask).fine();
        assert!(reply.ends_with(&format!("\n\ndone-{number}")), "{reply}");
    }
    assert!(!pool.path("twice").exists(), "a task ran twice at a time");
    let tasks = pool.json(&["list", "--limit", "1000"])["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.len(), TASKS);
    for task in tasks {
        let events = pool.events(task["id"].as_str().unwrap());
        let answers = events.iter().filter(|event| *event == "response").count();
        assert_eq!(answers, 1, "{events:?}");
    }
}

#[test]
fn many_servers_share_one_dispatcher_and_its_limit() {
    const SERVERS: usize = 10;
    const TASKS: usize = 3;
    let pool = pool();
    std::fs::create_dir(pool.path("in")).unwrap();
    let mut clients: Vec<Client> = (0..SERVERS).map(|_| connect(&pool, &[])).collect();
    // Paused, so that all of them are there before the first is taken; then all servers want a dispatcher at once.
    pool.ok(&["pause", "agent/web"]);
    let ids: Vec<Vec<String>> = clients
        .iter_mut()
        .enumerate()
        .map(|(server, client)| {
            let ask = |number: usize| {
                let name = format!("{server}-{number}");
                let script = format!(
                    "echo $LANES_TASK_ID >> order; touch in/{name}; ls in | wc -l >> seen; sleep 0.05; rm in/{name}; result {name}"
                );
                json!({"agent": "web", "task": task(&script)})
            };
            let tasks: Vec<Value> = (0..TASKS).map(ask).collect();
            let reply = client.call("delegate", json!({"tasks": tasks, "wait": 0})).fine();
            reply.lines().filter_map(|line| line.strip_prefix("queued ")?.split(' ').next()).map(str::to_string).collect()
        })
        .collect();
    assert!(ids.iter().all(|ids| ids.len() == TASKS), "{ids:?}");
    assert!(!pool.path("state/logs").exists(), "nobody could work on a paused lane");
    pool.ok(&["resume", "agent/web"]);
    let calls: Vec<u64> = clients
        .iter_mut()
        .zip(&ids)
        .map(|(client, ids)| client.begin("wait", json!({"ids": ids, "seconds": 50})))
        .collect();
    for (client, call) in clients.iter_mut().zip(calls) {
        client.reply(call).fine();
    }
    let read = |name: &str| std::fs::read_to_string(pool.path(name)).unwrap();
    let seen: Vec<u32> = read("seen").lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(seen.len(), SERVERS * TASKS);
    assert!(seen.iter().all(|running| *running <= 2), "{seen:?}");
    let mut claims: Vec<(String, String)> = ids
        .iter()
        .flatten()
        .map(|id| {
            let events = pool.json(&["show", id])["events"].as_array().unwrap().clone();
            let claimed = events.iter().find(|event| event["type"] == "claimed").unwrap();
            (claimed["created_at"].as_str().unwrap().to_string(), id.clone())
        })
        .collect();
    claims.sort();
    let order: Vec<&String> = claims.iter().map(|(_, id)| id).collect();
    assert!(order.is_sorted(), "they were not claimed in the order of their arrival: {claims:?}");
    let log = read("state/logs/on-demand.log");
    assert!(
        Path::new(&pool.path("order")).exists() && log.contains("serves agent/infra, agent/web"),
        "{log}"
    );
}
