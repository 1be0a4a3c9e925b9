//! Starts this program as a client does, and checks that it answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result, brief};
use crate::mcp::MAX_LIST_BYTES;
use crate::workspace::output_within;

/// How long the server may take for all answers.
const LIMIT: Duration = Duration::from_secs(15);
/// The first requests of clients: one without a handshake, the handshake, and one that follows either.
const REQUESTS: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}
{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"doctor","version":"1"}}}
{"jsonrpc":"2.0","id":3,"method":"tools/list"}
"#;

/// Returns how many tools the server offers, and the bytes of their list.
///
/// # Errors
/// What it does not answer, or why it cannot be started.
pub(super) fn check(program: &Path) -> Result<(usize, usize)> {
    let output = output_within(Command::new(program).arg("mcp"), REQUESTS.as_bytes(), LIMIT)?;
    let answers: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let result = |id: u64, method: &str| {
        let answer = answers.iter().find(|answer| answer["id"] == id).map(|answer| &answer["result"]);
        answer.filter(|result| result.is_object()).ok_or_else(|| {
            let printed = String::from_utf8_lossy(&output.stderr);
            let reason = printed.lines().next().map_or_else(String::new, |line| format!(": {}", brief(line)));
            Error::corrupt(format!("`lanes mcp` does not answer {method}{reason}"))
        })
    };
    result(1, "server/discover")?;
    result(2, "initialize")?;
    let tools = &result(3, "tools/list")?["tools"];
    let (count, bytes) = (tools.as_array().map_or(0, Vec::len), tools.to_string().len());
    if count == 0 || bytes > MAX_LIST_BYTES {
        return Err(Error::corrupt(format!("`lanes mcp` offers {count} tools of {bytes} bytes")));
    }
    Ok((count, bytes))
}
