//! Messages to the workers of a task: sent by anybody while the task is open, read under a claim.

use serde_json::Value;

use super::id::TaskId;
use super::json::Object;
use super::json::raw::Raw;
use super::limits;
use super::owner::Owner;
use super::time::Time;
#[cfg(feature = "mcp")]
use crate::error::printable;
use crate::error::{Error, Result};

/// The longest message, in bytes.
pub(crate) const MAX_TASK_MESSAGE: usize = 16 * 1024;
/// The largest number of messages of a task.
const MAX_MESSAGES: usize = 100;
/// The largest size of all messages of a task together, in bytes: every reader of the task reads them.
const MAX_TOTAL: usize = 256 * 1024;

/// A message to the workers of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMessage {
    /// Its number within the task: 1, 2, 3, …
    pub number: u32,
    /// The message itself.
    pub text: String,
    /// The name of the person or program that sent it.
    pub sent_by: String,
    /// When it was sent.
    pub sent_at: Time,
    /// Who was the first to get it; `None` as long as nobody has.
    pub receipt: Option<MessageReceipt>,
    /// Keys of a newer version.
    pub extra: Object,
}

/// Who was the first to get a message, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageReceipt {
    /// The owner of the claim under which it was given out.
    pub by: Owner,
    /// When it was given out.
    pub at: Time,
}

/// How the messages to an open task that nobody has read reach a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageDelivery {
    /// With the next claim: nobody holds the task, or its agent cannot get messages.
    Claim,
    /// With what the holder does next under its claim: renew it, add an event, ask.
    Holder,
    /// After the next tool call of its agent, which a dispatcher runs, or once the agent has answered.
    Run,
    /// In the next prompt of its agent, which a dispatcher runs: once the agent has answered.
    Prompt,
}

impl MessageDelivery {
    /// Returns the word for it that programs get.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Holder => "holder",
            Self::Run => "run",
            Self::Prompt => "prompt",
        }
    }
}

/// When an agent that a dispatcher runs gets a message that comes while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageTime {
    /// After its next tool call, or once it has answered.
    ToolCall,
    /// Once it has answered.
    Answer,
}

impl MessageTime {
    /// Returns the word for it in the registration of a dispatcher.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ToolCall => "tool_call",
            Self::Answer => "answer",
        }
    }

    /// Parses the word for it.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::ToolCall, Self::Answer].into_iter().find(|time| time.as_str() == word)
    }
}

impl TaskMessage {
    /// Returns the message as other programs see it.
    pub fn to_object(&self) -> Object {
        let mut all = self.extra.clone();
        let receipt = self.receipt.as_ref();
        let pairs: [(&str, Value); 6] = [
            ("n", self.number.into()),
            ("message", self.text.clone().into()),
            ("sent_by", self.sent_by.clone().into()),
            ("sent_at", self.sent_at.to_string().into()),
            ("read_by", receipt.map(|receipt| receipt.by.clone()).into()),
            ("read_at", receipt.map(|receipt| receipt.at.to_string()).into()),
        ];
        all.extend(pairs.map(|(key, value)| (key.to_string(), value)));
        all
    }

    /// Parses a message; `None` if it is none.
    pub(super) fn from_raw(raw: Raw<'_>) -> Option<Self> {
        let text = |raw: Raw<'_>| raw.text().map(|text| text.decode().into_owned());
        let time = |raw: Raw<'_>| Time::parse(&raw.text()?.decode()).ok();
        let (mut number, mut message, mut sent_by, mut sent_at) = (None, None, None, None);
        let (mut read_by, mut read_at, mut extra) = (None, None, Object::new());
        let is_object = raw.members(|key, raw| match key {
            "n" => number = raw.integer(),
            "message" => message = text(raw),
            "sent_by" => sent_by = text(raw),
            "sent_at" => sent_at = time(raw),
            "read_by" => read_by = text(raw).map(Owner::stored),
            "read_at" => read_at = time(raw),
            other => drop(extra.insert(other.to_string(), raw.value())),
        });
        is_object.then_some(Self {
            number: number?,
            text: message?,
            sent_by: sent_by?,
            sent_at: sent_at?,
            receipt: read_by.zip(read_at).map(|(by, at)| MessageReceipt { by, at }),
            extra,
        })
    }
}

