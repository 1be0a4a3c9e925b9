//! The parameters of a request: named, typed fields of its body and its query.
//!
//! The same lists check requests and describe them in the OpenAPI document, so that the two cannot drift apart.
//! A body or a query with a field that is not listed is refused, since a client that asks for a change or a selection must
//! not get less of the one or more of the other. Only a submit ignores such fields, and warns of them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::strict_json;
use crate::error::{Error, Result, brief_list, printable};
use crate::http::transport::request::MAX_BODY;
use crate::model::command_list::{COMMAND_LIST, command_list};
use crate::model::json::Object;
use crate::model::{ClaimToken, DependencyCondition, DependencyRef, Time, duration};
use crate::workspace::{DEPENDENCIES, dependency_refs};

/// The maximum length of a name, in characters. These limits are not lower than those of the queue, which are in
/// bytes.
pub(crate) const MAX_NAME: usize = 200;
/// The maximum length of a short text, such as an owner or a reason, in characters.
pub(crate) const MAX_SHORT_TEXT: usize = 1000;
/// The maximum length of a path, in characters.
pub(crate) const MAX_PATH: usize = 4096;
/// The maximum length of a message, in characters.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;
/// The maximum length of a prompt or an answer, in characters.
pub(crate) const MAX_TEXT: usize = MAX_BODY;
/// The number of characters of an unknown name that an error message repeats.
const MAX_SHOWN: usize = 60;
/// The maximum number of items of a list.
const MAX_TEXTS: usize = 1000;

fn is_within(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().count() <= most
}

/// The values that a field may have. A field that is null counts as absent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldKind {
    /// Text of at most this many characters.
    Text(usize),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A time in RFC 3339.
    Time,
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// A number of seconds, from 0 to this duration.
    Seconds(Duration),
    /// A number from 0 to this one.
    Amount(f64),
    /// True or false.
    Flag,
    /// A list of texts of at most this many characters each; in a query, a field that may be repeated.
    Texts(usize),
    /// A list of some of these texts.
    SomeOf(&'static [&'static str]),
    /// A list of objects, which the handler checks one by one.
    Items,
    /// An object.
    Map,
    /// A list of dependencies: ids, or objects with `task` and `on`.
    Dependencies,
    /// A list of command lines: texts for a shell, or lists of texts.
    Commands,
}

/// One field of a request's body or query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub name: &'static str,
    /// The values that it may have.
    pub kind: FieldKind,
    /// Whether it is required.
    pub is_required: bool,
    /// Its description in the OpenAPI document.
    pub about: &'static str,
}

/// Makes an optional field.
pub(crate) const fn optional(name: &'static str, kind: FieldKind, about: &'static str) -> Field {
    Field { name, kind, is_required: false, about }
}

/// Makes a required field.
pub(crate) const fn required(name: &'static str, kind: FieldKind, about: &'static str) -> Field {
    Field { name, kind, is_required: true, about }
}

