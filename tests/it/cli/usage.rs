//! Help, versions, bad usage, completions, man pages, ways to name the workspace.

use std::path::Path;
use std::time::Duration;

use crate::testkit::command::{LANES, clean_with_path, listed_commands, with_variables_of};
use crate::testkit::sandbox::{Sandbox, text, words};
use crate::testkit::skip::has;
use crate::testkit::wait::end_of;

const COMMANDS: &str = "init init-pool submit call wait next watch claim renew release event respond cancel retry \
    redrive move pause resume status list show why graph dispatch stats events logs workers doctor fsck gc export import \
    serve self-test completions man";

#[test]
fn every_command_has_help() {
    let sandbox = Sandbox::empty();
    for command in words(COMMANDS) {
        let outcome = sandbox.run(&[command, "--help"]);
        assert_eq!(outcome.code, 0, "{command}: {outcome}");
        assert!(outcome.stdout.contains("Usage: lanes"), "{command}: {outcome}");
        assert_eq!(outcome.stderr, "", "{command}");
        assert!(sandbox.ok(&["help", command]).contains("Usage: lanes"), "{command}");
    }
}

#[test]
fn without_a_command_help_is_shown() {
    let sandbox = Sandbox::empty();
    let outcome = sandbox.run(&[]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome}");
    for command in words(COMMANDS) {
        assert!(outcome.stdout.contains(command), "{command} is not in the help:\n{outcome}");
    }
    assert!(sandbox.ok(&["--version"]).starts_with("lanes "));
}

#[test]
fn bad_usage_ends_with_2_and_touches_nothing() {
    let sandbox = Sandbox::empty();
    for args in [
        &["fly"][..],
        &["--fly"],
        &["claim"],
        &["list", "extra"],
        &["submit", "--priority", "high"],
        &["completions", "cmd.exe"],
        &["events", "--since", "-1"],
    ] {
        sandbox.run(args).refused(2, "; `lanes help");
    }
    sandbox.run(&["--config", "wait", "list", "--limit", "-1"]).refused(2, "`lanes help list`");
    sandbox.run(&["respond", "x", "--blocking-count", "-1"]).refused(2, "expected a whole number from 0");
    assert_eq!(std::fs::read_dir(sandbox.root()).unwrap().count(), 0);
}

#[test]
fn names_of_other_programs_lead_to_a_command() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    assert!(sandbox.ok(&["ls", "-l", "l"]).contains(&id[id.len() - 6..]));
    sandbox.run(&["log", &id]).refused(1, "has left any output");
    for (word, expected) in
        [("rm", "`lanes gc` deletes"), ("kill", "`lanes cancel`"), ("done", "`lanes respond`")]
    {
        sandbox.run(&[word, &id]).refused(2, expected);
    }
}

