//! Finds the line of a key in a YAML text.
//!
//! The parser reports the position of errors only. So the text is parsed once more, by a visitor that fails on
//! purpose at the key in question.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{ContainerVisitor, Containers};

/// The message of the error at the key.
const FOUND: &str = "this is the key";

/// Returns the line of the deepest key of `path` that `text` contains.
pub(crate) fn line_of_key(text: &str, path: &[String]) -> Option<usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (1..=path.len()).rev().find_map(|depth| {
        let seed = Containers(KeySearch(&path[..depth]));
        let error = seed.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        let is_found = error.to_string().contains(FOUND);
        error.location().filter(|_| is_found).map(|location| location.line())
    })
}

/// Searches a value for the path.
struct KeySearch<'p>(&'p [String]);

impl<'de> ContainerVisitor<'de> for KeySearch<'_> {
    fn visit_mapping<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while let Some(is_on_path) = access.next_key_seed(KeyMatch(self.0))? {
            if is_on_path {
                access.next_value_seed(Containers(KeySearch(&self.0[1..])))?;
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_list<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let position = self.0.first().and_then(|position| position.parse::<usize>().ok());
        for at in 0.. {
            let found = match (position == Some(at), self.0) {
                (true, [_]) => access.next_element_seed(Containers(Here))?,
                (true, [_, below @ ..]) => access.next_element_seed(Containers(KeySearch(below)))?,
                _ => access.next_element::<IgnoredAny>()?.map(drop),
            };
            if found.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Fails at the mapping or list that is visited.
struct Here;

impl<'de> ContainerVisitor<'de> for Here {
    fn visit_mapping<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }

    fn visit_list<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(FOUND))
    }
}

/// Compares a key with the first of the path, and fails at the last one.
struct KeyMatch<'p>(&'p [String]);

impl KeyMatch<'_> {
    fn compare<E: serde::de::Error>(&self, key: &str) -> Result<bool, E> {
        match self.0 {
            [wanted] if wanted == key => Err(E::custom(FOUND)),
            [wanted, ..] => Ok(wanted == key),
            [] => Ok(false),
        }
    }
}

impl<'de> DeserializeSeed<'de> for KeyMatch<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeyMatch<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        self.compare(key)
    }

    fn visit_bool<E: serde::de::Error>(self, key: bool) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, key: i64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, key: u64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, key: f64) -> Result<bool, E> {
        self.compare(&key.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        self.compare("null")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, path: &str) -> Option<usize> {
        let path: Vec<String> = path.split('.').map(str::to_string).collect();
        line_of_key(text, &path)
    }

    #[test]
    fn keys_are_found_in_every_style() {
        let block =
            "\u{feff}a: 1\n# a comment\nb:\n  'c d':\n    e: |\n      f: no key\n    f: 1\n  7: x\nf: 2\n";
        assert_eq!(line(block, "a"), Some(1));
        assert_eq!(line(block, "b.c d"), Some(4));
        assert_eq!(line(block, "b.c d.f"), Some(7));
        assert_eq!(line(block, "b.7"), Some(8));
        assert_eq!(line(block, "f"), Some(9));
        let list = "a:\n  - {b: 1}\n  - b: 2\n    c: 3\n  - x\n";
        assert_eq!(line(list, "a.0"), Some(2));
        assert_eq!(line(list, "a.1"), Some(3));
        assert_eq!(line(list, "a.1.c"), Some(4));
        assert_eq!(line(list, "a.2"), Some(1), "a text has no keys");
        let flow = "a: {b: 1,\n  c: {\"d\": [x,\n    y], e: 2}}\n";
        assert_eq!(line(flow, "a.c"), Some(2));
        assert_eq!(line(flow, "a.c.e"), Some(3));
        assert_eq!(line("{\n  \"a\": {\n    \"b\": 1\n  }\n}", "a.b"), Some(3));
    }

    #[test]
    fn a_missing_key_is_located_at_the_mapping_that_should_contain_it() {
        assert_eq!(line("a:\n  b:\n    c: 1\n", "a.b.x"), Some(2));
        assert_eq!(line("a: [b]\n", "a.b"), Some(1));
        assert_eq!(line("a: 1\n", "x.y"), None);
        assert_eq!(line("a: [", "b"), None);
        assert_eq!(line("", "a"), None);
    }
}
