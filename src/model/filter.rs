//! Filters on task metadata, by which a worker selects tasks.

use serde_json::Value;

use super::json::Object;
use crate::error::{Error, Result, printable};

/// Conditions on a task's metadata; all must hold. Empty accepts every task.
///
/// A missing key counts as `any`: `required_vendor=claude,any` accepts tasks for claude, tasks for any
/// vendor, and tasks without a vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<(String, Vec<String>)>,
}

impl Filter {
    /// Parses conditions of the form `KEY=V1,V2`.
    ///
    /// # Errors
    /// `Invalid` if a condition does not have that form.
    pub fn parse<S: AsRef<str>>(conditions: &[S]) -> Result<Self> {
        let mut parsed = Vec::with_capacity(conditions.len());
        for text in conditions {
            let text = text.as_ref();
            let wrong =
                || Error::invalid(format!("--match expects KEY=VALUE[,VALUE…], got: {}", printable(text)));
            let (key, values) = text.split_once('=').ok_or_else(wrong)?;
            let key = key.trim();
            if key.is_empty() {
                return Err(wrong());
            }
            let values: Vec<String> = values.split(',').map(|value| value.trim().to_string()).collect();
            if values.iter().any(String::is_empty) {
                return Err(wrong());
            }
            parsed.push((key.to_string(), values));
        }
        Ok(Self { conditions: parsed })
    }

    /// Returns whether every task is accepted.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Returns whether a task with this metadata is accepted.
    pub fn accepts(&self, metadata: &Object) -> bool {
        self.conditions.iter().all(|(key, values)| match metadata.get(key) {
            None | Some(Value::Null) => values.iter().any(|value| value == "any"),
            Some(Value::String(have)) => values.iter().any(|value| value == have),
            Some(other) => {
                let have = other.to_string();
                values.contains(&have)
            }
        })
    }

    /// Returns the conditions as [`Filter::parse`] takes them.
    pub(crate) fn conditions(&self) -> Vec<String> {
        self.conditions.iter().map(|(key, values)| format!("{key}={}", values.join(","))).collect()
    }

    /// Formats the conditions as they were given, for messages.
    pub fn describe(&self) -> String {
        self.conditions().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(text: &str) -> Object {
        super::super::json::parse_object(text.as_bytes()).unwrap()
    }

    #[test]
    fn absent_counts_as_any() {
        let filter = Filter::parse(&["required_vendor=claude,any"]).unwrap();
        assert!(filter.accepts(&metadata("{}")));
        assert!(filter.accepts(&metadata("{\"required_vendor\": \"claude\"}")));
        assert!(!filter.accepts(&metadata("{\"required_vendor\": \"codex\"}")));
        let strict = Filter::parse(&["size=3"]).unwrap();
        assert!(!strict.accepts(&metadata("{}")));
        assert!(strict.accepts(&metadata("{\"size\": 3}")));
    }

    #[test]
    fn malformed_conditions_are_refused() {
        for bad in ["vendor", "=x", "vendor=", "vendor=a,,b"] {
            assert!(Filter::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
