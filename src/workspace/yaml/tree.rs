//! A YAML document that keeps the notation of every number.
//!
//! YAML converts `1.10`, `6e2` and `0x1F` to numbers and loses how they were written. Where text is expected, as for a
//! branch or a key, the notation counts. A text with numbers is therefore parsed twice: once for the types of its
//! values, and once, guided by these, for the source text of its numbers.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::Number;

/// A value of a YAML document.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::workspace) enum Tree {
    Null,
    Bool(bool),
    Number {
        /// `None` for a number that is not finite, which JSON does not support.
        value: Option<Number>,
        /// Its source text.
        written: String,
    },
    Text(String),
    List(Vec<Tree>),
    /// Keys and values in order, including duplicate and merge keys.
    Map(Vec<(Tree, Tree)>),
}

impl Tree {
    /// Parses one document.
    ///
    /// # Errors
    /// The error of the parser, with its position.
    pub(in crate::workspace) fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        let mut tree: Self = serde_yaml::from_str(text)?;
        // Every command reads the configuration, which rarely contains numbers.
        if tree.any(&|node| matches!(node, Self::Number { .. })) {
            NumberTextSeed(&mut tree).deserialize(serde_yaml::Deserializer::from_str(text))?;
        }
        Ok(tree)
    }

    /// Returns whether two keys of a mapping may be equal: those with the same source text, and `null` and `~`.
    pub(in crate::workspace) fn may_repeat_a_key(&self) -> bool {
        self.any(&|node| match node {
            Self::Map(entries) => {
                let mut keys: Vec<_> = entries.iter().map(|(key, _)| key.scalar()).collect();
                keys.sort_unstable();
                keys.windows(2).any(|pair| pair[0] == pair[1])
            }
            _ => false,
        })
    }

    /// Returns whether `is_it` holds for this value or any value inside it.
    fn any(&self, is_it: &impl Fn(&Self) -> bool) -> bool {
        is_it(self)
            || match self {
                Self::List(items) => items.iter().any(|item| item.any(is_it)),
                Self::Map(entries) => entries.iter().any(|(key, value)| key.any(is_it) || value.any(is_it)),
                _ => false,
            }
    }

    /// Returns the text of a scalar, a number as it is written; `None` for lists and mappings.
    pub(in crate::workspace) fn scalar(&self) -> Option<&str> {
        Some(match self {
            Self::Null => "null",
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Number { written, .. } => written,
            Self::Text(text) => text,
            Self::List(_) | Self::Map(_) => return None,
        })
    }

    /// Returns the value at a path of keys and positions in lists.
    pub(in crate::workspace) fn at(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match self {
            Self::List(items) => items.get(first.parse::<usize>().ok()?)?.at(rest),
            Self::Map(entries) => {
                let is = |key: &Self, name: &str| key.scalar() == Some(name);
                // The last of duplicate keys counts, and all take precedence over merged keys.
                match entries.iter().rev().find(|(key, _)| is(key, first)) {
                    Some((_, value)) => value.at(rest),
                    None => {
                        entries.iter().filter(|(key, _)| is(key, "<<")).find_map(|(_, merged)| match merged {
                            Self::List(items) => items.iter().find_map(|item| item.at(path)),
                            single => single.at(path),
                        })
                    }
                }
            }
            _ => None,
        }
    }
}

impl From<Number> for Tree {
    fn from(number: Number) -> Self {
        Self::Number { value: Some(number), written: String::new() }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// Deserializes the types of values.
struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Number::from(number).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Number::from(number).into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Tree, E> {
        Ok(number_from_text(number).into())
    }

    fn visit_u128<E>(self, number: u128) -> Result<Tree, E> {
        Ok(number_from_text(number).into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Number { value: Number::from_f64(number), written: String::new() })
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_string()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Tree>()? {
            if key.scalar().is_none() {
                return Err(A::Error::custom("a key must be text, not a list or a mapping"));
            }
            entries.push((key, access.next_value()?));
        }
        Ok(Tree::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _access: A) -> Result<Tree, A::Error> {
        Err(A::Error::custom("tags such as !name are not supported"))
    }
}

fn number_from_text(number: impl fmt::Display) -> Number {
    // An integer's decimal digits are a JSON number.
    Number::from_string_unchecked(number.to_string())
}

/// Deserializes the source texts of the numbers of a tree.
struct NumberTextSeed<'t>(&'t mut Tree);

impl<'de> DeserializeSeed<'de> for NumberTextSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0 {
            Tree::Number { .. } => deserializer.deserialize_str(self),
            Tree::List(_) => deserializer.deserialize_seq(self),
            Tree::Map(_) => deserializer.deserialize_map(self),
            Tree::Null | Tree::Bool(_) | Tree::Text(_) => {
                deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
            }
        }
    }
}

impl<'de> Visitor<'de> for NumberTextSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value that was read before")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if let Tree::Number { written, .. } = self.0 {
            *written = text.to_string();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if let Tree::List(items) = self.0 {
            for item in items {
                access.next_element_seed(NumberTextSeed(item))?;
            }
        }
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if let Tree::Map(entries) = self.0 {
            for (key, value) in entries {
                if access.next_key_seed(NumberTextSeed(key))?.is_some() {
                    access.next_value_seed(NumberTextSeed(value))?;
                }
            }
        }
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, path: &[&str]) -> String {
        let tree = Tree::parse(text).unwrap();
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        tree.at(&path).and_then(Tree::scalar).unwrap_or("none").to_string()
    }

    #[test]
    fn numbers_keep_their_spelling_wherever_they_stand() {
        for number in [
            "1.10",
            "6e2",
            "6E+2",
            "0x1F",
            "0o17",
            "0b11",
            "+5",
            "-0",
            ".5",
            "5.",
            ".inf",
            "-.INF",
            ".nan",
            "007",
            "1_000",
            "12345678901234567890123456789012345678901234567890",
            "1:30",
            "2026-01-01",
        ] {
            let yaml = format!("a: {number}\nb: [x, {number}, {{c: {number}}}]\n{number}: d\n");
            assert_eq!(written(&yaml, &["a"]), number);
            assert_eq!(written(&yaml, &["b", "1"]), number);
            assert_eq!(written(&yaml, &["b", "2", "c"]), number);
            assert_eq!(written(&yaml, &[number]), "d");
        }
    }

    #[test]
    fn aliases_and_merge_keys_keep_the_spelling_of_their_anchor() {
        let yaml = "base: &b {x: 1.10, y: &n 0x1F}\nall:\n  <<: *b\n  z: *n\nmore:\n  <<: [*b, {w: 2.0}]\n  x: 1.0\n";
        assert_eq!(written(yaml, &["all", "x"]), "1.10");
        assert_eq!(written(yaml, &["all", "z"]), "0x1F");
        assert_eq!(written(yaml, &["more", "x"]), "1.0");
        assert_eq!(written(yaml, &["more", "w"]), "2.0");
        assert_eq!(written(yaml, &["more", "none"]), "none");
    }
}
