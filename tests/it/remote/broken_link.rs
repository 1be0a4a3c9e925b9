//! A link that breaks: no change is lost, none happens twice, no claim leaks, and a wait goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Laptop, stderr, stdout};
use crate::testkit::server::Server;
use crate::testkit::wait::eventually;

/// A proxy before a server, which breaks links as a test wants.
struct Proxy {
    address: SocketAddr,
    state: Arc<ProxyState>,
}

struct ProxyState {
    server: Mutex<SocketAddr>,
    /// Whether new connections are closed at once.
    is_down: AtomicBool,
    /// How the request begins with which the link breaks; empty while it is to hold.
    breaks_at: Mutex<&'static str>,
    /// How many replies to POST requests are still to be thrown away.
    lost: AtomicUsize,
    /// How many were.
    were_lost: AtomicUsize,
}

impl Proxy {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(ProxyState {
            server: Mutex::new(server.address),
            is_down: AtomicBool::new(false),
            breaks_at: Mutex::new(""),
            lost: AtomicUsize::new(0),
            were_lost: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        // Ends with the process; each connection is served to its end.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, state }
    }

    fn laptop(&self, server: &Server) -> Laptop {
        Laptop::at(format!("http://{}", self.address), server.token.clone())
    }
}

impl ProxyState {
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        if self.is_down.load(Ordering::SeqCst) {
            return None;
        }
        let server = TcpStream::connect(*self.server.lock().unwrap()).ok()?;
        let mut to_server = server.try_clone().ok()?;
        let mut to_client = client.try_clone().ok()?;
        let last_is_post = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let flag = Arc::clone(&last_is_post);
            scope.spawn(move || {
                let mut bytes = [0; 64 * 1024];
                while let Ok(length @ 1..) = client.read(&mut bytes) {
                    let breaks_at = *self.breaks_at.lock().unwrap();
                    if !breaks_at.is_empty() && bytes.starts_with(breaks_at.as_bytes()) {
                        self.is_down.store(true, Ordering::SeqCst);
                        break;
                    }
                    if bytes.starts_with(b"POST ") || bytes.starts_with(b"GET ") {
                        flag.store(bytes.starts_with(b"POST "), Ordering::SeqCst);
                    }
                    if to_server.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let mut server = server;
            let mut bytes = [0; 64 * 1024];
            while let Ok(length @ 1..) = server.read(&mut bytes) {
                let is_lost = last_is_post.load(Ordering::SeqCst)
                    && self
                        .lost
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_ok();
                if is_lost {
                    self.were_lost.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                if self.is_down.load(Ordering::SeqCst) || to_client.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            let _ = to_client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
        Some(())
    }
}

/// Runs a command whose first `lost` replies to changes are lost; it must succeed nevertheless.
#[track_caller]
fn with_lost_replies(proxy: &Proxy, laptop: &Laptop, lost: usize, args: &[&str]) -> String {
    let before = proxy.state.were_lost.load(Ordering::SeqCst);
    proxy.state.lost.store(lost, Ordering::SeqCst);
    let output = laptop.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    assert_eq!(proxy.state.were_lost.load(Ordering::SeqCst) - before, lost, "{args:?}");
    stdout(&output).trim().to_string()
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap()
}

#[test]
fn a_change_whose_reply_is_lost_happens_once() {
    let server = Server::with_token();
    let proxy = Proxy::before(&server);
    let laptop = proxy.laptop(&server);
    let run = |args: &[&str]| with_lost_replies(&proxy, &laptop, 2, args);
    let id = run(&["submit", "--lane", "l", "--prompt", "x"]);
    assert_eq!(laptop.lanes(&["list", "--json"]).matches("\"id\"").count(), 1);
    let claimed = run(&["claim", "--lane", "l"]);
    assert_eq!(value(&claimed, "task_id"), id);
    let token = value(&claimed, "claim_token");
    run(&["renew", &id, "--claim-token", token]);
    run(&["event", &id, "--message", "noted", "--claim-token", token]);
    run(&["tell", &id, "once"]);
    run(&["release", &id, "--claim-token", token]);
    let claimed = run(&["claim", &id]);
    run(&["respond", &id, "--claim-token", value(&claimed, "claim_token"), "--body", "done"]);
    run(&["cancel", &run(&["submit", "--lane", "l", "--prompt", "y"])]);
    let events = laptop.lanes(&["events"]);
    for (kind, times) in [
        ("created", 2),
        ("claimed", 2),
        ("renewed", 1),
        ("note", 1),
        ("told", 1),
        ("released", 1),
        ("response", 1),
        ("cancelled", 1),
    ] {
        let count = events.lines().filter(|line| line.split_whitespace().any(|word| word == kind)).count();
        assert_eq!(count, times, "{kind} in\n{events}");
    }
}

#[test]
fn a_claim_whose_reply_is_lost_is_found_again_after_the_server_was_started_again() {
    let mut server = Server::with_token();
    let token = server.token.clone();
    let id = server.submit("l");
    server.submit("l");
    let request = |id: &str, is_repeated: bool| {
        serde_json::json!({
            "request_id": id, "lanes": ["l"], "owner": "me",
            "claim_token": "0123456789abcdef0123456789abcdef", "is_repeated": is_repeated,
        })
    };
    let first = server.post("/store/v1/claim", &request("r", false));
    assert_eq!(first.text_at("/task/id"), id);
    server.stop();
    let command = crate::testkit::server::program(server.dir.path(), &["serve", "--port", "0"]);
    (server.child, server.address) = Server::start(server.dir.path(), command);
    server.token = token;
    let again = server.post("/store/v1/claim", &request("r", true));
    assert_eq!(again.text_at("/task/id"), id, "the same task, and no second one");
    assert_eq!(server.lanes(&["list", "--state", "claimed", "--json"]).matches("\"id\"").count(), 1);
}

#[test]
fn an_outcome_that_stays_unknown_is_said_to_be() {
    let server = Server::with_token();
    let proxy = Proxy::before(&server);
    let laptop = proxy.laptop(&server);
    proxy.state.lost.store(usize::MAX, Ordering::SeqCst);
    let output = laptop.run(&["submit", "--lane", "l", "--prompt", "x"]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("does not say whether this was done"), "{}", stderr(&output));
    assert_eq!(server.lanes(&["list", "--json"]).matches("\"id\"").count(), 1, "it was done, and once");
}

#[test]
fn a_wait_goes_on_while_the_link_is_down() {
    let server = Server::with_token();
    let proxy = Proxy::before(&server);
    let laptop = proxy.laptop(&server);
    let id = laptop.lanes(&["submit", "--lane", "l", "--prompt", "x"]);
    let mut wait = laptop.command(&["wait", &id, "--timeout", "50"]);
    let errors = laptop.home().join("errors");
    let file = std::fs::File::create(&errors).unwrap();
    let wait = wait.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    let told = || std::fs::read_to_string(&errors).unwrap();
    eventually("the wait has begun", || told().contains("no live worker"));
    proxy.state.is_down.store(true, Ordering::SeqCst);
    eventually("the outage is told", || told().contains("still waiting"));
    server.respond(&id, "done meanwhile");
    proxy.state.is_down.store(false, Ordering::SeqCst);
    let output = wait.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told());
    assert_eq!(stdout(&output).trim(), "done meanwhile");
    assert!(told().contains("cannot reach the store") && told().contains("is reached again"), "{}", told());
}

#[test]
fn a_worker_that_waits_goes_on_while_the_link_is_down() {
    let server = Server::with_token();
    let proxy = Proxy::before(&server);
    let laptop = proxy.laptop(&server);
    let mut claim = laptop.command(&["claim", "--lane", "l", "--wait", "--timeout", "50"]);
    let errors = laptop.home().join("errors");
    let claim = claim.stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    let told = || std::fs::read_to_string(&errors).unwrap();
    eventually("the worker is seen", || server.lanes(&["workers", "--json"]).contains("\"l\""));
    proxy.state.is_down.store(true, Ordering::SeqCst);
    eventually("the outage is told", || told().contains("still waiting"));
    let id = server.submit("l");
    proxy.state.is_down.store(false, Ordering::SeqCst);
    let output = claim.wait_with_output().unwrap();
    assert!(stdout(&output).contains(&id), "{}", told());
}

#[test]
fn a_list_that_is_cut_off_is_an_error_and_not_a_shorter_list() {
    let server = Server::with_token();
    server.submit("l");
    server.lanes(&["submit", "--lane", "m", "--prompt", "x", "--group", "g"]);
    server.lanes(&["cancel", "--group", "g"]);
    let check = |breaks_at: &'static str, args: &[&str]| {
        let proxy = Proxy::before(&server);
        let laptop = proxy.laptop(&server);
        assert!(laptop.run(args).status.success(), "{args:?}");
        *proxy.state.breaks_at.lock().unwrap() = breaks_at;
        let output = laptop.run(args);
        assert!(proxy.state.is_down.load(Ordering::SeqCst), "{args:?} did not ask for {breaks_at}");
        assert_eq!(output.status.code(), Some(75), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("cannot reach the store"), "{args:?}: {}", stderr(&output));
    };
    // At the same time, since each tries for a while to reach the store again.
    std::thread::scope(|scope| {
        scope.spawn(|| check("GET /store/v1/tasks", &["list"]));
        scope.spawn(|| check("GET /store/v1/tasks", &["list", "--limit", "5"]));
        scope.spawn(|| check("GET /store/v1/last-event", &["list", "--json"]));
        scope.spawn(|| check("GET /store/v1/tasks", &["inbox"]));
        scope.spawn(|| check("GET /store/v1/tasks", &["graph"]));
        scope.spawn(|| check("GET /store/v1/tasks", &["wait", "--group", "g", "--timeout", "60"]));
        scope.spawn(|| check("GET /store/v1/tasks", &["redrive", "--lane", "l"]));
    });
}
