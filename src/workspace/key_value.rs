//! `KEY=VALUE` arguments.

use crate::error::{Error, Result, printable};

/// Parses the values of a repeatable flag, in order. The first `=` separates key and value; spaces around the key are
/// dropped, the value is kept as it is. `flag` is named in the error, with its dashes.
///
/// # Errors
/// `Invalid` for a value without `=`, or with a blank key.
pub(crate) fn parse_pairs(flag: &str, items: &[String]) -> Result<Vec<(String, String)>> {
    items
        .iter()
        .map(|item| match item.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.to_string())),
            _ => Err(Error::invalid(format!("{flag} expects KEY=VALUE, got: {}", printable(item)))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(items: &[&str]) -> Result<Vec<(String, String)>> {
        let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
        parse_pairs("--metadata", &items)
    }

    #[test]
    fn the_first_equals_sign_divides() {
        let pairs = parse(&["a=1", " b =x=y ", "c="]).unwrap();
        let expected = [("a", "1"), ("b", "x=y "), ("c", "")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_string(), value.to_string())));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "a", "=x", " =x"] {
            let error = parse(&["ok=1", bad]).unwrap_err().to_string();
            assert_eq!(error, format!("--metadata expects KEY=VALUE, got: {bad}"));
        }
    }
}
