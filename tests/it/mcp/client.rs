//! A client that sends exactly what a test specifies, and accepts only messages of JSON-RPC.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::testkit::wait::{SOON, end_of};

/// What a tool answered.
#[derive(Debug)]
pub struct Reply {
    pub text: String,
    pub structured: Option<Value>,
    pub is_error: bool,
}

impl Reply {
    /// Asserts an error of this kind whose text contains `expected`.
    #[track_caller]
    pub fn refused(&self, kind: &str, expected: &str) {
        assert!(self.is_error, "{self:?}");
        assert!(self.text.starts_with(&format!("error ({kind}): ")), "{self:?}");
        assert!(self.text.contains(expected), "no '{expected}' in {self:?}");
    }

    /// Returns the text of a reply, which must not be an error.
    #[track_caller]
    pub fn fine(self) -> String {
        assert!(!self.is_error, "{self:?}");
        self.text
    }

    /// The id in the first line: its second word.
    #[track_caller]
    pub fn id(&self) -> String {
        self.text.split_whitespace().nth(1).unwrap_or_else(|| panic!("no id in {self:?}")).to_string()
    }
}

/// A running `lanes mcp`; killed when the value is dropped.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    /// Standard output by the line. A line that is not a message of JSON-RPC fails the test.
    lines: Receiver<String>,
    /// What came while something else was expected.
    unread: VecDeque<Value>,
    next_id: u64,
}

impl Client {
    /// Starts a server and sends nothing.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines, unread: VecDeque::new(), next_id: 0 }
    }

    /// Starts a server and completes the handshake as the client called `name`.
    pub fn connect_as(name: &str, command: Command) -> Self {
        let mut client = Self::start(command);
        let hello = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": name, "version": "1"},
        });
        let answer = client.ask("initialize", hello);
        assert_eq!(answer["result"]["serverInfo"]["name"], "lanes", "{answer}");
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    pub fn connect(command: Command) -> Self {
        Self::connect_as("test", command)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    pub fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// Sends a request; its id.
    pub fn request(&mut self, method: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next message for which `is_wanted` holds; others stay for later.
    #[track_caller]
    pub fn receive(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unread.iter().position(&is_wanted) {
            return self.unread.remove(at).unwrap();
        }
        loop {
            let line = self.lines.recv_timeout(SOON).unwrap_or_else(|error| {
                panic!("{error}; only these came: {:?}", self.unread);
            });
            let message: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: not a message: {line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if is_wanted(&message) {
                return message;
            }
            self.unread.push_back(message);
        }
    }

    /// The answer to a request.
    #[track_caller]
    pub fn answer(&mut self, id: u64) -> Value {
        self.receive(|message| message["id"] == id)
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        self.answer(id)
    }

    /// Begins a call of a tool, and returns the id of the request.
    pub fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Returns the result of the call `id`.
    #[track_caller]
    pub fn reply(&mut self, id: u64) -> Reply {
        let answer = self.answer(id);
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"));
        Reply {
            text: text.to_string(),
            structured: result.get("structuredContent").cloned(),
            is_error: result["isError"].as_bool().unwrap_or(false),
        }
    }

    /// Calls a tool.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Reply {
        let id = self.begin(tool, arguments);
        self.reply(id)
    }

    /// Cancels a call.
    pub fn take_back(&mut self, id: u64) {
        let params = json!({"requestId": id, "reason": "the user pressed escape"});
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes the server's input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for the server to end by itself.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        end_of(&mut self.child, SOON).expect("the server ends")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
