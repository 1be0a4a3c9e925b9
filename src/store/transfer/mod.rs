//! Tasks as JSON lines: `export`, `import`, and the archive of `gc`.
//!
//! One object per line, each complete, so that files can be joined, split and searched:
//!
//! * `lanes_export`: the version of this format, 1;
//! * `task`: the content of task.json;
//! * `events`: the history, oldest first;
//! * `response`: the response, or null;
//! * `request`: the text of the request if the store keeps it, or null;
//! * `files`: everything else in the task's directory (run logs, a delivered response) by its path
//!   there, as `{"text": …}`, or, when it is not UTF-8, as `{"bytes": …}` with one character from
//!   U+0000 to U+00FF for each byte.
//!
//! A store that another implementation of the protocol wrote is exported the same way.

mod check;
mod export;
mod import;

pub(super) use export::export_line;
pub use import::ImportReport;

use serde_json::Value;

use crate::model::task::object;

/// The version of the line format.
const VERSION: u64 = 1;

/// How deeply the directories of a task may be nested.
const MAX_DEPTH: usize = 8;

fn encode(bytes: Vec<u8>) -> Value {
    Value::Object(match String::from_utf8(bytes) {
        Ok(text) => object([("text", text.into())]),
        Err(error) => {
            let bytes: String = error.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            object([("bytes", bytes.into())])
        }
    })
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.get("text") {
        return text.as_str().map(|text| text.as_bytes().to_vec());
    }
    value.get("bytes")?.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        for bytes in [Vec::new(), b"plain".to_vec(), "é😀\u{0}".into(), (0..=255).collect()] {
            assert_eq!(decode(&encode(bytes.clone())), Some(bytes));
        }
        assert_eq!(decode(&serde_json::json!({"bytes": "\u{100}"})), None);
        assert_eq!(decode(&serde_json::json!({})), None);
    }
}