#[test]
fn what_can_never_be_right_is_bad_usage_in_every_command() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let (claimed, token) = sandbox.claim("l");
    assert_eq!(claimed, id);
    let token = token.as_str();
    let held =
        |words: &[&'static str]| [&[words[0], id.as_str(), "--claim-token", token], &words[1..]].concat();
    let lines: Vec<Vec<&str>> = vec![
        vec!["submit", "--prompt", "x"],
        vec!["submit", "--lane", "", "--prompt", "x"],
        vec!["submit", "--lane", "l"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--not-before", "tomorrow"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--delay", "-1"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--priority", "9999"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--max-attempts", "0"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--run-timeout", "0"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--deadline", "soon"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--metadata", "novalue"],
        vec!["submit", "--lane", "l", "--prompt", "x", "--group", ""],
        vec!["submit", "--lane", "l", "--prompt", "x", "--key", ""],
        vec!["submit", "--lane", "l", "--prompt", "x", "--request-from", ""],
        vec!["call", "--prompt", "x"],
        vec!["call", "-l", "l", "x", "--timeout", "-1"],
        vec!["wait", &id, "--timeout", "-1"],
        vec!["wait", "--lane", "..", "--timeout", "0"],
        vec!["next", "--lane", "l", "--match", "novalue"],
        vec!["claim", "--lane", ""],
        vec!["claim", &id, "--owner", " "],
        vec!["claim", &id, "--lease-seconds", "0"],
        held(&["renew", "--lease-seconds", "-1"]),
        held(&["event", "--type", "response"]),
        held(&["event", "--data", "novalue"]),
        held(&["respond", "--body", "x", "--metadata", "novalue"]),
        held(&["respond", "--body", "x", "--verdict", "accept", "--blocking-count", "1"]),
        held(&["ask", "--question", ""]),
        held(&["ask"]),
        vec!["answer", &id],
        vec!["tell", &id],
        vec!["tell", &id, " "],
        vec!["move", &id, "--to", ""],
        vec!["pause", ""],
        vec!["pause", "--vendor", "v", "--until", "tomorrow"],
        vec!["resume", ""],
        vec!["list", "--state", "foo"],
        vec!["top", "--json"],
        vec!["top", "--once", "--width", "1"],
        vec!["budget", "add", "0"],
        vec!["dispatch", "--once", "--vendor", "claude", "--max-concurrent", "0"],
        vec!["gc", "--older-than", "0"],
        vec!["serve", "--host", "nowhere"],
        vec!["agents", "add", "../x", "--directory", "."],
        vec!["list", "--lock-timeout", "-1"],
    ];
    for line in lines {
        sandbox.run(&line).refused(2, "");
        sandbox.run(&[&line[..], &["--json"]].concat()).refused(2, "\"code\":\"invalid\"");
    }
    assert_eq!(sandbox.json(&["list"])["count"], 1);
}

#[test]
fn errors_are_json_where_answers_are() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for (words, code, kind, message) in [
        (&["show", "zzz"][..], 1, "not_found", "unknown task: zzz"),
        (&["show", "../x"], 1, "invalid", "invalid task_id: '../x'"),
        (&["retry", &id], 1, "refused", "cannot retry"),
        (&["list", "--fly"], 2, "invalid", "unexpected argument '--fly' found"),
        (&["fly"], 2, "invalid", "unrecognized subcommand 'fly'"),
        (&["wait", &id, "--timeout", "0", "-q"], 2, "timed_out", "no answer"),
        (&["--config", "a\u{200b}.yaml", "list"], 1, "config", "a\\u{200b}.yaml"),
    ] {
        let outcome = sandbox.run(&[words, &["--json"]].concat());
        outcome.refused(code, "");
        let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["code"], kind, "{outcome}");
        assert!(text(&error["error"]).contains(message), "{outcome}");
        let is_bad_usage = code == 2 && kind == "invalid";
        let hint = error["hint"].as_str().unwrap_or_default();
        assert_eq!(hint.contains("`lanes help"), is_bad_usage, "{outcome}");
        assert!(sandbox.run(words).stderr.starts_with("lanes: "), "{words:?}");
    }
}

#[test]
fn an_error_about_a_task_names_it_for_programs() {
    let sandbox = Sandbox::new();
    let error = |words: &[&str], code: i32| {
        let outcome = sandbox.run(&[words, &["--json", "-q"]].concat());
        assert_eq!(outcome.code, code, "{outcome}");
        serde_json::from_str::<serde_json::Value>(outcome.stderr.lines().last().unwrap()).unwrap()
    };
    let late = error(&["call", "-l", "l", "x", "--timeout", "0"], 2);
    let id = text(&late["task_id"]);
    assert_eq!(sandbox.json(&["list"])["tasks"][0]["id"], id, "{late}");
    assert_eq!(late["hint"], format!("the task continues; fetch its answer with `lanes wait {id}`"));
    assert_eq!(error(&["wait", &id, "--timeout", "0"], 2)["task_id"], id);
    assert_eq!(error(&["retry", &id], 1)["task_id"], id);
    let token = sandbox.claim("l").1;
    let ask = ["ask", &id, "--claim-token", &token, "-m", "?", "--wait", "--timeout", "0"];
    assert_eq!(error(&ask, 2)["task_id"], id);
}