impl FieldKind {
    /// Returns what a message calls a value of this kind.
    fn expected(self) -> String {
        match self {
            Self::Text(most) => format!("text of at most {most} characters"),
            Self::OneOf(values) => format!("one of {}", values.join(", ")),
            Self::Time => "an RFC 3339 time".to_string(),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Seconds(most) => format!("a number of seconds from 0 to {}", most.as_secs()),
            Self::Amount(most) => format!("a number from 0 to {most}"),
            Self::Flag => "true or false".to_string(),
            Self::Texts(most) => format!("a list of at most {MAX_TEXTS} texts of at most {most} characters"),
            Self::SomeOf(values) => format!("some of {}", values.join(", ")),
            Self::Items => format!("a list of 1 to {MAX_TEXTS} objects"),
            Self::Map => "an object".to_string(),
            Self::Dependencies => DEPENDENCIES.to_string(),
            Self::Commands => COMMAND_LIST.to_string(),
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text(most) => value.as_str().is_some_and(|text| is_within(text, most)),
            Self::OneOf(values) => value.as_str().is_some_and(|text| values.contains(&text)),
            Self::Time => value.as_str().is_some_and(|text| Time::parse(text).is_ok()),
            Self::Whole(least, most) => value.as_i64().is_some_and(|n| (least..=most).contains(&n)),
            Self::Seconds(most) => value.as_f64().is_some_and(|n| (0.0..=most.as_secs_f64()).contains(&n)),
            Self::Amount(most) => value.as_f64().is_some_and(|n| (0.0..=most).contains(&n)),
            Self::Flag => value.is_boolean(),
            Self::Texts(most) => value.as_array().is_some_and(|items| {
                let fits = |item: &Value| item.as_str().is_some_and(|text| is_within(text, most));
                items.len() <= MAX_TEXTS && items.iter().all(fits)
            }),
            Self::SomeOf(values) => value.as_array().is_some_and(|items| {
                items.len() <= MAX_TEXTS && items.iter().all(|item| Self::OneOf(values).fits(item))
            }),
            Self::Items => value.as_array().is_some_and(|items| {
                (1..=MAX_TEXTS).contains(&items.len()) && items.iter().all(Value::is_object)
            }),
            Self::Map => value.is_object(),
            Self::Commands => value.as_array().is_some_and(|items| command_list(items).is_some()),
            Self::Dependencies => value.as_array().is_some_and(|items| {
                items.len() <= MAX_TEXTS && dependency_refs(items, DependencyCondition::Completed).is_some()
            }),
        }
    }

    /// Converts the text of a query to a value of this kind; returns it as text if it is not valid.
    fn read(self, text: String) -> Value {
        let value = match self {
            Self::Whole(..) => text.parse().ok().map(Value::Number),
            // Not `inf` and `nan`, which Rust parses as well.
            Self::Seconds(_) | Self::Amount(_) => {
                text.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::from)
            }
            Self::Flag => match text.as_str() {
                "1" | "true" => Some(true.into()),
                "0" | "false" => Some(false.into()),
                _ => None,
            },
            Self::Text(_) | Self::OneOf(_) | Self::Time => None,
            // A query has the items of a list one by one, and no objects.
            Self::Texts(_)
            | Self::SomeOf(_)
            | Self::Items
            | Self::Map
            | Self::Dependencies
            | Self::Commands => None,
        };
        value.unwrap_or_else(|| text.into())
    }

    /// Returns the kind as a JSON schema.
    pub(crate) fn schema(self) -> Value {
        match self {
            Self::Text(most) => json!({"type": "string", "maxLength": most}),
            Self::OneOf(values) => json!({"type": "string", "enum": values}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Self::Seconds(most) => json!({"type": "number", "minimum": 0, "maximum": most.as_secs_f64()}),
            Self::Amount(most) => json!({"type": "number", "minimum": 0, "maximum": most}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Texts(most) => {
                json!({"type": "array", "maxItems": MAX_TEXTS, "items": {"type": "string", "maxLength": most}})
            }
            Self::SomeOf(values) => json!({
                "type": "array", "maxItems": MAX_TEXTS, "items": {"type": "string", "enum": values},
            }),
            // The response reports what is wrong with one item next to the results of the others.
            Self::Items => json!({
                "type": "array", "minItems": 1, "maxItems": MAX_TEXTS, "items": {"type": "object"},
            }),
            Self::Map => json!({"type": "object"}),
            Self::Commands => json!({
                "type": "array",
                "items": {"anyOf": [
                    {"type": "string"},
                    {"type": "array", "minItems": 1, "items": {"type": "string"}},
                ]},
            }),
            Self::Dependencies => json!({
                "type": "array", "maxItems": MAX_TEXTS,
                "items": {"anyOf": [
                    {"type": "string"},
                    {
                        "type": "object", "additionalProperties": false,
                        "oneOf": [
                            {"required": ["task"]}, {"required": ["group"]},
                            {"required": ["key"]}, {"required": ["line"]},
                        ],
                        "properties": {
                            "task": {"type": "string"},
                            "group": {"type": "string"},
                            "key": {"type": "string"},
                            "line": {
                                "type": "integer", "minimum": 1,
                                "description": "An earlier task of the same batch; the first one is 1.",
                            },
                            "on": {"type": "string", "enum": DependencyCondition::NAMES},
                        },
                    },
                ]},
            }),
        }
    }
}

/// Returns fields as the JSON schema of an object.
pub(crate) fn schema_of(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = field.kind.schema();
            if !field.is_required {
                // Null counts as absent.
                schema["type"] = json!([schema["type"], "null"]);
                if let Some(Value::Array(values)) = schema.get_mut("enum") {
                    values.push(Value::Null);
                }
            }
            schema["description"] = field.about.into();
            (field.name.to_string(), schema)
        })
        .collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// The checked fields of one request's body or query.
