//! `setup`: the section about lanes in the files that agents read.

use std::os::unix::fs::symlink;

use crate::testkit::sandbox::Sandbox;

/// Runs `setup` and returns what it says was changed, and the name of the file.
#[track_caller]
fn setup(sandbox: &Sandbox, args: &[&str]) -> (String, String) {
    let reply = sandbox.json(&[&["setup"], args].concat());
    let path = reply["path"].as_str().unwrap();
    assert_eq!(reply["status"], "ok");
    (reply["change"].as_str().unwrap().to_string(), path.rsplit('/').next().unwrap().to_string())
}

fn change(what: &str, file: &str) -> (String, String) {
    (what.to_string(), file.to_string())
}

#[test]
fn the_section_is_added_once_updated_in_place_and_removed() {
    let sandbox = Sandbox::empty();
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(setup(&sandbox, &[]), change("added", "AGENTS.md"));
    let section = read("AGENTS.md");
    assert_eq!(section, sandbox.run(&["setup", "--print"]).stdout);
    assert!(section.len() <= 1024, "{} bytes", section.len());
    for word in ["delegate", "lanes submit --lane", "lanes wait"] {
        assert!(section.contains(word), "{word}");
    }
    assert_eq!(setup(&sandbox, &[]), change("unchanged", "AGENTS.md"));
    // An older text is replaced in place; the rest of the file stays.
    let old = section.replace("## Handing work", "## Giving work");
    sandbox.write("AGENTS.md", format!("# Mine\n\n{old}\nafter\n"));
    assert_eq!(setup(&sandbox, &[]), change("updated", "AGENTS.md"));
    assert_eq!(read("AGENTS.md"), format!("# Mine\n\n{section}\nafter\n"));
    assert_eq!(setup(&sandbox, &["--remove"]), change("removed", "AGENTS.md"));
    assert_eq!(read("AGENTS.md"), "# Mine\n\nafter\n");
    assert_eq!(setup(&sandbox, &["--remove"]), change("unchanged", "AGENTS.md"));
    // A file that contains only the section is removed with it.
    sandbox.write("AGENTS.md", &section);
    assert_eq!(setup(&sandbox, &["--remove"]), change("removed", "AGENTS.md"));
    assert!(!sandbox.path("AGENTS.md").exists());
    assert_eq!(setup(&sandbox, &["--remove"]), change("unchanged", "AGENTS.md"));
    assert!(!sandbox.path("AGENTS.md").exists());
}

#[test]
fn the_file_is_the_one_that_agents_read() {
    let sandbox = Sandbox::empty();
    sandbox.write("CLAUDE.md", "# Claude\n");
    assert_eq!(setup(&sandbox, &[]), change("added", "CLAUDE.md"));
    // The section is not written a second time when another file appears.
    sandbox.write("AGENTS.md", "# Agents\n");
    assert_eq!(setup(&sandbox, &[]), change("unchanged", "CLAUDE.md"));
    assert_eq!(setup(&sandbox, &["--file", "AGENTS.md"]), change("added", "AGENTS.md"));
    assert_eq!(setup(&sandbox, &["--remove"]), change("removed", "AGENTS.md"));
    assert_eq!(setup(&sandbox, &["--remove"]), change("removed", "CLAUDE.md"));
    // Through a link, the file to which it leads is changed.
    std::fs::remove_file(sandbox.path("CLAUDE.md")).unwrap();
    symlink("AGENTS.md", sandbox.path("CLAUDE.md")).unwrap();
    let reply = sandbox.json(&["setup", "--file", "CLAUDE.md"]);
    assert!(reply["link_target"].as_str().unwrap().ends_with("/AGENTS.md"), "{reply}");
    assert!(sandbox.path("CLAUDE.md").is_symlink());
    assert!(
        std::fs::read_to_string(sandbox.path("AGENTS.md")).unwrap().starts_with("# Agents\n\n<!-- lanes")
    );
}

