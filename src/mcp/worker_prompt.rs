//! The prompt that makes a chat a worker; some clients show it as a slash command.

use rmcp::model::{Prompt, PromptArgument};

use crate::error::Result;
use crate::model::LaneName;

/// The name of the prompt.
pub(super) const NAME: &str = "worker";

/// The text, with a placeholder for the lane.
const TEXT: &str = include_str!("../../templates/mcp/worker.md");
const PLACEHOLDER: &str = "{{LANE}}";

/// Returns the prompt as it is listed.
pub(super) fn prompt() -> Prompt {
    let lane = PromptArgument::new("lane").with_description("the lane to work on").with_required(true);
    Prompt::new(NAME, Some("Work on the tasks of a lane until stopped"), Some(vec![lane]))
}

/// Returns the text for a lane.
///
/// # Errors
/// `Invalid` when it is not a valid name of a lane.
pub(super) fn text(lane: &str) -> Result<String> {
    Ok(TEXT.replace(PLACEHOLDER, LaneName::new(lane)?.as_str()))
}
