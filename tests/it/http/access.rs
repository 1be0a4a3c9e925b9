//! Tokens, cookies, and what is told without them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Answer, Client, Fixture, program, refused, write_secret};

#[test]
fn by_default_a_client_shows_the_token_that_the_store_keeps() {
    let mut fixture = Fixture::with_token();
    let path = fixture.dir.path().join("state/serve.token");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fixture.token_of_store();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    for (method, target) in [("GET", "/tasks"), ("GET", "/openapi.json"), ("POST", "/tasks"), ("GET", "/x")] {
        let body = (method == "POST").then(|| json!({"lane": "l", "prompt": "p"}));
        let stranger = Client::to(fixture.address).ask(method, target, &[], body.as_ref());
        assert_eq!((stranger.status, stranger.code().as_str()), (401, "unauthorized"), "{target}");
        assert!(!stranger.text.contains(fixture.dir.path().to_str().unwrap()), "{}", stranger.text);
    }
    fixture.submit("l");
    assert_eq!(fixture.get("/tasks").at("/count"), json!(1));
    // Clients may keep it.
    fixture.stop();
    let (server, address) =
        Fixture::start(fixture.dir.path(), program(fixture.dir.path(), &["serve", "--port", "0"]));
    (fixture.server, fixture.address) = (server, address);
    assert_eq!(fixture.token_of_store(), token);
    assert_eq!(fixture.get("/tasks").status, 200);
    // Nobody else is told.
    let exported = fixture.lanes(&["export"]);
    assert!(exported.contains("\"lane\":\"l\"") && !exported.contains(&token), "{exported}");
    assert_eq!(fixture.lanes(&["fsck", "--json"]).matches("\"code\"").count(), 0);
}

#[test]
fn a_token_that_others_can_read_is_not_served_and_is_repaired() {
    let mut fixture = Fixture::with_token();
    let (old, path) = (fixture.token_of_store(), fixture.dir.path().join("state/serve.token"));
    fixture.stop();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let refused = refused(fixture.dir.path(), &[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("can be read or written by others"), "{said}");
    let checked = program(fixture.dir.path(), &["fsck", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("token-open"), "{checked:?}");
    fixture.lanes(&["fsck", "--repair"]);
    assert!(!path.exists());
    let (server, address) =
        Fixture::start(fixture.dir.path(), program(fixture.dir.path(), &["serve", "--port", "0"]));
    (fixture.server, fixture.address) = (server, address);
    assert_ne!(fixture.token_of_store(), old);
}

#[test]
fn a_token_file_is_treated_as_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    write_secret(&path, "0123456789abcdef\n");
    let why = |path: &Path| {
        let start = Instant::now();
        let refused = refused(dir.path(), &["--token-file", path.to_str().unwrap()]);
        assert!(start.elapsed() < Duration::from_secs(20));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        said
    };
    for mode in [0o644, 0o640, 0o602, 0o660] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        assert!(why(&path).contains("by others"), "{mode:o}");
    }
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(why(&fifo).contains("not a regular file"));
    assert!(why(Path::new("/dev/zero")).contains("not a regular file"));
    assert!(why(dir.path()).contains("not a regular file"));
    assert!(why(&dir.path().join("missing")).contains("No such file"));
    write_secret(&dir.path().join("large"), &"x".repeat(1 << 20));
    assert!(why(&dir.path().join("large")).contains("holds no token"));
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(why(&path).contains("another user"));
    } else {
        println!("skipped: a file of another user, which needs root");
    }
}

#[test]
fn nothing_is_asked_for_only_where_nothing_can_be_managed_and_nobody_else_reaches() {
    let dir = tempfile::tempdir().unwrap();
    let usage: [&[&str]; 4] = [
        &["--no-token", "--enable-queue-management"],
        &["--no-token", "--token-file", "t"],
        &["--no-token", "--open"],
        &["--allow-route-programs"],
    ];
    for flags in usage {
        assert_eq!(refused(dir.path(), flags).status.code(), Some(2), "{flags:?}");
    }
    let outside = refused(dir.path(), &["--no-token", "--host", "0.0.0.0"]);
    assert_eq!(outside.status.code(), Some(1), "{outside:?}");
    let fixture = Fixture::new();
    assert_eq!(Client::to(fixture.address).ask("GET", "/tasks", &[], None).status, 200);
    assert!(!fixture.dir.path().join("state/serve.token").exists());
}

