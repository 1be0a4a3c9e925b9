//! A current directory that was removed: only relative paths fail.

use crate::testkit::command::{lanes_in_shell, listed_commands};
use crate::testkit::sandbox::{Outcome, Sandbox, words};

/// Runs a command in a directory that is removed first; `variables` name the queue.
fn gone(sandbox: &Sandbox, variables: &[(&str, String)], args: &[&str]) -> Outcome {
    let directory = sandbox.path("gone");
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = lanes_in_shell("rmdir ../gone && exec \"$0\" \"$@\"");
    command.args(args).current_dir(&directory);
    command.env("PATH", "/usr/bin:/bin").env("HOME", sandbox.root());
    command.envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    sandbox.outcome(command.output().unwrap())
}

/// Every command with absolute paths alone, and the code with which it ends; `ID`, `TOKEN`, `FILE` and
/// `OUT` stand for a claimed task, its token, a file and a new directory.
const COMMANDS: [(&str, &str, i32); 61] = [
    ("init", "init OUT/one", 0),
    ("init-pool", "init-pool OUT/two", 0),
    ("submit", "submit --lane l --prompt x --key k --response-to FILE.out", 0),
    ("submit", "submit --lane l --prompt-file FILE", 0),
    ("call", "call --lane l --prompt x --timeout 0", 2),
    ("wait", "wait ID --timeout 0", 2),
    ("next", "next --lane l --timeout 0", 0),
    ("watch", "watch --lane l --timeout 0", 0),
    ("claim", "claim --lane other", 4),
    ("renew", "renew ID --claim-token TOKEN", 0),
    ("event", "event ID --type note --message hi", 0),
    ("ask", "ask ID --claim-token TOKEN --file FILE --wait --timeout 0", 2),
    ("answer", "answer ID --file FILE", 0),
    ("tell", "tell ID --file FILE", 0),
    ("messages", "messages ID --claim-token TOKEN", 0),
    ("status", "status", 0),
    ("list", "list", 0),
    ("show", "show ID", 0),
    ("lanes", "lanes", 0),
    ("config", "config show", 0),
    ("config", "config check", 0),
    ("top", "top --once", 0),
    ("why", "why ID", 0),
    ("inbox", "inbox", 0),
    ("schedules", "schedules", 0),
    ("budget", "budget", 0),
    ("graph", "graph", 0),
    ("stats", "stats", 0),
    ("events", "events", 0),
    ("logs", "logs ID", 1),
    ("diff", "diff ID", 1),
    ("worktrees", "worktrees", 0),
    ("workers", "workers", 0),
    ("doctor", "doctor", 0),
    ("fsck", "fsck", 0),
    ("gc", "gc --all-ended", 0),
    ("export", "export", 0),
    ("pause", "pause l", 0),
    ("resume", "resume l", 0),
    ("agents", "agents", 0),
    ("agents", "agents add x --directory OUT --vendor claude", 0),
    ("trust", "trust --list", 0),
    ("setup", "setup --print", 0),
    ("setup", "setup --file OUT/AGENTS.md", 0),
    ("prompt", "prompt submitter", 0),
    ("self-test", "self-test", 0),
    ("completions", "completions bash", 0),
    ("man", "man", 0),
    ("dispatch", "dispatch --once --lane other --command -- /bin/true", 0),
    ("dispatch", "dispatch --once --lane other --command -- ./true", 1),
    ("bridge", "bridge test --queue q --call-timeout 5 -- /bin/true", 1),
    ("serve", "serve --host nowhere", 2),
    ("mcp", "mcp", 0),
    ("respond", "respond ID --claim-token TOKEN --file FILE", 0),
    ("wait", "wait ID", 0),
    ("import", "import /dev/null", 0),
    ("retry", "retry ID", 1),
    ("redrive", "redrive --lane nothing", 0),
    ("move", "move ID --to other", 1),
    ("edit", "edit ID --prompt-file FILE", 1),
    ("cancel", "cancel ID", 1),
];

#[test]
fn absolute_paths_need_no_current_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "text");
    std::fs::create_dir(sandbox.path("out")).unwrap();
    let config = [("LANES_CONFIG", sandbox.path("handoff/handoff.yaml").to_str().unwrap().to_string())];
    let (id, token) = {
        sandbox.live_command(&["submit", "--lane", "l", "--prompt", "x"]).status().unwrap();
        let claim = sandbox.live_command(&["claim", "--lane", "l", "--json"]).output().unwrap();
        let claim = sandbox.outcome(claim).json();
        (
            crate::testkit::sandbox::text(&claim["task_id"]),
            crate::testkit::sandbox::text(&claim["claim_token"]),
        )
    };
    for (_, line, code) in COMMANDS {
        let line = line.replace("ID", &id).replace("TOKEN", &token);
        let line = line.replace("FILE", sandbox.path("file").to_str().unwrap());
        let line = line.replace("OUT", sandbox.path("out").to_str().unwrap());
        let outcome = gone(&sandbox, &config, &words(&line));
        assert_eq!(outcome.code, code, "{line}\n{outcome}");
        let is_lost = outcome.stderr.contains("the current directory");
        assert_eq!(is_lost, line.ends_with("./true") || line.starts_with("bridge test"), "{line}\n{outcome}");
    }
    let help = sandbox.ok(&["help"]);
    for name in listed_commands(&help) {
        // `release` ends a claim that others here need.
        let is_known = COMMANDS.iter().any(|(command, ..)| *command == name);
        assert!(is_known || name == "release", "{name} is not tried here");
    }
}

#[test]
fn a_store_that_is_named_needs_neither_a_directory_nor_a_configuration() {
    let sandbox = Sandbox::new();
    let store = || ("LANES_STORE", sandbox.path("handoff/state").to_str().unwrap().to_string());
    for config in [None, Some("/nowhere/handoff.yaml")] {
        sandbox.submit("l", &[]);
        let variables: Vec<(&str, String)> =
            [store()].into_iter().chain(config.map(|path| ("LANES_CONFIG", path.to_string()))).collect();
        let claim = gone(&sandbox, &variables, &["claim", "--lane", "l", "--json"]).json();
        let (id, token) = (claim["task_id"].as_str().unwrap(), claim["claim_token"].as_str().unwrap());
        let answer = ["respond", id, "--claim-token", token, "--body", "done"];
        assert_eq!(gone(&sandbox, &variables, &answer).code, 0);
        let waited = gone(&sandbox, &variables, &["wait", id, "--body"]);
        assert_eq!((waited.code, waited.stdout.trim_end()), (0, "done"), "{waited}");
    }
}

#[test]
fn a_relative_path_in_a_removed_directory_is_reported() {
    let sandbox = Sandbox::new();
    let config = [("LANES_CONFIG", sandbox.path("handoff/handoff.yaml").to_str().unwrap().to_string())];
    let lost = "cannot find the current directory: No such file or directory; change to one that exists";
    gone(&sandbox, &[], &["list"]).refused(1, lost);
    gone(&sandbox, &config, &["list", "--store", "relative"]).refused(1, lost);
    gone(&sandbox, &config, &["submit", "--lane", "l", "--prompt-file", "relative"]).refused(1, lost);
    gone(&sandbox, &config, &["submit", "--lane", "l", "--task", "relative"]).refused(1, lost);
    gone(&sandbox, &[], &["init"]).refused(1, lost);
}
