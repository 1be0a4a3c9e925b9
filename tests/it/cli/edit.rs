//! `edit`: what a task says, changed while it waits.

use std::os::unix::fs::PermissionsExt;

use super::terminal::{TypedTerminal, on_a_terminal};
use crate::testkit::sandbox::{Sandbox, text};
use crate::testkit::skip::skipped;

/// What the next worker is asked to do.
fn claimed_request(sandbox: &Sandbox, lane: &str) -> String {
    let claim = sandbox.json(&["claim", "--lane", lane]);
    sandbox.read(sandbox.task_dir(&text(&claim["task_id"])).join("request.md"))
}

#[test]
fn the_worker_gets_the_new_prompt() {
    let sandbox = Sandbox::new();
    for (lane, length) in [("short", 10), ("long", 100_000)] {
        let id = sandbox.submit(lane, &[]);
        let prompt = format!("{}\n", "x".repeat(length));
        let edited = sandbox.run_with(&["edit", &id, "--prompt-file", "-", "--json"], &prompt).json();
        assert_eq!((text(&edited["status"]), text(&edited["task_id"])), ("edited".to_string(), id.clone()));
        assert_eq!(edited["changed"], true);
        let again = sandbox.run_with(&["edit", &id, "--prompt-file", "-"], &prompt);
        assert_eq!((again.code, again.stdout.trim()), (0, id.as_str()), "{again}");
        assert!(again.stderr.contains("nothing was changed"), "{again}");
        assert_eq!(claimed_request(&sandbox, lane), prompt);
        assert!(!sandbox.task_dir(&id).join("request.next.md").exists());
        let fsck = sandbox.run(&["fsck"]);
        assert_eq!(fsck.code, 0, "{fsck}");
    }
}

#[test]
fn the_prompt_next_to_a_request_file_is_edited_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.md", "the plan");
    let id = sandbox.ok(&["submit", "--lane", "l", "--request-from", "plan.md", "--prompt", "Quickly."]);
    sandbox.ok(&["edit", &id, "-p", "Thoroughly."]);
    let claim = sandbox.json(&["claim", "--lane", "l"]);
    assert_eq!(text(&claim["task"]["prompt"]), "Thoroughly.");
    assert_eq!(sandbox.read("plan.md"), "the plan");
}

#[test]
fn an_edited_priority_counts_at_once() {
    let sandbox = Sandbox::new();
    let [first, second] = [sandbox.submit("l", &[]), sandbox.submit("l", &[])];
    sandbox.ok(&["edit", &second, "--priority", "1"]);
    assert_eq!(sandbox.claim("l").0, second);
    sandbox.run(&["edit", &first, "--priority", "1001"]).refused(2, "out of range");
    sandbox.ok(&["edit", &first, "--priority", "-1000"]);
    assert_eq!(sandbox.json(&["show", &first])["task"]["priority"], -1000);
}

#[test]
fn labels_and_assignees_are_added_and_removed() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--label", "old", "--label", "kept"]);
    let change =
        ["--add-label", "new", "--add-label", "kept", "--remove-label", "old", "--add-assignee", "ann"];
    let edited = sandbox
        .json(&[&["edit", &id, "--name", "Title", "--description", "For people."], &change[..]].concat());
    let task = &edited["task"];
    assert_eq!(task["labels"], serde_json::json!(["kept", "new"]));
    assert_eq!(task["assignees"], serde_json::json!(["ann"]));
    assert_eq!(
        (text(&task["name"]), text(&task["description"])),
        ("Title".to_string(), "For people.".to_string())
    );
    assert_eq!(sandbox.json(&[&["edit", &id][..], &change[..]].concat())["changed"], false);
    let many: Vec<String> = (0..51).map(|n| format!("--add-label=l{n}")).collect();
    let words: Vec<&str> = ["edit", &id].into_iter().chain(many.iter().map(String::as_str)).collect();
    sandbox.run(&words).refused(2, "labels are too many");
}

#[test]
fn what_a_worker_has_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let (_, token) = sandbox.claim("l");
    for flag in ["--prompt=more", "--priority=1"] {
        sandbox.run(&["edit", &id, flag]).refused(1, "holds it; release or cancel it first");
    }
    sandbox.ok(&["edit", &id, "--name", "In the works"]);
    sandbox.ok(&["respond", &id, "--claim-token", &token, "--body", "done"]);
    sandbox.run(&["edit", &id, "--prompt", "more"]).refused(1, "cannot edit");
    assert_eq!(sandbox.json(&["show", &id])["task"]["prompt"], "do it");
}

#[test]
fn an_edit_that_says_nothing_is_misuse() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    sandbox.run(&["edit", &id]).refused(2, "nothing to change");
    sandbox.run(&["edit", &id, "--prompt", " "]).refused(2, "cannot be empty");
    sandbox.run(&["edit", &id, "--prompt", "a", "--prompt-file", "b"]).refused(2, "--prompt-file");
    sandbox.run(&["edit", &id, "--prompt-file", "missing"]).refused(1, "missing");
    assert_eq!(claimed_request(&sandbox, "l"), "do it");
}