#[test]
fn arguments_that_are_no_text_are_bad_usage() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let odd = OsStr::from_bytes(b"a\xffb");
    for before in [&["status"][..], &["claim", "--lane"], &["submit", "--lane", "l", "--prompt"], &[]] {
        let outcome = sandbox.outcome(sandbox.command(before).arg(odd).output().unwrap());
        assert_eq!(outcome.code, 2, "{before:?}: {outcome}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    }
}

#[test]
fn json_is_accepted_before_and_after_the_command() {
    let sandbox = Sandbox::new();
    let before = sandbox.run(&["--json", "list"]).stdout;
    assert_eq!(before, sandbox.run(&["list", "--json"]).stdout);
    assert_eq!(before, "{\n  \"count\": 0,\n  \"status\": \"ok\",\n  \"tasks\": []\n}\n");
}

#[test]
fn a_value_that_is_almost_right_is_corrected() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let file = std::fs::read_to_string(sandbox.path("handoff/handoff.yaml")).unwrap();
    let more = "agents:\n  infra: {directory: .}\nbridges:\n  team: {adapter: json, path: b.json, queues: {In: {lane: work}}}\n";
    sandbox.write("handoff/handoff.yaml", format!("{file}\n{more}"));
    for (words, code, expected) in [
        (&["list", "--state", "complted"][..], 2, "did you mean completed?"),
        (&["list", "--color", "alwys"], 2, "did you mean always?"),
        (&["list", "--json", "--fields", "statee"], 2, "did you mean state?"),
        (&["list", "--limt", "3"], 2, "did you mean --limit?"),
        (&["dispatch", "--once", "--vendor", "cluade"], 1, "did you mean claude?"),
        (&["agents", "show", "infar"], 1, "did you mean infra?"),
        (&["bridge", "check", "taem"], 1, "did you mean team?"),
    ] {
        sandbox.run(words).refused(code, expected);
    }
    sandbox.run(&["pause", "--vendor", "cluade", "--for", "1s"]).told("did you mean claude?");
    for words in [&["claim", "--lane", "wrok"][..], &["next", "--lane", "wrok", "--timeout", "0"]] {
        sandbox.run(words).told("nothing was ever submitted to lane wrok; did you mean work?");
    }
    let lane = "lane wrok is not in handoff.yaml, and nothing was ever submitted to it; did you mean work?";
    for words in [
        &["list", "--lane", "wrok"][..],
        &["status", "--lane", "wrok"],
        &["inbox", "--lane", "wrok"],
        &["redrive", "--lane", "wrok"],
        &["pause", "wrok"],
        &["move", &id, "--to", "wrok"],
    ] {
        sandbox.run(words).told(lane);
        sandbox.run(&["resume", "wrok"]);
    }
}

#[test]
fn a_global_flag_counts_or_is_refused() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for words in
        [&["man"][..], &["man", "pages"], &["completions", "bash"], &["logs", &id], &["top"], &["serve"]]
    {
        let refused = sandbox.run(&[words, &["--json"]].concat());
        refused.refused(2, " prints no JSON");
    }
    for words in [
        &["init", "x"][..],
        &["init-pool", "x"],
        &["setup"],
        &["self-test"],
        &["man"],
        &["completions", "zsh"],
    ] {
        for flag in [["--config", "handoff/handoff.yaml"], ["--store", "handoff/state"]] {
            sandbox
                .run(&[words, &flag].concat())
                .refused(2, &format!("{} has no effect on {}", flag[0], words[0]));
        }
    }
    assert!(!sandbox.path("x").exists() && !sandbox.path("pages").exists());
    let tested = sandbox.json(&["self-test"]);
    assert_eq!(tested["status"], "ok");
    assert!(text(&tested["task_id"]).contains("-self-test-"), "{tested}");
}

#[test]
fn a_store_that_is_not_there_is_made_by_who_brings_work() {
    let sandbox = Sandbox::new();
    let missing = sandbox.path("mistyped");
    let named = missing.to_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["list"],
        &["status"],
        &["show", "x"],
        &["claim", "--lane", "l"],
        &["wait", "x", "--timeout", "0"],
        &["gc", "--all-ended"],
        &["fsck", "--repair"],
        &["export"],
    ];
    for words in commands {
        let outcome = sandbox.run(&[&["--store", named], words].concat());
        assert_eq!(outcome.code, 1, "{words:?}: {outcome}");
        assert!(outcome.stderr.contains("there is no store at "), "{words:?}: {outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{words:?}: {outcome}");
        assert!(!missing.exists(), "{words:?}");
    }
    // A directory with other content is not a store either.
    let other = sandbox.path("handoff");
    assert_eq!(sandbox.run(&["--store", other.to_str().unwrap(), "list"]).code, 1);
    assert!(!other.join("tasks").exists());
    sandbox.run(&["--store", named, "submit", "--lane", "l", "--prompt", "x"]);
    assert!(missing.join("tasks").is_dir());
}