#[test]
fn what_cannot_be_changed_stays_and_is_named() {
    let sandbox = Sandbox::empty();
    sandbox.write("AGENTS.md", "one\n<!-- lanes: begin -->\ntwo\n");
    sandbox.run(&["setup"]).refused(1, "AGENTS.md: line 2: the section of lanes does not end");
    assert_eq!(std::fs::read_to_string(sandbox.path("AGENTS.md")).unwrap().lines().count(), 3);
    std::fs::create_dir(sandbox.path("directory")).unwrap();
    sandbox.run(&["setup", "--file", "directory"]).refused(1, "directory is not a regular file");
    symlink("nowhere", sandbox.path("broken")).unwrap();
    sandbox.run(&["setup", "--file", "broken"]).refused(1, "broken is a link that leads nowhere");
    sandbox.run(&["setup", "--print", "--remove"]).refused(2, "cannot be used with");
}

#[test]
fn the_prompt_of_a_worker_works_as_it_is() {
    let sandbox = Sandbox::new();
    let printed = sandbox.command(&["prompt", "worker"]).output().unwrap();
    let prompt = String::from_utf8(printed.stdout).unwrap();
    let config = sandbox.path("handoff/handoff.yaml").display().to_string();
    let claim = format!("lanes --config {config} claim --lane questions --lane review --lane work --match");
    assert!(prompt.contains(&claim), "{prompt}");
    // What it says to type, in the order in which it is said, by somebody who only fills in the names.
    let id = sandbox.ok(&[
        "submit",
        "--lane",
        "work",
        "--prompt",
        "add up",
        "--metadata",
        "required_vendor=codex",
    ]);
    let typed = |name: &str, token: &str| {
        let line =
            prompt.lines().find(|line| line.contains(&format!(" {name} ")) && line.starts_with("lanes "));
        let line = line.unwrap_or_else(|| panic!("no {name} in {prompt}"));
        let line = line.replace(" ID ", &format!(" {id} ")).replace("TOKEN", token);
        let line = line.replace("VENDOR", "codex").replace("NAME", "codex-1").replace("FILE", "answer.md");
        let mut shell = crate::testkit::command::lanes_in_shell(&line.replacen("lanes ", "\"$0\" ", 1));
        sandbox.outcome(shell.env("USER", "tester").current_dir("/").output().unwrap())
    };
    let claimed = typed("claim", "");
    assert!(claimed.stdout.contains("\n\nprompt\n  add up\n"), "{claimed}");
    let token = claimed.stdout.lines().find_map(|line| line.strip_prefix("claim_token=")).unwrap();
    for name in ["renew", "event", "ask"] {
        assert_eq!(typed(name, token).code, 0, "{name}");
    }
    sandbox.ok(&["answer", &id, "--body", "The first."]);
    let claimed = typed("claim", "");
    assert!(claimed.stdout.contains("questions=1\n"), "{claimed}");
    let token = claimed.stdout.lines().find_map(|line| line.strip_prefix("claim_token=")).unwrap();
    assert_eq!(typed("release", token).code, 0);
    sandbox.run(&["prompt", "submitter", "--lane", "x"]).refused(2, "--lane is for a worker");
    assert!(sandbox.ok(&["prompt", "submitter"]).contains("call `delegate`"));
}

#[test]
fn the_prompt_of_a_worker_names_the_queue_that_it_was_asked_for() {
    let sandbox = Sandbox::empty();
    let made = sandbox.run(&["--store", "a b", "prompt", "worker", "--lane", "l"]);
    assert!(made.stdout.contains("lanes --store '$DIR/project/a b' claim --lane l --match"), "{made}");
    sandbox.run(&["--store", "a b", "prompt", "worker"]).refused(1, "name one with --lane");
    sandbox.run(&["prompt", "worker", "--lane", "a\tb"]).refused(2, "lane");
}
