//! The limits on metadata that a client sends.

use crate::error::{Error, Result};
use crate::model::json::{self, Object};
use crate::model::limits;

/// The largest metadata, in bytes as they are written.
const MAX_METADATA: usize = 1024 * 1024;

/// Refuses metadata that would make task.json too large, and values that a program could read as a flag.
///
/// # Errors
/// `Invalid` when the metadata is too large or has such a value.
pub(crate) fn check_client_metadata(metadata: &Object) -> Result<()> {
    limits::check_metadata(metadata)?;
    if json::to_text(metadata).len() <= MAX_METADATA {
        return Ok(());
    }
    Err(Error::invalid(format!("the metadata takes more than {MAX_METADATA} bytes"))
        .with_hint("put large data into a file and name it"))
}
