//! Notices: which commands run when something happens, how often, and what happens when they fail.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use crate::testkit::pool::Pool;

/// A pool with these rules for notices, whose claude is the scripted agent.
fn pool(rules: &str) -> Pool {
    let pool = Pool::scripted("");
    let file = pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}notify:\n{rules}")).unwrap();
    pool
}

/// The notices that a rule has written to a file, one line each.
fn notices(pool: &Pool, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(pool.path(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a dispatcher until the lanes are empty, by a clock that is ahead.
fn dispatch_ahead(pool: &Pool, seconds: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let mut command = pool.lanes(&["dispatch", "--once"]);
    let output = command.env("LANES_TEST_NOW", now.to_string()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The notices that wait for another attempt.
fn pending(pool: &Pool) -> Vec<Value> {
    let mut files = std::fs::read_dir(pool.path("state/notices")).unwrap().map(|file| file.unwrap().path());
    let state = files.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let state: Value = serde_json::from_str(&std::fs::read_to_string(state).unwrap()).unwrap();
    state["pending"].as_array().unwrap().clone()
}

#[test]
fn each_rule_gets_the_notices_of_its_kinds_and_lanes() {
    let pool = pool(
        "  - on: [failed]\n    command: cat >> failed\n  - on: [completed, failed]\n    lanes: [work]\n    \
         command: [[sh, -c, 'echo $LANES_NOTICE $LANES_TASK_ID >> all'], [sh, -c, 'echo \"$LANES_MESSAGE\" >> all']]\n  \
         - {on: [dead], command: [touch, dead]}\n",
    );
    let before = pool.submit("failure 'before there were notices'", &[]);
    pool.ok(&["cancel", &before]);
    let good = pool.submit("result fine", &["--name", "Good one"]);
    let bad = pool.submit("failure 'no such file'", &["--label", "night"]);
    pool.dispatch_once(&[]);
    let failed = notices(&pool, "failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["notice"], &failed[0]["task_id"]), (&"failed".into(), &bad.clone().into()));
    assert_eq!((&failed[0]["lane"], &failed[0]["labels"][0]), (&"work".into(), &"night".into()));
    assert!(failed[0]["reason"].as_str().unwrap().contains("no such file"), "{failed:?}");
    let all = std::fs::read_to_string(pool.path("all")).unwrap();
    assert!(
        all.contains(&format!("completed {good}\n")) && all.contains("Good one in work completed\n"),
        "{all}"
    );
    assert!(all.contains(&format!("failed {bad}\n")) && !all.contains(&before), "{all}");
    assert!(!pool.path("dead").exists());
    assert!(pending(&pool).is_empty());
    pool.ok(&["fsck"]);
    pool.dispatch_once(&[]);
    assert_eq!(notices(&pool, "failed").len(), 1, "once");
}

#[test]
fn what_happens_while_nobody_delivers_is_delivered_later() {
    let pool = pool("  - {on: [completed], command: cat >> told}\n");
    pool.dispatch_once(&[]);
    let id = pool.ok(&["submit", "--lane", "next", "--prompt", "x"]);
    pool.ok(&["respond", id.trim(), "--body", "by hand"]);
    assert!(notices(&pool, "told").is_empty());
    let told = || notices(&pool, "told").len();
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the notice", || told() == 1);
    // While it runs, too; and after it was killed.
    let id = pool.submit("result fine", &[]);
    pool.until("the second notice", || told() == 2);
    assert_eq!(notices(&pool, "told")[1]["task_id"], *id.trim());
    dispatcher.kill();
    let id = pool.ok(&["submit", "--lane", "next", "--prompt", "y"]);
    pool.ok(&["respond", id.trim(), "--body", "by hand"]);
    pool.dispatch_once(&[]);
    // The one that was killed may have told the second notice and not recorded it; its id is the same then.
    let ids: BTreeSet<String> =
        notices(&pool, "told").iter().map(|notice| notice["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    // Several are delivered at once, in no order.
    assert!(notices(&pool, "told").iter().any(|notice| notice["task_id"] == *id.trim()));
}

#[test]
fn a_command_that_fails_is_run_again_and_holds_up_nothing() {
    let pool = pool(
        "  - {on: [completed], command: 'test -e up && cat >> told || { echo down >&2; exit 7; }'}\n  \
         - {on: [completed], command: sleep 600, timeout: 0.2}\n  - {on: [completed], command: [/no/such/program]}\n  \
         - {on: [completed], command: cat >> other}\n",
    );
    let id = pool.submit("result fine", &[]);
    let output = pool.output(&["dispatch", "--once"]);
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && warnings.contains("will be retried: sh ended with exit status: 7: down ("),
        "{warnings}"
    );
    assert!(
        warnings.contains("has not ended within 0.2 seconds") && warnings.contains("/no/such/program"),
        "{warnings}"
    );
    assert_eq!(pool.state(&id), "completed");
    assert_eq!(notices(&pool, "other").len(), 1);
    assert_eq!(pending(&pool).len(), 3);
    std::fs::write(pool.path("up"), "").unwrap();
    pool.dispatch_once(&[]);
    assert!(notices(&pool, "told").is_empty(), "not so soon");
    let again = dispatch_ahead(&pool, 15);
    assert!(!again.contains("warning"), "each is reported once: {again}");
    assert_eq!((notices(&pool, "told").len(), pending(&pool).len()), (1, 2));
    let given_up = dispatch_ahead(&pool, 100_000);
    assert!(given_up.contains("a notice was dropped after a day: "), "{given_up}");
    assert!(pending(&pool).is_empty());
    assert_eq!(notices(&pool, "other").len(), 1, "the other rules have theirs");
}

#[test]
fn several_dispatchers_deliver_each_notice_once() {
    let pool = pool("  - {on: [completed], command: 'cat >> told'}\n");
    pool.dispatch_once(&[]);
    let ids: Vec<String> = (0..8).map(|n| pool.submit(&format!("result {n}"), &[])).collect();
    let start = |_| {
        let mut command = pool.lanes(&["dispatch", "--once"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let dispatchers: Vec<_> = (0..3).map(start).collect();
    for mut dispatcher in dispatchers {
        assert!(dispatcher.wait().unwrap().success());
    }
    // One that did not get the lock may have been the last to answer.
    pool.dispatch_once(&[]);
    let mut told: Vec<String> =
        notices(&pool, "told").iter().map(|notice| notice["task_id"].as_str().unwrap().to_string()).collect();
    told.sort_unstable();
    let mut expected: Vec<String> = ids.iter().map(|id| id.trim().to_string()).collect();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn a_vendor_that_is_not_used_is_told_once() {
    let pool = pool("  - {on: [parked], command: 'cat >> told'}\n");
    let limit = "at=$(($(date +%s) + 7261))\nlimit five_hour $at \"You've hit your session limit · resets $(date -u -d @$at '+%I:%M%p') (UTC)\"";
    pool.submit(limit, &[]);
    pool.dispatch_once(&[]);
    pool.dispatch_once(&[]);
    let told = notices(&pool, "told");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["notice"], &told[0]["vendor"]), (&"parked".into(), &"claude".into()));
    assert!(told[0]["message"].as_str().unwrap().contains("claude is not used until"), "{told:?}");
    // What a person decides is no news.
    pool.ok(&["pause", "--vendor", "codex", "--for", "1h"]);
    pool.dispatch_once(&[]);
    assert_eq!(notices(&pool, "told").len(), 1);
}

#[test]
fn rules_that_cannot_be_used_are_refused_in_one_line() {
    for (rules, reason) in [
        ("  - {command: x}\n", "notify[0].on: is missing; expected a list of completed, failed"),
        ("  - {on: [fialed], command: x}\n", "notify[0].on: unknown kind fialed; expected completed"),
        ("  - {on: [failed]}\n", "notify[0].command: expected a line for sh, or a list of programs"),
        ("  - {on: [failed], command: []}\n", "notify[0].command: expected"),
        ("  - {on: [failed], command: [[]]}\n", "notify[0].command: expected"),
        ("  - {on: [failed], command: [a, [b]]}\n", "notify[0].command: expected"),
        (
            "  - {on: [failed], command: x, timeout: 1h}\n",
            "notify[0].timeout: expected a time of at most 10 minutes",
        ),
        ("  - {on: [failed], command: x, lanes: [../x]}\n", "notify[0].lanes: "),
        ("  - {on: [failed], comand: x, command: x}\n", "notify[0] has unknown keys: comand"),
        ("  - x\n", "notify[0] must be a mapping"),
        ("  on: [failed]\n", "notify must be a list"),
    ] {
        let pool = pool(rules);
        let refused = pool.refused(&["dispatch", "--once"]);
        assert!(refused.contains(reason) && refused.trim_end().lines().count() == 1, "{rules}: {refused}");
        assert!(refused.contains("handoff.yaml line "), "{rules}: {refused}");
    }
}

#[test]
fn a_state_that_cannot_be_read_is_reported_and_repaired() {
    let pool = pool("  - {on: [completed], command: cat >> told}\n");
    pool.dispatch_once(&[]);
    let mut files = std::fs::read_dir(pool.path("state/notices")).unwrap().map(|file| file.unwrap().path());
    let state = files.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    std::fs::write(&state, "{").unwrap();
    pool.submit("result fine", &[]);
    let output = pool.output(&["dispatch", "--once"]);
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && warnings.contains("so no notices are delivered; remove the file"),
        "{warnings}"
    );
    let found = pool.output(&["fsck"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("notices-unreadable"), "{found:?}");
    pool.ok(&["fsck", "--repair"]);
    pool.dispatch_once(&[]);
    pool.submit("result fine", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(notices(&pool, "told").len(), 1);
}

/// The examples send what they should, with stand-ins for the programs that they call.
#[test]
fn the_examples_send_the_message() {
    let examples = format!("{}/examples/notify", env!("CARGO_MANIFEST_DIR"));
    let pool = pool(&format!(
        "  - {{on: [completed], command: [{examples}/desktop.sh]}}\n  - {{on: [completed], command: [{examples}/ntfy.sh]}}\n  \
         - {{on: [completed], command: [{examples}/chat.sh]}}\n",
    ));
    let bin = pool.path("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["notify-send", "curl"] {
        let script = "#!/bin/sh\n{ for word; do printf '%s\\n' \"$word\"; done; if [ \"${0##*/}\" = curl ]; then cat; fi; } >> sent.\"$$\"\n";
        std::fs::write(bin.join(program), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bin.join(program), mode).unwrap();
    }
    pool.submit("result fine", &["--name", "Say \"hi\" \\ bye"]);
    let mut command = pool.lanes(&["dispatch", "--once"]);
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()));
    command.env("NTFY_URL", "http://ntfy.invalid/topic").env("LANES_WEBHOOK", "http://chat.invalid/hook");
    let output = command.output().unwrap();
    assert!(
        output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("notice"),
        "{output:?}"
    );
    let entries = std::fs::read_dir(pool.path("")).unwrap().map(|entry| entry.unwrap().path());
    let sent = entries.filter(|path| path.to_string_lossy().contains("/sent."));
    let sent: Vec<String> = sent.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let has = |parts: &[&str]| sent.iter().any(|text| parts.iter().all(|part| text.contains(part)));
    let message = "Say \"hi\" \\ bye in work completed";
    assert!(has(&["lanes: completed", message, "--app-name=lanes"]), "{sent:?}");
    assert!(has(&["Title: lanes: completed", message, "url = \"http://ntfy.invalid/topic\""]), "{sent:?}");
    assert!(
        has(&[
            "{\"text\": \"lanes: Say \\\"hi\\\" \\\\ bye in work completed\"}",
            "url = \"http://chat.invalid/hook\""
        ]),
        "{sent:?}"
    );
}

#[test]
fn the_end_of_a_group_is_told_once_and_again_when_it_has_grown() {
    let pool = pool("  - {on: [group_done], lanes: [elsewhere], command: 'cat >> told'}\n");
    pool.dispatch_once(&[]);
    for prompt in ["result one", "failure 'no such file'", "result three"] {
        pool.submit(prompt, &["--group", "release 4"]);
    }
    let open = pool.ok(&["submit", "--lane", "other", "--prompt", "by hand", "--group", "release 4"]);
    pool.submit("result alone", &[]);
    pool.dispatch_once(&[]);
    assert!(notices(&pool, "told").is_empty(), "one of its tasks is open");
    pool.ok(&["cancel", open.trim()]);
    pool.dispatch_once(&[]);
    pool.dispatch_once(&[]);
    let told = notices(&pool, "told");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["notice"], &told[0]["group"]), (&"group_done".into(), &"release 4".into()));
    assert_eq!((&told[0]["completed"], &told[0]["failed"]), (&2.into(), &2.into()));
    assert_eq!(told[0]["message"], "group release 4 is done: 2 completed, 2 failed");
    // A task that was retried does not count beside the one that retries it.
    let again = pool.ok(&["retry", open.trim()]);
    pool.dispatch_once(&[]);
    assert_eq!(notices(&pool, "told").len(), 1, "the group is open again");
    pool.ok(&["respond", again.trim(), "--body", "made good"]);
    pool.submit("result four", &["--group", "release 4"]);
    pool.dispatch_once(&[]);
    let told = notices(&pool, "told");
    assert_eq!(
        (told.len(), &told[1]["completed"], &told[1]["failed"]),
        (2, &4.into(), &1.into()),
        "{told:?}"
    );
    assert_ne!(told[0]["id"], told[1]["id"]);
}

#[test]
fn doctor_says_when_nobody_runs_schedules_and_notices() {
    let pool = pool("  - {on: [completed], command: 'cat >> told'}\n");
    let report = || -> Value { serde_json::from_slice(&pool.output(&["doctor", "--json"]).stdout).unwrap() };
    let diagnosis = || {
        let report = report();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["code"] == "automation").cloned().unwrap()
    };
    pool.submit("result fine", &[]);
    assert_eq!(diagnosis()["message"], "notices are configured, and nothing runs them");
    assert_eq!(diagnosis()["level"], "warning");
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the sign", || diagnosis()["level"] == "ok");
    dispatcher.kill();
    pool.until("the warning", || diagnosis()["level"] == "warning");
}
