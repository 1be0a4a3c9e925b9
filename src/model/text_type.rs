//! The traits of types that wrap a checked text: names of lanes and workers, keys, hashes.

/// Implements for a type that wraps a `String` what makes it as handy as one.
///
/// Not `Deref` to `str`: it would let such a text pass silently where text without a rule is expected.
macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// Wraps a text from a file without checking it: another implementation or an older version may have
            /// written it under other rules. What a caller gives is checked by the constructor.
            pub(crate) fn stored(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns it as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl From<&$name> for String {
            fn from(text: &$name) -> Self {
                text.0.clone()
            }
        }

        impl From<$name> for serde_json::Value {
            fn from(text: $name) -> Self {
                Self::String(text.0)
            }
        }

        impl From<&$name> for serde_json::Value {
            fn from(text: &$name) -> Self {
                Self::String(text.0.clone())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

/// Implements `FromStr` for a type that wraps a text and whose constructor checks it.
macro_rules! parsed_text {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = crate::error::Error;

            fn from_str(text: &str) -> crate::error::Result<Self> {
                Self::new(text)
            }
        }
    };
}

pub(super) use {parsed_text, text_type};
