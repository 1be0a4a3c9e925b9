//! What a server and a remote store tell each other, as JSON: each value is written here and read here, so that the two
//! sides cannot differ.

#![cfg_attr(not(feature = "remote"), allow(dead_code, reason = "half of it is for a remote store"))]

use std::collections::BTreeMap;

use serde_json::Value;

use super::feed::FeedEntry;
use super::lane_queries::ReadyTasks;
use super::lane_settings::Pause;
use super::worker_registry::WorkerInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::model::json::{Object, to_line};
use crate::model::task::object;
use crate::model::{
    ClaimToken, Cooldown, CooldownKey, Cooldowns, Event, LaneName, Now, Response, Task, Time,
};

/// The version of what is written here. A server answers a client of the same version alone.
pub(crate) const PROTOCOL: u64 = 1;

/// What follows the beginning of the token of a claim for clients that do not hold it.
const HIDDEN: &str = "-hidden";

/// How much of a token is shown: what tells which dispatcher holds the claim. As much of it stays secret.
const SHOWN_OF_TOKEN: usize = 16;

/// The key of the token in a task.
const TOKEN: &str = "claim_token";

/// Returns the whole of a task. The token of its claim is in it only if `holder` is that token.
pub(crate) fn task_object(task: &Task, holder: Option<&ClaimToken>) -> Object {
    let mut object = task.to_object();
    let is_holder = task.status.claim().is_some_and(|claim| Some(&claim.token) == holder);
    if !is_holder && let Some(token) = object.get_mut(TOKEN).filter(|token| !token.is_null()) {
        let shown = token.as_str().filter(|text| text.len() >= 2 * SHOWN_OF_TOKEN);
        let shown = shown.and_then(|text| text.get(..SHOWN_OF_TOKEN)).unwrap_or_default();
        *token = format!("{shown}{HIDDEN}").into();
    }
    object
}

/// Reads a task of [`task_object`].
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_task(value: &Value) -> Result<Task> {
    let object = value.as_object().cloned().ok_or_else(|| unusable("a task"))?;
    Task::from_object(object).map_err(|why| unusable(&format!("a task: {why}")))
}

/// Makes the error about a part of an answer of the server that cannot be read.
pub(crate) fn unusable(what: &str) -> Error {
    Error::corrupt(format!("the server's answer cannot be used: {what}"))
        .with_hint("use the same version of lanes on both machines")
}

/// Returns an error as the server tells it.
pub(crate) fn error_object(error: &Error) -> Object {
    object([
        ("code", error.kind().code().into()),
        ("error", error.to_string().into()),
        ("message", error.message().into()),
        ("hint", error.hint().into()),
        ("is_misuse", error.is_misuse().into()),
    ])
}

/// Reads an error of [`error_object`], or one of another route; `None` if it is not an error of a store.
pub(crate) fn read_error(reply: &Object) -> Option<Error> {
    let text = |key: &str| reply.get(key).and_then(Value::as_str);
    let kind = ErrorKind::of_code(text("code")?)?;
    let message = text("message").or(text("error"))?;
    let is_misuse = reply.get("is_misuse").and_then(Value::as_bool).unwrap_or_default();
    let error = if is_misuse { Error::invalid(message) } else { Error::new(kind, message) };
    Some(match text("hint") {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

/// Returns a moment of the server's clocks.
pub(crate) fn now_object(now: &Now) -> Object {
    object([
        ("wall", now.wall.micros().into()),
        ("uptime", now.uptime.into()),
        ("boot", now.boot.as_str().into()),
    ])
}

/// Reads a moment of [`now_object`].
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_now(value: &Value) -> Result<Now> {
    let number = |key: &str| value.get(key).and_then(Value::as_i64).ok_or_else(|| unusable("the time"));
    let boot = value.get("boot").and_then(Value::as_str).unwrap_or_default().to_string();
    Ok(Now { wall: Time::from_micros(number("wall")?), uptime: number("uptime")?, boot })
}

/// Reads an event, as [`Event::to_object`] writes it.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_event(value: &Value) -> Result<Event> {
    Event::parse(line_of(value)?.as_bytes()).ok_or_else(|| unusable("an event"))
}

/// Reads an answer, as [`Response::to_object`] writes it.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_response(value: &Value) -> Result<Response> {
    Response::parse(line_of(value)?.as_bytes()).map_err(|why| unusable(&format!("an answer: {why}")))
}

/// Reads an entry of the feed, as [`FeedEntry::to_object`] writes it.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_feed_entry(value: &Value) -> Result<FeedEntry> {
    FeedEntry::from_line(line_of(value)?.as_bytes()).ok_or_else(|| unusable("a change"))
}

