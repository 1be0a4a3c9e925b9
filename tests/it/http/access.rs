//! Tokens and cookies, and what is visible without them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::testkit::server::{Client, Reply, Server, failed_start, program, write_secret};
use crate::testkit::skip::skipped;
use crate::testkit::wait::eventually;

#[test]
fn by_default_a_client_shows_the_token_that_the_store_keeps() {
    let mut server = Server::with_token();
    let path = server.dir.path().join("state/serve.token");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = server.token_of_store();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    for (method, target) in [("GET", "/tasks"), ("GET", "/openapi.json"), ("POST", "/tasks"), ("GET", "/x")] {
        let body = (method == "POST").then(|| json!({"lane": "l", "prompt": "p"}));
        let stranger = Client::to(server.address).ask(method, target, &[], body.as_ref());
        assert_eq!((stranger.status, stranger.code().as_str()), (401, "unauthorized"), "{target}");
        assert!(!stranger.text.contains(server.dir.path().to_str().unwrap()), "{}", stranger.text);
    }
    server.submit("l");
    assert_eq!(server.get("/tasks").at("/count"), json!(1));
    // Clients may keep it.
    server.stop();
    let (child, address) =
        Server::start(server.dir.path(), program(server.dir.path(), &["serve", "--port", "0"]));
    (server.child, server.address) = (child, address);
    assert_eq!(server.token_of_store(), token);
    assert_eq!(server.get("/tasks").status, 200);
    // No other client sees it.
    let exported = server.lanes(&["export"]);
    assert!(exported.contains("\"lane\":\"l\"") && !exported.contains(&token), "{exported}");
    assert_eq!(server.lanes(&["fsck", "--json"]).matches("\"code\"").count(), 0);
}

#[test]
fn a_token_that_others_can_read_is_not_served_and_is_repaired() {
    let mut server = Server::with_token();
    let (old, path) = (server.token_of_store(), server.dir.path().join("state/serve.token"));
    server.stop();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let refused = failed_start(server.dir.path(), &[]);
    let printed = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(1) && printed.contains("can be read or written by others"),
        "{printed}"
    );
    let checked = program(server.dir.path(), &["fsck", "--json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("token-open"), "{checked:?}");
    server.lanes(&["fsck", "--repair"]);
    assert!(!path.exists());
    let (child, address) =
        Server::start(server.dir.path(), program(server.dir.path(), &["serve", "--port", "0"]));
    (server.child, server.address) = (child, address);
    assert_ne!(server.token_of_store(), old);
}

#[test]
fn a_token_file_is_treated_as_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    write_secret(&path, "0123456789abcdef\n");
    let why = |path: &Path| {
        let start = Instant::now();
        let refused = failed_start(dir.path(), &["--token-file", path.to_str().unwrap()]);
        assert!(start.elapsed() < Duration::from_secs(20));
        let printed = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), printed.lines().count()), (Some(1), 1), "{printed}");
        printed
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
    assert!(why(&dir.path().join("large")).contains("does not contain a token"));
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(why(&path).contains("another user"));
    } else {
        skipped("root, for a file of another user");
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
        assert_eq!(failed_start(dir.path(), flags).status.code(), Some(2), "{flags:?}");
    }
    let outside = failed_start(dir.path(), &["--no-token", "--host", "0.0.0.0"]);
    assert_eq!(outside.status.code(), Some(1), "{outside:?}");
    let server = Server::new();
    assert_eq!(Client::to(server.address).ask("GET", "/tasks", &[], None).status, 200);
    assert!(!server.dir.path().join("state/serve.token").exists());
}

/// Returns the output of a server at its start, up to a text.
fn announcement(server: &mut Server, flags: &[&str], until: &str) -> String {
    use std::io::{BufRead, BufReader};
    server.stop();
    let mut command = program(server.dir.path(), &[&["serve", "--port", "0"], flags].concat());
    server.child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    while !printed.contains(until) {
        printed.push_str(&lines.next().unwrap().unwrap());
        printed.push('\n');
    }
    server.address = printed.lines().next().unwrap().rsplit("http://").next().unwrap().parse().unwrap();
    printed
}

#[test]
fn the_announcement_shows_how_to_connect_and_not_the_secret() {
    let mut server = Server::with_token();
    let printed = announcement(&mut server, &[], "/status");
    let path = server.root().join("state/serve.token");
    assert!(printed.contains(&format!("$(cat {})", path.display())), "{printed}");
    assert!(!printed.contains(&server.token_of_store()), "{printed}");
}