#[test]
fn the_workspace_can_be_named() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let away = tempfile::tempdir().unwrap();
    let config = sandbox.path("handoff/handoff.yaml");
    let store = sandbox.path("handoff/state");
    let (config, store) = (config.to_str().unwrap(), store.to_str().unwrap());
    let count = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = sandbox.command(&[args, &["list", "--json"]].concat());
        let output = command.current_dir(away.path()).envs(env.iter().copied()).output().unwrap();
        let outcome = sandbox.outcome(output);
        assert_eq!(outcome.code, 0, "{outcome}");
        outcome.json()["count"].as_u64().unwrap()
    };
    assert_eq!(count(&["--config", config], &[]), 1);
    assert_eq!(count(&["--store", store], &[]), 1);
    assert_eq!(count(&[], &[("LANES_CONFIG", config)]), 1);
    assert_eq!(count(&[], &[("LANES_STORE", store)]), 1);
    // A flag overrides the environment.
    let other = away.path().join("other");
    std::fs::create_dir_all(other.join("tasks")).unwrap();
    let other = other.to_str().unwrap();
    assert_eq!(count(&["--store", other], &[("LANES_STORE", store)]), 0);
    assert_eq!(count(&["--config", config], &[("LANES_STORE", other)]), 1);
    assert_eq!(count(&["--config", config, "--store", other], &[]), 0);
    assert_eq!(text(&sandbox.json(&["--store", "handoff/state", "status", &id])["task"]["id"]), id);
}

#[test]
fn of_a_flag_given_twice_the_last_one_counts() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("first", &["--lane", "second", "--json", "--json"]);
    let id = &serde_json::from_str::<serde_json::Value>(&id).unwrap()["task_id"];
    assert_eq!(text(&sandbox.json(&["status", &text(id), "--json"])["task"]["lane"]), "second");
    let nowhere = ["--config", "nowhere.yaml", "--config", "handoff/handoff.yaml", "list"];
    assert_eq!(sandbox.json(&nowhere)["count"], 1);
}

#[test]
fn odd_environments_are_named() {
    let sandbox = Sandbox::new();
    for (name, value) in [
        ("LANES_LOCK_TIMEOUT", "soon"),
        ("LANES_LOCK_TIMEOUT", "-1"),
        ("LANES_LOCK_TIMEOUT", "nan"),
        ("LANES_TEST_NOW", "noon"),
        ("LANES_TEST_SEED", "x"),
    ] {
        let outcome = sandbox.outcome(sandbox.command(&["list"]).env(name, value).output().unwrap());
        outcome.refused(1, name);
    }
    sandbox.run(&["list", "--lock-timeout", "-1"]).refused(2, "--lock-timeout");
    let outcome =
        sandbox.outcome(sandbox.command(&["list"]).env("LANES_CONFIG", "/nowhere.yaml").output().unwrap());
    outcome.refused(1, "/nowhere.yaml");
}

#[test]
fn completions_for_every_shell() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.ok(&["completions", shell]);
        assert!(script.contains("LANES_COMPLETE"), "{shell}");
    }
}

/// Types `lanes resp` and a tab into an interactive zsh that has run the command `$1`, and waits for `lanes respond`.
const COMPLETE_IN_ZSH: &str = r#"
    zmodload zsh/zpty zsh/zselect
    until_shown() {
        local all= part=
        while [[ $all != ${~1} ]]; do
            zpty -r -t shell part && all+=$part || zselect -t 1
        done
    }
    zpty -b shell 'TERM=dumb zsh -f -i'
    zpty -w shell "autoload -Uz compinit; $1; PS1=rea''dy"
    until_shown '*ready*'
    zpty -w -n shell $'lanes resp\t'
    until_shown '*ond *'
    zpty -d shell
"#;

#[test]
fn zsh_completes_at_the_first_tab() {
    if !has("zsh") {
        return;
    }
    let sandbox = Sandbox::empty();
    sandbox.write("fpath/_lanes", sandbox.ok(&["completions", "zsh"]));
    let programs = Path::new(LANES).parent().unwrap().display();
    for load in ["compinit -u -D; source fpath/_lanes", "fpath=($PWD/fpath $fpath); compinit -u -D"] {
        let mut shell = clean_with_path("zsh")
            .args(["-f", "-c", COMPLETE_IN_ZSH, "zsh", load])
            .current_dir(sandbox.root())
            .env("PATH", format!("{programs}:/usr/bin:/bin"))
            .spawn()
            .unwrap();
        let status = end_of(&mut shell, Duration::from_secs(60));
        assert!(status.is_some_and(|status| status.success()), "zsh completes nothing after: {load}");
    }
}

