//! JSON Schemas that answers must be valid against.
//!
//! A schema is checked where it enters: it must be one, refer to nothing but its own parts, and neither to itself nor so often
//! that validation would take long. So validation needs no network and no files, and always ends.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::json::Object;
use crate::error::{Error, Result, printable};

/// The largest schema, in bytes of JSON.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most parts that a schema may have, each counted as often as others refer to it.
const MAX_PARTS: usize = 20_000;
/// The number of characters of a validator's message that are kept.
const MAX_MESSAGE: usize = 300;

/// Keys whose values are data and not schemas.
const DATA_KEYS: [&str; 4] = ["const", "default", "enum", "examples"];
/// Keys that refer to what cannot be followed here, or change what a reference means.
const NAMED_REFERENCES: [&str; 6] =
    ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"];

/// A JSON Schema that an answer must be valid against.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerSchema(Object);

impl AnswerSchema {
    /// Checks a schema.
    ///
    /// # Errors
    /// `Invalid` when it is no schema, too large, refers to other documents or to itself.
    pub fn new(schema: Object) -> Result<Self> {
        let schema = Value::Object(schema);
        let refused = |reason: String| {
            Error::invalid_here(format!("the schema cannot be used: {reason}")).with_hint(
                "give a JSON Schema whose references, if any, are `#/…` and lead to other parts of it",
            )
        };
        if schema.to_string().len() > MAX_SCHEMA {
            return Err(refused(format!("it is larger than {} KiB", MAX_SCHEMA / 1024)));
        }
        let mut walk = ReferenceWalk { root: &schema, open: Vec::new(), sizes: HashMap::new() };
        let parts = walk.size_of(&schema, "", true).map_err(refused)?;
        if parts > MAX_PARTS {
            return Err(refused(format!(
                "its parts refer to each other too often ({MAX_PARTS} parts at most)"
            )));
        }
        validator(&schema).map_err(refused)?;
        let Value::Object(schema) = schema else { return Err(refused("it is not an object".to_string())) };
        Ok(Self(schema))
    }

    /// Makes a schema of one that was checked before.
    pub fn stored(schema: Object) -> Self {
        Self(schema)
    }

    /// Returns the schema.
    pub fn as_object(&self) -> &Object {
        &self.0
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place, in one line.
    pub fn check(&self, value: &Value) -> std::result::Result<(), String> {
        let schema = Value::Object(self.0.clone());
        // Written by another program, as it is checked at the submit.
        let validator =
            validator(&schema).map_err(|reason| format!("the schema cannot be used: {reason}"))?;
        validator.validate(value).map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the value".to_string() } else { printable(&place) };
            format!("{place}: {}", one_line(&error.to_string()))
        })
    }

    /// Returns whether it describes objects, as vendors demand that check answers themselves.
    #[cfg(feature = "cli")]
    pub(crate) fn describes_object(&self) -> bool {
        self.0.get("type").and_then(Value::as_str) == Some("object")
    }

    /// Returns whether it keeps to the part of JSON Schema that services with strict answers accept: every object lists all
    /// of its properties as required and allows no others.
    #[cfg(feature = "cli")]
    pub(crate) fn is_strict(&self) -> bool {
        self.describes_object() && is_strict(&Value::Object(self.0.clone()))
    }
}

/// Returns a text as one line of limited length.
fn one_line(text: &str) -> String {
    let text = printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if text.chars().count() <= MAX_MESSAGE {
        return text;
    }
    let end: String = text.chars().skip(text.chars().count() - MAX_MESSAGE / 2).collect();
    let start: String = text.chars().take(MAX_MESSAGE / 2).collect();
    format!("{start} … {end}")
}

/// Makes the validator of a schema. Regular expressions take linear time.
///
/// # Errors
/// Why the schema is none, in one line.
fn validator(schema: &Value) -> std::result::Result<Validator, String> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex()).offline();
    options.build(schema).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!("{}: ", printable(&place)) };
        format!("{place}{}", one_line(&error.to_string()))
    })
}

/// Follows the references of a schema.
struct ReferenceWalk<'a> {
    root: &'a Value,
    /// The references that lead to the present part.
    open: Vec<String>,
    /// The number of parts below each target of a reference.
    sizes: HashMap<String, usize>,
}

