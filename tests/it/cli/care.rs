//! `fsck`, `doctor`, `gc`, `export`, `import`, `submit --batch`.

use std::fs;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::testkit::command::{lanes_in_shell, with_variables_of};
use crate::testkit::sandbox::{Sandbox, text};

#[test]
fn fsck_reports_and_repairs() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    assert_eq!(sandbox.ok(&["fsck"]), "1 task, nothing wrong");
    fs::write(sandbox.task_dir(&id).join("task.json"), "{").unwrap();
    let found = sandbox.run(&["--json", "fsck"]);
    assert_eq!(found.code, 1, "{found}");
    let report = found.json();
    assert_eq!(report["findings"][0]["code"], "task-unreadable");
    assert_eq!(report["findings"][0]["repaired"], false);
    assert_eq!((&report["worst"], &report["status"]), (&"damage".into(), &"damaged".into()));
    let repaired = sandbox.json(&["fsck", "--repair"]);
    assert_eq!(repaired["status"], "ok");
    let quarantine = text(&repaired["quarantine"]).replace("$DIR/project", &sandbox.root().to_string_lossy());
    assert!(fs::exists(format!("{quarantine}/tasks/{id}/task.json")).unwrap());
    sandbox.ok(&["fsck", "--repair"]);
    assert_eq!(sandbox.ok(&["fsck"]), "0 tasks, nothing wrong");
}

#[test]
fn one_repair_that_fails_keeps_no_other_from_being_made() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    // Named by a process that ended long ago, and too deep for the few files that may be open.
    let left = sandbox.path("handoff/state/tmp/999999999-1-1");
    fs::create_dir_all(left.join("a/".repeat(90))).unwrap();
    fs::remove_file(sandbox.task_dir(&id).join("events.jsonl")).unwrap();
    let repair = |json: &str| {
        let mut limited = lanes_in_shell(&format!("ulimit -n 60; exec \"$0\" {json} fsck --repair"));
        sandbox.outcome(limited.current_dir(sandbox.root()).output().unwrap())
    };
    let report = repair("--json");
    assert_eq!(report.code, 1, "{report}");
    let report = report.json();
    let finding = |code: &str| {
        report["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == code).unwrap()
    };
    assert_eq!(finding("staged")["repaired"], false);
    assert!(text(&finding("staged")["remedy"]).starts_with("repair failed: cannot "));
    assert_eq!(finding("staged")["severity"], "damage");
    assert_eq!(finding("events-behind")["repaired"], true);
    assert!(repair("").stdout.contains("repair failed"));
    sandbox.ok(&["fsck", "--repair"]);
    assert_eq!(sandbox.ok(&["fsck"]), "1 task, nothing wrong");
}

#[test]
fn names_that_are_not_utf_8_are_removed_and_named_where_they_are_left_out() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "completed", "fine");
    let run = sandbox.task_dir(&id).join("attempts/1");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join(OsStr::from_bytes(b"bad\xff")), "").unwrap();
    fs::write(run.join("good"), "").unwrap();
    symlink("good", run.join("link")).unwrap();
    let export = sandbox.run(&["export"]);
    assert_eq!(export.code, 0, "{export}");
    let archived = sandbox.run(&["gc", "--all-ended", "--archive", "old"]);
    assert_eq!(archived.code, 0, "{archived}");
    for told in [export.stderr, archived.stderr] {
        assert!(told.contains("/attempts/1/bad\u{fffd} is left out: its name is not UTF-8"), "{told}");
        assert!(told.contains("/attempts/1/link is left out: it is not a regular file"), "{told}");
        assert!(!told.contains("good") && !told.contains("cannot"), "{told}");
    }
    assert_eq!(fs::read_dir(sandbox.path("handoff/state/tmp")).unwrap().count(), 0);
}