#[test]
fn lanes_and_ids_are_completed() {
    let sandbox = Sandbox::new();
    let first = sandbox.submit("review", &[]);
    let second = sandbox.submit("$(touch owned)", &[]);
    let offered = |words: &[&str]| {
        let mut command = sandbox.command(&[&["--", "lanes"], words].concat());
        let index = words.len().to_string();
        command.env("LANES_COMPLETE", "fish").env("_CLAP_COMPLETE_INDEX", index);
        let outcome = sandbox.outcome(command.output().unwrap());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome}");
        let lines = outcome.stdout.lines().map(|line| line.split('\t').next().unwrap().to_string());
        lines.filter(|word| !word.starts_with('-')).collect::<Vec<String>>()
    };
    // What a shell would run is not offered.
    assert_eq!(offered(&["claim", "--lane", ""]), ["questions", "review", "work"]);
    assert_eq!(offered(&["pause", "r"]), ["review"]);
    assert_eq!(offered(&["wait", ""]), [second.as_str(), &first]);
    assert_eq!(offered(&["show", &first[first.len() - 6..]]), [first.as_str()]);
    assert_eq!(offered(&["pau"]), ["pause"]);
    // A task that ended long ago is offered if nothing else matches.
    let old = sandbox.answered("old-lane", "completed", "x");
    std::fs::remove_file(sandbox.path("handoff/state/feed.jsonl")).unwrap();
    assert_eq!(offered(&["show", ""]), [second.as_str(), &first]);
    assert_eq!(offered(&["show", &old[old.len() - 6..]]), [old.as_str()]);
    assert_eq!(offered(&["claim", "--lane", ""]), ["questions", "review", "work"]);
    assert!(!sandbox.path("owned").exists());
    let left_behind = sandbox.command(&["list"]).env("LANES_COMPLETE", "bash").output().unwrap();
    assert!(sandbox.outcome(left_behind).stdout.contains(&first));
    std::fs::remove_dir_all(sandbox.path("handoff")).unwrap();
    assert!(offered(&["show", ""]).is_empty());
}

