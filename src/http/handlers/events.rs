//! Histories: adding a line, and following them as server-sent events.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::logs::Read;
use crate::error::{Error, Result};
use crate::http::context::{App, Call, Outcome};
use crate::http::long_poll::Wish;
use crate::http::response::{Answer, ok};
use crate::http::transport::catch_panic::contain;
use crate::http::transport::service::{Sent, Ticket};
use crate::http::watcher::News;
use crate::model::json::{Object, portable_line};
use crate::model::task::object;
use crate::model::{Command, TaskId};

/// Connections that carry nothing else carry a comment this often, so that nothing on the way
/// takes them for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a client that is behind is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How often the output of a run is looked at.
const LOG_LOOK: Duration = Duration::from_millis(250);
/// The most changes read at once for a client that is behind.
const BATCH: usize = 256;
/// The most bytes sent at once.
const MAX_PIECE: usize = 64 * 1024;

/// `POST /tasks/{id}/events`
pub fn add(call: &Call<'_>) -> Outcome {
    let note = Command::Note {
        kind: call.body.text_or("type", "note"),
        message: call.body.text_or("message", ""),
        data: call.body.map("data"),
        token: call.body.token("claim_token"),
    };
    call.app.store.apply(&call.id()?, &note)?;
    Ok(ok([("ok", true.into())]).into())
}

/// `POST /tasks/{id}/comments`
pub fn comment(call: &Call<'_>) -> Outcome {
    let note = Command::Note {
        kind: COMMENT.to_string(),
        message: call.body.needed("comment")?,
        data: object([("author", call.body.text("author").into())]),
        token: None,
    };
    let id = call.id()?;
    call.app.store.apply(&id, &note)?;
    Ok(Answer::json(201, &crate::http::response::members([("comments", comments(call.app, &id)?)])).into())
}

/// The type of an event that is a board's comment.
const COMMENT: &str = "comment";

/// The comments of a task, oldest first.
pub fn comments(app: &App, id: &TaskId) -> Result<Value> {
    let comments = app.store.events(id)?.into_iter().filter(|event| event.kind == COMMENT).map(|event| {
        let mut object = Object::new();
        object.insert("comment".into(), event.message.into());
        object.insert("author".into(), event.data.get("author").cloned().unwrap_or_default());
        object.insert("created_at".into(), event.created_at.to_string().into());
        Value::Object(object)
    });
    Ok(comments.collect())
}