#[test]
fn a_repeated_submit_finds_the_edited_task() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &["--key", "k"]);
    sandbox.ok(&["edit", &id, "--prompt", "do it well"]);
    assert_eq!(sandbox.submit("l", &["--key", "k"]), id);
    assert_eq!(claimed_request(&sandbox, "l"), "do it well");
}

#[test]
fn a_copy_that_was_not_renamed_is_the_request() {
    let sandbox = Sandbox::new();
    for _ in 0..2 {
        let id = sandbox.submit("l", &[]);
        sandbox.ok(&["edit", &id, "--prompt", "do more"]);
        // As a process leaves it that is killed right after the commit.
        let dir = sandbox.task_dir(&id);
        std::fs::write(dir.join("request.next.md"), "do more").unwrap();
        std::fs::write(dir.join("request.md"), "do it").unwrap();
    }
    let exported = sandbox.ok(&["export"]);
    assert_eq!(exported.matches("\"request\":\"do more\"").count(), 2, "{exported}");
    assert!(!exported.contains("{\"text\":\"do it\"}"), "{exported}");
    assert_eq!(sandbox.run(&["fsck"]).stdout.matches("request-staged").count(), 2);
    assert_eq!(claimed_request(&sandbox, "l"), "do more");
    sandbox.ok(&["fsck", "--repair"]);
    assert_eq!(claimed_request(&sandbox, "l"), "do more");
}

#[test]
fn the_editor_of_the_person_gets_the_prompt() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let editor = |script: &str| {
        sandbox.write("editor", format!("#!/bin/sh\n{script}\n"));
        let path = sandbox.path("editor");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        let temporary = sandbox.path("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let variables = [("VISUAL", path.to_str().unwrap()), ("TMPDIR", temporary.to_str().unwrap())];
        let shown = on_a_terminal(&sandbox, &["edit", &id], &variables)?;
        let left =
            std::fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        Some((shown, left))
    };
    let Some((shown, left)) = editor("cat \"$1\"; printf 'and this\\n' >> \"$1\"") else {
        return skipped("script");
    };
    assert!(shown.starts_with("do it\n") && left.is_empty(), "{shown} {left:?}");
    let (shown, left) = editor(":").unwrap();
    assert!(shown.contains("nothing was changed") && left.is_empty(), "{shown} {left:?}");
    let (shown, left) = editor("echo lost > \"$1\"; exit 3").unwrap();
    assert!(
        shown.contains("ended with exit code 3; nothing was changed") && left.is_empty(),
        "{shown} {left:?}"
    );
    assert_eq!(sandbox.json(&["show", &id])["task"]["prompt"], "do it\nand this");
    // What was typed is not lost when it comes too late.
    let lanes = crate::testkit::command::LANES;
    let handoff = sandbox.path("handoff/handoff.yaml");
    let claim =
        format!("'{lanes}' --config '{}' claim --lane l > /dev/null; echo late > \"$1\"", handoff.display());
    let (shown, left) = editor(&claim).unwrap();
    assert!(shown.contains("holds it") && shown.contains("your text is in"), "{shown}");
    assert_eq!(sandbox.read(&left[0]), "late\n");
    std::fs::remove_file(&left[0]).unwrap();
    let (shown, left) = editor("echo never").unwrap();
    assert!(!shown.contains("never") && left.is_empty(), "{shown}");
}

#[test]
fn ctrl_c_in_the_editor_is_for_the_editor_alone() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    let editor = "#!/bin/sh\ntrap 'echo interrupted >> \"$1\"; exit 0' INT\necho ready\nwhile :; do sleep 0.05; done\n";
    sandbox.write("editor", editor);
    let path = sandbox.path("editor");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    let variables = [("VISUAL", path.to_str().unwrap())];
    let lanes = crate::testkit::command::LANES;
    let Some(mut terminal) = TypedTerminal::start(&sandbox, &format!("'{lanes}' edit {id}"), &variables)
    else {
        return skipped("script");
    };
    terminal.wait_for("ready");
    terminal.press("\u{3}");
    assert!(terminal.end().ends_with("ended with 0\n"));
    assert_eq!(text(&sandbox.json(&["show", &id])["task"]["prompt"]), "do it\ninterrupted");
    // In the second editor too; and it ends `lanes` when that asks a question itself.
    let mut terminal = TypedTerminal::start(&sandbox, &format!("'{lanes}' config edit"), &variables).unwrap();
    for times in 1..3 {
        let count = |text: &str| terminal.output().matches(text).count();
        crate::testkit::wait::eventually("the editor runs", || count("ready") == times);
        terminal.press("\u{3}");
        let count = |text: &str| terminal.output().matches(text).count();
        crate::testkit::wait::eventually("the question", || count("Go on editing?") == times);
        terminal.press(if times == 1 { "y\n" } else { "\u{3}" });
    }
    let shown = terminal.end();
    assert!(shown.ends_with("ended with 130\n"), "{shown}");
}
