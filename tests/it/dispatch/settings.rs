//! The settings of a dispatcher: from handoff.yaml, routes.json and its command line.

#![expect(clippy::disallowed_methods, reason = "files come and go as a whole, as editors do it")]

use crate::testkit::pool::{Pool, stand_in};
use rustix::process::Signal;

/// The scripted agent as a program in the pool, which a test may take away.
fn install_agent(pool: &Pool) {
    let path = pool.path("agent.sh");
    std::fs::copy(stand_in("obeys.sh"), pool.path("agent.tmp")).unwrap();
    std::fs::rename(pool.path("agent.tmp"), path).unwrap();
}

#[test]
fn a_missing_directory_is_refused_before_anything_is_claimed() {
    let pool = Pool::scripted("  routes:\n    work:\n      cwd: sub\n");
    let id = pool.submit("result \"$(pwd)\"", &[]);
    let printed = pool.refused(&["dispatch", "--once"]);
    let file = pool.path("handoff.yaml");
    let place = format!("lanes: {} line 11: dispatch.routes.work.cwd: directory ", file.display());
    assert!(printed.starts_with(&place) && printed.trim_end().ends_with("/sub does not exist"), "{printed}");
    assert_eq!(pool.task(&id)["attempt"], 0);
    assert!(pool.refused(&["dispatch", "--cwd", "gone"]).starts_with("lanes: --cwd: directory /"));
    // Relative to the file, wherever the dispatcher was started.
    std::fs::create_dir_all(pool.path("sub")).unwrap();
    let mut elsewhere = pool.lanes(&["dispatch", "--once"]);
    assert!(elsewhere.current_dir("/").output().unwrap().status.success());
    assert_eq!(pool.response(&id)["body"], pool.path("sub").to_str().unwrap());
}

#[test]
fn a_dispatcher_needs_a_name_for_its_claims() {
    let pool = Pool::scripted("");
    let id = pool.submit("result x", &[]);
    for blank in ["", " "] {
        let output = pool.output(&["dispatch", "--once", "--owner", blank]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "lanes: the owner is empty\n");
    }
    let printed = pool.refused(&["dispatch", "--once", "--owner", "me\u{202e}"]);
    assert!(printed.starts_with("lanes: the owner has invisible characters"), "{printed}");
    assert_eq!(pool.task(&id)["attempt"], 0);
    let other = Pool::scripted("  owner: ''\n");
    let printed = other.refused(&["dispatch", "--once"]);
    assert!(printed.ends_with(": dispatch.owner: the owner is empty\n"), "{printed}");
    // The default consists of USER, the vendor and the process id.
    let dispatch = |user: &str| pool.lanes(&["dispatch", "--once"]).env("USER", user).output().unwrap();
    let refused = String::from_utf8(dispatch("a\nb").stderr).unwrap();
    assert!(refused.starts_with("lanes: the owner has control characters"), "{refused}");
    assert!(dispatch("ann").status.success());
    assert!(pool.task(&id)["claim_owner"].as_str().unwrap().starts_with("ann-"), "{}", pool.task(&id));
}

#[test]
fn a_missing_worktree_is_the_fault_of_its_task() {
    let pool = Pool::scripted("  max_retries: 3\n");
    std::fs::create_dir(pool.path("tree")).unwrap();
    let tree = pool.path("tree").to_str().unwrap().to_string();
    let id = pool.submit("result x", &["--worktree-path", &tree]);
    std::fs::remove_dir(pool.path("tree")).unwrap();
    pool.dispatch_once(&[]);
    let task = pool.task(&id);
    assert_eq!((&task["failure_class"], &task["attempt"]), (&"permanent".into(), &1.into()), "{task}");
    assert!(task["failure_reason"].as_str().unwrap().contains("tree does not exist"), "{task}");
}

