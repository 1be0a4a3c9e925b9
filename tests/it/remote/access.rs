//! Who reaches a remote store, with what, and what is refused.

use super::{Laptop, stderr, stdout};
use crate::testkit::command;
use crate::testkit::server::{Server, write_secret};

/// Checks that a command ends with a code and one line that has these words.
#[track_caller]
fn refused(output: &std::process::Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn the_token_is_taken_from_the_environment_or_a_file_and_never_shown() {
    let server = Server::with_token();
    let secret = server.token_of_store();
    let mut laptop = Laptop::of(&server);
    laptop.lanes(&["submit", "--lane", "l", "--prompt", "x"]);
    laptop.token = None;
    refused(&laptop.run(&["list"]), 1, &["wants a token", "LANES_TOKEN", "--store-token-file"]);
    let file = laptop.work().join("token");
    write_secret(&file, &secret);
    assert!(laptop.lanes(&["list", "--store-token-file", "token"]).contains("queued"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    refused(&laptop.run(&["list", "--store-token-file", "token"]), 1, &["can be read or written by others"]);
    laptop.token = Some("another-token-of-16".to_string());
    for args in [&["list"][..], &["submit", "--lane", "l", "--prompt", "x"]] {
        let output = laptop.run(args);
        refused(&output, 1, &["does not accept the token"]);
        assert!(!stderr(&output).contains("another-token"), "{}", stderr(&output));
    }
    laptop.token = Some("a token\nwith a line".to_string());
    refused(&laptop.run(&["list"]), 1, &["characters that no token has"]);
}

#[test]
fn what_is_no_store_of_a_server_is_refused_in_one_line() {
    let laptop = |address: &str| Laptop::at(address.to_string(), Some("0123456789abcdef".to_string()));
    refused(
        &laptop("redis://me:pw@box/1").run(&["list"]),
        2,
        &["is no store that lanes knows", "redis://box/1"],
    );
    refused(&laptop("http://box.example:8765").run(&["list"]), 2, &["not encrypted", "--insecure-http"]);
    refused(
        &laptop("https://me:pw@box.example").run(&["list"]),
        2,
        &["must not contain a user or a password"],
    );
    refused(&laptop("https://box.example/?a=b").run(&["list"]), 2, &["a query or a fragment"]);
    // Nothing listens at this port once the listener is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    refused(
        &laptop(&format!("http://127.0.0.1:{port}")).run(&["list"]),
        75,
        &["cannot reach the store at", "nothing listens"],
    );
    let server = Server::new();
    refused(
        &laptop(&format!("http://{}/prefix", server.address)).run(&["list"]),
        1,
        &["is no store: it has no such route"],
    );
    let output = laptop(&format!("http://127.0.0.1:{port}")).run(&["list", "--json"]);
    assert!(stderr(&output).contains("\"code\":\"unavailable\""), "{}", stderr(&output));
}

/// The commands that need the store itself.
const LOCAL: &[&[&str]] = &[
    &["dispatch", "--once"],
    &["serve"],
    &["doctor"],
    &["fsck"],
    &["gc", "--older-than", "1d"],
    &["export"],
    &["import", "-"],
    &["trust"],
    &["top"],
    &["logs", "x"],
    &["diff", "x"],
    &["stats"],
    &["budget"],
    &["schedules"],
    &["worktrees"],
    &["agents"],
    &["bridge", "x"],
];

#[test]
fn commands_that_need_the_store_itself_say_so() {
    let server = Server::new();
    let laptop = Laptop::of(&server);
    for args in LOCAL {
        refused(
            &laptop.run(args),
            2,
            &["this needs the store itself", "run it on the machine that has the store"],
        );
    }
    for args in [&["man"][..], &["completions", "bash"], &["self-test"]] {
        assert!(laptop.run(args).status.success(), "{args:?}");
    }
}

#[test]
fn a_configuration_names_a_server_only_if_somebody_has_chosen_it() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    std::fs::create_dir(laptop.work().join("handoff")).unwrap();
    let config = format!("workspace_id: w\nqueue_root: http://{}\n", server.address);
    std::fs::write(laptop.work().join("handoff/handoff.yaml"), config).unwrap();
    let found = || {
        let mut command = laptop.command(&["list"]);
        command.env_remove("LANES_STORE");
        command
    };
    refused(&found().output().unwrap(), 1, &["names a server as its queue_root", "--config"]);
    let named = found().args(["--config", "handoff/handoff.yaml"]).output().unwrap();
    assert!(named.status.success(), "{}", stderr(&named));
    let mut dispatch = laptop.command(&["dispatch", "--once", "--config", "handoff/handoff.yaml"]);
    refused(&dispatch.env_remove("LANES_STORE").output().unwrap(), 2, &["this needs the store itself"]);
}

#[test]
fn a_server_decides_what_a_client_may_do() {
    // Neither management nor programs are allowed, and paths stay in the workspace.
    let server = Server::new();
    let laptop = Laptop::of(&server);
    refused(&laptop.run(&["pause", "l"]), 1, &["--enable-queue-management"]);
    let submit = |more: &[&str]| laptop.run(&[&["submit", "--lane", "l", "--prompt", "x"], more].concat());
    refused(&submit(&["--verify", "true"]), 1, &["--allow-route-programs"]);
    refused(&submit(&["--worktree-path", "/etc"]), 2, &["worktree_path"]);
    assert_eq!(laptop.lanes(&["list", "--json"]).matches("\"id\"").count(), 0);
    assert!(submit(&["--worktree-path", "."]).status.success());
    let read_only = Server::with(&["--read-only"]);
    let laptop = Laptop::of(&read_only);
    assert!(laptop.run(&["list"]).status.success());
    refused(&laptop.run(&["submit", "--lane", "l", "--prompt", "x"]), 1, &["without --read-only"]);
}

#[test]
fn nobody_learns_the_token_of_another_worker() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    let id = laptop.lanes(&["submit", "--lane", "l", "--prompt", "x"]);
    let claimed = laptop.lanes(&["claim", &id]);
    let token = claimed.lines().find_map(|line| line.strip_prefix("claim_token=")).unwrap();
    for read in ["task", "settled", "tasks"] {
        let reply = server.get(&format!("/store/v1/{read}?id={id}"));
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.text.contains("claim_token") && !reply.text.contains(token), "{}", reply.text);
        assert!(!reply.text.contains(&token[16..]), "{}", reply.text);
    }
    let other = laptop.lanes(&["event", &id, "--message", "without a token", "--json"]);
    assert!(!other.contains(token));
}

#[test]
fn a_claim_token_that_could_be_guessed_is_refused() {
    let server = Server::new();
    server.submit("l");
    for token in ["", "1", "0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF"] {
        let body = serde_json::json!({"request_id": token, "lanes": ["l"], "claim_token": token});
        let reply = server.post("/store/v1/claim", &body);
        assert_eq!(reply.status, 400, "{}", reply.text);
    }
}

#[test]
fn an_address_can_be_given_where_a_path_can() {
    let server = Server::with_token();
    let address = format!("http://{}", server.address);
    let dir = tempfile::tempdir().unwrap();
    let mut list = command::lanes();
    list.args(["--store", &address, "list"]).current_dir(dir.path());
    list.env("HOME", dir.path()).env("LANES_TOKEN", server.token_of_store());
    let output = list.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let path = format!("file:{}", server.root().join("state").display());
    let mut local = command::lanes();
    let output = local.args(["--store", &path, "list"]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success() && stdout(&output).is_empty(), "{}", stderr(&output));
}