impl ReferenceWalk<'_> {
    /// Returns the number of parts of a value, with those that it refers to; `place` leads to it. The keys of an object are
    /// those of a schema unless `is_schema` is false: then they are names of properties or definitions.
    fn size_of(&mut self, value: &Value, place: &str, is_schema: bool) -> std::result::Result<usize, String> {
        let mut size: usize = 1;
        match value {
            Value::Array(items) => {
                for item in items {
                    size = size.saturating_add(self.size_of(item, place, true)?);
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    let below = format!("{place}/{key}");
                    size = size.saturating_add(match (key.as_str(), value) {
                        ("$ref", Value::String(target)) if is_schema => self.size_behind(target)?,
                        (key, Value::String(_)) if is_schema && NAMED_REFERENCES.contains(&key) => {
                            // The name of the whole schema changes nothing.
                            match (key, place) {
                                ("$id", "") => 0,
                                _ => return Err(format!("{}: is not supported", printable(&below))),
                            }
                        }
                        (key, _) if is_schema && DATA_KEYS.contains(&key) => 1,
                        (key, Value::Object(_)) if is_schema && is_map_of_schemas(key) => {
                            self.size_of(value, &below, false)?
                        }
                        _ => self.size_of(value, &below, true)?,
                    });
                }
            }
            _ => {}
        }
        Ok(size)
    }

    fn size_behind(&mut self, target: &str) -> std::result::Result<usize, String> {
        let shown = printable(target);
        let pointer = match target.strip_prefix('#') {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => pointer.to_string(),
            _ => return Err(format!("it refers to {shown}, which is not a part of it")),
        };
        if let Some(size) = self.sizes.get(&pointer) {
            return Ok(*size);
        }
        let root = self.root;
        let part =
            root.pointer(&pointer).ok_or_else(|| format!("it refers to {shown}, which it does not have"))?;
        // Every reference to a part that holds this one would be followed without end.
        if pointer.is_empty() || self.open.iter().any(|open| is_below(open, &pointer)) {
            return Err(format!("it refers to itself ({shown})"));
        }
        self.open.push(pointer.clone());
        let size = self.size_of(part, &pointer, true)?;
        self.open.pop();
        self.sizes.insert(pointer, size);
        Ok(size)
    }
}

