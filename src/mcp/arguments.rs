//! The arguments of a tool call, checked against the schema of the tool.

use serde_json::Value;

use super::failure::ToolFailure;
use crate::error::brief;
use crate::model::json::Object;

/// The arguments of one call: all of them are in the schema, and have the types that it gives.
#[derive(Clone, Debug)]
pub(super) struct Arguments(Object);

impl Arguments {
    /// Checks arguments against an input schema: an object with properties that may have a type, an `enum` and
    /// the type of their `items`. A null counts as missing, because models send nulls for arguments that they
    /// leave out.
    ///
    /// # Errors
    /// The first argument that is unknown, missing or of another type.
    pub(super) fn check(schema: &Object, given: Object) -> Result<Self, ToolFailure> {
        let no_properties = Object::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&no_properties);
        let given: Object = given.into_iter().filter(|(_, value)| !value.is_null()).collect();
        for (name, value) in &given {
            let Some(property) = properties.get(name) else {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let what = format!("unknown argument '{}'", brief(name));
                return Err(ToolFailure::invalid(what, format!("use only {}", known.join(", "))));
            };
            check_value(name, property, value)?;
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        match required.filter_map(Value::as_str).find(|name| !given.contains_key(*name)) {
            Some(name) => Err(ToolFailure::invalid(format!("'{name}' is missing"), format!("give '{name}'"))),
            None => Ok(Self(given)),
        }
    }

    /// Returns whether an argument is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns a value as it was given.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Returns a text that must be given and not be blank.
    ///
    /// # Errors
    /// The text is missing or blank.
    pub(super) fn needed_text(&self, name: &str) -> Result<&str, ToolFailure> {
        let text = self.text(name).filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| ToolFailure::invalid(format!("'{name}' is missing"), format!("give '{name}'")))
    }

    /// Returns a list of texts that must not be empty.
    ///
    /// # Errors
    /// The list is empty.
    pub(super) fn needed_texts(&self, name: &str) -> Result<Vec<String>, ToolFailure> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        let texts: Vec<String> = items.filter_map(Value::as_str).map(str::to_string).collect();
        if texts.is_empty() {
            return Err(ToolFailure::invalid(
                format!("'{name}' is empty"),
                format!("give at least one of '{name}'"),
            ));
        }
        Ok(texts)
    }

    /// Returns whether a flag is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns an integer.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(as_integer)
    }

    /// Returns an integer that counts something.
    ///
    /// # Errors
    /// The integer is negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, ToolFailure> {
        let count = |number: i64| {
            u64::try_from(number)
                .map_err(|_| ToolFailure::invalid(format!("'{name}' is negative"), "give 0 or more"))
        };
        self.integer(name).map(count).transpose()
    }

    /// Returns a number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// Returns an object.
    pub(super) fn object(&self, name: &str) -> Option<&Object> {
        self.0.get(name).and_then(Value::as_object)
    }

    /// Returns the objects of a list.
    pub(super) fn objects(&self, name: &str) -> Option<Vec<Object>> {
        let items = self.0.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_object).cloned().collect())
    }
}

/// Checks one value against its property.
fn check_value(name: &str, property: &Value, value: &Value) -> Result<(), ToolFailure> {
    let of = |key: &str| property.get(key);
    if let Some(expected) = of("type").and_then(Value::as_str)
        && !has_type(value, expected)
    {
        let what = format!("'{name}' is {}, not {}", article(type_of(value)), article(expected));
        return Err(ToolFailure::invalid(what, format!("give {} for '{name}'", article(expected))));
    }
    let allowed = of("enum").and_then(Value::as_array);
    if allowed.is_some_and(|allowed| !allowed.contains(value)) {
        let words: Vec<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
        let given = brief(value.as_str().unwrap_or_default());
        let what = format!("'{given}' is not a value of '{name}'");
        return Err(ToolFailure::invalid(what, format!("give one of {}", words.join(", "))));
    }
    if let (Some(items), Some(values)) = (of("items"), value.as_array()) {
        for (number, item) in values.iter().enumerate() {
            check_value(&format!("{name}[{number}]"), items, item)?;
        }
    }
    Ok(())
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "integer" => as_integer(value).is_some(),
        "number" => value.as_f64().is_some_and(f64::is_finite),
        expected => type_of(value) == expected,
    }
}

/// Returns a number as an integer if it is one, even when it is written as `5.0`.
fn as_integer(value: &Value) -> Option<i64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let as_float = || {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() <= LARGEST).then_some(number as i64)
    };
    value.as_i64().or_else(as_float)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn article(word: &str) -> String {
    match word.chars().next() {
        Some('a' | 'i' | 'o') => format!("an {word}"),
        _ => format!("a {word}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(given: Value) -> Result<Arguments, String> {
        let schema = json!({
            "properties": {
                "ids": {"type": "array", "items": {"type": "string"}},
                "seconds": {"type": "integer"},
                "do": {"type": "string", "enum": ["renew", "release"]},
                "days": {"type": "number"},
                "any": {"type": "boolean"},
                "match": {"type": "object"},
            },
            "required": ["ids"],
        });
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        Arguments::check(&object(schema), object(given)).map_err(|failure| failure.text())
    }

    #[test]
    fn arguments_of_the_right_types_are_read() {
        let given =
            json!({"ids": ["a"], "seconds": 5.0, "do": "renew", "days": 0.5, "any": true, "match": null});
        let arguments = check(given).unwrap();
        assert_eq!(arguments.needed_texts("ids").unwrap(), ["a"]);
        assert_eq!((arguments.integer("seconds"), arguments.number("days")), (Some(5), Some(0.5)));
        assert_eq!((arguments.text("do"), arguments.flag("any")), (Some("renew"), true));
        assert!(!arguments.has("match"), "null counts as missing");
        assert!(check(json!({"ids": ["a"], "seconds": -1})).unwrap().count("seconds").is_err());
        assert!(check(json!({"ids": []})).unwrap().needed_texts("ids").is_err());
    }

    #[test]
    fn everything_else_is_refused_with_the_name_of_the_argument() {
        for (given, expected) in [
            (json!({}), "error (invalid): 'ids' is missing. Do: give 'ids'"),
            (
                json!({"ids": "a"}),
                "error (invalid): 'ids' is a string, not an array. Do: give an array for 'ids'",
            ),
            (
                json!({"ids": [1]}),
                "error (invalid): 'ids[0]' is a number, not a string. Do: give a string for 'ids[0]'",
            ),
            (
                json!({"ids": ["a"], "seconds": 1.5}),
                "error (invalid): 'seconds' is a number, not an integer. Do: give an integer for 'seconds'",
            ),
            (
                json!({"ids": ["a"], "do": "ask"}),
                "error (invalid): 'ask' is not a value of 'do'. Do: give one of renew, release",
            ),
            (
                json!({"ids": ["a"], "colour": 1}),
                "error (invalid): unknown argument 'colour'. Do: use only any, days, do, ids, match, seconds",
            ),
        ] {
            assert_eq!(check(given).unwrap_err(), expected);
        }
    }
}
