//! Agents that misbehave, and the way in which each vendor reports it: each run has a defined end.

use crate::testkit::pool::{Pool, stand_in};

/// A pool whose claude is one of the stand-ins.
fn pool_of(agent: &str, more: &str) -> Pool {
    Pool::new(&format!(
        "dispatch:\n  vendor: claude\n  grace: 0.3\n{more}  vendors:\n    claude: {{command: {}}}\n",
        stand_in(agent)
    ))
}

/// How the one task of a pool fails.
fn failure(pool: &Pool) -> (String, String) {
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!(task["state"], "failed", "{task}");
    assert_eq!(pool.processes(), Vec::<String>::new(), "nothing is left");
    let text = |key: &str| task[key].as_str().unwrap().to_string();
    (text("failure_class"), text("failure_reason"))
}

#[test]
fn garbage_and_silence_are_errors() {
    for (agent, expected) in [
        ("garbage.py", "exited with code 0 without a result ("),
        ("silent.sh", "exited with code 0 without a result"),
        ("half_line.sh", "without a result (1 unreadable lines)"),
        ("closes_stdin.sh", "without a result"),
        ("forks.sh", "without a result"),
    ] {
        let (class, reason) = failure(&pool_of(agent, ""));
        assert_eq!(class, "error", "{agent}");
        assert!(reason.contains(expected), "{agent}: {reason}");
    }
}

#[test]
fn a_program_without_a_vendor_must_print_something() {
    let pool = Pool::new("");
    let id = pool.submit("x", &[]);
    pool.dispatch_once(&["--command", "--", "/bin/true"]);
    let task = pool.task(&id);
    assert_eq!(task["failure_class"], "error", "{task}");
    // It need not read its prompt, however long the prompt is.
    let id = pool.submit(&"x".repeat(100_000), &[]);
    pool.dispatch_once(&["--command", "--", &stand_in("closes_stdin.sh")]);
    assert_eq!(pool.response(&id)["body"], "answer\n");
}

#[test]
fn a_deaf_agent_ends_at_its_timeout() {
    let (class, reason) = failure(&pool_of("ignores_term.sh", "  timeout: 0.3\n"));
    assert_eq!(class, "timeout");
    assert!(reason.contains("longer"), "{reason}");
}

#[test]
fn what_an_agent_leaves_behind_is_ended_and_its_answer_kept() {
    let pool = Pool::new("");
    std::fs::write(
        pool.path("agent.sh"),
        format!("#!/bin/sh\nexec {} pids group session\n", stand_in("leaves_children.py")),
    )
    .unwrap();
    let id = pool.submit("x", &[]);
    pool.dispatch_once(&["--command", "--", "/bin/sh", "agent.sh"]);
    assert!(pool.response(&id)["body"].as_str().unwrap().contains("done"));
    assert_eq!(pool.processes(), Vec::<String>::new(), "nothing is left");
}

#[test]
fn bytes_that_are_no_text_do_not_lose_the_answer() {
    let pool = pool_of("invalid_utf8.sh", "");
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "caf\u{fffd}");
}

#[test]
fn a_gigabyte_of_output_is_read_and_little_of_it_kept() {
    let pool = pool_of("floods.py", "  env: {FLOOD_MB: 1024}\n");
    let id = pool.submit("true", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "still here");
    for log in ["stdout.log", "stderr.log"] {
        let log = pool.path(&format!("state/tasks/{id}/attempts/1/{log}"));
        let length = std::fs::metadata(&log).unwrap().len();
        assert!(length < 18 * 1024 * 1024, "{} has {length} bytes", log.display());
    }
}