#[test]
fn a_lane_is_left_alone_while_its_agent_or_its_directory_is_gone() {
    let pool = Pool::new(
        "dispatch:\n  vendor: claude\n  vendors: {claude: {command: ./agent.sh}}\n  routes: {work: {cwd: here}}\n",
    );
    install_agent(&pool);
    std::fs::create_dir(pool.path("here")).unwrap();
    let dispatcher = pool.dispatcher(&["--owner", "d"]);
    pool.until("it runs", || pool.log().contains("serves"));
    for gone in ["agent.sh", "here"] {
        std::fs::rename(pool.path(gone), pool.path("away")).unwrap();
        let id = pool.submit("result back", &[]);
        let why = || pool.json(&["why", &id]);
        pool.until("why tells", || why()["reason"] == "lane_unready");
        let message = why()["message"].as_str().unwrap().to_string();
        assert!(message.contains(gone), "{message}");
        assert!(pool.ok(&["status"]).contains("lane work is not served by d: "));
        let workers = pool.json(&["workers"]);
        assert!(workers["workers"][0]["data"]["unready"]["work"].is_string(), "{workers}");
        assert_eq!(pool.task(&id)["attempt"], 0);
        std::fs::rename(pool.path("away"), pool.path(gone)).unwrap();
        pool.until("it is answered", || pool.state(&id) == "completed");
        assert_eq!(pool.task(&id)["attempt"], 1);
    }
    assert_eq!(pool.log().matches("lane work is not served").count(), 2, "{}", pool.log());
    assert_eq!(pool.log().matches("lane work is served again").count(), 2, "{}", pool.log());
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.wait().success());
}

#[test]
fn why_reports_a_route_that_allows_no_run() {
    let pool = Pool::scripted("  routes:\n    work:\n      concurrency: 0\n");
    let dispatcher = pool.dispatcher(&["--owner", "d"]);
    pool.until("it runs", || pool.log().contains("serves"));
    let id = pool.submit("result x", &[]);
    let why = || pool.json(&["why", &id]);
    pool.until("why tells", || why()["reason"] == "lane_unready");
    let message = why()["message"].as_str().unwrap().to_string();
    assert!(message.contains("what d needs for lane work: a concurrency above 0 ("), "{message}");
    assert!(message.contains("line 11: dispatch.routes.work.concurrency)"), "{message}");
    assert_eq!(pool.task(&id)["attempt"], 0);
    drop(dispatcher);
}

#[test]
fn a_program_that_cannot_be_started_costs_no_attempt() {
    let pool = Pool::new("dispatch:\n  vendor: claude\n  vendors: {claude: {command: ./agent.sh}}\n");
    install_agent(&pool);
    let text = std::fs::read_to_string(pool.path("agent.sh")).unwrap();
    std::fs::write(pool.path("agent.sh"), text.replace("#!/bin/sh", "#!/no/such/shell")).unwrap();
    let ids: Vec<String> = (0..3).map(|_| pool.submit("result x", &[])).collect();
    let printed = pool.dispatch_once(&[]);
    assert!(
        printed.contains("lane work is not served: ") && printed.contains("its interpreter is missing"),
        "{printed}"
    );
    for id in &ids {
        let task = pool.task(id);
        assert_eq!((&task["state"], &task["attempt"]), (&"queued".into(), &0.into()), "{task}");
    }
}

