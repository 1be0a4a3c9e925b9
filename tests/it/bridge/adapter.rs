//! Programs that speak the adapter protocol badly: each gets one clear line, and leaves nothing behind.

use std::process::Command;

use crate::testkit::sandbox::{Outcome, Running, Sandbox};
use crate::testkit::wait::{eventually, is_alive};

/// Answers `initialize`, then reads the next request.
const BEGIN: &str = r#"read -r line
echo '{"id":1,"result":{"protocol":1,"name":"bad","version":"0"}}'
read -r line
"#;

/// An adapter that is a shell script.
fn script(sandbox: &Sandbox, name: &str, body: &str) {
    sandbox.write(name, format!("#!/bin/sh\n{body}\n"));
    executable(sandbox, name);
}

fn executable(sandbox: &Sandbox, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(sandbox.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `lanes bridge test` on an adapter in the sandbox.
fn test_of(sandbox: &Sandbox, options: &[&str], adapter: &str) -> Command {
    let mut command = sandbox.live_command(&[&["bridge", "test"], options, &["--", adapter]].concat());
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

fn tested(sandbox: &Sandbox, options: &[&str], adapter: &str) -> Outcome {
    sandbox.outcome(test_of(sandbox, options, adapter).output().unwrap())
}

/// The line of a check.
#[track_caller]
fn line<'a>(outcome: &'a Outcome, check: &str) -> &'a str {
    let line = outcome.stdout.lines().find(|line| line[9..].starts_with(check));
    line.unwrap_or_else(|| panic!("no {check}: {outcome}"))
}

#[test]
fn every_fault_is_one_clear_line_and_a_later_start() {
    let sandbox = Sandbox::empty();
    let cases = [
        ("hangs", "sleep 1000", "did not answer list_queues within 1 s"),
        ("ignores", "trap '' TERM; while true; do sleep 1000; done", "did not answer list_queues within 1 s"),
        (
            "chats",
            "echo 'hello there'",
            "wrote a line that is not a JSON object to its standard output: hello there",
        ),
        (
            "long",
            "head -c 9437184 /dev/zero | tr '\\0' x; sleep 1000",
            "wrote a line of more than 8 MiB during list_queues",
        ),
        ("other", "echo '{\"id\":77,\"result\":[]}'; sleep 1000", "answered request 77 when 2 was asked"),
        (
            "asks",
            "echo '{\"id\":2,\"method\":\"get_task\"}'; sleep 1000",
            "sent a request of its own: get_task",
        ),
        ("exits", "echo oops >&2; exit 3", "exited with code 3 during list_queues; its log ends with: oops"),
        ("dies", "kill -9 $$", "was killed by signal 9 during list_queues"),
        ("half", "printf '{\"id\":2,'; exit 0", "exited with code 0 during list_queues"),
    ];
    let running = cases.map(|(name, body, _)| {
        script(
            &sandbox,
            name,
            &format!("echo $$ >> {name}.pids\n{BEGIN}sleep 1000 & echo $! >> {name}.pids\n{body}"),
        );
        let mut command = test_of(&sandbox, &["--call-timeout", "1s"], &format!("./{name}"));
        command.arg("argument");
        Running::start(command)
    });
    for ((name, _, expected), running) in cases.iter().zip(running) {
        let outcome = running.finish(&sandbox);
        assert_eq!(outcome.code, 1, "{name}: {outcome}");
        let failed = line(&outcome, "list_queues");
        let expected = format!("got the error unavailable: the adapter ./{name} {expected}");
        assert!(
            failed.starts_with("FAILED   list_queues: expected ") && failed.contains(&expected),
            "{failed}"
        );
        // The next start is a failure too.
        assert!(line(&outcome, "get_queue of an").contains("got the error unavailable: "), "{outcome}");
        assert!(line(&outcome, "a scratch queue").ends_with(": the adapter failed 3 times"), "{outcome}");
        let pids = sandbox.read(format!("{name}.pids"));
        // Each of three processes, and its child.
        assert_eq!(pids.lines().count(), 6, "{name}: {pids}");
        assert!(!pids.lines().any(is_alive), "{name}: {pids}");
    }
}

#[test]
fn a_flood_of_log_lines_blocks_nothing_and_fills_nothing() {
    let sandbox = Sandbox::empty();
    script(
        &sandbox,
        "floods",
        &format!("{BEGIN}yes flood | head -n 500000 >&2\necho '{{\"id\":2,\"result\":[]}}'\nexit 1"),
    );
    let outcome = tested(&sandbox, &["--queue", "q"], "./floods");
    assert_eq!(line(&outcome, "list_queues"), "ok       list_queues", "{outcome}");
    let flood = outcome.stderr.lines().filter(|line| *line == "adapter: flood").count();
    let starts = 3;
    assert_eq!(flood, 20 * starts, "{outcome}");
    assert!(outcome.stderr.contains("adapter: [499980 more lines left out]"), "{outcome}");
}

#[test]
fn children_end_with_the_adapter_whatever_is_killed() {
    use rustix::process::{Pid, Signal, kill_process};
    for killed in ["bridge", "guard", "adapter"] {
        let sandbox = Sandbox::empty();
        // One child in the group of the adapter, one in a session of its own.
        let children = "sleep 1000 & echo $! > child\nsetsid sleep 1000 & echo $! > stray";
        script(
            &sandbox,
            "hangs",
            &format!("{children}\necho $PPID > guard\necho $$ > adapter\n{BEGIN}sleep 1000"),
        );
        let mut running = Running::start(test_of(&sandbox, &[], "./hangs"));
        eventually("the adapter runs", || {
            let pid = std::fs::read_to_string(sandbox.path("adapter")).unwrap_or_default();
            pid.ends_with('\n')
        });
        let pids = ["guard", "adapter", "child", "stray"].map(|name| sandbox.read(name).trim().to_string());
        let victim = match killed {
            "bridge" => running.id().to_string(),
            other => sandbox.read(other).trim().to_string(),
        };
        kill_process(Pid::from_raw(victim.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        eventually(&format!("all are gone after the {killed} was killed"), || !pids.iter().any(is_alive));
        let _ = running.child().kill();
    }
}

#[test]
fn a_program_that_cannot_be_started_is_explained() {
    let sandbox = Sandbox::empty();
    sandbox.write("plain", "#!/bin/sh\n");
    sandbox.write("lost", "#!/no/such/interpreter\n");
    executable(&sandbox, "lost");
    for (program, expected) in [
        ("./none", "there is no such program; a relative path starts in $DIR/project"),
        ("no-such-program", "there is no such program"),
        ("./plain", "it is not executable: `chmod +x` it"),
        ("./lost", "the program that its first line (#!…) names does not exist"),
    ] {
        let outcome = tested(&sandbox, &[], program);
        assert_eq!(outcome.code, 1, "{outcome}");
        let expected = format!("the error invalid: the adapter {program} cannot be started: {expected}");
        assert!(line(&outcome, "initialize").contains(&expected), "{expected}: {outcome}");
        assert_eq!(outcome.stdout.lines().count(), 2, "{outcome}");
    }
}

#[test]
fn an_adapter_of_another_version_is_refused() {
    let sandbox = Sandbox::empty();
    script(
        &sandbox,
        "newer",
        "read -r line\necho '{\"id\":1,\"result\":{\"name\":\"a\",\"protocol\":2}}'\nread -r line",
    );
    let outcome = tested(&sandbox, &[], "./newer");
    let expected = "speaks version 2 of the adapter protocol, and this lanes speaks version 1: update the older of the two";
    assert!(line(&outcome, "initialize").ends_with(expected), "{outcome}");
    script(
        &sandbox,
        "refuses",
        "read -r line\necho '{\"id\":1,\"error\":{\"code\":\"auth\",\"message\":\"wrong key\"}}'",
    );
    let outcome = tested(&sandbox, &[], "./refuses");
    assert!(line(&outcome, "initialize").ends_with("got the error auth: wrong key"), "{outcome}");
}

#[test]
fn secrets_come_in_initialize_alone() {
    let sandbox = Sandbox::empty();
    sandbox.write(".env", "BOARD_KEY='hunter2 and more'\n");
    let body = "read -r line\nprintf '%s\\n' \"$line\" > initialize\nenv > environment\ntr '\\0' ' ' < /proc/$$/cmdline > arguments\n\
                echo \"key: $(cut -d\\\" -f 1- initialize)\" >&2\n\
                echo '{\"id\":1,\"error\":{\"code\":\"auth\",\"message\":\"hunter2 and more is wrong\"}}'";
    script(&sandbox, "prints", body);
    let options = [
        "--env-file",
        ".env",
        "--secret",
        "BOARD_KEY",
        "--secret",
        "OTHER_KEY",
        "--set",
        "limit=5",
        "--set",
        "repo=o/r",
    ];
    let run = || {
        let mut command = test_of(&sandbox, &options, "./prints");
        command.env("OTHER_KEY", "from the environment").env("LANES_TASK_ID", "x").env("AWS_SECRET", "y");
        sandbox.outcome(command.output().unwrap())
    };
    let outcome = run();
    let initialize: serde_json::Value = serde_json::from_str(&sandbox.read("initialize")).unwrap();
    assert_eq!(
        initialize["params"]["secrets"],
        serde_json::json!({"BOARD_KEY": "hunter2 and more", "OTHER_KEY": "from the environment"})
    );
    assert_eq!(initialize["params"]["config"], serde_json::json!({"limit": 5, "repo": "o/r"}));
    assert_eq!((&initialize["id"], &initialize["params"]["protocol"]), (&1.into(), &1.into()));
    let environment = sandbox.read("environment");
    assert!(environment.contains("PATH=") && environment.contains("LANES_RUN_ID="), "{environment}");
    for hidden in ["hunter2", "OTHER_KEY", "LANES_TASK_ID", "AWS_SECRET"] {
        assert!(
            !environment.contains(hidden) && !sandbox.read("arguments").contains(hidden),
            "{environment}"
        );
    }
    assert!(
        !outcome.to_string().contains("hunter2") && !outcome.to_string().contains("from the env"),
        "{outcome}"
    );
    assert!(line(&outcome, "initialize").ends_with("the error auth: *** is wrong"), "{outcome}");
    assert!(outcome.stderr.contains("adapter: key: ") && outcome.stderr.contains("***"), "{outcome}");
    // Anybody could read the file.
    assert!(outcome.stderr.contains(".env can be read or written by others"), "{outcome}");
    sandbox.write(".env", "");
    let expected = "needs the secret BOARD_KEY: put it into $DIR/project/.env";
    assert!(line(&run(), "initialize").ends_with(expected), "{expected}");
}
