//! A closed or full standard output: a command succeeds only if its output was written.

use std::fs::OpenOptions;
use std::process::Stdio;

use super::terminal::on_a_terminal;
use crate::testkit::command::lanes_in_shell;
use crate::testkit::sandbox::{Sandbox, text};
use crate::testkit::skip::skipped;

/// `/dev/full`: writing there fails like a full disk does.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["status"],
        &["status", &id],
        &["show", &id],
        &["events"],
        &["why", &id],
        &["next", "--lane", "l", "--timeout", "0"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &["claim", "--help"],
        &["submit", "--lane", "m", "--prompt", "x"],
    ] {
        let outcome = sandbox.outcome(sandbox.command(args).stdout(full()).output().unwrap());
        outcome.refused(1, "standard output");
    }
}

#[test]
fn a_submit_whose_id_cannot_be_printed_says_it_on_standard_error() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.outcome(sandbox.command(&["submit", "review", "x"]).stdout(full()).output().unwrap());
    outcome.refused(1, "was submitted, but its id could not be printed: cannot write standard output");
    let id = text(&sandbox.json(&["list"])["tasks"][0]["id"]);
    assert!(outcome.stderr.starts_with(&format!("lanes: {id} was submitted")), "{outcome}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let sandbox = Sandbox::new();
    sandbox.submit("l", &[]);
    for args in [&["list"][..], &["list", "--json"], &["events"], &["--help"], &["completions", "bash"]] {
        let outcome = sandbox.outcome(sandbox.command(args).stdout(closed()).output().unwrap());
        assert_eq!(outcome.stderr, "", "{args:?}");
        assert_ne!(outcome.code, 0, "{args:?}");
    }
}

#[test]
fn a_claim_that_nobody_hears_of_is_given_back() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for stdout in [full as fn() -> Stdio, closed] {
        for args in [&["claim", "--lane", "l"][..], &["claim", &id, "--json"]] {
            let output = sandbox.command(args).stdout(stdout()).output().unwrap();
            assert_ne!(output.status.code(), Some(0));
            let task = sandbox.json(&["status", &id])["task"].clone();
            assert_eq!(text(&task["state"]), "queued", "{args:?}");
            assert_eq!(task["attempt"], 0);
        }
    }
}

#[test]
fn closed_descriptors_do_no_harm() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("l", &[]);
    for redirect in [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"] {
        let mut command = lanes_in_shell(&format!("exec \"$0\" renew {id} --claim-token x {redirect}"));
        let outcome = sandbox.outcome(command.current_dir(sandbox.root()).output().unwrap());
        assert_eq!(outcome.code, 1, "{redirect}: {outcome}");
    }
    // A command whose output cannot be written is not executed.
    let mut command = lanes_in_shell(&format!("exec \"$0\" claim {id} >&-"));
    sandbox
        .outcome(command.current_dir(sandbox.root()).output().unwrap())
        .refused(1, "standard output is closed");
    assert_eq!(sandbox.json(&["status", &id])["task"]["fence"], 0);
    // Whatever a descriptor number was reused for, no file of the store contains output of the command.
    let listed = sandbox.run(&["list", "--json"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""), "{listed}");
}

#[test]
fn a_file_size_limit_is_an_error_not_a_death() {
    let sandbox = Sandbox::new();
    sandbox.write("large", vec![b'x'; 3_000_000]);
    let id = sandbox.submit("l", &[]);
    let mut command = lanes_in_shell(&format!("ulimit -f 64; exec \"$0\" respond {id} --file large"));
    sandbox.outcome(command.current_dir(sandbox.root()).output().unwrap()).refused(1, "File too large");
    assert_eq!(text(&sandbox.json(&["status", &id])["task"]["state"]), "queued");
    sandbox.ok(&["respond", &id, "--file", "large", "--quiet"]);
}

#[test]
fn no_escape_codes_reach_a_file() {
    let sandbox = Sandbox::new();
    sandbox.submit("l", &["--name", "plain"]);
    for args in [&["list"][..], &["status"], &["--help"]] {
        let outcome = sandbox.run(args);
        assert!(!outcome.stdout.contains('\u{1b}'), "{outcome}");
    }
}

#[test]
fn a_terminal_gets_colour_and_no_foreign_escape_codes() {
    let sandbox = Sandbox::new();
    let evil = "red \u{1b}[31m and \u{9b}2J\n\tindented\n";
    let id = sandbox.answered("l", "completed", evil);
    let Some(list) = on_a_terminal(&sandbox, &["list"], &[]) else {
        return skipped("script");
    };
    assert!(list.starts_with("\u{1b}[1mID"), "{list:?}");
    let answer = on_a_terminal(&sandbox, &["wait", &id], &[]).unwrap();
    assert_eq!(answer, "red \\u{1b}[31m and \\u{9b}2J\n\tindented\n");
    let json = on_a_terminal(&sandbox, &["wait", &id, "--json"], &[]).unwrap();
    assert!(!json.contains(['\u{1b}', '\u{9b}']), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(text(&json["response"]["body"]), evil);
    // A pipe gets the answer as it is.
    assert_eq!(sandbox.run(&["wait", &id]).stdout, evil);
}