#[test]
fn routes_of_programs_hold_and_changes_are_followed() {
    let pool = Pool::scripted("  routes:\n    work: {effort: low}\n");
    let effort = "result \"$(tr '\\0' ' ' < /proc/$$/cmdline | sed 's/.*--effort \\([a-z]*\\).*/\\1/')\"";
    let put = |effort: &str| {
        let text = format!("{{\"routes\": {{\"work\": {{\"effort\": \"{effort}\"}}}}}}");
        std::fs::write(pool.path("state/routes.tmp"), text).unwrap();
        std::fs::rename(pool.path("state/routes.tmp"), pool.path("state/routes.json")).unwrap();
    };
    let ask = |expected: &str| {
        let id = pool.submit(effort, &[]);
        pool.until("it is answered", || pool.state(&id) == "completed");
        assert_eq!(pool.response(&id)["body"], expected);
    };
    pool.ok(&["pause", "next"]);
    let dispatcher = pool.dispatcher(&[]);
    ask("low");
    put("high");
    pool.until("it follows", || pool.log().matches("the settings have changed").count() == 1);
    ask("high");
    // A broken file changes nothing and is reported once.
    std::fs::write(pool.path("state/routes.json"), "{\"routes\": {\"work\": {\"efort\": 1}}}").unwrap();
    pool.until("it complains", || {
        pool.log().contains("unknown key; did you mean effort?; the settings stay")
    });
    ask("high");
    ask("high");
    assert_eq!(pool.log().matches("unknown key").count(), 1, "{}", pool.log());
    put("medium");
    pool.until("it follows", || pool.log().matches("the settings have changed").count() == 2);
    ask("medium");
    std::fs::remove_file(pool.path("state/routes.json")).unwrap();
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    let more = file.replace("work: {effort: low}", "work: {effort: max}\n    fresh: {}");
    std::fs::write(pool.path("handoff.yaml"), more).unwrap();
    pool.until("it follows", || {
        pool.log().contains("serves work, fresh, next") || pool.log().contains("fresh")
    });
    pool.until("the card follows", || {
        pool.json(&["workers"])["workers"][0]["lanes"].to_string().contains("fresh")
    });
    ask("max");
    drop(dispatcher);
    std::fs::write(pool.path("state/routes.json"), "{\"routes\": 5}").unwrap();
    assert!(
        pool.refused(&["dispatch"]).contains("state/routes.json line 1: routes: expected keys with values")
    );
}

/// The refusal of a dispatcher with these settings and flags.
fn refusal(dispatch: &str, flags: &[&str]) -> String {
    let pool = Pool::new(&format!(
        "dispatch:\n{dispatch}  vendors:\n    claude: {{command: AGENT}}\n    codex: {{command: AGENT}}\n"
    ));
    let printed = pool.refused(&[&["dispatch", "--once"], flags].concat());
    assert_eq!(printed.lines().count(), 1, "{printed}");
    printed.replace(pool.path("handoff.yaml").to_str().unwrap(), "FILE")
}

#[test]
fn what_limits_an_agent_never_gets_lost() {
    let codex = ["--vendor", "codex"];
    assert_eq!(
        refusal("  vendor: claude\n  routes:\n    work:\n      permission_mode: plan\n", &codex),
        "lanes: FILE line 9: dispatch.routes.work.permission_mode: is meant for claude, but codex would serve lane work; \
         leave the lane to claude with `vendor: claude` in its route, or choose others with --lane\n"
    );
    // The settings of the route itself count, and of the defaults those that restrict.
    let model = refusal("  vendor: claude\n  routes: {work: {model: haiku}}\n", &codex);
    assert!(model.contains("line 7: dispatch.routes.work.model: is meant for claude"), "{model}");
    let tools = refusal("  vendor: claude\n  disallowed_tools: [Bash]\n", &codex);
    assert!(tools.contains("line 7: dispatch.disallowed_tools: is meant for claude"), "{tools}");
    let program = ["--command", "--", "cat"];
    let mode = refusal("  vendor: claude\n  permission_mode: plan\n", &program);
    assert!(mode.contains("is meant for claude, but cat would serve lane next"), "{mode}");
    assert_eq!(
        refusal("  vendor: claude\n  permission_mode: plan\n  routes: {work: {vendor: codex}}\n", &[]),
        "lanes: FILE line 7: dispatch.permission_mode: is meant for claude, but codex would serve lane work; \
         set `permission_mode` in the route to a value for codex; `null` means the default of codex\n"
    );
    // Not specific to a vendor, but a vendor may not support it.
    let budget = refusal("  max_budget_usd: 5\n", &codex);
    assert!(
        budget
            .contains("line 6: dispatch.max_budget_usd: codex, which serves lane next, does not support it"),
        "{budget}"
    );
    assert!(budget.contains("`max_budget_usd: null` in the route runs the lane without"), "{budget}");
    let tools = refusal("  routes: {work: {vendor: codex, allowed_tools: [Bash]}}\n", &[]);
    assert!(tools.contains("dispatch.routes.work.allowed_tools: codex, which serves lane work"), "{tools}");
    let mode = refusal("  routes: {work: {command: cat, permission_mode: plan}}\n", &[]);
    assert!(mode.contains("dispatch.routes.work.permission_mode: cat, which serves lane work"), "{mode}");
}

