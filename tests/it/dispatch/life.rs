//! Dispatchers that are cancelled, stopped, killed and started again.

use crate::testkit::pool::Pool;
use crate::testkit::wait::is_alive;
use rustix::process::Signal;

/// A script that prints its process id and then keeps running.
const STAYS: &str = "echo $$ > agent\nsleep 1000";

#[test]
fn a_cancel_reaches_the_agent_and_nothing_is_reported() {
    let pool = Pool::scripted("");
    let id = pool.submit(STAYS, &[]);
    let dispatcher = pool.dispatcher(&[]);
    let agent = pool.until_file("agent");
    let workers = pool.json(&["workers"]);
    let run = &workers["workers"][0]["data"]["running"][0];
    assert_eq!(run["task_id"], id.as_str());
    assert_eq!(run["pid"].to_string(), agent);
    let start = std::time::Instant::now();
    pool.ok(&["cancel", &id]);
    pool.until("the agent ends", || !is_alive(&agent));
    // A second is promised; the machine may be busy with other tests.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    pool.until("the slot is free", || pool.log().contains("nothing is reported"));
    let task = pool.task(&id);
    assert_eq!(task["failure_class"], "cancelled");
    assert!(!pool.events(&id).contains(&"headless_failed".to_string()));
    drop(dispatcher);
}

#[test]
fn a_lost_claim_ends_the_agent() {
    let pool = Pool::scripted("");
    let id = pool.submit(STAYS, &["--max-attempts", "1"]);
    let dispatcher = pool.dispatcher(&[]);
    let agent = pool.until_file("agent");
    let stored = std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/task.json"))).unwrap();
    let token = crate::testkit::command::parse(&stored)["claim_token"].as_str().unwrap().to_string();
    pool.ok(&["pause", "work"]);
    pool.ok(&["release", &id, "--claim-token", &token]);
    pool.until("the agent ends", || !is_alive(&agent));
    assert_eq!(pool.state(&id), "queued");
    drop(dispatcher);
}

#[test]
fn a_short_lease_is_renewed_at_a_third_of_it() {
    let pool = Pool::scripted("");
    let id = pool.submit("until [ -e go ]; do sleep 0.02; done\nresult fine", &[]);
    let dispatcher = pool.dispatcher(&["--lease-seconds", "2"]);
    let renewals = || {
        let events = pool.json(&["show", &id])["events"].clone();
        let of = |kind: &str| -> Vec<lanes::internals::model::Time> {
            let all = events.as_array().unwrap().iter().filter(|event| event["type"] == kind);
            let time = |event: &serde_json::Value| event["created_at"].as_str().unwrap().to_string();
            all.map(|event| lanes::internals::model::Time::parse(&time(event)).unwrap()).collect()
        };
        (of("claimed"), of("renewed"))
    };
    let gaps = || -> Vec<f64> {
        let (claimed, renewed) = renewals();
        let times: Vec<_> = claimed.into_iter().chain(renewed).collect();
        times.windows(2).map(|pair| pair[1].seconds_since(pair[0])).collect()
    };
    pool.until("it was renewed four times", || gaps().len() >= 4);
    // The machine may be late now and then, but a dispatcher that slept through half of each lease always would
    // be.
    pool.until("a lease is renewed in time", || gaps().iter().any(|gap| *gap < 0.9));
    assert!(gaps().iter().all(|gap| *gap > 0.6), "{:?}", gaps());
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the answer", || pool.state(&id) == "completed");
    drop(dispatcher);
}

