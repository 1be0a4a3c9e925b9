//! The lines of the adapter protocol: requests to an adapter, and what it writes.

use std::time::Duration;

use serde_json::Value;

use super::redaction::Redaction;
use crate::bridge::board::{BoardError, BoardErrorCode, BoardResult};
use crate::error::{brief, printable};
use crate::model::json::{self, Object};

/// The version of the protocol that this program speaks.
pub(super) const PROTOCOL: u64 = 1;
/// Maximum length of a line in bytes, in both directions.
pub(super) const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;
/// Maximum length of an adapter's error message, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// A line that an adapter wrote.
#[derive(Debug, PartialEq)]
pub(super) enum AdapterMessage {
    /// The answer to the request with this id.
    Answer(u64, BoardResult<Value>),
    /// The notification that something on the board has changed.
    Changed,
    /// A notification that this program does not know.
    UnknownNotification,
}

/// Makes the line of a request, with its line break. It is pure ASCII, so it has the same meaning in every encoding,
/// and no reader finds a line break within it.
pub(super) fn request(id: u64, method: &str, params: Object) -> Vec<u8> {
    let line = Object::from_iter([
        ("id".to_string(), id.into()),
        ("method".to_string(), method.into()),
        ("params".to_string(), params.into()),
    ]);
    json::to_ascii_line(&line).into_bytes()
}

/// Reads a line, without its line break. Messages do not show the secrets of `redaction`.
///
/// # Errors
/// What is wrong with the line, if it is not a message.
pub(super) fn read(line: &[u8], redaction: &Redaction) -> Result<AdapterMessage, String> {
    let shown = || brief(redaction.hide(&String::from_utf8_lossy(line)).trim());
    let Ok(object) = json::parse_object(line) else {
        return Err(format!("wrote a line that is not a JSON object to its standard output: {}", shown()));
    };
    // Values that not every reader accepts, such as lone surrogates, become texts.
    let Ok(Value::Object(mut object)) = serde_json::from_str(&json::portable_line(&object)) else {
        return Err(format!("wrote a line that cannot be read: {}", shown()));
    };
    if let Some(method) = object.get("method").and_then(Value::as_str) {
        if object.contains_key("id") {
            return Err(format!("sent a request of its own: {}", brief(method)));
        }
        return Ok(if method == "changed" {
            AdapterMessage::Changed
        } else {
            AdapterMessage::UnknownNotification
        });
    }
    let Some(id) = object.get("id").and_then(Value::as_u64) else {
        return Err(format!("wrote a line without the id of a request: {}", shown()));
    };
    match (object.remove("result"), object.remove("error")) {
        (_, Some(Value::Object(error))) => {
            Ok(AdapterMessage::Answer(id, Err(board_error(&error, redaction))))
        }
        (Some(result), None | Some(Value::Null)) => Ok(AdapterMessage::Answer(id, Ok(result))),
        _ => Err(format!("wrote an answer with neither a result nor an error object: {}", shown())),
    }
}

/// Reads an error. One with an unknown code, of a newer protocol, is like a request that was wrong.
fn board_error(error: &Object, redaction: &Redaction) -> BoardError {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = serde_json::from_value(Value::from(text("code"))).unwrap_or(BoardErrorCode::Invalid);
    let message: String = redaction.hide(text("message")).trim().chars().take(MAX_MESSAGE_CHARS).collect();
    let message = match message.as_str() {
        "" => format!("the adapter reports the error '{}' and no message", brief(text("code"))),
        message => printable(message),
    };
    let seconds = error.get("retry_after").and_then(Value::as_f64);
    let retry_after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    BoardError { code, message, retry_after }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_one_ascii_line() {
        let params = json!({"text": "ä\n\u{2028}\u{1f600}"}).as_object().cloned().unwrap();
        let line = String::from_utf8(request(7, "add_comment", params)).unwrap();
        assert_eq!(
            line,
            "{\"id\":7,\"method\":\"add_comment\",\"params\":{\"text\":\"\\u00e4\\n\\u2028\\ud83d\\ude00\"}}\n"
        );
    }

    #[test]
    fn answers_and_notifications_are_read() {
        let answer = |line: &str| read(line.as_bytes(), &Redaction::default()).unwrap();
        assert_eq!(answer(r#"{"id":1,"result":[]}"#), AdapterMessage::Answer(1, Ok(json!([]))));
        assert_eq!(
            answer(r#"{"jsonrpc":"2.0","id":1,"result":null,"error":null}"#),
            AdapterMessage::Answer(1, Ok(Value::Null))
        );
        assert_eq!(answer(r#"{"method":"changed","params":{"queue":"Todo"}}"#), AdapterMessage::Changed);
        assert_eq!(answer(r#"{"method":"progress"}"#), AdapterMessage::UnknownNotification);
        let lone = answer(r#"{"id":1,"result":"\ud800"}"#);
        assert_eq!(lone, AdapterMessage::Answer(1, Ok(json!("\\ud800"))));
    }

    #[test]
    fn errors_are_read() {
        let error = |line: &str| match read(line.as_bytes(), &Redaction::default()).unwrap() {
            AdapterMessage::Answer(2, Err(error)) => (error.code, error.message, error.retry_after),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            error(
                r#"{"id":2,"error":{"code":"rate_limited","message":"slow\u001b down","retry_after":1.5}}"#
            ),
            (BoardErrorCode::RateLimited, "slow\\u{1b} down".to_string(), Some(Duration::from_millis(1500)))
        );
        let (code, message, retry_after) = error(r#"{"id":2,"error":{"code":"teapot","retry_after":-1}}"#);
        assert_eq!((code, retry_after), (BoardErrorCode::Invalid, None));
        assert!(message.contains("'teapot'"), "{message}");
    }

    #[test]
    fn secrets_are_hidden_before_a_text_is_cut() {
        let redaction = Redaction::new([crate::workspace::Secret::new("s".repeat(100))]);
        let secret = "s".repeat(100);
        let why = read(format!("key {secret}").as_bytes(), &redaction).unwrap_err();
        assert!(why.ends_with(": key ***"), "{why}");
        let line = format!(r#"{{"id":2,"error":{{"code":"auth","message":"{}{secret}"}}}}"#, "x".repeat(450));
        let Ok(AdapterMessage::Answer(2, Err(error))) = read(line.as_bytes(), &redaction) else { panic!() };
        assert!(error.message.ends_with("xx***"), "{}", error.message);
    }

    #[test]
    fn other_lines_are_refused_and_shown() {
        for (line, expected) in [
            ("hello \u{1b}[1m", "not a JSON object to its standard output: hello \\u{1b}[1m"),
            ("[]", "not a JSON object"),
            (r#"{"id":"1","result":1}"#, "without the id"),
            (r#"{"id":-1,"result":1}"#, "without the id"),
            (r#"{"id":null,"error":{"code":"invalid"}}"#, "without the id"),
            (r#"{"id":1}"#, "neither a result nor"),
            (r#"{"id":1,"error":"no"}"#, "neither a result nor"),
            (r#"{"id":1,"method":"get_task"}"#, "request of its own: get_task"),
        ] {
            let why = read(line.as_bytes(), &Redaction::default()).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
        assert!(read(b"\xff", &Redaction::default()).unwrap_err().contains("not a JSON object"));
        assert!(read("x".repeat(1000).as_bytes(), &Redaction::default()).unwrap_err().len() < 200);
    }
}
