//! JSON from strangers: only what every program reads alike.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::json::Object;

/// How deep a body may be nested.
const MAX_DEPTH: usize = 64;

/// Reads a body that must be one JSON object, without duplicate keys and not nested too deep.
///
/// # Errors
/// `Invalid`, saying what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Object> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("the body is not UTF-8 text"))?;
    check(text)?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::invalid("the body is not a JSON object")),
        Err(error) => Err(Error::invalid(format!("the body is not JSON: {error}"))),
    }
}

/// Looks at keys and depth only; whether the rest is JSON is the parser's to say.
fn check(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    // The keys of each open object; lists have none.
    let mut open: Vec<HashSet<String>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => open.push(HashSet::new()),
            b'}' | b']' => drop(open.pop()),
            b'"' => {
                let end = string_end(bytes, at);
                let is_key = text[end..].trim_start().starts_with(':');
                if let (true, Some(keys)) = (is_key, open.last_mut())
                    && let Ok(key) = serde_json::from_str::<String>(&text[at..end])
                    && !keys.insert(key)
                {
                    return Err(Error::invalid("the body has the same key twice in one object"));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return Err(Error::invalid(format!("the body is nested deeper than {MAX_DEPTH} levels")));
        }
        at += 1;
    }
    Ok(())
}

/// Where the string that begins at `start` is over.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        parse(text.as_bytes()).map_or_else(|error| error.to_string(), |_| "fine".to_string())
    }

    #[test]
    fn only_plain_objects_pass() {
        assert_eq!(why("{\"a\": [{\"b\": 1}, {\"b\": 2}], \"b\": \"a\\\"a\", \"c\": \"b\"}"), "fine");
        assert_eq!(why("[1]"), "the body is not a JSON object");
        for twice in ["{\"a\": 1, \"a\": 2}", "{\"a\": 1, \"\\u0061\" : 2}", "{\"x\": {\"a\": 1, \"a\": []}}"]
        {
            assert!(why(twice).contains("same key twice"), "{twice}");
        }
        for bad in
            ["", "{", "{\"a\": NaN}", "{\"a\": 1}}", "nul", "{\"a\": \"\\", "{\"a\": \"\\ud800\"}", "\"\\é"]
        {
            assert!(why(bad).starts_with("the body is not JSON"), "{bad}: {}", why(bad));
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100), "]".repeat(100));
        assert!(why(&deep).contains("nested deeper"));
        assert_eq!(parse(&[b'{', 0xff]).unwrap_err().to_string(), "the body is not UTF-8 text");
    }
}