/// What a server says at its start, up to a word.
fn announcement(fixture: &mut Fixture, flags: &[&str], until: &str) -> String {
    use std::io::{BufRead, BufReader};
    fixture.stop();
    let mut command = program(fixture.dir.path(), &[&["serve", "--port", "0"], flags].concat());
    fixture.server = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(fixture.server.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains(until) {
        said.push_str(&lines.next().unwrap().unwrap());
        said.push('\n');
    }
    fixture.address = said.lines().next().unwrap().rsplit("http://").next().unwrap().parse().unwrap();
    said
}

#[test]
fn the_announcement_tells_how_to_ask_and_not_the_secret() {
    let mut fixture = Fixture::with_token();
    let said = announcement(&mut fixture, &[], "/status");
    let path = fixture.root().join("state/serve.token");
    assert!(said.contains(&format!("$(cat {})", path.display())), "{said}");
    assert!(!said.contains(&fixture.token_of_store()), "{said}");
}

#[test]
fn a_browser_is_let_in_once_and_changes_things_only_from_our_own_pages() {
    let mut fixture = Fixture::with_token();
    let said = announcement(&mut fixture, &["--open"], "/open?code=");
    let url =
        said.lines().find(|line| line.contains("/open?code=")).unwrap().rsplit("http://").next().unwrap();
    let (host, code) = url.split_once("/open?code=").unwrap();
    assert!(host.starts_with("lanes-") && host.contains(".localhost:"), "{host}");
    let address = fixture.address;
    let ask = |method: &str, target: &str, headers: &[(&str, &str)]| -> Answer {
        let headers = [&[("Host", host), ("User-Agent", "Mozilla/5.0")], headers].concat();
        let body = (method == "POST").then(|| json!({"lane": "l", "prompt": "p"}));
        Client::to(address).ask(method, target, &headers, body.as_ref())
    };
    let open = format!("/open?code={code}");
    for wrong in ["/open?code=", "/open?code=0", &open[..open.len() - 1]] {
        let answer = ask("GET", wrong, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (403, "code_refused"));
    }
    assert_eq!(ask("GET", &open, &[("Sec-Fetch-Site", "cross-site")]).status, 403);
    assert_eq!(ask("HEAD", &open, &[]).status, 403);
    let opened = ask("GET", &open, &[("Sec-Fetch-Site", "none")]);
    assert_eq!((opened.status, opened.header("location")), (303, Some("/status")));
    let set = opened.header("set-cookie").unwrap().to_string();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(code), "{set}");
    assert_eq!(ask("GET", &open, &[]).status, 403, "the code works once");

    let cookie = ("Cookie", set.split(';').next().unwrap());
    let origin = format!("http://{host}");
    assert_eq!(ask("GET", "/status", &[cookie]).status, 200);
    assert_eq!(ask("GET", "/status", &[]).status, 401);
    for (headers, status) in [
        (vec![cookie], 401),
        (vec![cookie, ("Sec-Fetch-Site", "none")], 401),
        (vec![cookie, ("Origin", "http://localhost:9999")], 403),
        (vec![cookie, ("Sec-Fetch-Site", "same-site")], 403),
        (vec![cookie, ("Origin", origin.as_str())], 201),
        (vec![cookie, ("Sec-Fetch-Site", "same-origin")], 201),
        (vec![cookie, ("Origin", origin.as_str()), ("Content-Type", "text/plain")], 415),
    ] {
        assert_eq!(ask("POST", "/tasks", &headers).status, status, "{headers:?}");
    }
    assert_eq!(fixture.get("/tasks").at("/count"), json!(2));
}

#[test]
fn health_says_why_only_to_whom_may_know() {
    let fixture = Fixture::with_token();
    let stranger = || Client::to(fixture.address).ask("GET", "/healthz", &[], None);
    assert_eq!(stranger().json(), json!({"status": "ok"}));
    let pauses = fixture.dir.path().join("state/lanes.json");
    std::fs::write(&pauses, "{").unwrap();
    let told = fixture.get("/healthz");
    assert!(told.status == 500 && told.text.contains("lanes.json"), "{}", told.text);
    let untold = stranger();
    assert_eq!((untold.status, untold.code().as_str()), (500, "unhealthy"));
    assert!(!untold.text.contains(fixture.dir.path().to_str().unwrap()), "{}", untold.text);
    std::fs::remove_file(&pauses).unwrap();
    assert_eq!(stranger().status, 200);
}

#[test]
fn a_body_needs_no_type_unless_a_browser_sends_it() {
    let fixture = Fixture::new();
    let body = "{\"lane\":\"l\",\"prompt\":\"p\"}";
    let post = |headers: &str| {
        let mut client = fixture.client();
        client.send(format!(
            "POST /tasks HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer(false).status
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    // curl -d; clients that say nothing.
    assert_eq!(post(&format!("User-Agent: curl/8.5.0\r\nAccept: */*\r\n{form}")), 201);
    assert_eq!(post(""), 201);
    for sign in ["Sec-Fetch-Mode: no-cors\r\n", "Sec-Fetch-Site: none\r\n", "User-Agent: Mozilla/5.0\r\n"] {
        assert_eq!(post(&format!("{sign}{form}")), 415, "{sign}");
        assert_eq!(post(sign), 415, "{sign}");
    }
    assert_eq!(fixture.get("/tasks").at("/count"), json!(2));
}
