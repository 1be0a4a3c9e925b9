//! A stand-in for a Planka server: answers on the loopback as Planka 2.1 does, and fails when it is told to.
//!
//! `api` is what it answers. A *side effect* is a request that changes something; tests count them.

mod api;
pub mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use api::Data;

/// The e-mail address of the administrator that every server has.
pub const ADMIN: &str = "admin@planka.example";
/// The password of the administrator.
pub const PASSWORD: &str = "correct-horse-battery";

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Lines `name: value`, the names in lower case.
    pub headers: Vec<String>,
    pub body: Value,
    pub at: Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with more header lines, each with its line end.
    Status(u16, String),
    /// The connection ends before the request has an effect.
    DropBefore,
    /// The request has its effect, and the connection ends without an answer.
    DropAfter,
    /// The answer is longer by this many bytes.
    Pad(usize),
    /// The answer comes after this time.
    Delay(Duration),
    /// This text with status 200, of whatever type.
    Text(String),
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillTime {
    /// Before the side effect, which then does not happen.
    Before,
    /// After the side effect, before its answer.
    After,
}

#[derive(Default)]
struct State {
    data: Data,
    received: Vec<Received>,
    /// For the next requests whose line `METHOD PATH` contains the text.
    faults: Vec<(String, Fault, usize)>,
    is_off: bool,
    side_effects: usize,
    kill: Option<(usize, KillTime, u32)>,
}

/// A server, which ends with this value.
pub struct PlankaServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    listener: Option<JoinHandle<()>>,
}

impl Default for PlankaServer {
    fn default() -> Self {
        Self::new()
    }
}

impl PlankaServer {
    pub fn new() -> Self {
        Self::start(None)
    }

    /// A server that speaks TLS, with the certificate for 127.0.0.1 in `tls/`, which is signed by `tls/ca.pem`.
    pub fn with_tls() -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start(Some(Arc::new(config)))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let listener = std::thread::spawn(move || {
            let mut connections: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
            for stream in socket.incoming().map_while(Result::ok) {
                if lock(&shared).kill == Some((0, KillTime::Before, 0)) {
                    break;
                }
                let (own, state, tls) = (stream.try_clone().unwrap(), Arc::clone(&shared), tls.clone());
                let end = stream.try_clone().unwrap();
                let answering = std::thread::spawn(move || {
                    match tls {
                        None => serve(&stream, &state),
                        Some(tls) => {
                            let connection = rustls::ServerConnection::new(tls).unwrap();
                            serve(rustls::StreamOwned::new(connection, stream), &state);
                        }
                    }
                    // Other handles of the connection are still open.
                    let _ = end.shutdown(Shutdown::Both);
                });
                connections.push((own, answering));
            }
            for (stream, thread) in connections {
                let _ = stream.shutdown(Shutdown::Both);
                let _ = thread.join();
            }
        });
        Self { address, state, listener: Some(listener) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the next `times` requests fail whose line `METHOD PATH` contains `part`.
    pub fn fail(&self, part: &str, fault: Fault, times: usize) {
        lock(&self.state).faults.push((part.to_string(), fault, times));
    }

    /// Ends all further failures.
    pub fn recover(&self) {
        lock(&self.state).faults.clear();
    }

    /// Switches the server off: connections end without an answer. Or on again.
    pub fn set_off(&self, is_off: bool) {
        lock(&self.state).is_off = is_off;
    }

    /// Kills a process at the side effect with this number, counted from 1 from now on.
    pub fn kill_at(&self, number: usize, when: KillTime, process: u32) {
        let mut state = lock(&self.state);
        state.side_effects = 0;
        state.kill = Some((number, when, process));
    }

    /// Returns whether nothing was killed yet, and forgets the order.
    pub fn take_kill(&self) -> bool {
        lock(&self.state).kill.take().is_some()
    }

    /// Returns what was received, and forgets it.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut lock(&self.state).received)
    }

    /// Makes the key of a user worthless.
    pub fn revoke(&self, key: &str) {
        lock(&self.state).data.keys.remove(key);
    }

