//! The HTTP door over real sockets, with a client that sends exactly the bytes a test wants.

mod access;
mod admission;
mod board;
mod compatible;
mod connection;
mod input;
mod live;
mod load;
mod operations;
mod own_socket;
mod parity;
mod routes;
mod wait;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lanes::store::{Options, Store};
use serde_json::{Value, json};

/// A workspace with a server, which is the real program.
struct Fixture {
    dir: tempfile::TempDir,
    address: SocketAddr,
    server: Child,
    /// What clients show.
    token: Option<String>,
}

/// What the file `token` of every workspace of these tests holds.
const TOKEN: &str = "correct-horse-battery";

/// What every workspace of these tests has in its handoff.yaml.
const CONFIG: &str =
    "workspace_id: w\nworkspace_root: ..\nqueue_root: ../state\nlanes:\n  review: Look, and say.\n";

/// The program in a workspace, with nothing of this process's environment.
fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanes"));
    command.args(args).current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// A file that only its owner can read.
fn write_secret(path: &Path, text: &str) {
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Another process that keeps the store locked until this is dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What `lanes serve` says that does not get to serving.
fn refused(dir: &Path, args: &[&str]) -> Output {
    let store = ["--store", "state", "serve", "--port", "0"];
    program(dir, &[&store[..], args].concat()).output().unwrap()
}

impl Fixture {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With flags for `lanes serve`.
    fn with(args: &[&str]) -> Self {
        Self::configured("", args)
    }

    /// With more lines in handoff.yaml.
    fn configured(more: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("handoff")).unwrap();
        std::fs::write(dir.path().join("handoff/handoff.yaml"), format!("{CONFIG}{more}")).unwrap();
        write_secret(&dir.path().join("token"), TOKEN);
        // Most tests are about what is said once a client is let in.
        let takes_token = ["--token-file", "--enable-queue-management", "--open"];
        let open: &[&str] =
            if args.iter().any(|arg| takes_token.contains(arg)) { &[] } else { &["--no-token"] };
        let command = program(dir.path(), &[&["serve", "--port", "0"], open, args].concat());
        let mut fixture = Self::running(dir, command);
        if args.contains(&"--token-file") {
            fixture.token = Some(TOKEN.to_string());
        } else if open.is_empty() {
            fixture.token = Some(fixture.token_of_store());
        }
        fixture
    }

    /// A server whose clients show the token of the store, as by default.
    fn with_token() -> Self {
        let mut fixture = Self::new();
        fixture.stop();
        let command = program(fixture.dir.path(), &["serve", "--port", "0"]);
        (fixture.server, fixture.address) = Self::start(fixture.dir.path(), command);
        fixture.token = Some(fixture.token_of_store());
        fixture
    }

    fn token_of_store(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("state/serve.token")).unwrap().trim().to_string()
    }

    /// After a line of shell, which may `set --` further arguments.
    fn under(line: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        // The tests themselves may run with SIGINT ignored, as below `&` in a script.
        let program = "/usr/bin/env --default-signal=INT \"$0\"";
        let script = format!("{line} && exec {program} --store state serve --port 0 --no-token \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_lanes")]).current_dir(dir.path()).env_clear();
        Self::running(dir, command)
    }

    fn running(dir: tempfile::TempDir, command: Command) -> Self {
        let (server, address) = Self::start(dir.path(), command);
        Self { dir, address, server, token: None }
    }

    fn start(dir: &Path, mut command: Command) -> (Child, SocketAddr) {
        let errors = File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
        let mut server = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse();
        (server, address.unwrap_or_else(|_| panic!("{line:?}")))
    }

    /// Ends the server and starts another one in the same workspace.
    fn restart(&mut self) {
        self.stop();
        (self.server, self.address) =
            Self::start(self.dir.path(), program(self.dir.path(), &["serve", "--port", "0", "--no-token"]));
    }

    /// What the server has said on standard error.
    fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// The memory that the server takes, in kB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What another process prints that works on the same queue.
    fn lanes(&self, args: &[&str]) -> String {
        let output = program(self.dir.path(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Lets another process lock the store.
    fn hold_lock(&self) -> Holder {
        let mut holder = Command::new("flock")
            .args(["state/lock", "sh", "-c", "echo held; cat"])
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Holder(holder)
    }

    /// The same store, as another process would open it.
    fn store(&self) -> Store {
        Store::open(&self.dir.path().join("state"), Options::default()).unwrap()
    }

    fn client(&self) -> Client {
        Client { token: self.token.clone(), ..Client::to(self.address) }
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

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.server), signal).unwrap();
    }

    /// Tells the server to end, and sees that it ends well.
    fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.server.wait().unwrap().success(), "{}", self.stderr());
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn ask(fixture: &Fixture, method: &str, path: &str, body: Option<Value>) -> Answer {
    fixture.client().ask(method, path, &[], body.as_ref())
}

/// Waits until `holds`, and fails after a while.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    /// What was read beyond the last answer.
    rest: Vec<u8>,
    token: Option<String>,
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

    /// The stable word of a refusal, which must be one that the document lists.
    fn code(&self) -> String {
        let document = Value::Object(lanes::http::document());
        let known = &document["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
        let code = self.at("/code");
        assert!(known.as_array().unwrap().contains(&code), "{code}");
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
        Self { stream, rest: Vec::new(), token: None }
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
        if let Some(token) = &self.token {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
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
