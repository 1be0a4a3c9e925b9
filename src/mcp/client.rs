//! What is known of a client: how long it waits for a call, how much of a result it shows, and its name.

use crate::error::Result;
use crate::model::Owner;

/// How long a call waits by default, in seconds.
pub(super) const DEFAULT_WAIT: u64 = 45;
/// How much of an answer a result contains by default, in characters.
pub(super) const DEFAULT_CHARS: usize = 8_000;
/// The longest result, in characters. codex cuts results above 48,000 in the middle, and claude those above
/// 25,000 tokens.
const MAX_CHARS: usize = 40_000;
/// The longest piece that `result` returns to claude, in characters; the tool raises claude's limit in its
/// `_meta`.
const MAX_PIECE_FOR_CLAUDE: usize = 400_000;
/// The longest name of a worker, in characters.
const MAX_WORKER: usize = 50;

/// The name by which codex introduces itself.
pub(super) const CODEX: &str = "codex-mcp-client";

/// How messages travel between a client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Over the pipes of a process that the client has started.
    Pipes,
    /// Over HTTP, each message by itself.
    Http,
}

/// The limits of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientLimits {
    /// The longest wait of a call, in seconds: less than the time after which the client gives up.
    pub wait_seconds: u64,
    /// The longest result, in characters.
    pub result_chars: usize,
    /// The longest piece that the tool `result` returns, in characters.
    pub piece_chars: usize,
}

impl ClientLimits {
    /// Returns the limits of the client with this name; `max_wait` replaces its wait, in seconds.
    pub(super) fn of(client: &str, channel: Channel, max_wait: Option<u64>) -> Self {
        // codex gives up after 300 seconds, and so does claude over HTTP; otherwise claude has no limit of its own.
        // Others end calls after 60.
        let (wait, piece_chars) = match (client, channel) {
            ("claude-code", Channel::Pipes) => (600, MAX_PIECE_FOR_CLAUDE),
            ("claude-code", Channel::Http) => (240, MAX_PIECE_FOR_CLAUDE),
            (CODEX, _) => (240, MAX_CHARS),
            _ => (50, MAX_CHARS),
        };
        Self { wait_seconds: max_wait.unwrap_or(wait), result_chars: MAX_CHARS, piece_chars }
    }
}

/// Returns the name under which a client claims, answers and cancels: its own, as one short word.
///
/// # Errors
/// As for [`Owner::new`], which accepts every such word.
pub(super) fn worker_name(client: &str) -> Result<Owner> {
    let word: String = client
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(MAX_WORKER)
        .collect();
    Owner::new(match word.trim_matches('-') {
        "" => "mcp",
        word => word,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_before_its_client_gives_up() {
        for (client, channel, wait, piece) in [
            (CODEX, Channel::Pipes, 240, 40_000),
            (CODEX, Channel::Http, 240, 40_000),
            ("claude-code", Channel::Pipes, 600, 400_000),
            ("claude-code", Channel::Http, 240, 400_000),
            ("", Channel::Http, 50, 40_000),
        ] {
            let limits = ClientLimits::of(client, channel, None);
            assert_eq!((limits.wait_seconds, limits.piece_chars), (wait, piece), "{client}");
            assert_eq!(ClientLimits::of(client, channel, Some(7)).wait_seconds, 7);
            assert!(DEFAULT_WAIT < wait && DEFAULT_CHARS < limits.result_chars);
        }
    }

    #[test]
    fn a_worker_has_one_short_word_as_name() {
        for (client, name) in [
            ("claude-code", "claude-code"),
            ("My Client 1.0", "My-Client-1.0"),
            ("-x\n\u{202e}", "x"),
            ("", "mcp"),
            ("名前", "mcp"),
        ] {
            assert_eq!(worker_name(client).unwrap(), name);
        }
        assert_eq!(worker_name(&"x".repeat(900)).unwrap().as_str().len(), MAX_WORKER);
    }
}