fn line_of(value: &Value) -> Result<String> {
    value.as_object().map(to_line).ok_or_else(|| unusable("a value that is no object"))
}

/// Reads a worker, as [`WorkerInfo::to_object`] writes it.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_worker(value: &Value) -> Result<WorkerInfo> {
    value.as_object().and_then(WorkerInfo::from_object).ok_or_else(|| unusable("a worker"))
}

/// Returns the paused lanes.
pub(crate) fn pauses_object(paused: BTreeMap<LaneName, Pause>) -> Object {
    super::lane_settings::encode_pauses(paused)
}

/// Reads the paused lanes of [`pauses_object`].
///
/// # Errors
/// `Corrupt` when they are none.
pub(crate) fn read_pauses(value: &Value) -> Result<BTreeMap<LaneName, Pause>> {
    let object = value.as_object().cloned().unwrap_or_default();
    super::lane_settings::decode_pauses(object).map_err(|why| unusable(&why))
}

/// Returns cooldowns.
pub(crate) fn cooldowns_object(cooldowns: Cooldowns) -> Object {
    super::vendor_cooldowns::encode(cooldowns)
}

/// Reads the cooldowns of [`cooldowns_object`].
///
/// # Errors
/// `Corrupt` when they are none.
pub(crate) fn read_cooldowns(value: &Value) -> Result<Cooldowns> {
    let object = value.as_object().cloned().unwrap_or_default();
    super::vendor_cooldowns::decode(object).map_err(|why| unusable(&why))
}

/// Returns some cooldowns, by their keys.
pub(crate) fn cooldown_list(cooldowns: Vec<Cooldown>) -> Object {
    let by_key = |cooldown: Cooldown| (cooldown.scope.key(), cooldown);
    cooldowns_object(cooldowns.into_iter().map(by_key).collect::<BTreeMap<CooldownKey, Cooldown>>())
}

/// Returns the lanes with claimable tasks.
pub(crate) fn ready_object(ready: BTreeMap<LaneName, ReadyTasks>) -> Object {
    let entry = |ready: ReadyTasks| {
        object([("count", ready.count.into()), ("since", ready.since.to_string().into())]).into()
    };
    ready.into_iter().map(|(lane, ready)| (lane.into(), entry(ready))).collect()
}

/// Reads the lanes of [`ready_object`].
///
/// # Errors
/// `Corrupt` when they are none.
pub(crate) fn read_ready(value: &Value) -> Result<BTreeMap<LaneName, ReadyTasks>> {
    let lanes = value.as_object().ok_or_else(|| unusable("lanes"))?;
    let read = |entry: &Value| -> Option<ReadyTasks> {
        let since = Time::parse(entry.get("since")?.as_str()?).ok()?;
        Some(ReadyTasks { count: entry.get("count")?.as_u64()?, since })
    };
    let lane = |(name, entry): (&String, &Value)| {
        read(entry).map(|ready| (LaneName::stored(name), ready)).ok_or_else(|| unusable("a lane"))
    };
    lanes.iter().map(lane).collect()
}

/// Reads a list of texts.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn read_texts(value: &Value) -> Result<Vec<String>> {
    let items = value.as_array().ok_or_else(|| unusable("a list"))?;
    items.iter().map(|item| item.as_str().map(str::to_string).ok_or_else(|| unusable("a text"))).collect()
}

/// Reads a time, or null.
pub(crate) fn read_time(value: &Value) -> Option<Time> {
    Time::parse(value.as_str()?).ok()
}