#[test]
fn a_timeout_ends_the_whole_family() {
    let pool = Pool::scripted("  timeout: 4\n");
    let id = pool.submit("setsid sh -c 'trap \"\" TERM; echo $$ > tool; sleep 1000' &\nsleep 1000", &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!(task["failure_class"], "timeout", "{task}");
    let tool = std::fs::read_to_string(pool.path("tool")).unwrap();
    assert!(!is_alive(tool.trim_end()));
}

#[test]
fn a_silent_agent_is_ended_as_a_timeout_and_its_limits_are_shown() {
    let pool = Pool::scripted("  silence_timeout: 5\n");
    let id = pool.submit("say working\nwhile [ ! -e hush ]; do say more; sleep 0.1; done\nsleep 1000", &[]);
    let plan = pool.json(&["dispatch", "--dry-run"])["lanes"].clone();
    let work = plan.as_array().unwrap().iter().find(|lane| lane["lane"] == "work").unwrap();
    assert_eq!((&work["timeout_seconds"], &work["silence_timeout_seconds"]), (&21_600.0.into(), &5.0.into()));
    let _dispatcher = pool.dispatcher(&[]);
    let card = || pool.json(&["workers"])["workers"][0]["data"].clone();
    pool.until("the agent speaks", || card()["running"][0]["progress"] == "more");
    let running = card()["running"][0].clone();
    assert_eq!(running["silence_timeout_seconds"], 5.0, "{running}");
    assert!(running["deadline"].is_string(), "{running}");
    let serves = card()["serves"][0].clone();
    assert_eq!(
        (&serves["timeout_seconds"], &serves["silence_timeout_seconds"]),
        (&21_600.0.into(), &5.0.into())
    );
    for command in ["workers", "status"] {
        let shown = pool.ok(&[command]);
        assert!(shown.contains("DEADLINE") && shown.contains("  5s"), "{command}: {shown}");
    }
    std::fs::write(pool.path("hush"), "").unwrap();
    pool.until("the silent agent is ended", || pool.state(&id) == "failed");
    let task = pool.task(&id);
    assert_eq!(task["failure_class"], "timeout", "{task}");
    let reason = task["failure_reason"].as_str().unwrap();
    assert!(reason.contains("printed nothing for 5s; the limit is silence_timeout"), "{reason}");
}

#[test]
fn the_first_signal_drains_and_the_second_stops() {
    let pool = Pool::scripted("");
    let first = pool.submit("echo $$ > agent\nwhile [ ! -e go ]; do sleep 0.02; done\nresult finished", &[]);
    let dispatcher = pool.dispatcher(&["--max-concurrent", "1"]);
    pool.until_file("agent");
    let second = pool.submit("result x", &[]);
    dispatcher.signal(Signal::TERM);
    pool.until("it drains", || pool.log().contains("draining: "));
    std::fs::write(pool.path("go"), "").unwrap();
    assert!(dispatcher.wait().success());
    assert_eq!(pool.response(&first)["body"], "finished");
    assert_eq!(pool.state(&second), "queued");

    let pool = Pool::scripted("");
    let id = pool.submit(STAYS, &[]);
    let dispatcher = pool.dispatcher(&[]);
    let agent = pool.until_file("agent");
    dispatcher.signal(Signal::TERM);
    pool.until("it drains", || pool.log().contains("draining: "));
    dispatcher.signal(Signal::INT);
    assert!(dispatcher.wait().success());
    assert!(!is_alive(&agent));
    let task = pool.task(&id);
    assert_eq!((&task["state"], &task["attempt"]), (&"queued".into(), &0.into()));
}

#[test]
fn a_killed_dispatcher_leaves_no_agent_and_no_claim() {
    let pool = Pool::scripted("");
    let script = "if [ -e again ]; then result second; exit; fi\ntouch again\n\
                  setsid sh -c 'echo $$ > tool; sleep 1000' &\nsleep 0.2\necho $$ > agent\nsleep 1000";
    let id = pool.submit(script, &[]);
    let dispatcher = pool.dispatcher(&[]);
    let agent = pool.until_file("agent");
    let tool = pool.until_file("tool");
    dispatcher.kill();
    pool.until("the agent dies with it", || !is_alive(&agent));
    let why = pool.json(&["why", &id]);
    assert_eq!(why["reason"], "dispatcher_gone", "{why}");
    let stderr = |words: &[&str]| String::from_utf8(pool.output(words).stderr).unwrap();
    assert!(pool.ok(&["status"]).contains("1 left by a dead dispatcher"), "{}", pool.ok(&["status"]));
    for shown in [stderr(&["wait", &id, "--timeout", "0"]), pool.ok(&["show", &id])] {
        assert!(shown.contains("which claimed it, has died"), "{shown}");
    }
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("its dispatcher died; back in its lane"), "{printed}");
    assert!(!is_alive(&tool), "{printed}");
    assert_eq!(pool.response(&id)["body"], "second");
    assert_eq!(pool.task(&id)["attempt"], 2);
    let stats = pool.json(&["stats"]);
    let outcomes = &stats["stats"]["all"]["outcomes"];
    assert_eq!((&outcomes["lost"], &outcomes["completed"]), (&1.into(), &1.into()), "{stats}");
    assert!(std::fs::read_dir(pool.path("state/workers")).unwrap().next().is_none());
}