#[derive(Debug, Default)]
pub(crate) struct Params {
    object: Object,
    /// Keys that are not names of fields.
    unknown: Vec<String>,
}

impl Params {
    /// Reads a body; an empty body is an object without fields.
    ///
    /// # Errors
    /// `Invalid` when it is not a JSON object, or a field is missing or has a wrong value.
    pub(crate) fn from_body(fields: &[Field], bytes: &[u8]) -> Result<Self> {
        let is_known = |key: &str| fields.iter().any(|field| field.name == key);
        let object = if bytes.is_empty() { Object::new() } else { strict_json::parse(bytes, is_known)? };
        Self::check(fields, object)
    }

    /// Reads the part of a target after the question mark.
    ///
    /// # Errors
    /// `Invalid` when a field is unknown, missing or given twice, or has a wrong value.
    pub(crate) fn from_query(fields: &[Field], query: &str) -> Result<Self> {
        let mut object = Object::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, text) = (decode_query(name)?, decode_query(text)?);
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                return Err(unknown_parameter(fields, &name));
            };
            if matches!(field.kind, FieldKind::Texts(_) | FieldKind::SomeOf(_)) {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = list {
                    items.push(text.into());
                }
            } else if object.insert(name, field.kind.read(text)).is_some() {
                return Err(Error::invalid(format!("'{}' is given twice", field.name)));
            }
        }
        Self::check(fields, object)
    }

    fn check(fields: &[Field], mut object: Object) -> Result<Self> {
        let is_known = |key: &String| fields.iter().any(|field| field.name == key);
        let unknown = object.keys().filter(|key| !is_known(key)).cloned().collect();
        object.retain(|_, value| !value.is_null());
        for field in fields {
            if let (FieldKind::Whole(..), Some(value)) = (field.kind, object.get_mut(field.name)) {
                *value = as_whole_number(value);
            }
            match object.get(field.name) {
                None if field.is_required => return Err(missing(field.name)),
                Some(value) if !field.kind.fits(value) => {
                    return Err(Error::invalid(format!(
                        "'{}' must be {}",
                        field.name,
                        field.kind.expected()
                    )));
                }
                None | Some(_) => {}
            }
        }
        Ok(Self { object, unknown })
    }

    /// Reads the fields of one object of a list.
    ///
    /// # Errors
    /// `Invalid` when a field is missing or has a wrong value.
    pub(crate) fn from_item(fields: &[Field], item: &Value) -> Result<Self> {
        Self::check(fields, item.as_object().cloned().unwrap_or_default())
    }

    /// Returns a warning about unknown keys, if there are any.
    pub(crate) fn warning(&self) -> Option<String> {
        (!self.unknown.is_empty())
            .then(|| format!("the body has unknown keys, which are ignored: {}", brief_list(&self.unknown)))
    }

    /// Checks that the body has no unknown keys.
    ///
    /// # Errors
    /// `Invalid` with the unknown keys.
    pub(crate) fn check_keys(&self, fields: &[Field]) -> Result<()> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let known = if names.is_empty() { "no keys".to_string() } else { names.join(", ") };
        let plural = if self.unknown.len() == 1 { "" } else { "s" };
        Err(Error::invalid(format!(
            "the body has unknown key{plural} {}; this route takes {known}",
            brief_list(&self.unknown)
        )))
    }

    /// Returns whether a field is present.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// Returns text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.str(name).map(str::to_string)
    }

    /// Returns text without copying it.
    pub(crate) fn str(&self, name: &str) -> Option<&str> {
        self.object.get(name)?.as_str()
    }

    /// Returns text that is required although the list of fields cannot say so.
    ///
    /// # Errors
    /// `Invalid` when it is missing.
    pub(crate) fn needed(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| missing(name))
    }

    /// Returns text, or the default.
    pub(crate) fn text_or(&self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_string())
    }

    /// Returns a time.
    pub(crate) fn time(&self, name: &str) -> Option<Time> {
        Time::parse(self.object.get(name)?.as_str()?).ok()
    }

    /// Returns a whole number.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.object.get(name)?.as_i64()
    }

    /// Returns a whole number whose field does not allow negative ones.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.object.get(name)?.as_u64()
    }

    /// Returns a number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<f64> {
        self.object.get(name)?.as_f64()
    }

    /// Returns a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.object.get(name)?.as_f64()
    }

    /// Returns a duration, whose field is a number of seconds.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        self.seconds(name).and_then(duration::from_seconds)
    }

    /// Returns a flag; false when it is absent.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.object.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns a list of texts; `None` when it is absent.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let items = self.object.get(name)?.as_array()?;
        Some(items.iter().filter_map(|item| item.as_str().map(str::to_string)).collect())
    }

    /// Returns the objects of a list; empty when it is absent.
    pub(crate) fn items(&self, name: &str) -> &[Value] {
        self.object.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Returns an object; empty when it is absent.
    pub(crate) fn map(&self, name: &str) -> Object {
        self.object.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Returns a list of command lines; empty when it is absent.
    pub(crate) fn commands(&self, name: &str) -> Vec<Vec<String>> {
        command_list(self.items(name)).unwrap_or_default()
    }

    /// Returns a list of dependencies; those that name no condition have `on`.
    pub(crate) fn dependencies(&self, name: &str, on: DependencyCondition) -> Vec<DependencyRef> {
        dependency_refs(self.items(name), on).unwrap_or_default()
    }

    /// Returns a claim token.
    pub(crate) fn token(&self, name: &str) -> Option<ClaimToken> {
        self.text(name).map(ClaimToken::from_text)
    }
}

/// Converts a number without a fraction to a whole number: some languages write 1 as `1.0`.
fn as_whole_number(value: &Value) -> Value {
    match value.as_f64() {
        // Larger ones have no exact value, and are out of every range.
        Some(n) if value.as_i64().is_none() && n.fract() == 0.0 && n.abs() < 1e15 => Value::from(n as i64),
        _ => value.clone(),
    }
}

/// Returns the error about a query parameter that the route does not have.
fn unknown_parameter(fields: &[Field], name: &str) -> Error {
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let known = if names.is_empty() { "no parameters".to_string() } else { names.join(", ") };
    Error::invalid(format!("unknown query parameter '{}'; this route takes {known}", printable(&shown)))
}

/// Returns the error about a missing field.
pub(crate) fn missing(name: &str) -> Error {
    Error::invalid(format!("missing field: {name}"))
}

/// Decodes a percent-encoded part of a path.
pub(crate) fn decode_path(text: &str) -> Result<String> {
    decode(text, b'+')
}

/// Decodes a percent-encoded part of a query, in which a plus sign stands for a space.
fn decode_query(text: &str) -> Result<String> {
    decode(text, b' ')
}

fn decode(text: &str, plus: u8) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(Error::invalid(format!("'%' without two digits: {}", printable(text)))),
                }
            }
            b'+' => plus,
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("not UTF-8 text: {}", printable(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        required("lane", FieldKind::Text(MAX_NAME), ""),
        optional("wait", FieldKind::Seconds(Duration::from_secs(10)), ""),
        optional("n", FieldKind::Whole(0, 9), ""),
        optional("id", FieldKind::Texts(MAX_NAME), ""),
    ];

    #[test]
    fn queries_are_typed_like_bodies() {
        let input = Params::from_query(FIELDS, "lane=a+b%2Fc&wait=1.5&n=3&id=x&id=%FF").unwrap_err();
        assert!(input.to_string().contains("not UTF-8"), "{input}");
        let input = Params::from_query(FIELDS, "lane=a+b%2Fc&wait=1.5&n=3&id=x&id=y").unwrap();
        assert_eq!(input.text("lane").as_deref(), Some("a b/c"));
        assert_eq!((input.seconds("wait"), input.integer("n")), (Some(1.5), Some(3)));
        assert_eq!(input.texts("id"), Some(vec!["x".to_string(), "y".to_string()]));
        for bad in ["wait=1", "lane=a&wait=nan", "lane=a&wait=inf", "lane=a&wait=-1", "lane=a&wait=11"] {
            assert!(Params::from_query(FIELDS, bad).is_err(), "{bad}");
        }
        let input = Params::from_query(FIELDS, "lane=a&n=3.0").unwrap();
        assert_eq!(input.integer("n"), Some(3));
        for bad in ["lane=a&n=1.5", "lane=a&n=+1", "lane=a&lane=b", "lane=%4", "lane=a&wait=", "lane=a&n=10"]
        {
            assert!(Params::from_query(FIELDS, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_that_a_route_does_not_have_is_refused_by_its_name() {
        let why = |fields, query: &str| Params::from_query(fields, query).unwrap_err().to_string();
        assert_eq!(
            why(FIELDS, "lane=a&lanes=b"),
            "unknown query parameter 'lanes'; this route takes lane, wait, n, id"
        );
        assert_eq!(why(&[], "_=1"), "unknown query parameter '_'; this route takes no parameters");
        assert_eq!(why(&[], "=1"), "unknown query parameter ''; this route takes no parameters");
        assert!(why(FIELDS, "LANE=a").contains("'LANE'"));
        assert!(why(&[], &format!("{}=1", "x".repeat(8000))).len() < 200);
        assert!(Params::from_query(&[], "&&").is_ok());
    }

    #[test]
    fn bodies_name_what_is_wrong_with_them() {
        let why = |body: &str| Params::from_body(FIELDS, body.as_bytes()).unwrap_err().to_string();
        assert_eq!(why("{\"lane\": null}"), "missing field: lane");
        assert_eq!(why("{\"lane\": 1}"), "'lane' must be text of at most 200 characters");
        assert_eq!(
            why("{\"lane\": \"a\", \"wait\": 1e300}"),
            "'wait' must be a number of seconds from 0 to 10"
        );
        assert_eq!(
            why("{\"lane\": \"a\", \"id\": [1]}"),
            "'id' must be a list of at most 1000 texts of at most 200 characters"
        );
        let input = Params::from_body(FIELDS, b"{\"lane\": \"a\", \"n\": null, \"x\": 1}").unwrap();
        assert!(input.warning().unwrap().ends_with("ignored: x"), "{:?}", input.warning());
        let input = Params::from_body(FIELDS, b"{\"lane\": \"a\", \"n\": 9.0e0}").unwrap();
        assert_eq!((input.integer("n"), input.warning()), (Some(9), None));
        for bad in ["1.5", "1e300", "-1.0", "\"1\"", "9.1"] {
            assert!(
                why(&format!("{{\"lane\": \"a\", \"n\": {bad}}}")).contains("a whole number from 0 to 9")
            );
        }
    }
}