#[test]
fn doctor_has_a_remedy_for_every_problem() {
    let sandbox = Sandbox::new();
    let fresh = sandbox.json(&["doctor"]);
    assert_eq!(fresh["status"], "warning", "the queue has not been used and lanes is not on PATH");
    sandbox.submit("l", &[]);
    sandbox.ok(&["pause", "other"]);
    let used = sandbox.json(&["doctor"]);
    let checks = used["checks"].as_array().unwrap();
    let level = |code: &str| {
        let check =
            checks.iter().find(|check| check["code"] == code).unwrap_or_else(|| panic!("{code}: {used}"));
        text(&check["level"])
    };
    for (code, expected) in [
        ("version", "ok"),
        ("path", "warning"),
        ("configuration", "ok"),
        ("store", "ok"),
        ("format", "ok"),
        ("lock", "ok"),
        ("clock", "ok"),
        ("fsck", "ok"),
        ("workers", "ok"),
        ("paused", "warning"),
        ("unserved", "warning"),
    ] {
        assert_eq!(level(code), expected, "{code}");
    }
    for check in checks {
        assert_eq!(check["level"] == "ok", check["remedy"].is_null(), "{check}");
    }
    sandbox.write("handoff/state/lanes.json", "{");
    let broken = sandbox.run(&["doctor"]);
    assert_eq!(broken.code, 1, "{broken}");
    assert!(broken.stdout.contains("pauses-unreadable"), "{broken}");
    fs::remove_file(sandbox.path("handoff/state/lanes.json")).unwrap();
    for (printed, code, exit) in [
        ("workspace_root: gone", "workspace-root", 0),
        ("dispatch: {colour: 1}", "dispatch", 1),
        ("dispatch: {vendor: claude}", "dispatch", 0),
    ] {
        sandbox.write("handoff/handoff.yaml", format!("workspace_id: w\n{printed}\n"));
        let outcome = sandbox.run(&["--json", "doctor"]);
        assert_eq!(outcome.code, exit, "{outcome}");
        let checks = outcome.json()["checks"].as_array().unwrap().clone();
        let place = checks.iter().position(|check| check["code"] == code).unwrap();
        assert_eq!(checks[place]["area"], "configuration");
        assert_eq!(checks[place - 1]["area"], "configuration", "areas stay together");
        assert_eq!(checks[place]["level"] == "blocking", exit == 1, "{outcome}");
    }
    let nowhere = Sandbox::empty().run(&["doctor"]);
    assert_eq!(nowhere.code, 1, "{nowhere}");
    assert!(nowhere.stdout.contains("lanes init"), "{nowhere}");
}

#[test]
fn gc_archives_what_import_brings_back() {
    let sandbox = Sandbox::new();
    let done = sandbox.answered("l", "completed", "fine");
    let open = sandbox.submit("l", &[]);
    sandbox.run(&["gc"]).refused(2, "gc needs --older-than SPAN or --all-ended");
    sandbox.run(&["gc", "--all-ended", "--older-than", "30d"]).refused(2, "cannot be used with");
    sandbox.run(&["gc", "--older-than", "0"]).refused(2, "--all-ended");
    for age in ["-1", "NaN", "inf"] {
        sandbox.run(&["gc", "--older-than", age]).refused(2, "is not a valid age");
    }
    assert_eq!(sandbox.json(&["gc", "--older-than", "1e300"])["count"], 0);
    sandbox.run(&["gc", "--older-than", "soon"]).refused(2, "--older-than");
    assert_eq!(sandbox.json(&["gc", "--older-than", "1d"])["count"], 0);
    sandbox.pass(2 * 86_400);
    assert_eq!(sandbox.ok(&["gc", "--older-than", "1d", "--dry-run"]), done);
    let removed = sandbox.json(&["gc", "--older-than", "1d", "--archive", "old"]);
    assert_eq!(removed["removed"][0], done.as_str());
    assert_eq!(sandbox.json(&["list"])["count"], 1);
    let late = sandbox.run(&["events", "--since", "1"]);
    assert!(late.stderr.contains("no longer kept"), "{late}");
    let archive = text(&removed["archive"]).replace("$DIR/project/", "");
    assert_eq!(sandbox.ok(&["import", &archive]), "1 task added, 0 here already");
    assert_eq!(sandbox.ok(&["import", &archive]), "0 tasks added, 1 here already");
    assert_eq!(sandbox.json(&["status", &done])["task"]["state"], "completed");
    assert_eq!(sandbox.json(&["status", &open])["task"]["state"], "queued");
}

#[test]
fn an_archive_is_whole_or_absent_and_nothing_goes_before_it() {
    let sandbox = Sandbox::new();
    for _ in 0..4 {
        sandbox.answered("l", "completed", &"x".repeat(3000));
    }
    // No file may be longer than 8 blocks, of 512 or of 1024 bytes: the second line is too much.
    let mut shell = lanes_in_shell("ulimit -f 8; exec \"$0\" gc --all-ended --archive old");
    with_variables_of(&mut shell, &sandbox.command(&[]));
    let failed = shell.current_dir(sandbox.root()).output().unwrap();
    let printed = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{printed}");
    assert!(
        printed.starts_with("lanes: cannot write the archive ") && printed.lines().count() == 1,
        "{printed}"
    );
    assert_eq!(fs::read_dir(sandbox.path("old")).unwrap().count(), 0);
    assert_eq!(sandbox.json(&["list"])["count"], 4);
    let path = sandbox.ok(&["gc", "--all-ended", "--archive", "old"]);
    let path = path.replace("$DIR/project", &sandbox.root().to_string_lossy());
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 4);
    assert_eq!(fs::read_dir(sandbox.path("old")).unwrap().count(), 1);
}