/// `GET /tasks/{id}/events`
pub fn follow_task(call: &Call<'_>) -> Outcome {
    let id = call.id()?;
    let task = call.app.store.task(&id)?;
    let since = last_seen(call)?;
    let mut sent = usize::try_from(since.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut begin = begin();
    if since.is_some() {
        let end = call.app.store.events(&id)?.len();
        if task.status.is_terminal() && end == sent {
            // Tells a browser that there is nothing to reconnect for.
            return Ok(Answer::empty().into());
        }
        if sent > end {
            begin.body.extend_from_slice(beyond(end as u64).as_bytes());
            sent = end;
        }
    }
    call.stream(Wish::History { id, sent }, begin)
}

/// `GET /events`
pub fn follow_all(call: &Call<'_>) -> Outcome {
    // In this order: the end can only move away from what the client has seen.
    let seen = last_seen(call)?;
    let end = call.app.store.feed_end()?;
    let since = seen.unwrap_or(end).min(end);
    let mut begin = begin();
    if seen.is_some_and(|seen| seen > end) {
        begin.body.extend_from_slice(beyond(end).as_bytes());
    }
    if let Some(first) = call.app.store.feed_start()?
        && since + 1 < first
    {
        // Entries that retention has dropped cannot be sent, but the client shall know.
        begin.body.extend_from_slice(format!("event: gap\ndata: {{\"first\": {first}}}\n\n").as_bytes());
    }
    call.stream(Wish::Feed { since, lane: call.query.text("lane") }, begin)
}

/// What a client is told that has seen more than there is, as after the store was replaced: where it goes on.
/// The id lets a browser that comes again ask from there.
fn beyond(end: u64) -> String {
    format!("event: gap\nid: {end}\ndata: {{\"first\": {}}}\n\n", end + 1)
}

/// The number of the last event that the client has, by its header or its query.
fn last_seen(call: &Call<'_>) -> Result<Option<u64>> {
    match call.request.header("last-event-id") {
        None => Ok(call.query.count("since")),
        Some(text) => {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            // No larger than `since` may be.
            let number = text.parse().ok().filter(|n| is_plain && i64::try_from(*n).is_ok());
            number.map(Some).ok_or_else(|| Error::invalid("Last-Event-ID is not a number of ours"))
        }
    }
}

fn begin() -> Answer {
    let mut answer = Answer::stream("text/event-stream");
    answer.body = b"retry: 1000\n\n".to_vec();
    answer
}

fn frame(id: u64, event: Object) -> String {
    // One line, whatever the texts in it hold.
    format!("id: {id}\ndata: {}\n", portable_line(&event))
}

/// What the watcher knows of streams between two rounds.
#[derive(Default)]
pub struct Streams {
    keep_alive_at: Option<Instant>,
    retry_at: Option<Instant>,
    log_at: Option<Instant>,
}

/// What becomes of a stream after a round.
enum Step {
    /// It has come this far.
    On(Wish),
    /// Its client has to catch up first.
    Behind(Wish),
    /// All is sent, and nothing can follow.
    Over,
    /// The client is gone.
    Gone,
}

impl Streams {
    /// When the streams need a round though nothing has happened.
    pub fn wake_at(&self) -> Option<Instant> {
        [self.keep_alive_at, self.retry_at, self.log_at].into_iter().flatten().min()
    }

    /// Sends to every stream what it has not got yet.
    pub fn round(&mut self, app: &App, news: &News) {
        let mut streams: Vec<(u64, Ticket, Wish)> = Vec::new();
        app.parked.visit(|number, entry| {
            if entry.wish.is_stream() {
                streams.push((number, entry.ticket, entry.wish.clone()));
            }
        });
        let now = Instant::now();
        let is_retry = self.retry_at.is_some_and(|at| at <= now);
        let has_logs = streams.iter().any(|(_, _, wish)| matches!(wish, Wish::Log(_)));
        self.log_at = has_logs.then_some(now + LOG_LOOK);
        self.retry_at = None;
        let beats = self.keep_alive_at.is_some_and(|at| at <= now);
        if beats || self.keep_alive_at.is_none() || streams.is_empty() {
            self.keep_alive_at = (!streams.is_empty()).then_some(now + KEEP_ALIVE);
        }
        for (number, ticket, wish) in streams {
            let has_comments = !matches!(wish, Wish::Log(_));
            let step = contain(|| match wish {
                Wish::Feed { since, lane } => feed(app, news, ticket, since, lane),
                Wish::History { id, sent } if is_retry || news.concerns(number, &id) => {
                    history(app, ticket, id, sent)
                }
                Wish::Log(follow) => log(app, ticket, follow),
                wish => Step::On(wish),
            });
            // A client whose stream breaks off comes again.
            match step.unwrap_or(Step::Over) {
                Step::On(wish) => app.parked.update(number, wish),
                Step::Behind(wish) => {
                    app.parked.update(number, wish);
                    self.retry_at = Some(now + RETRY);
                }
                Step::Over => {
                    app.sockets.finish(ticket);
                    app.parked.take(number);
                    continue;
                }
                Step::Gone => {
                    app.parked.take(number);
                    continue;
                }
            }
            if beats && has_comments {
                app.sockets.send(ticket, b": still here\n\n");
            }
        }
    }
}

fn feed(app: &App, news: &News, ticket: Ticket, mut since: u64, lane: Option<String>) -> Step {
    while since < news.latest {
        let read;
        let batch = match news.entries.first() {
            Some(first) if first.seq <= since + 1 => &news.entries,
            _ => {
                // A feed that cannot be read now is read in the next round.
                read = app.store.feed_since(since, BATCH).unwrap_or_default();
                &read
            }
        };
        let mut piece = String::new();
        let mut last = since;
        for entry in batch.iter().filter(|entry| entry.seq > since) {
            if piece.len() >= MAX_PIECE {
                break;
            }
            last = entry.seq;
            if lane.as_ref().is_none_or(|lane| *lane == entry.lane) {
                piece.push_str(&frame(entry.seq, entry.to_object()));
            }
        }
        if last == since {
            break;
        }
        match app.sockets.send(ticket, piece.as_bytes()) {
            Sent::Taken => since = last,
            Sent::Behind => return Step::Behind(Wish::Feed { since, lane }),
            Sent::Gone => return Step::Gone,
        }
    }
    Step::On(Wish::Feed { since, lane })
}

fn history(app: &App, ticket: Ticket, id: TaskId, mut sent: usize) -> Step {
    // The state first: what a terminal task's history holds afterwards is all there will be.
    let Ok(task) = app.store.task(&id) else { return Step::Over };
    let Ok(events) = app.store.events(&id) else { return Step::On(Wish::History { id, sent }) };
    while sent < events.len() {
        let mut piece = String::new();
        let mut next = sent;
        while next < events.len() && piece.len() < MAX_PIECE {
            let mut object = events[next].to_object();
            object.insert("task_id".into(), id.as_str().into());
            next += 1;
            piece.push_str(&frame(next as u64, object));
        }
        match app.sockets.send(ticket, piece.as_bytes()) {
            Sent::Taken => sent = next,
            Sent::Behind => return Step::Behind(Wish::History { id, sent }),
            Sent::Gone => return Step::Gone,
        }
    }
    if task.status.is_terminal() { Step::Over } else { Step::On(Wish::History { id, sent }) }
}

fn log(app: &App, ticket: Ticket, mut follow: super::logs::Follow) -> Step {
    loop {
        let before = follow.clone();
        match follow.read(app, MAX_PIECE) {
            Read::Piece(piece) => match app.sockets.send(ticket, &piece) {
                Sent::Taken => {}
                Sent::Behind => return Step::Behind(Wish::Log(before)),
                Sent::Gone => return Step::Gone,
            },
            Read::Nothing => return Step::On(Wish::Log(follow)),
            Read::End => return Step::Over,
        }
    }
}
