//! Finds duplicate keys in the mappings of a YAML or JSON text.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::containers::{ContainerVisitor, Containers};

/// The start of the message of the error for a duplicate key.
const DUPLICATE_PREFIX: &str = "repeated key: ";

/// A key that occurs twice in one mapping.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::workspace) struct Repeated {
    /// The line of its second occurrence.
    pub line: usize,
    /// The path of keys that leads to it, separated by dots.
    pub key: String,
}

/// Returns the first key that occurs twice; text that cannot be parsed has none.
pub(in crate::workspace) fn first(text: &str) -> Option<Repeated> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let seed = UniqueKeysSeed::at(String::new());
    if text.trim_start().starts_with('{') {
        // Valid JSON may contain tabs, which YAML refuses.
        let Err(error) = seed.deserialize(&mut serde_json::Deserializer::from_str(text)) else { return None };
        if let Some(key) = marked(&error.to_string()) {
            return Some(Repeated { line: error.line(), key });
        }
    }
    let seed = UniqueKeysSeed::at(String::new());
    let error = seed.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    Some(Repeated { line: error.location()?.line(), key: marked(&error.to_string())? })
}

/// Returns the key from the message of an error, to which the parser has added the position.
fn marked(message: &str) -> Option<String> {
    let (_, found) = message.split_once(DUPLICATE_PREFIX)?;
    Some(found.split_once('\n').map_or(found, |(key, _)| key).to_string())
}

/// Deserializes a value whose mappings must have each key once.
struct UniqueKeysSeed {
    path: String,
}

impl UniqueKeysSeed {
    fn at(path: String) -> Containers<Self> {
        Containers(Self { path })
    }
}

impl<'de> ContainerVisitor<'de> for UniqueKeysSeed {
    fn visit_mapping<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(path) = access.next_key_seed(UniqueKey { seen: &mut seen, path: &self.path })? {
            access.next_value_seed(Self::at(path))?;
        }
        Ok(())
    }

    fn visit_list<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(Self::at(self.path.clone()))?.is_some() {}
        Ok(())
    }
}

/// Deserializes a key that must be new, and returns the path that leads to its value.
struct UniqueKey<'s> {
    seen: &'s mut BTreeSet<String>,
    path: &'s str,
}

impl UniqueKey<'_> {
    fn take<E: Error>(self, key: &str) -> Result<String, E> {
        let path = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) };
        if self.seen.insert(key.to_string()) {
            Ok(path)
        } else {
            Err(E::custom(format!("{DUPLICATE_PREFIX}{path}\n")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for UniqueKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // Keys are compared as they are written, so 1 and 1.0 are different.
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for UniqueKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.take(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(usize, String)> {
        first(text).map(|repeated| (repeated.line, repeated.key))
    }

    #[test]
    fn the_second_key_is_named_with_its_line() {
        let yaml = "a: 1\nb:\n  c: {d: [x, {e: 1}]}\n  1: x\n  'c': 2\n";
        assert_eq!(found(yaml), Some((5, "b.c".to_string())));
        assert_eq!(found("a: {x: 1,\n  x: 2}\n"), Some((2, "a.x".to_string())));
        assert_eq!(found("{\n\t\"a\": 1.5,\n\t\"a\": 2\n}"), Some((3, "a".to_string())));
        assert_eq!(found("{a: 1,\na: 2,}"), Some((2, "a".to_string())));
        assert_eq!(found("1.0: a\n1.0: b"), Some((2, "1.0".to_string())));
        assert_eq!(found("1.0: a\n1: b\n~: c"), None);
        assert_eq!(found("a: 1\nb: {a: ~, c: [{a: 1}, {a: 2}]}\n"), None);
        assert_eq!(found("a: [\n"), None);
    }
}