#[test]
fn export_feeds_another_store() {
    let sandbox = Sandbox::new();
    sandbox.answered("l", "completed", "fine");
    sandbox.submit("other", &[]);
    assert_eq!(sandbox.ok(&["export", "--lane", "other"]).lines().count(), 1);
    assert_eq!(sandbox.ok(&["export", "--ended"]).lines().count(), 1);
    let all = sandbox.run(&["export"]);
    let tasks = all.stdout.replace("$DIR/project", &sandbox.root().to_string_lossy());
    let imported = sandbox.run_with(&["--store", "copy", "--json", "import", "-"], tasks);
    assert_eq!(imported.code, 0, "{imported}");
    assert_eq!(imported.json()["added"], 2);
    assert_eq!(sandbox.ok(&["--store", "copy", "fsck"]), "2 tasks, nothing wrong");
    let refused = sandbox.run_with(&["import", "-"], "{}\n\nnonsense\n");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("line 1:") && refused.stderr.contains("line 3:"), "{refused}");
}

#[test]
fn a_batch_takes_what_is_right_and_names_the_lines_that_are_not() {
    let sandbox = Sandbox::new();
    let lines = "{\"lane\": \"a\", \"prompt\": \"one\", \"task_id\": \"first\", \"key\": \"k\"}\n\
                 {\"lane\": \"a\"\n\
                 \n\
                 {\"lane\": \"b\", \"prompt\": \"two\", \"labels\": [\"x\"], \"delay\": \"1h\"}\n\
                 {\"lane\": \"b\"}\n\
                 {\"lane\": 7, \"prompt\": \"\", \"request_from\": \"../x\"}\n\
                 {\"lane\": \"a\", \"prompt\": \"one\", \"task_id\": \"first\", \"key\": \"k\"}";
    sandbox.write("batch.jsonl", lines);
    let outcome = sandbox.run(&["--json", "submit", "--batch", "batch.jsonl"]);
    assert_eq!(outcome.code, 1, "{outcome}");
    let answer = outcome.json();
    let numbers = |key: &str| -> Vec<u64> {
        answer[key].as_array().unwrap().iter().map(|entry| entry["line"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers("tasks"), numbers("errors")), (vec![1, 4, 7], vec![2, 5, 6]));
    assert_eq!(answer["tasks"][2]["existing"], true);
    assert_eq!(answer["tasks"][2]["task_id"], answer["tasks"][0]["task_id"]);
    for error in answer["errors"].as_array().unwrap() {
        assert!(text(&error["error"]).starts_with(&format!("line {}: ", error["line"])), "{error}");
    }
    let list = sandbox.json(&["list"]);
    assert_eq!(list["count"], 2);
    assert_eq!(list["tasks"][0]["correlation_id"], "first");
    assert_eq!(list["tasks"][1]["state"], "scheduled");
    let more = sandbox.run_with(&["submit", "--batch", "-", "--lane", "c"], "{\"prompt\": \"x\"}\n");
    assert_eq!(more.stdout.lines().count(), 1, "{more}");
    assert_eq!(sandbox.json(&["list", "--lane", "c"])["count"], 1);
    let file = "{\"prompt\": \"x\", \"colour\": 1}\n{\"prompt\": \"x\", \"prompt_file\": \"y\"}\n";
    let odd = sandbox.run_with(&["submit", "--batch", "-", "--lane", "c"], file);
    assert_eq!((odd.code, odd.stderr.lines().count()), (0, 2), "{odd}");
    for (number, warning) in (1..).zip(odd.stderr.lines()) {
        assert_eq!(warning.matches(&format!("line {number}")).count(), 1, "{odd}");
    }
    sandbox.run(&["submit", "--batch", "none.jsonl"]).refused(1, "none.jsonl");
    sandbox.run(&["submit", "--batch", "."]).refused(1, "is a directory");
    sandbox.run(&["import", "."]).refused(1, "is a directory");
    sandbox.run(&["submit", "--batch", "x", "--prompt", "y"]).refused(2, "--prompt");
}