#[test]
fn an_unknown_lane_is_reported_and_served() {
    let pool = Pool::scripted("");
    let output = pool.output(&["dispatch", "--once", "--lane", "wrok"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "lanes: warning: lane wrok is not in handoff.yaml and has never had a task; did you mean work?\n"
    );
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    let with_lanes = file.replacen("dispatch:\n", "dispatch:\n  lanes: [wrok, new]\n", 1);
    assert_ne!(with_lanes, file);
    std::fs::write(pool.path("handoff.yaml"), with_lanes).unwrap();
    for command in [&["dispatch", "--once"][..], &["dispatch", "--dry-run"]] {
        let output = pool.output(command);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("lane wrok is not in handoff.yaml and has never had a task; did you mean work?"),
            "{told}"
        );
        assert!(!told.contains("lane new"), "{told}");
    }
    std::fs::write(pool.path("handoff.yaml"), file).unwrap();
    pool.ok(&["submit", "--lane", "new", "--prompt", "DO: result x"]);
    for lane in ["work", "new"] {
        let output = pool.output(&["dispatch", "--once", "--lane", lane]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_lane_without_a_vendor_does_not_keep_the_others_from_being_served() {
    let pool = Pool::new("dispatch:\n  routes: {other: {command: /bin/cat}}\ndispach: {}\n");
    let id = pool.ok(&["submit", "--lane", "other", "--prompt", "x"]);
    let output = pool.output(&["dispatch", "--once"]);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("unknown keys, which are ignored: dispach"), "{printed}");
    assert!(printed.contains("lane work is not served: no vendor is configured for it"), "{printed}");
    assert_eq!(pool.state(id.trim()), "completed");
}

#[test]
fn a_lane_with_tasks_that_nobody_serves_is_reported() {
    let pool = Pool::scripted("");
    pool.submit("result x", &[]);
    for _ in 0..2 {
        pool.ok(&["submit", "--lane", "left", "--prompt", "x"]);
    }
    let warning =
        "lanes: warning: 2 tasks are waiting in lane left, which nobody serves; name it with --lane left\n";
    let output = pool.output(&["dispatch", "--once"]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), warning);
    // Somebody who names the lanes has chosen.
    let output = pool.output(&["dispatch", "--once", "--lane", "work"]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// A pool in which this vendor's program is the stand-in that speaks its format.
fn pool_for(vendor: &str) -> Pool {
    Pool::new(&format!(
        "dispatch:\n  vendor: {vendor}\n  vendors:\n    {vendor}: {{command: {}}}\n",
        stand_in("polyglot.sh")
    ))
}

#[test]
fn every_vendor_is_understood() {
    for vendor in ["codex", "gemini", "opencode"] {
        let pool = pool_for(vendor);
        let ask = |expected: &str, more: &[&str]| {
            let prompt = format!("SAY {expected}");
            let id = pool.ok(&[&["submit", "--lane", "work", "--prompt", &prompt], more].concat());
            pool.dispatch_once(&[]);
            id
        };
        let good = pool.response(&ask("fine", &[]));
        assert_eq!(
            (&good["status"], &good["body"]),
            (&"completed".into(), &"fine".into()),
            "{vendor}: {good}"
        );
        let about = &good["metadata"];
        assert_eq!(
            (&about["vendor"], &about["cli_version"]),
            (&vendor.into(), &"polyglot 1.2".into()),
            "{about}"
        );
        assert_eq!(about["tokens"]["input"], if vendor == "codex" { 15 } else { 20 }, "{vendor}: {about}");
        let session = about["session_id"].as_str().unwrap().to_string();
        // A conversation continues under its own id.
        let resumed = pool.response(&ask("again", &["--metadata", &format!("session_id={session}")]));
        assert_eq!(resumed["metadata"]["session_id"], session.as_str(), "{vendor}: {resumed}");
        let argv = std::fs::read_to_string(pool.path("argv")).unwrap();
        assert!(argv.contains(&session), "{vendor}: {argv}");
        let boom = pool.task(&ask("boom", &[]));
        // gemini's report names HTTP 400, which another attempt would only get again.
        let class = if vendor == "gemini" { "permanent" } else { "error" };
        assert_eq!(boom["failure_class"], class, "{vendor}: {boom}");
        assert!(boom["failure_reason"].as_str().unwrap().contains("boom"), "{vendor}: {boom}");
        let nothing = pool.task(&ask("nothing", &[]));
        assert_eq!(nothing["failure_class"], "error", "{vendor}: {nothing}");
        assert!(
            nothing["failure_reason"].as_str().unwrap().contains("without a result"),
            "{vendor}: {nothing}"
        );
    }
    // The stream of codex may lack the message; its file has it.
    let pool = pool_for("codex");
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "SAY long"]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "from the file");
}
