//! The HTTP door over real sockets, with a client that sends exactly the bytes a test wants.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod board;
mod compatible;
mod door;
mod input;
mod live;
mod operations;
mod wait;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use lanes::http::{ServeOptions, Server, Stopper};
use lanes::store::{Options, Store};
use lanes::workspace::Config;
use serde_json::{Value, json};

/// A workspace with a server.
struct Fixture {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stopper: Stopper,
    running: Option<JoinHandle<()>>,
}

fn config(root: &Path) -> Config {
    let mut config = Config::store_only(Path::new("state"), root).unwrap();
    config.lanes.insert("review".to_string(), "Look, and say.".to_string());
    config
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let store = Store::open(&config.store_root, Options::default()).unwrap();
        let mut options = ServeOptions {
            config,
            store,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            token_file: None,
            allow_roots: Vec::new(),
            allow_hosts: Vec::new(),
            manage_queues: false,
            access_log: None,
        };
        change(&mut options);
        let server = Server::listen(options).unwrap();
        let address = server.address().unwrap();
        let stopper = server.stopper();
        let running = std::thread::spawn(move || server.run().unwrap());
        Self { dir, address, stopper, running: Some(running) }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// The same store, as another process would open it.
    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("state"), Options::default()).unwrap()
    }

    fn client(&self) -> Client {
        Client::to(self.address)
    }

    fn get(&self, path: &str) -> Answer {
        self.client().ask("GET", path, &[], None)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().ask("POST", path, &[], Some(body))
    }

    /// Submits a task by its prompt and returns its id.
    fn submit(&self, lane: &str) -> String {
        let answer = self.post("/tasks", &json!({"lane": lane, "prompt": "do it"}));
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.text_at("/task/id")
    }

    /// Claims a task and returns the token.
    fn claim(&self, id: &str) -> String {
        let answer = self.post(&format!("/tasks/{id}/claim"), &json!({"owner": "w"}));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text_at("/claim_token")
    }

    fn respond(&self, id: &str, body: &str) {
        let answer = self.post(&format!("/tasks/{id}/response"), &json!({"body": body}));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    fn stop(&mut self) {
        self.stopper.stop();
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    /// What was read beyond the last answer.
    rest: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_else(|| panic!("no {pointer} in {}", self.text))
    }

    fn text_at(&self, pointer: &str) -> String {
        self.at(pointer)
            .as_str()
            .unwrap_or_else(|| panic!("{pointer} is no text in {}", self.text))
            .to_string()
    }

    fn code(&self) -> String {
        self.text_at("/code")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (have, value) = line.split_once(": ")?;
            have.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, rest: Vec::new() }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let has = |name: &str| headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
        if !has("host") {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            if !has("content-type") {
                text.push_str("Content-Type: application/json\r\n");
            }
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        self.send(text);
    }

    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        self.request(method, path, headers, body);
        self.answer(method == "HEAD")
    }

    /// Reads more; `false` at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer).unwrap();
        self.rest.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// Reads up to and with `end`.
    fn until(&mut self, end: &str) -> String {
        loop {
            let at = self.rest.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let text: Vec<u8> = self.rest.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            assert!(self.more(), "the connection ended after {:?}", String::from_utf8_lossy(&self.rest));
        }
    }

    fn answer(&mut self, is_head: bool) -> Answer {
        let head = self.until("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, text: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        if !is_head {
            while self.rest.len() < length {
                assert!(self.more(), "the connection ended in a body");
            }
            let text: Vec<u8> = self.rest.drain(..length).collect();
            answer.text = String::from_utf8(text).unwrap();
        }
        answer
    }

    /// Whether the server ends the connection.
    fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0))
    }
}