#[test]
fn a_browser_is_let_in_once_and_changes_things_only_from_our_own_pages() {
    let mut server = Server::with_token();
    let printed = announcement(&mut server, &["--open"], "/open?code=");
    let url =
        printed.lines().find(|line| line.contains("/open?code=")).unwrap().rsplit("http://").next().unwrap();
    let (host, code) = url.split_once("/open?code=").unwrap();
    assert!(host.starts_with("lanes-") && host.contains(".localhost:"), "{host}");
    let address = server.address;
    let ask = |method: &str, target: &str, headers: &[(&str, &str)]| -> Reply {
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
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")));
    let set = opened.header("set-cookie").unwrap().to_string();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(code), "{set}");
    assert_eq!(ask("GET", &open, &[]).status, 403, "the code works once");

    let cookie = ("Cookie", set.split(';').next().unwrap());
    let origin = format!("http://{host}");
    assert_eq!(ask("GET", "/status", &[cookie]).status, 200);
    assert_eq!(ask("GET", "/status", &[]).status, 401);
    let other = [("Host", "lanes-0123456789abcdef.localhost:1"), cookie];
    let refused = Client::to(address).ask("GET", "/status", &other, None);
    assert_eq!((refused.status, refused.code().as_str()), (403, "host_refused"));
    assert!(refused.json()["error"].as_str().unwrap().contains("`lanes serve --open`"));
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
    assert_eq!(server.get("/tasks").at("/count"), json!(2));
}

#[test]
fn a_browser_is_opened_with_a_page_that_only_its_user_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "#!/bin/sh\ncat \"$2\" > page; stat -c %a \"$2\" \"${2%/*}\" > modes; echo \"$*\" > \"$1\"\n";
    std::fs::write(dir.path().join("browser"), script).unwrap();
    std::fs::set_permissions(dir.path().join("browser"), PermissionsExt::from_mode(0o755)).unwrap();
    let start = |browser: &str| {
        let mut command = program(dir.path(), &["--store", "state", "serve", "--port", "0", "--open"]);
        command.env("BROWSER", browser).env("DISPLAY", ":0").env("PATH", "/usr/bin:/bin");
        let (child, address) = Server::start(dir.path(), command);
        Server { dir: tempfile::tempdir().unwrap(), address, child, token: None }
    };
    let mut server = start("./browser opened %s");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    eventually("the browser is started", || !read("opened").is_empty());
    assert_eq!(read("modes"), "600\n700\n");
    let opened = read("opened");
    let path = opened.trim().strip_prefix("opened ").unwrap();
    assert!(path.ends_with("/open.html") && !opened.contains("code="), "{opened}");
    let (page, address) = (read("page"), server.address);
    let url = page.split('"').find(|part| part.starts_with("http://lanes-")).unwrap();
    let (host, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    // As a browser follows it from a file.
    let from_file = [
        ("Host", host),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    let opened = Client::to(address).ask("GET", &format!("/{target}"), &from_file, None);
    assert_eq!((opened.status, opened.header("location")), (303, Some("/")), "{url}: {}", opened.text);
    assert_eq!(Client::to(address).ask("GET", "/", &from_file, None).status, 200);
    server.stop();
    assert!(!Path::new(path).exists(), "{path} is left");

    for (browser, why) in [("./none", "./none cannot be started"), ("/bin/false", "/bin/false failed")] {
        let mut server = start(browser);
        eventually("a warning", || read("stderr").contains(why));
        assert_eq!(Client::to(server.address).ask("GET", "/", &[], None).status, 200);
        server.stop();
    }
}

#[test]
fn health_gives_the_reason_only_to_authenticated_clients() {
    let server = Server::with_token();
    let stranger = || Client::to(server.address).ask("GET", "/healthz", &[], None);
    assert_eq!(stranger().json(), json!({"status": "ok"}));
    let pauses = server.dir.path().join("state/lanes.json");
    std::fs::write(&pauses, "{").unwrap();
    let reported = server.get("/healthz");
    assert!(reported.status == 500 && reported.text.contains("lanes.json"), "{}", reported.text);
    let untold = stranger();
    assert_eq!((untold.status, untold.code().as_str()), (500, "unhealthy"));
    assert!(!untold.text.contains(server.dir.path().to_str().unwrap()), "{}", untold.text);
    std::fs::remove_file(&pauses).unwrap();
    assert_eq!(stranger().status, 200);
}

#[test]
fn a_body_needs_no_type_unless_a_browser_sends_it() {
    let server = Server::new();
    let body = "{\"lane\":\"l\",\"prompt\":\"p\"}";
    let post = |headers: &str| {
        let mut client = server.client();
        client.send(format!(
            "POST /tasks HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.reply(false).status
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    // As `curl -d` sends it, and clients that send no headers.
    assert_eq!(post(&format!("User-Agent: curl/8.5.0\r\nAccept: */*\r\n{form}")), 201);
    assert_eq!(post(""), 201);
    for sign in ["Sec-Fetch-Mode: no-cors\r\n", "Sec-Fetch-Site: none\r\n", "User-Agent: Mozilla/5.0\r\n"] {
        assert_eq!(post(&format!("{sign}{form}")), 415, "{sign}");
        assert_eq!(post(sign), 415, "{sign}");
    }
    assert_eq!(server.get("/tasks").at("/count"), json!(2));
}