#[test]
fn a_result_outlives_its_dispatcher() {
    let pool = Pool::scripted("  linger: 100\n");
    let id = pool.submit("result kept\nsleep 1000", &[]);
    let dispatcher = pool.dispatcher(&[]);
    let log = pool.path(&format!("state/tasks/{id}/attempts/1/stdout.log"));
    // What is still in the pipe dies with its reader.
    pool.until("the result is read", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("kept")));
    dispatcher.kill();
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("the answer was kept"), "{printed}");
    assert_eq!(pool.response(&id)["body"], "kept");
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["completed"], 1);
}

#[test]
fn a_result_that_its_dispatcher_never_read_is_kept() {
    let pool = Pool::scripted("");
    let id =
        pool.submit("echo $$ > agent\nuntil [ -e go ]; do sleep 0.02; done\nresult kept\ntouch said", &[]);
    let dispatcher = pool.dispatcher(&[]);
    let agent = pool.until_file("agent");
    dispatcher.signal(Signal::STOP);
    std::fs::write(pool.path("go"), "").unwrap();
    pool.until("the agent has said it", || pool.path("said").exists() && !is_alive(&agent));
    dispatcher.kill();
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("the answer was kept"), "{printed}");
    assert_eq!(pool.response(&id)["body"], "kept");
    assert_eq!(pool.task(&id)["attempt"], 1);
}

#[test]
fn a_task_that_kills_its_workers_comes_to_an_end() {
    let pool = Pool::scripted("");
    // The agent ends its own dispatcher, which is the parent of its guard.
    let id = pool.submit("kill -9 $(sed -n 's/^PPid://p' /proc/$PPID/status)\nsleep 1000", &[]);
    for _ in 0..20 {
        if pool.state(&id) == "failed" {
            break;
        }
        let dispatcher = pool.dispatcher(&["--once"]);
        dispatcher.wait();
    }
    let task = pool.task(&id);
    assert!(task["failure_reason"].as_str().unwrap().contains("disappeared 6 times"), "{task}");
}

#[test]
fn two_hundred_tasks_survive_a_dispatcher_that_is_killed_at_random() {
    let pool = Pool::scripted("  max_concurrent: 4\n  max_retries: 50\n");
    let count = 200;
    // Everything that a run starts holds the run's lock, so two runs of a task at once, or processes of an
    // earlier run next to a new one, would be noticed.
    let script = "exec 9>> \"locks/$LANES_TASK_ID\"\nflock -n 9 || echo \"$LANES_TASK_ID\" >> twice\n\
                  setsid sleep 0.02 &\nsleep 0.01\nresult \"$LANES_TASK_ID\"";
    std::fs::create_dir(pool.path("locks")).unwrap();
    let ids: Vec<String> =
        (0..count).map(|n| pool.submit(script, &["--task-id", &format!("t{n}")])).collect();
    // A fixed sequence of moments, so that a failure can be repeated.
    let mut moment: u64 = 12345;
    for _ in 0..12 {
        let dispatcher = pool.dispatcher(&[]);
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(std::time::Duration::from_millis(50 + (moment >> 33) % 600));
        dispatcher.kill();
    }
    let dispatcher = pool.dispatcher(&["--once"]);
    assert!(dispatcher.wait().success());
    for id in &ids {
        assert_eq!(pool.state(id), "completed", "{id}");
        assert_eq!(pool.response(id)["body"], id.as_str());
        let answers = pool.events(id).into_iter().filter(|kind| kind == "response").count();
        assert_eq!(answers, 1, "{id}");
    }
    assert!(!pool.path("twice").exists(), "{}", std::fs::read_to_string(pool.path("twice")).unwrap());
    assert!(std::fs::read_dir(pool.path("state/outbox")).unwrap().next().is_none());
    assert_eq!(pool.processes(), Vec::<String>::new());
    let stats = pool.json(&["stats"]);
    assert_eq!(stats["stats"]["all"]["completed"], count);
}

