//! YAML and JSON files that people write: size-limited, parsed, and converted to typed values.

mod containers;
mod depth;
mod document;
mod duplicates;
mod mapping;
mod tree;

pub(crate) use containers::{ContainerVisitor, Containers};
pub use depth::check as check_nesting;
pub(crate) use document::written_number;

pub(super) use document::{Document, parse, scalar_text, to_yaml};
pub(super) use duplicates::first as first_duplicate;
pub(super) use mapping::MappingReader;
