//! Vendors that refuse: how long they are not used, and what becomes of their tasks.

use crate::testkit::pool::Pool;
use lanes::internals::model::Time;

/// How many seconds from now the pause called `key` lasts.
fn pause(pool: &Pool, key: &str) -> f64 {
    let parked = pool.json(&["workers"])["parked"].clone();
    let until = parked[key]["until"].as_str().unwrap_or_else(|| panic!("{key} in {parked}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::parse(until).unwrap().seconds_since(Time::from_micros(now.as_micros() as i64))
}

#[test]
fn a_clock_time_that_has_just_passed_is_a_short_pause() {
    let pool = Pool::scripted("");
    // As both programs print it: truncated to the minute, without a date.
    let script = "at=$(date -u -d '-1 minute' '+%I:%M%p')\nfailure \"You've hit your session limit · resets $at (UTC)\" 429";
    let id = pool.submit(script, &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.task(&id)["attempt"], 0);
    let seconds = pause(&pool, "claude");
    assert!((1.0..91.0).contains(&seconds), "{seconds}");
}

#[test]
fn the_event_for_programs_names_the_second() {
    let pool = Pool::scripted("");
    let script = "at=$(($(date +%s) + 7261))\nlimit five_hour $at \"You've hit your session limit · resets $(date -u -d @$at '+%I:%M%p') (UTC)\"";
    pool.submit(script, &[]);
    pool.dispatch_once(&[]);
    let seconds = pause(&pool, "claude");
    assert!((7200.0..=7266.0).contains(&seconds), "{seconds}");
    let text = std::fs::read_to_string(pool.path("state/vendors.json")).unwrap();
    assert!(text.contains("\"exact\": true"), "{text}");
}

#[test]
fn a_limit_of_one_model_leaves_the_others_alone() {
    let pool = Pool::scripted("");
    let opus = ["--metadata", "model_class=opus"];
    let met = pool.submit(
        "at=$(($(date +%s) + 90000))\nlimit seven_day_opus $at \"You've hit your Opus limit\"",
        &opus,
    );
    pool.dispatch_once(&[]);
    let seconds = pause(&pool, "claude/opus");
    assert!((89_000.0..=90_005.0).contains(&seconds), "{seconds}");
    let (other, again) = (
        pool.submit("result fine", &["--metadata", "model_class=sonnet"]),
        pool.submit("result fine", &opus),
    );
    let by_default = pool.submit("result fine", &[]);
    let printed = pool.dispatch_once(&[]);
    assert_eq!([&other, &by_default].map(|id| pool.state(id)), ["completed", "completed"], "{printed}");
    assert_eq!([&met, &again].map(|id| pool.state(id)), ["queued", "queued"]);
    assert!(printed.contains("claude with model opus is not used until"), "{printed}");
    assert_eq!(pool.json(&["workers"])["parked"]["claude/opus"]["model"], "opus");
    // A version that does not know models reads the vendor's own key, and finds none.
    let text = std::fs::read_to_string(pool.path("state/vendors.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(file["parked"].get("claude").is_none(), "{text}");
    let dispatcher = pool.dispatcher(&[]);
    pool.until("why names the model", || {
        pool.json(&["why", &again])["message"]
            .as_str()
            .unwrap()
            .contains("claude with model opus, which is not used")
    });
    drop(dispatcher);
}

#[test]
fn an_overloaded_service_is_no_limit() {
    let pool = Pool::scripted("");
    let id = pool.submit("failure 'API Error: 529 Overloaded' 529", &[]);
    pool.dispatch_once(&[]);
    let (task, parked) = (pool.task(&id), pool.json(&["workers"])["parked"]["claude"].clone());
    assert_eq!((&task["state"], &task["attempt"]), (&"queued".into(), &0.into()));
    assert_eq!(parked["kind"], "overloaded");
    assert!(pool.ok(&["doctor"]).contains("claude is not used until "));
    assert!(parked["reason"].as_str().unwrap().starts_with("the vendor is overloaded: "), "{parked}");
    assert!(pause(&pool, "claude") <= 60.0);
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["outcomes"]["overloaded"], 1);
}

#[test]
fn a_refused_account_costs_no_task_and_is_tried_by_one() {
    let pool = Pool::scripted("  max_retries: 2\n");
    let script = "echo >> runs\n[ -e login ] || failure 'Not logged in · Please run /login'\nresult fine";
    let ids: Vec<String> = (0..5).map(|_| pool.submit(script, &[])).collect();
    pool.dispatch_once(&["--max-concurrent", "1"]);
    let runs = || std::fs::read_to_string(pool.path("runs")).unwrap().lines().count();
    assert_eq!(runs(), 1, "the others wait");
    assert!(ids.iter().all(|id| pool.state(id) == "queued" && pool.task(id)["attempt"] == 0));
    let parked = pool.json(&["workers"])["parked"]["claude"].clone();
    assert_eq!(parked["kind"], "account");
    let why = pool.json(&["why", &ids[0]]);
    assert_eq!(why["reason"], "vendor_unready");
    assert!(why["message"].as_str().unwrap().contains("unready: log in"), "{why}");
    assert!(pool.ok(&["status"]).contains("claude is unready: log in"));
    assert!(pool.ok(&["workers"]).contains("claude is unready: log in"));
    assert!(pool.ok(&["doctor"]).contains("claude is unready, log in; "));
    // A version that does not know it does not take it for a pause.
    let file = pool.path("state/vendors.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut content: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(content["parked"], serde_json::json!({}), "{text}");
    // The time of the next try has come, for two dispatchers.
    content["unready"]["claude"]["until"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, content.to_string()).unwrap();
    let dispatchers = [pool.dispatcher(&[]), pool.dispatcher(&[])];
    pool.until("the try", || runs() == 2 && ids.iter().all(|id| pool.state(id) == "queued"));
    pool.until("the next try is later", || pause(&pool, "claude") > 60.0);
    assert_eq!(runs(), 2);
    // A person logs in and resumes the vendor.
    std::fs::write(pool.path("login"), "").unwrap();
    pool.ok(&["resume", "--vendor", "claude"]);
    pool.until("all are answered", || ids.iter().all(|id| pool.state(id) == "completed"));
    assert_eq!(pool.json(&["workers"])["parked"], serde_json::json!({}));
    drop(dispatchers);
}

#[test]
fn a_try_that_succeeds_lets_all_go_on() {
    let pool = Pool::scripted("");
    let ids: Vec<String> = (0..3)
        .map(|_| pool.submit("[ -e login ] || failure 'Invalid API key' 401\nresult fine", &[]))
        .collect();
    pool.dispatch_once(&["--max-concurrent", "1"]);
    std::fs::write(pool.path("login"), "").unwrap();
    let file = pool.path("state/vendors.json");
    let mut content: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    content["unready"]["claude"]["until"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, content.to_string()).unwrap();
    pool.dispatch_once(&[]);
    pool.until("all are answered", || ids.iter().all(|id| pool.state(id) == "completed"));
    assert_eq!(pool.json(&["workers"])["parked"], serde_json::json!({}));
}

#[test]
fn an_agent_whose_key_is_refused_is_not_left_to_its_retries() {
    let pool = Pool::scripted("");
    let retry = r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"error_status":401,"error":"authentication_failed"}"#;
    let id = pool.submit(&format!("printf '%s\\n' '{retry}'\nsleep 600"), &[]);
    pool.dispatch_once(&[]);
    assert_eq!((pool.state(&id), pool.task(&id)["attempt"].clone()), ("queued".to_string(), 0.into()));
    let parked = pool.json(&["workers"])["parked"]["claude"].clone();
    assert_eq!(parked["kind"], "account");
    assert!(parked["reason"].as_str().unwrap().contains("HTTP 401"), "{parked}");
}

#[test]
fn a_task_that_alone_is_refused_fails() {
    let pool = Pool::scripted("");
    let good = pool.submit("result fine", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&good), "completed");
    let bad = pool.submit("failure 'rate limited' 429", &[]);
    // It has met the limit three times before the other was answered.
    let events = pool.path(&format!("state/tasks/{bad}/events.jsonl"));
    let mut text = std::fs::read_to_string(&events).unwrap();
    for hour in 1..=3 {
        text += &format!(
            "{{\"created_at\": \"2026-01-01T0{hour}:00:00Z\", \"type\": \"released\", \"message\": \"\", \"data\": {{\"reason\": \"the vendor's usage limit is reached: rate limited\"}}}}\n"
        );
    }
    std::fs::write(&events, text).unwrap();
    pool.dispatch_once(&[]);
    let task = pool.task(&bad);
    assert_eq!((&task["state"], &task["failure_class"]), (&"failed".into(), &"usage_limit".into()), "{task}");
    assert_eq!(pool.json(&["workers"])["parked"], serde_json::json!({}), "the vendor works");
}

#[test]
fn a_phrase_in_passing_starts_no_cooldown() {
    let pool = Pool::scripted("");
    let printed = pool.submit("result \"You've hit your usage limit. Try again at 2:40 PM.\"", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&printed), "completed");
    let passing = pool.submit("x", &[]);
    let script = "echo usage limit reached >&2; echo the test failed >&2; exit 1";
    pool.dispatch_once(&["--command", "--", "/bin/sh", "-c", script]);
    assert_eq!(pool.task(&passing)["failure_class"], "error");
    assert_eq!(pool.json(&["workers"])["parked"], serde_json::json!({}));
    let last = pool.submit("x", &[]);
    let script = "echo working >&2; echo usage limit reached, try again in 2 hours >&2; exit 1";
    pool.dispatch_once(&["--command", "--", "/bin/sh", "-c", script]);
    assert_eq!(pool.state(&last), "queued");
    assert!(pause(&pool, "command:/bin/sh") > 7200.0);
}

#[test]
fn a_wording_is_added_in_the_file() {
    let pool = Pool::new(
        "dispatch:\n  vendor: claude\n  vendors:\n    every: {says: {tea time: overloaded}}\n    claude:\n      command: AGENT\n      says: {come back tomorrow: usage_limit, not logged in: null}\n",
    );
    for (expected, kind) in [("Come back tomorrow!", "usage_limit"), ("Tea time", "overloaded")] {
        pool.submit(&format!("failure '{expected}'"), &[]);
        pool.dispatch_once(&[]);
        assert_eq!(pool.json(&["workers"])["parked"]["claude"]["kind"], kind, "{expected}");
        pool.ok(&["resume", "--vendor", "claude"]);
        for task in pool.json(&["list"])["tasks"].as_array().unwrap() {
            pool.output(&["cancel", task["id"].as_str().unwrap()]);
        }
    }
    let id = pool.submit("failure 'Not logged in'", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.task(&id)["failure_class"], "error", "taken out");
    let wrong = Pool::new("dispatch:\n  vendor: claude\n  vendors: {claude: {says: {x: perhaps}}}\n");
    assert!(
        wrong.refused(&["dispatch", "--once"]).contains("says.x: expected one of usage_limit, overloaded")
    );
}

#[test]
fn pauses_of_an_older_lanes_hold() {
    let pool = Pool::scripted("");
    let id = pool.submit("result fine", &[]);
    let old = r#"{"parked": {"claude": {"since": "2026-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z", "reason": "old", "strikes": 2}}}"#;
    std::fs::write(pool.path("state/vendors.json"), old).unwrap();
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "queued");
    assert_eq!(pool.json(&["workers"])["parked"]["claude"]["kind"], "usage_limit");
    pool.ok(&["resume", "--vendor", "claude"]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&id), "completed");
}