    /// Ends all sessions.
    pub fn end_sessions(&self) {
        lock(&self.state).data.sessions.clear();
    }

    /// Lets the user with this e-mail address accept the terms.
    pub fn accept_terms(&self, email: &str) {
        lock(&self.state).data.accept_terms(email);
    }
}

impl Drop for PlankaServer {
    fn drop(&mut self) {
        lock(&self.state).kill = Some((0, KillTime::Before, 0));
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Answers the requests of one connection.
fn serve(stream: impl Read + Write, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let Some(answer) = answer(request, state) else { break };
        if reader.get_mut().write_all(&answer).and_then(|()| reader.get_mut().flush()).is_err() {
            break;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Received> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_string())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push(format!("{}: {}", name.to_ascii_lowercase(), value.trim()));
    }
    let mut received = Received { method, path, headers, body: Value::Null, at: Instant::now() };
    let length = received.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    received.body = serde_json::from_slice(&body).unwrap_or_default();
    Some(received)
}

/// Returns the bytes of an answer; `None` if the connection is to end.
fn answer(request: Received, state: &Mutex<State>) -> Option<Vec<u8>> {
    let mut state = lock(state);
    if state.is_off {
        return None;
    }
    state.received.push(request.clone());
    let fault = take_fault(&mut state.faults, &format!("{} {}", request.method, request.path));
    match &fault {
        Some(Fault::DropBefore) => return None,
        Some(Fault::Status(status, headers)) => {
            let body = json!({"code": "E_FAULT", "message": "as the test says"});
            return Some(response(*status, headers, body.to_string().as_bytes()));
        }
        Some(Fault::Text(text)) => return Some(response(200, "", text.as_bytes())),
        Some(Fault::Delay(time)) => {
            let time = *time;
            drop(state);
            std::thread::sleep(time);
            return None;
        }
        _ => {}
    }
    let is_side_effect = request.method != "GET" && !request.path.starts_with("/api/access-tokens");
    if is_side_effect {
        state.side_effects += 1;
    }
    let number = state.side_effects;
    let kills = move |kill: &(usize, KillTime, u32)| is_side_effect && kill.0 == number;
    if let Some((_, KillTime::Before, process)) = state.kill.filter(kills) {
        state.kill = None;
        kill(process);
        return None;
    }
    let (status, body) = state.data.answer(&request);
    if let Some((_, KillTime::After, process)) = state.kill.filter(kills) {
        state.kill = None;
        kill(process);
        return None;
    }
    match fault {
        Some(Fault::DropAfter) => None,
        Some(Fault::Pad(bytes)) => {
            let mut body = body;
            body["padding"] = json!("x".repeat(bytes));
            Some(response(status, "", body.to_string().as_bytes()))
        }
        _ => Some(response(status, "", body.to_string().as_bytes())),
    }
}

fn take_fault(faults: &mut [(String, Fault, usize)], line: &str) -> Option<Fault> {
    let at = faults.iter().position(|(part, _, times)| *times > 0 && line.contains(part.as_str()))?;
    faults[at].2 -= 1;
    Some(faults[at].1.clone())
}

fn kill(process: u32) {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
}

fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Makes a request as whoever the header names, such as `X-Api-Key: …`; for setting up a server, real or not.
#[track_caller]
pub fn request(url: &str, identity: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let host = url.strip_prefix("http://").expect("the address of a test server begins with http://");
    let host = host.trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let identity = if identity.is_empty() { String::new() } else { format!("{identity}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{identity}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let status = first.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
    let mut length = None;
    let mut is_chunked = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length: ").and_then(|text| text.parse().ok()).or(length);
        is_chunked |= line.starts_with("transfer-encoding: chunked");
    }
    let mut text = Vec::new();
    if is_chunked {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            if size == 0 || reader.read_exact(&mut chunk).is_err() {
                break;
            }
            text.extend_from_slice(&chunk[..size]);
        }
    } else {
        text = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut text).unwrap();
    }
    (status, serde_json::from_slice(&text).unwrap_or_default())
}