/// Checks a message of `text`, sent by `by`, to a task `id` that has `messages`.
///
/// # Errors
/// `Invalid` when it is empty or too long, when there are too many messages, or all of them together are too long.
pub(super) fn check_message(id: &TaskId, messages: &[TaskMessage], text: &str, by: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid("the message is empty"));
    }
    limits::check_at_most("the message", text, MAX_TASK_MESSAGE)?;
    limits::check_actor("the name of the sender", by)?;
    if messages.len() >= MAX_MESSAGES {
        return Err(Error::invalid_here(format!(
            "{id} has {MAX_MESSAGES} messages, and no task may have more than that"
        ))
        .with_hint(format!("`lanes cancel {id}`, and submit a task that says all of it")));
    }
    let size = messages.iter().map(|message| message.text.len()).sum::<usize>() + text.len();
    if size > MAX_TOTAL {
        return Err(Error::invalid_here(format!(
            "the messages to {id} would be {size} bytes long together; at most {MAX_TOTAL} are accepted"
        ))
        .with_hint("write long texts to a file and name the file"));
    }
    Ok(())
}

/// Returns messages as other programs see them.
pub(crate) fn messages_value(messages: &[TaskMessage]) -> Value {
    messages.iter().map(|message| Value::Object(message.to_object())).collect()
}

/// Returns messages as a worker reads them, one after the other; empty without any.
#[cfg(feature = "mcp")]
pub(crate) fn messages_text(messages: &[TaskMessage]) -> String {
    let texts = messages.iter().map(|message| {
        format!("message {} from {}: {}", message.number, printable(&message.sent_by), message.text)
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32, text: &str) -> TaskMessage {
        TaskMessage {
            number,
            text: text.to_string(),
            sent_by: "eve".to_string(),
            sent_at: Time::parse("2026-11-21T07:00:00Z").unwrap(),
            receipt: None,
            extra: Object::new(),
        }
    }

    #[test]
    fn a_message_survives_its_json_with_keys_of_a_newer_version() {
        let mut message = message(3, "Use \"main\".\n");
        for receipt in [None, Some(MessageReceipt { by: Owner::stored("ada"), at: message.sent_at })] {
            message.receipt = receipt;
            message.extra.insert("urgent".to_string(), true.into());
            let text = Value::Object(message.to_object()).to_string();
            assert_eq!(TaskMessage::from_raw(Raw::from_valid(&text)).as_ref(), Some(&message), "{text}");
        }
        assert!(TaskMessage::from_raw(Raw::from_valid(r#"{"n": 1, "message": "no sender"}"#)).is_none());
    }

    #[test]
    fn messages_have_limits() {
        let id = TaskId::parse("20261121T070000000000Z-work-d64cf2").unwrap();
        let check = |messages: &[TaskMessage], text: &str| {
            check_message(&id, messages, text, "eve").map_err(|error| error.to_string())
        };
        let largest = "x".repeat(MAX_TASK_MESSAGE);
        assert!(check(&[], &largest).is_ok());
        assert!(check(&[], &format!("{largest}x")).is_err());
        assert!(check(&[], " \n").unwrap_err().contains("empty"));
        assert!(check_message(&id, &[], "x", &"y".repeat(10_000)).is_err());
        let short: Vec<_> = (1..=100).map(|number| message(number, "x")).collect();
        assert!(check(&short[1..], "x").is_ok());
        assert!(check(&short, "x").unwrap_err().contains("has 100 messages"));
        let long: Vec<_> = (1..=16).map(|number| message(number, &largest)).collect();
        assert!(check(&long[1..], &largest).is_ok());
        assert!(check(&long, "x").unwrap_err().contains("at most 262144"));
    }
}