#[test]
fn a_person_pauses_a_vendor_or_one_of_its_models() {
    let pool = Pool::scripted("");
    let printed =
        pool.ok(&["pause", "--vendor", "claude", "--model", "opus", "--for", "2h", "--reason", "dear"]);
    assert!(
        printed.starts_with("claude with model opus is not used until ") && printed.ends_with(": dear"),
        "{printed}"
    );
    assert!((7000.0..=7200.0).contains(&pause(&pool, "claude/opus")));
    let opus = pool.submit("result fine", &["--metadata", "model_class=opus"]);
    let other = pool.submit("result fine", &[]);
    pool.dispatch_once(&[]);
    assert_eq!([&opus, &other].map(|id| pool.state(id)), ["queued", "completed"]);
    // The success of other runs does not end a person's pause.
    assert_eq!(pool.json(&["workers"])["parked"]["claude/opus"]["kind"], "asked");
    let pauses = pool.json(&["pause", "--vendor", "claude"])["pauses"].clone();
    for pause in [
        &pauses[0],
        &pool.json(&["workers"])["parked"]["claude"],
        &pool.json(&["status"])["parked"]["claude"],
    ] {
        assert_eq!(pause.get("model"), Some(&serde_json::Value::Null), "{pause}");
    }
    let third = pool.submit("result fine", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.state(&third), "queued");
    assert!(pool.ok(&["status"]).contains("claude is not used until it is resumed"));
    pool.ok(&["resume", "--vendor", "claude", "--model", "opus"]);
    assert_eq!(pool.json(&["workers"])["parked"].as_object().unwrap().len(), 1);
    assert_eq!(pool.json(&["resume", "--vendor", "claude"])["changed"], true);
    pool.dispatch_once(&[]);
    assert_eq!([&opus, &third].map(|id| pool.state(id)), ["completed", "completed"]);
    for wrong in [
        &["pause"][..],
        &["pause", "work", "--vendor", "claude"],
        &["pause", "--vendor", "claude", "--for", "2h", "--until", "2999-01-01T00:00:00Z"],
        &["resume"],
        &["pause", "work", "--model", "opus"],
        &["pause", "work", "--for", "2h"],
        &["resume", "work", "--model", "opus"],
        &["pause", "--vendor", "claude", "--for", "0"],
        &["pause", "--vendor", "claude", "--until", "2001-01-01T00:00:00Z"],
        &["pause", "--vendor", "claude", "--until", "tomorrow"],
        &["pause", "--vendor", ""],
    ] {
        let output = pool.output(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(pool.json(&["workers"])["parked"], serde_json::json!({}));
}

#[test]
fn while_the_pauses_cannot_be_read_nothing_is_claimed() {
    let pool = Pool::scripted("");
    let id = pool.submit("result fine", &[]);
    pool.ok(&["pause", "--vendor", "claude"]);
    let file = pool.path("state/vendors.json");
    std::fs::write(&file, "{bad").unwrap();
    let reported = format!(
        "lanes: {} cannot be read, so nothing is claimed for any vendor; \
         remove the file to end the pauses of all vendors\n",
        file.display()
    );
    for refused in [
        &["dispatch", "--once"][..],
        &["dispatch", "--dry-run"],
        &["pause", "--vendor", "codex"],
        &["resume", "--vendor", "claude"],
        &["why", &id],
    ] {
        let printed = pool.refused(refused);
        assert!(printed.ends_with(&reported), "{refused:?}: {printed}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{bad", "nothing is overwritten");
    for shown in ["status", "workers"] {
        let shown = pool.lanes(&[shown]).output().unwrap();
        let warning = String::from_utf8(shown.stderr).unwrap();
        assert!(shown.status.success() && warning.contains("so nothing is claimed for any vendor; remove"));
    }
    assert!(
        String::from_utf8(pool.lanes(&["doctor"]).output().unwrap().stdout)
            .unwrap()
            .contains("vendors.json: it cannot be read, so nothing is claimed for any vendor")
    );
    // A dispatcher that keeps running continues once the file is repaired.
    let dispatcher = pool.dispatcher(&[]);
    pool.until("it says why", || pool.log().contains("so nothing is claimed for any vendor"));
    assert_eq!((pool.state(&id), pool.task(&id)["attempt"].clone()), ("queued".to_string(), 0.into()));
    pool.ok(&["fsck", "--repair"]);
    pool.until("it is answered", || pool.state(&id) == "completed");
    drop(dispatcher);
}

#[test]
fn a_vendor_that_nobody_knows_is_paused_with_a_hint() {
    let pool = Pool::new(
        "dispatch:\n  vendor: claude\n  vendors:\n    mine: {like: claude}\n    claude: {command: AGENT}\n",
    );
    let reported = |vendor: &str| {
        let output = pool.output(&["pause", "--vendor", vendor]);
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("{vendor} is not used until it is resumed\n"));
        String::from_utf8(output.stderr).unwrap()
    };
    let hint = reported("cluade");
    assert!(
        hint.starts_with("lanes: unknown vendor cluade; known vendors are ") && hint.lines().count() == 1
    );
    for known in ["claude", "codex", "mine"] {
        assert!(hint.split([' ', ',', '\n']).any(|word| word == known), "{hint}");
    }
    for known in ["claude", "mine", "command:/bin/sh"] {
        assert_eq!(reported(known), "");
    }
}
