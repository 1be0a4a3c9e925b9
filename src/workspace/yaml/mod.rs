//! YAML and JSON files that people write: size-limited, parsed, and converted to typed values.

mod containers;
mod depth;
mod document;
mod duplicates;
mod file_part;
mod key_line;
mod mapping;
#[cfg(feature = "cli")]
mod section;
mod syntax;
mod tree;

pub(crate) use containers::{ContainerVisitor, Containers};
pub use depth::check as check_nesting;
pub(crate) use document::written_number;
#[cfg(feature = "cli")]
pub(crate) use section::{KeyNames, did_you_mean, most_similar, written_key};
#[cfg(feature = "cli")]
pub use section::{Override, Section, SourceText};

#[cfg(feature = "cli")]
pub(crate) use syntax::why_not_yaml;

pub(super) use document::{Document, parse, scalar_text, to_yaml};
pub(super) use duplicates::first as first_duplicate;
pub(super) use file_part::FilePart;
pub(super) use mapping::MappingReader;
