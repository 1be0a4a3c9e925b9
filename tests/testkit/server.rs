//! A workspace with a server, and a client that sends exactly the bytes a test wants.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use flate2::read::GzDecoder;
use lanes::internals::store::{Store, StoreOptions};
use serde_json::{Value, json};

use super::command;

/// A workspace with a server, which is the real program.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    pub child: Child,
    /// The token that clients present.
    pub token: Option<String>,
}

/// The content of the file `token` in every workspace of these tests.
pub const TOKEN: &str = "correct-horse-battery";

/// The handoff.yaml of every workspace of these tests.
pub const CONFIG: &str =
    "workspace_id: w\nworkspace_root: ..\nqueue_root: ../state\nlanes:\n  review: Look, and say.\n";

/// The program in a workspace, with nothing of this process's environment.
pub fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = command::lanes();
    command.args(args).current_dir(dir);
    command
}

/// A file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) {
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Another process that keeps the store locked until this is dropped.
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Returns the error of a `lanes serve` that does not start.
pub fn failed_start(dir: &Path, args: &[&str]) -> Output {
    let store = ["--store", "state", "serve", "--port", "0"];
    program(dir, &[&store[..], args].concat()).output().unwrap()
}

impl Server {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With flags for `lanes serve`.
    pub fn with(args: &[&str]) -> Self {
        Self::configured("", args)
    }

    /// With more lines in handoff.yaml.
    pub fn configured(more: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("handoff")).unwrap();
        std::fs::write(dir.path().join("handoff/handoff.yaml"), format!("{CONFIG}{more}")).unwrap();
        write_secret(&dir.path().join("token"), TOKEN);
        // Most tests are about authenticated requests.
        let takes_token = ["--token-file", "--enable-queue-management", "--open"];
        let open: &[&str] =
            if args.iter().any(|arg| takes_token.contains(arg)) { &[] } else { &["--no-token"] };
        let command = program(dir.path(), &[&["serve", "--port", "0"], open, args].concat());
        let mut server = Self::running(dir, command);
        if args.contains(&"--token-file") {
            server.token = Some(TOKEN.to_string());
        } else if open.is_empty() {
            server.token = Some(server.token_of_store());
        }
        server
    }

    /// A server whose clients show the token of the store, as by default.
    pub fn with_token() -> Self {
        let mut server = Self::new();
        server.stop();
        let command = program(server.dir.path(), &["serve", "--port", "0"]);
        (server.child, server.address) = Self::start(server.dir.path(), command);
        server.token = Some(server.token_of_store());
        server
    }

    pub fn token_of_store(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("state/serve.token")).unwrap().trim().to_string()
    }

    /// After a line of shell, which may `set --` further arguments.
    pub fn under(line: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The tests themselves may run with SIGINT ignored, as below `&` in a script.
        let program = "/usr/bin/env --default-signal=INT \"$0\"";
        let script = format!("{line} && exec {program} --store state serve --port 0 --no-token \"$@\"");
        let mut command = command::lanes_in_shell(&script);
        command.current_dir(dir.path());
        Self::running(dir, command)
    }

    pub fn running(dir: tempfile::TempDir, command: Command) -> Self {
        let (child, address) = Self::start(dir.path(), command);
        Self { dir, address, child, token: None }
    }

    pub fn start(dir: &Path, mut command: Command) -> (Child, SocketAddr) {
        let errors = File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
        let mut server = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse();
        (server, address.unwrap_or_else(|_| panic!("{line:?}")))
    }

    /// Ends the server and starts another one in the same workspace.
    pub fn restart(&mut self) {
        self.stop();
        (self.child, self.address) =
            Self::start(self.dir.path(), program(self.dir.path(), &["serve", "--port", "0", "--no-token"]));
    }

    /// Returns the standard error of the server so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// The memory that the server takes, in kB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Returns the output of another process on the same queue.
    pub fn lanes(&self, args: &[&str]) -> String {
        let output = program(self.dir.path(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Lets another process lock the store.
    pub fn hold_lock(&self) -> Holder {
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
    pub fn store(&self) -> Store {
        Store::open(&self.dir.path().join("state"), StoreOptions::default()).unwrap()
    }

    pub fn client(&self) -> Client {
        Client { token: self.token.clone(), ..Client::to(self.address) }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.client().ask("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.client().ask("POST", path, &[], Some(body))
    }

    /// Submits a task by its prompt and returns its id.
    pub fn submit(&self, lane: &str) -> String {
        let answer = self.post("/tasks", &json!({"lane": lane, "prompt": "do it"}));
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.text_at("/task/id")
    }

    /// Claims a task and returns the token.
    pub fn claim(&self, id: &str) -> String {
        let answer = self.post(&format!("/tasks/{id}/claim"), &json!({"owner": "w"}));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text_at("/claim_token")
    }

    pub fn respond(&self, id: &str, body: &str) {
        let answer = self.post(&format!("/tasks/{id}/response"), &json!({"body": body}));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the server, and checks that it exits with success.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success(), "{}", self.stderr());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn ask(server: &Server, method: &str, path: &str, body: Option<Value>) -> Reply {
    server.client().ask(method, path, &[], body.as_ref())
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    /// What was read beyond the last reply.
    pub rest: Vec<u8>,
    pub token: Option<String>,
}

/// One reply.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_else(|| panic!("no {pointer} in {}", self.text))
    }

    pub fn text_at(&self, pointer: &str) -> String {
        self.at(pointer)
            .as_str()
            .unwrap_or_else(|| panic!("{pointer} is no text in {}", self.text))
            .to_string()
    }

    /// Returns the code of a refusal, which must be in the OpenAPI document.
    pub fn code(&self) -> String {
        let document = Value::Object(lanes::internals::http::document());
        let known = &document["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
        let code = self.at("/code");
        assert!(known.as_array().unwrap().contains(&code), "{code}");
        self.text_at("/code")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (have, value) = line.split_once(": ")?;
            have.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, rest: Vec::new(), token: None }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) {
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

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
        self.request(method, path, headers, body);
        self.reply(method == "HEAD")
    }

    /// Reads more; `false` at the end.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let length = self.stream.read(&mut buffer).unwrap();
        self.rest.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// Reads up to and with `end`.
    pub fn until(&mut self, end: &str) -> String {
        loop {
            let at = self.rest.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let text: Vec<u8> = self.rest.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            assert!(self.more(), "the connection ended after {:?}", String::from_utf8_lossy(&self.rest));
        }
    }

    pub fn reply(&mut self, is_head: bool) -> Reply {
        let head = self.until("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Reply { status, head, text: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        if !is_head {
            while self.rest.len() < length {
                assert!(self.more(), "the connection ended in a body");
            }
            let body: Vec<u8> = self.rest.drain(..length).collect();
            answer.text = match answer.header("content-encoding") {
                Some("gzip") => std::io::read_to_string(GzDecoder::new(&body[..])).unwrap(),
                Some(other) => panic!("a body in {other}: {}", answer.head),
                None => String::from_utf8(body).unwrap(),
            };
        }
        answer
    }

    /// Whether the server ends the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0))
    }
}
