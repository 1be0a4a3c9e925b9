//! Whether calls of tools that an agent may not make by itself become questions to a person.

use std::time::Duration;

use serde_yaml::Value;

use crate::Result;
use crate::model::limits;
use crate::workspace::Section;

/// How long a question about a call is open, unless the route says otherwise.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(3600);

/// What happens to a call of a tool that an agent may not make by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PermissionPrompts {
    /// Whether a person is asked; otherwise it is denied.
    pub asks: bool,
    /// How long the person has to answer; then it is denied.
    pub expires: Duration,
}

impl Default for PermissionPrompts {
    fn default() -> Self {
        Self { asks: false, expires: DEFAULT_EXPIRY }
    }
}

/// Reads `permission_prompts` and `permission_expires`.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_permission_prompts(
    section: &Section<'_>,
    base: PermissionPrompts,
) -> Result<PermissionPrompts> {
    let asks = section.read("permission_prompts", asks)?.or(base.asks);
    if asks && cfg!(not(feature = "mcp")) {
        return Err(
            section.error("permission_prompts", "this build lacks `lanes mcp`, by which an agent would ask")
        );
    }
    let expires = section.duration("permission_expires")?.or(base.expires);
    limits::check_expiry(expires).map_err(|error| section.error("permission_expires", error.message()))?;
    Ok(PermissionPrompts { asks, expires })
}

fn asks(value: &Value) -> std::result::Result<bool, String> {
    match value.as_str() {
        Some("ask") => Ok(true),
        Some("deny") => Ok(false),
        _ => Err("expected ask or deny".to_string()),
    }
}