/// Returns whether a place is `parent` or below it.
fn is_below(place: &str, parent: &str) -> bool {
    place.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether the value of a key has schemas by name.
fn is_map_of_schemas(key: &str) -> bool {
    matches!(key, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas")
}

#[cfg(feature = "cli")]
fn is_strict(schema: &Value) -> bool {
    const ALLOWED: [&str; 12] = [
        "$schema",
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "items",
        "properties",
        "required",
        "type",
    ];
    let Value::Object(object) = schema else { return false };
    let all = |key: &str| match object.get(key) {
        None => true,
        Some(Value::Object(named)) => named.values().all(is_strict),
        Some(Value::Array(list)) => list.iter().all(is_strict),
        Some(_) => false,
    };
    let is_object = object.get("type").and_then(Value::as_str) == Some("object");
    let names = |key: &str| object.get(key).and_then(Value::as_object);
    let required = object.get("required").and_then(Value::as_array);
    let is_closed = object.get("additionalProperties") == Some(&Value::Bool(false))
        && names("properties").is_none_or(|properties| {
            properties.keys().all(|name| required.is_some_and(|list| list.iter().any(|item| item == name)))
        });
    object.keys().all(|key| ALLOWED.contains(&key.as_str()))
        && ["$defs", "properties", "anyOf"].into_iter().all(all)
        && object.get("items").is_none_or(is_strict)
        && (!is_object || is_closed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: Value) -> Result<AnswerSchema> {
        AnswerSchema::new(value.as_object().expect("an object").clone())
    }

    #[test]
    fn the_first_error_is_named_with_its_place() {
        let schema = schema(json!({
            "type": "object", "required": ["items"],
            "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}}, "n": {"multipleOf": 0.5}},
            "$defs": {"item": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}}}
        }))
        .expect("a schema");
        assert_eq!(schema.check(&json!({"items": [{"name": "ab"}, {}], "n": 1.5})), Ok(()));
        let error = |value: Value| schema.check(&value).expect_err("invalid");
        assert_eq!(error(json!([])), "the value: [] is not of type \"object\"");
        assert_eq!(error(json!({})), "the value: \"items\" is a required property");
        assert_eq!(error(json!({"items": [{}, {"name": 5}]})), "/items/1/name: 5 is not of type \"string\"");
        let long = error(json!({"items": [{"name": "x\n".repeat(10_000)}]}));
        assert!(long.starts_with("/items/0/name: ") && long.len() < 1000 && !long.contains('\n'), "{long}");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let schema = schema(json!({"type": "integer", "minimum": 3, "maximum": 1e3})).expect("a schema");
        for fits in ["3", "3.0", "1e3", "1000"] {
            assert_eq!(schema.check(&serde_json::from_str(fits).expect("JSON")), Ok(()), "{fits}");
        }
        for wrong in ["2", "3.5", "1001", "123456789012345678901234567890"] {
            assert!(schema.check(&serde_json::from_str(wrong).expect("JSON")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_schema_or_leads_elsewhere_is_refused_in_one_line() {
        let mut doubling = json!({"$ref": "#/$defs/d0", "$defs": {"d40": true}});
        for n in 0..40 {
            let next = format!("#/$defs/d{}", n + 1);
            doubling["$defs"][format!("d{n}")] = json!({"allOf": [{"$ref": next}, {"$ref": next}]});
        }
        for (refused, expected) in [
            (json!({"type": "objet"}), "/type"),
            (json!({"properties": 5}), "/properties"),
            (json!({"pattern": "("}), "pattern"),
            (
                json!({"$ref": "https://example.com/schema.json"}),
                "refers to https://example.com/schema.json, which is not a part",
            ),
            (json!({"$ref": "file:///etc/passwd"}), "which is not a part"),
            (json!({"$ref": "other.json#/a"}), "which is not a part"),
            (json!({"$ref": "#/$defs/gone"}), "which it does not have"),
            (json!({"$ref": "#"}), "refers to itself (#)"),
            (json!({"properties": {"a": {"$ref": "#/properties/a"}}}), "refers to itself"),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
                "refers to itself",
            ),
            (
                json!({"$ref": "#/$defs/a/items", "$defs": {"a": {"items": {"not": {"$ref": "#/$defs/a"}}}}}),
                "refers to itself",
            ),
            (json!({"$dynamicRef": "#x"}), "/$dynamicRef: is not supported"),
            (json!({"properties": {"a": {"$id": "b"}}}), "/properties/a/$id: is not supported"),
            (json!({"$schema": "https://example.com/mine"}), "example.com/mine"),
            (doubling, "refer to each other too often"),
            (json!({"description": "x".repeat(MAX_SCHEMA)}), "larger than 64 KiB"),
        ] {
            let error = schema(refused.clone()).expect_err("no schema");
            assert!(
                error.message().contains(expected) && !error.message().contains('\n'),
                "{refused}: {error}"
            );
        }
        for usable in [
            json!({}),
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/me", "type": "array"}),
            json!({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}),
            json!({"const": {"$ref": "x"}}),
        ] {
            schema(usable.clone()).unwrap_or_else(|error| panic!("{usable}: {error}"));
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn only_what_a_strict_service_accepts_is_strict() {
        let is_strict = |value: Value| schema(value).expect("a schema").is_strict();
        let closed = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"], "additionalProperties": false});
        assert!(is_strict(closed.clone()));
        assert!(!is_strict(json!({"type": "array", "items": {"type": "string"}})));
        for (key, value) in
            [("additionalProperties", json!(true)), ("required", json!([])), ("minProperties", json!(1))]
        {
            let mut open = closed.clone();
            open[key] = value;
            assert!(!is_strict(open), "{key}");
        }
        let mut nested = closed;
        nested["properties"]["a"] = json!({"type": "array", "items": {"type": "object"}});
        assert!(!is_strict(nested));
    }
}