#[test]
fn a_follow_up_that_cannot_be_submitted_is_reported_once_and_delays_nothing() {
    let pool = Pool::scripted("  routes: {work: {dead_letter_lane: next}}\n");
    let id = pool.submit("rm \"state/tasks/$LANES_TASK_ID/request.md\"\nfailure boom 400", &[]);
    let dispatcher = pool.dispatcher(&["--max-concurrent", "1"]);
    pool.until("it is told", || pool.log().contains("no task follows it in lane next"));
    let after = pool.submit("result after", &[]);
    pool.until("the slot is free", || pool.state(&after) == "completed");
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.wait().success());
    let reported = pool.events(&id).into_iter().filter(|kind| kind == "follow_up_failed").count();
    assert_eq!((reported, pool.log().matches("no task follows it").count()), (1, 1), "{}", pool.log());
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["runs"], 2);
    assert!(std::fs::read_dir(pool.path("state/outbox")).unwrap().next().is_none());
}

#[test]
fn lanes_for_dead_letters_in_a_circle_come_to_an_end() {
    let pool = Pool::scripted("  routes: {work: {dead_letter_lane: back}, back: {dead_letter_lane: work}}\n");
    pool.submit("failure boom 400", &[]);
    let printed = pool.output(&["dispatch", "--once"]);
    let printed = String::from_utf8(printed.stderr).unwrap();
    assert!(printed.contains("16 tasks have followed one another already"), "{printed}");
    let tasks = pool.json(&["list"])["tasks"].clone();
    assert_eq!(tasks.as_array().unwrap().len(), 17, "the first one and those that followed it");
    let ids = tasks.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap());
    let reported = ids.filter(|id| pool.events(id).contains(&"follow_up_failed".to_string())).count();
    assert_eq!(reported, 1);
}

#[test]
fn a_lane_for_dead_letters_passes_none_on_to_itself() {
    for attic in ["", "    routes: {attic: {max_retries: 0}}\n"] {
        let pool = Pool::scripted(&format!("  dead_letter_lane: attic\n{}", attic.replacen("    ", "  ", 1)));
        pool.submit("failure boom 400", &[]);
        pool.dispatch_once(&["--lane", "work", "--lane", "attic"]);
        assert_eq!(pool.json(&["list"])["tasks"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_report_that_cannot_be_delivered_does_not_delay_the_end_and_is_delivered_at_the_next_start() {
    let pool = Pool::scripted("");
    let id = pool.submit("mkdir state/usage.jsonl\nresult fine", &[]);
    let dispatcher = pool.dispatcher(&["--max-concurrent", "1"]);
    pool.until("it is tried again", || pool.log().contains("its report will be retried"));
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.wait().success());
    assert!(pool.log().contains("its report could not be delivered"), "{}", pool.log());
    assert_eq!(std::fs::read_dir(pool.path("state/outbox")).unwrap().count(), 1);
    std::fs::remove_dir(pool.path("state/usage.jsonl")).unwrap();
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("a report that was written and not sent was sent"), "{printed}");
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["completed"], 1);
    assert_eq!(pool.response(&id)["body"], "fine");
}

#[test]
fn trouble_before_the_agent_starts_costs_no_attempt() {
    let pool = Pool::scripted("");
    let id = pool.submit("result fine", &[]);
    let in_the_way = pool.path(&format!("state/tasks/{id}/attempts/1/prompt.md"));
    std::fs::create_dir_all(&in_the_way).unwrap();
    let printed = pool.dispatch_once(&[]);
    assert!(printed.contains("its agent was not started"), "{printed}");
    let task = pool.task(&id);
    assert_eq!((&task["attempt"], &task["failure_class"]), (&0.into(), &serde_json::Value::Null), "{task}");
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let pool = Pool::scripted("");
    let first = pool.submit("result fine", &[]);
    let (_unread, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while std::io::Write::write(&mut writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    let mut command = pool.lanes(&["dispatch", "--json"]);
    let dispatcher = crate::testkit::pool::Dispatcher::of(command.stdout(writer));
    drop(command);
    pool.until("the answer", || pool.state(&first) == "completed");
    let second = pool.submit(STAYS, &[]);
    let agent = pool.until_file("agent");
    pool.ok(&["cancel", &second]);
    pool.until("the agent ends", || !is_alive(&agent));
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.wait().success());
}
