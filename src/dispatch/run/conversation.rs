//! The conversation in which a run takes place, as the vendor's program remembers it.

use serde::{Deserialize, Serialize};

/// The conversation of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ConversationFields", into = "ConversationFields")]
pub(crate) enum Conversation {
    /// A new one, whose id the vendor's program chooses.
    #[default]
    New,
    /// A new one with this id.
    NewWithId(String),
    /// An earlier one with this id, which the run resumes.
    Resumed(String),
}

impl Conversation {
    /// Returns the id, if it is known before the run starts.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::New => None,
            Self::NewWithId(id) | Self::Resumed(id) => Some(id),
        }
    }

    /// Returns the id of a new conversation, if the dispatcher chose one.
    pub(crate) fn new_id(&self) -> Option<&str> {
        match self {
            Self::NewWithId(id) => Some(id),
            Self::New | Self::Resumed(_) => None,
        }
    }

    /// Returns the id of the conversation that the run resumes, if it resumes one.
    pub(crate) fn resumed_id(&self) -> Option<&str> {
        match self {
            Self::Resumed(id) => Some(id),
            Self::New | Self::NewWithId(_) => None,
        }
    }
}

/// How `run.json` states a conversation: at most one of the two is written.
#[derive(Serialize, Deserialize)]
struct ConversationFields {
    session_id: Option<String>,
    resume_id: Option<String>,
}

impl From<ConversationFields> for Conversation {
    fn from(fields: ConversationFields) -> Self {
        match (fields.resume_id, fields.session_id) {
            (Some(id), _) => Self::Resumed(id),
            (None, Some(id)) => Self::NewWithId(id),
            (None, None) => Self::New,
        }
    }
}

impl From<Conversation> for ConversationFields {
    fn from(conversation: Conversation) -> Self {
        let text = |id: Option<&str>| id.map(str::to_string);
        Self { session_id: text(conversation.new_id()), resume_id: text(conversation.resumed_id()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_written_as_two_fields_and_read_again() {
        for (conversation, text) in [
            (Conversation::New, r#"{"session_id":null,"resume_id":null}"#),
            (Conversation::NewWithId("a".to_string()), r#"{"session_id":"a","resume_id":null}"#),
            (Conversation::Resumed("b".to_string()), r#"{"session_id":null,"resume_id":"b"}"#),
        ] {
            assert_eq!(serde_json::to_string(&conversation).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Conversation>(text).expect("a conversation"), conversation);
        }
        let both = r#"{"session_id":"a","resume_id":"b"}"#;
        assert_eq!(
            serde_json::from_str::<Conversation>(both).expect("a conversation"),
            Conversation::Resumed("b".to_string())
        );
    }
}