#[test]
fn bash_completes_after_an_equals_sign() {
    let sandbox = Sandbox::new();
    sandbox.submit("work", &[]);
    sandbox.write("completions.sh", sandbox.ok(&["completions", "bash"]));
    let programs = Path::new(LANES).parent().unwrap().display().to_string();
    let replies = |words: &str, at: usize, typed: &str| {
        let script = format!(
            ". ./completions.sh; COMP_WORDS=({words}); COMP_CWORD={at}; COMP_TYPE=9; \
             _clap_complete_lanes lanes '{typed}' x; printf '%s ' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = clean_with_path("bash");
        with_variables_of(&mut bash, &sandbox.command(&[]));
        bash.env("PATH", format!("{programs}:/usr/bin:/bin"));
        bash.args(["-c", &script]).current_dir(sandbox.root());
        sandbox.outcome(bash.output().unwrap()).stdout
    };
    assert_eq!(replies("lanes submit --lane = w", 4, "w"), "work ");
    assert_eq!(replies("lanes submit --lane w", 3, "w"), "work ");
    assert_eq!(replies("lanes submit --lane=w", 2, "--lane=w"), "--lane=work ");
    assert_eq!(replies("lanes submit --lane = ", 3, ""), "questions review work ");
    assert_eq!(replies("lanes list --state = input", 4, "input"), "input_required ");
    assert_eq!(replies("lanes submit --lane = work --prior", 5, "--prior"), "--priority ");
}

#[test]
fn what_is_offered_is_what_the_command_can_work_on() {
    let sandbox = Sandbox::new();
    let [done, failed] = ["completed", "failed"].map(|status| sandbox.answered("a", status, "x"));
    let queued = sandbox.submit("b", &[]);
    let later = sandbox.submit("c", &["--delay", "1h"]);
    let held = sandbox.submit("d", &[]);
    let (_, token) = sandbox.claim("d");
    let asking = sandbox.submit("e", &[]);
    let (_, its_token) = sandbox.claim("e");
    sandbox.ok(&["ask", &asking, "--claim-token", &its_token, "--question", "Which?"]);
    let offered = |shell: &str, words: &[&str]| {
        let mut command = sandbox.command(&[&["--", "lanes"], words].concat());
        let index = words.len().to_string();
        command.env("LANES_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", index);
        let outcome = sandbox.outcome(command.output().unwrap());
        let words = outcome.stdout.lines().map(|line| line.split(['\t', ':']).next().unwrap().to_string());
        let mut words: Vec<String> = words.filter(|word| !word.starts_with('-')).collect();
        words.sort();
        words
    };
    for (command, expected) in [
        ("claim", vec![&queued]),
        ("cancel", vec![&queued, &later, &held, &asking]),
        ("tell", vec![&queued, &later, &held, &asking]),
        ("renew", vec![&held]),
        ("release", vec![&held]),
        ("answer", vec![&asking]),
        ("move", vec![&queued, &later, &asking]),
        ("retry", vec![&failed]),
        ("redrive", vec![]),
        ("show", vec![&done, &failed, &queued, &later, &held, &asking]),
    ] {
        let mut expected: Vec<&str> = expected.into_iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(offered("fish", &[command, ""]), expected, "{command}");
    }
    sandbox.ok(&["release", &held, "--claim-token", &token]);
    // zsh drops what does not begin with the text that was typed.
    let end = &done[done.len() - 6..];
    assert_eq!(offered("zsh", &["show", &end[..5]]), [end]);
    assert_eq!(offered("zsh", &["show", &done[..20]]), [done.as_str()]);
    assert_eq!(offered("fish", &["dispatch", "--vendor", "c"]), ["claude", "codex"]);
    assert_eq!(offered("fish", &["list", "--state", "c"]), ["cancelled", "claimed", "completed"]);
    assert_eq!(offered("fish", &["status", "--state", "d"]), ["dead", "done"]);
    // Whatever has a known set of values: groups, fields, agents, bridges, sets of tools.
    sandbox.submit("a", &["--group", "release-4"]);
    sandbox.submit("a", &["--group", "$(touch owned)"]);
    let file = std::fs::read_to_string(sandbox.path("handoff/handoff.yaml")).unwrap();
    let more = "agents:\n  infra: {directory: .}\nbridges:\n  team: {adapter: json}\n";
    sandbox.write("handoff/handoff.yaml", format!("{file}\n{more}"));
    for words in [
        &["wait", "--group", ""][..],
        &["list", "--group", "r"],
        &["tell", "--group", ""],
        &["submit", "--group", ""],
        &["submit", "--after-group", ""],
        &["graph", "--group", ""],
    ] {
        assert_eq!(offered("fish", words), ["release-4"], "{words:?}");
    }
    assert_eq!(offered("fish", &["list", "--fields", "lane"]), ["lane"]);
    assert_eq!(offered("fish", &["list", "--fields", "id,lane"]), ["id,lane"]);
    assert_eq!(offered("fish", &["show", "--fields", "depend"]), ["dependencies"]);
    assert_eq!(offered("fish", &["agents", "show", ""]), ["infra"]);
    assert_eq!(offered("fish", &["agents", "add", ""]), [""; 0]);
    for words in [&["bridge", "t"][..], &["bridge", "check", ""]] {
        assert!(offered("fish", words).contains(&"team".to_string()), "{words:?}");
    }
    if cfg!(feature = "mcp") {
        assert_eq!(offered("fish", &["mcp", "--tools", "c"]), ["caller", "compat"]);
    }
}

#[test]
fn man_pages_for_every_command() {
    let sandbox = Sandbox::empty();
    assert!(sandbox.ok(&["man"]).contains(".TH lanes"));
    sandbox.ok(&["man", "pages"]);
    let mut pages = 0;
    for page in std::fs::read_dir(sandbox.path("pages")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for part in [
            ".SH NAME\n",
            ".SH EXAMPLES\n",
            ".SH \"EXIT STATUS\"",
            concat!("lanes ", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.contains(part), "no {part} in {}", page.display());
        }
        pages += 1;
    }
    assert!(words(COMMANDS).iter().all(|name| sandbox.path(&format!("pages/lanes-{name}.1")).exists()));
    // Those of the commands, of the commands inside a command, and of `lanes` itself.
    let listed = |arguments: &[&str]| listed_commands(&sandbox.ok(arguments)).len();
    let inner = ["agents", "bridge", "budget", "config", "worktrees"]
        .iter()
        .map(|name| listed(&[name, "--help"]))
        .sum::<usize>()
        + if cfg!(feature = "mcp") { listed(&["mcp", "--help"]) } else { 0 };
    assert_eq!(pages, listed(&["--help"]) + inner + 1);
}