/// Returns the standard error of a dry run, and the vendor of each lane that it would serve.
fn served(dispatch: &str, flags: &[&str]) -> (String, Vec<(String, String)>) {
    let pool = Pool::new(&format!(
        "dispatch:\n{dispatch}  vendors:\n    claude: {{command: AGENT}}\n    codex: {{command: AGENT}}\n    night: {{like: claude}}\n"
    ));
    let output = pool.output(&[&["dispatch", "--dry-run", "--json"], flags].concat());
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{printed}");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let lanes = plan["lanes"].as_array().unwrap().iter();
    (printed, lanes.map(|lane| (text(&lane["lane"]), text(&lane["vendor"]))).collect())
}

#[test]
fn a_route_names_its_vendor_then_the_command_line_then_the_default() {
    let own = |lane: &str, vendor: &str| (lane.to_string(), vendor.to_string());
    let routes =
        "  vendor: claude\n  routes:\n    work: {vendor: codex}\n    tool: {command: cat}\n    next: {}\n";
    let (printed, lanes) = served(routes, &[]);
    assert_eq!(lanes, [own("work", "codex"), own("tool", "command"), own("next", "claude")]);
    assert_eq!(printed, "");
    let (printed, lanes) = served(routes, &["--vendor", "claude"]);
    assert_eq!((printed.as_str(), lanes), ("", vec![own("tool", "command"), own("next", "claude")]));
    let (printed, lanes) = served(routes, &["--vendor", "codex"]);
    assert_eq!(lanes, [own("work", "codex"), own("tool", "command"), own("next", "codex")]);
    assert_eq!(
        printed,
        "lanes: warning: next: served as given on the command line, not by claude, the default of the file\n"
    );
    let (printed, lanes) = served(routes, &["--vendor", "claude", "--lane", "work", "--lane", "next"]);
    assert_eq!(lanes, [own("next", "claude")]);
    assert_eq!(printed, "lanes: warning: lane work is left to codex, which its route names\n");
    let (_, lanes) = served(routes, &["--command", "--", "cat"]);
    assert_eq!(lanes, [own("tool", "command"), own("next", "command")]);
    // A phrase that is not a limit is skipped with a warning; a vendor that is `like` another has its phrases.
    let words = "  vendor: claude\n  model: opus\n  args: [-x]\n";
    let (printed, _) = served(words, &["--vendor", "codex", "--lane", "work"]);
    assert_eq!(
        printed.lines().collect::<Vec<_>>()[..2],
        [
            "lanes: warning: lane work runs without args of dispatch, which is meant for claude",
            "lanes: warning: lane work runs without model of dispatch, which is meant for claude"
        ]
    );
    let (printed, _) = served("  vendor: claude\n  permission_mode: plan\n", &["--vendor", "night"]);
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

#[test]
fn the_example_can_be_served_as_it_is() {
    let example = include_str!("../../../examples/pool/handoff.yaml");
    for flags in [&[][..], &["--vendor", "claude"], &["--vendor", "codex"]] {
        let pool = Pool::new("");
        std::fs::write(pool.path("handoff.yaml"), example).unwrap();
        let output = pool.output(&[&["dispatch", "--dry-run"], flags].concat());
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
