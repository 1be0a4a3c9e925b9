//! The table of the state machine: the effect of every command on a task in every state.

use std::time::Duration;

use lanes::internals::model::event::ENGINE_KINDS;
use lanes::internals::model::task::Availability;
use lanes::internals::model::transition::TransitionContext;
use lanes::internals::model::{
    Answer, AnswerOutcome, Claim, ClaimToken, Command, Dependency, DependencyCondition, DependencyOutcome,
    Effect, ExclusiveKey, FailureClass, Now, RequestCheck, Response, Status, Task, TaskId, Time, json,
};
use lanes::{DefaultAnswer, ErrorKind, NewQuestion, Question, TaskEdit, TaskMessage};

use crate::testkit::store::{lane_name, owner};

const ID: &str = "20261121T065000000000Z-c-0123456789ab-000001";

/// Each cell is the state of the task after the command of its row: a state, `=` when nothing was to be done, `no`
/// when the command is refused, `bad` when its arguments are invalid. The token `mine` is that of the task's last
/// claim, so on a queued task it is the token of a claim that is over.
///
/// States: `future` and `due` are scheduled; `live` and `last` are held (`last` in the last of three
/// attempts); `expired` and `spent` are claimed under a lease that has ended (`spent` in the last
/// attempt); the four after them have ended; `parked` is a state of a newer version; `blocked` waits for another task,
/// and so does `strayed`, which another implementation has claimed nevertheless and given back; `asking` waits for an
/// answer, `timely` for one whose default applies by now, and `lost` is claimed under a lease that has ended with a
/// question open. The last five have an exclusive key: `keyed` waits for a claim, `kfuture` for its time, `kstray` was
/// given back by another implementation, `kheld` is held, and `klost` is claimed under a lease that has ended.
const TABLE: &str = "
                       queued  future  due     live    last    expired spent   done    failed  cancel  dead    parked  blocked strayed asking  timely  lost    keyed   kfuture kstray  kheld   klost
claim                  live    no      live    no      no      live    no      no      no      no      no      no      no      no      no      live    no      kheld   no      kheld   no      kheld
renew/mine             no      no      no      live    live    live    live    no      no      no      no      no      no      no      no      no      live    no      no      no      kheld   kheld
renew/other            no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
release/mine           no      no      no      queued  queued  queued  queued  no      no      no      no      no      no      no      no      no      asking  no      no      no      keyed   keyed
release/mine/later     no      no      no      future  future  future  future  no      no      no      no      no      no      no      no      no      asking  no      no      no      kfuture kfuture
release/mine/spent     no      no      no      queued  dead    queued  dead    no      no      no      no      no      no      no      no      no      asking  no      no      no      keyed   keyed
release/mine/both      no      no      no      future  dead    future  dead    no      no      no      no      no      no      no      no      no      asking  no      no      no      kfuture kfuture
release/other          no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
done/mine              no      no      no      done    done    done    done    =       no      no      no      no      no      no      no      no      done    no      no      no      done    done
done/other             no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
done/none              done    done    done    no      no      no      no      no      no      no      no      no      done    done    done    done    no      done    done    done    no      no
failed/mine            no      no      no      failed  failed  failed  failed  no      =       no      no      no      no      no      no      no      failed  no      no      no      failed  failed
failed/other           no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
failed/none            failed  failed  failed  no      no      no      no      no      no      no      no      no      failed  failed  failed  failed  no      failed  failed  failed  no      no
ask/mine               no      no      no      asking  asking  asking  asking  no      no      no      no      no      no      no      no      no      asking  no      no      no      asking  asking
ask/mine/wait          no      no      no      live    live    lost    spent   no      no      no      no      no      no      no      no      no      lost    no      no      no      kheld   lost
ask/other              no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
answer/1               no      no      no      no      no      no      no      no      no      no      no      no      no      no      queued  no      expired no      no      no      no      no
answer/1/yes           no      no      no      no      no      no      no      no      no      no      no      no      no      no      queued  no      expired no      no      no      no      no
answer/1/maybe         no      no      no      no      no      no      no      no      no      no      no      no      no      no      bad     bad     bad     no      no      no      no      no
answer/2               no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
answer/none            no      no      no      no      no      no      no      no      no      no      no      no      no      no      queued  no      expired no      no      no      no      no
answer/empty           bad     bad     bad     bad     bad     bad     bad     no      no      no      no      no      bad     bad     bad     bad     bad     bad     bad     bad     bad     bad
tell                   queued  future  due     live    live    expired spent   no      no      no      no      no      blocked strayed asking  timely  lost    keyed   kfuture kstray  kheld   klost
tell/empty             bad     bad     bad     bad     bad     bad     bad     no      no      no      no      no      bad     bad     bad     bad     bad     bad     bad     bad     bad     bad
read/mine              no      no      no      live    live    expired spent   no      no      no      no      no      no      no      no      no      lost    no      no      no      kheld   klost
read/none              no      no      no      =       =       =       =       no      no      no      no      no      no      no      no      no      =       no      no      no      =       =
read/other             no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
note/none              queued  future  due     live    live    expired spent   done    failed  cancel  dead    parked  blocked strayed asking  timely  lost    keyed   kfuture kstray  kheld   klost
note/mine              no      no      no      live    live    expired spent   no      no      no      no      no      no      no      no      no      lost    no      no      no      kheld   klost
note/other             no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no      no
note/forged            bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad     bad
cancel                 cancel  cancel  cancel  cancel  cancel  cancel  cancel  no      no      =       no      no      cancel  cancel  cancel  cancel  cancel  cancel  cancel  cancel  cancel  cancel
edit/name              queued  future  due     live    live    expired spent   done    failed  cancel  dead    no      blocked strayed asking  timely  lost    keyed   kfuture kstray  kheld   klost
edit/nothing           =       =       =       =       =       =       =       =       =       =       =       no      =       =       =       =       =       =       =       =       =       =
move/away              queued  future  due     no      no      no      no      no      no      no      no      no      blocked strayed asking  timely  no      keyed   kfuture kstray  no      no
move/here              =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =       =
retried                no      no      no      no      no      no      no      no      failed  cancel  dead    no      no      no      no      no      no      no      no      no      no      no
request_changed        queued  future  due     live    live    expired spent   done    failed  cancel  dead    parked  blocked strayed asking  timely  lost    keyed   kfuture kstray  kheld   klost
settle                 =       =       queued  =       =       =       dead    =       =       =       =       =       =       blocked =       queued  asking  =       =       keyed   =       keyed
unblock/met            =       =       =       =       =       =       =       =       =       =       =       =       queued  queued  =       =       =       =       =       =       =       =
unblock/failed         =       =       =       =       =       =       =       =       =       =       =       =       upstream upstream =       =       =     =       =       =       =       =
add_keys               keyed   kfuture keyed   no      no      keyed   keyed   no      no      no      no      no      blocked blocked asking  timely  asking  =       =       =       =       =
";

fn at(seconds: i64) -> Time {
    Time::from_micros((1_795_244_400 + seconds) * 1_000_000)
}

/// The time of all commands; tasks were claimed 100 seconds before.
fn now() -> Now {
    Now { wall: at(0), uptime: 5_000_000_000, boot: "b1".to_string() }
}

/// The id of the task that others depend on.
fn other_id() -> TaskId {
    TaskId::parse("20261121T064000000000Z-c-0123456789ab-000002").unwrap()
}

fn exclusive_key() -> ExclusiveKey {
    ExclusiveKey::new("database").unwrap()
}

fn token(word: &str) -> ClaimToken {
    ClaimToken::from_text(word)
}

fn claim(lease_ends: i64) -> Claim {
    Claim {
        owner: owner("ann"),
        token: token("mine"),
        claimed_at: at(-100),
        lease_expires_at: at(lease_ends),
        lease: Duration::try_from_secs_f64((lease_ends + 100) as f64).ok().map(Into::into),
    }
}

fn failed(class: FailureClass) -> Status {
    let reason = format!("for {}", class.as_str());
    Status::Failed { at: at(-5), claim: Some(claim(-5)), reason, class }
}

/// A task in the state that a column of the table names.
fn task(state: &str) -> Task {
    let text = format!(
        r#"{{"id": "{ID}", "workspace_id": "w", "correlation_id": "c", "lane": "here", "workspace_root": "/w",
        "request_path": "/w/r", "request_sha256": "ab12", "response_path": "/w/o", "state": "queued",
        "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z", "max_attempts": 3,
        "theirs": 1}}"#
    );
    let mut task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
    (task.attempt, task.fence) = (1, 4);
    task.bookkeeping.last_event = 7;
    task.status = match state {
        "queued" => Status::Queued,
        "future" => Status::Scheduled { until: at(60) },
        "due" => Status::Scheduled { until: at(0) },
        "live" | "last" | "kheld" => Status::Claimed(claim(60)),
        "expired" | "spent" => Status::Claimed(claim(0)),
        "done" => Status::Completed { at: at(-5), claim: Some(claim(-5)) },
        "failed" => failed(FailureClass::Error),
        "cancel" => failed(FailureClass::Cancelled),
        "dead" => failed(FailureClass::Dead),
        "parked" => Status::Unknown("delegated".to_string()),
        "blocked" => Status::Blocked { until: None },
        "strayed" | "kstray" => Status::Queued,
        "keyed" => Status::Blocked { until: None },
        "kfuture" => Status::Blocked { until: Some(at(60)) },
        "asking" | "timely" => Status::InputRequired,
        "lost" | "klost" => Status::Claimed(claim(0)),
        other => panic!("no state {other}"),
    };
    if ["last", "spent"].contains(&state) {
        task.attempt = 3;
    }
    task.messages.push(TaskMessage {
        number: 1,
        text: "Use the new one.".into(),
        sent_by: "eve".into(),
        sent_at: at(-20),
        receipt: None,
        extra: json::Object::new(),
    });
    if ["blocked", "strayed"].contains(&state) {
        task.spec.after = vec![Dependency { task: other_id(), on: DependencyCondition::Completed }];
    }
    if ["keyed", "kfuture", "kstray", "kheld", "klost"].contains(&state) {
        task.spec.exclusive = vec![exclusive_key()];
    }
    if ["asking", "timely", "lost"].contains(&state) {
        let default = DefaultAnswer { text: "no".into(), expires_at: at(0) };
        task.questions.push(Question {
            number: 1,
            text: "Delete it?".into(),
            choices: vec!["yes".into(), "no".into()],
            asked_by: owner("ann"),
            asked_at: at(-50),
            default: (state == "timely").then_some(default),
            answer: None,
            tool: None,
            extra: json::Object::new(),
        });
    }
    task
}

/// Returns the column that a task belongs to now; `last` counts as `live`.
fn state_of(task: &Task) -> &'static str {
    let spent = task.availability(&now()) == Availability::Spent;
    match &task.status {
        Status::Blocked { .. } if task.waits_for_dependencies() => "blocked",
        Status::Blocked { until: Some(until) } if *until > now().wall => "kfuture",
        Status::Blocked { .. } => "keyed",
        Status::Queued if task.waits_for_dependencies() => "strayed",
        Status::Queued if task.needs_keys() => "kstray",
        Status::Queued => "queued",
        Status::Scheduled { until } if *until > now().wall => "future",
        Status::Scheduled { .. } => "due",
        Status::Claimed(_) if task.lease_is_live(&now()) => {
            if task.needs_keys() {
                "kheld"
            } else {
                "live"
            }
        }
        Status::Claimed(_) if spent => "spent",
        Status::Claimed(_) if task.availability(&now()) == Availability::InputRequired => "lost",
        Status::Claimed(_) if task.needs_keys() => "klost",
        Status::Claimed(_) => "expired",
        Status::Completed { .. } => "done",
        Status::Failed { class, .. } => match class {
            FailureClass::Cancelled => "cancel",
            FailureClass::Dead => "dead",
            FailureClass::Upstream => "upstream",
            FailureClass::Expired => "expired",
            FailureClass::Error
            | FailureClass::Timeout
            | FailureClass::Lost
            | FailureClass::UsageLimit
            | FailureClass::Permanent
            | FailureClass::Unverified
            | FailureClass::Budget
            | FailureClass::Other(_) => "failed",
        },
        Status::InputRequired if task.availability(&now()) == Availability::Ready => "timely",
        Status::InputRequired => "asking",
        Status::Unknown(_) => "parked",
    }
}

fn answer(outcome: AnswerOutcome, proof: Option<&str>) -> Answer {
    Answer { token: proof.map(token), outcome, ..Answer::completed("ann", "the answer") }
}

/// The answer that an ended task has.
fn previous(task: &Task) -> Option<Response> {
    let mut draft = Task { status: Status::Queued, ..task.clone() };
    let outcome = match &task.status {
        Status::Completed { .. } => AnswerOutcome::Completed,
        Status::Failed { class: class @ FailureClass::Error, .. } => AnswerOutcome::Failed(class.clone()),
        Status::Failed { .. } => {
            apply(&mut draft, &row("cancel"), &RequestCheck::Same, None).unwrap();
            return draft.bookkeeping.response;
        }
        Status::Queued
        | Status::Scheduled { .. }
        | Status::Blocked { .. }
        | Status::Claimed(_)
        | Status::InputRequired
        | Status::Unknown(_) => return None,
    };
    let command = Command::Respond(answer(outcome, None));
    apply(&mut draft, &command, &RequestCheck::Same, None).unwrap();
    draft.bookkeeping.response
}

fn release(proof: &str, delay: Option<u64>, spent: bool) -> Command {
    let spent = spent.then_some(FailureClass::Timeout);
    let delay = delay.map(Duration::from_secs);
    Command::Release { token: token(proof), reason: Some("tired".into()), delay, spent }
}

fn note(kind: &str, proof: Option<&str>) -> Command {
    let data = json::Object::new();
    Command::Note { kind: kind.into(), message: "hello".into(), data, token: proof.map(token) }
}

fn ask(proof: &str, keeps_claim: bool) -> Command {
    let question = NewQuestion { text: "Which one?".into(), keeps_claim, ..NewQuestion::default() };
    Command::Ask { token: token(proof), question }
}

fn answer_question(number: Option<u32>, text: &str, is_choice: bool) -> Command {
    Command::AnswerQuestion { number, text: text.into(), is_choice, by: "eve".into() }
}

fn tell(text: &str) -> Command {
    Command::Tell { text: text.into(), by: "eve".into() }
}

fn edit(name: Option<&str>) -> Command {
    Command::Edit(TaskEdit { name: name.map(str::to_string), ..TaskEdit::default() })
}

/// The command that a row of the table names.
fn row(name: &str) -> Command {
    let respond = |outcome: &AnswerOutcome, proof| Command::Respond(answer(outcome.clone(), proof));
    let (done, failed) = (&AnswerOutcome::Completed, &AnswerOutcome::Failed(FailureClass::Error));
    match name {
        "claim" => {
            Command::Claim { owner: owner("bob"), token: token("new"), lease: Duration::from_secs(60) }
        }
        "renew/mine" => Command::Renew { token: token("mine"), lease: None },
        "renew/other" => Command::Renew { token: token("other"), lease: Some(Duration::from_secs(60)) },
        "release/mine" => release("mine", None, false),
        "release/mine/later" => release("mine", Some(30), false),
        "release/mine/spent" => release("mine", None, true),
        "release/mine/both" => release("mine", Some(30), true),
        "release/other" => release("other", None, false),
        "done/mine" => respond(done, Some("mine")),
        "done/other" => respond(done, Some("other")),
        "done/none" => respond(done, None),
        "failed/mine" => respond(failed, Some("mine")),
        "failed/other" => respond(failed, Some("other")),
        "failed/none" => respond(failed, None),
        "ask/mine" => ask("mine", false),
        "ask/mine/wait" => ask("mine", true),
        "ask/other" => ask("other", false),
        "answer/1" => answer_question(Some(1), "the first", false),
        "answer/1/yes" => answer_question(Some(1), "yes", true),
        "answer/1/maybe" => answer_question(Some(1), "maybe", true),
        "answer/2" => answer_question(Some(2), "the first", false),
        "answer/none" => answer_question(None, "the first", false),
        "answer/empty" => answer_question(None, " \n", false),
        "tell" => tell("And the tests."),
        "tell/empty" => tell(" \n"),
        "read/mine" => Command::ReadMessages { token: token("mine"), through: 1 },
        "read/none" => Command::ReadMessages { token: token("mine"), through: 0 },
        "read/other" => Command::ReadMessages { token: token("other"), through: 1 },
        "note/none" => note("progress", None),
        "note/mine" => note("progress", Some("mine")),
        "note/other" => note("progress", Some("other")),
        "note/forged" => note("claimed", Some("mine")),
        "cancel" => Command::Cancel { reason: None, by: "eve".into() },
        "edit/name" => edit(Some("a title")),
        "edit/nothing" => edit(None),
        "move/away" => Command::Move { lane: lane_name("there") },
        "move/here" => Command::Move { lane: lane_name("here") },
        "retried" => Command::Retried { new_id: "n".into(), by: "eve".into() },
        "request_changed" => Command::RequestChanged,
        "settle" => Command::Settle,
        "add_keys" => Command::AddKeys { keys: vec![exclusive_key()] },
        "unblock/met" => Command::Unblock(DependencyOutcome::Satisfied),
        "unblock/failed" => {
            Command::Unblock(DependencyOutcome::Failed { task: other_id(), reason: "failed".into() })
        }
        other => panic!("no command {other}"),
    }
}

/// The first row of the variant after that of `command`. A new variant does not compile until it
/// has a place in this chain, and then fails until it has rows in the table.
fn next_variant(command: &Command) -> Option<&'static str> {
    match command {
        Command::Claim { .. } => Some("renew/mine"),
        Command::Renew { .. } => Some("release/mine"),
        Command::Release { .. } => Some("done/mine"),
        Command::Respond(_) => Some("ask/mine"),
        Command::Ask { .. } => Some("answer/1"),
        Command::AnswerQuestion { .. } => Some("tell"),
        Command::Tell { .. } => Some("read/mine"),
        Command::ReadMessages { .. } => Some("note/none"),
        Command::Note { .. } => Some("cancel"),
        Command::Cancel { .. } => Some("edit/name"),
        Command::Edit(_) => Some("move/away"),
        Command::Move { .. } => Some("retried"),
        Command::Retried { .. } => Some("request_changed"),
        Command::RequestChanged => Some("settle"),
        Command::Settle => Some("unblock/met"),
        Command::Unblock(_) => Some("add_keys"),
        Command::AddKeys { .. } => None,
    }
}

fn apply(
    task: &mut Task,
    command: &Command,
    request: &RequestCheck,
    previous: Option<&Response>,
) -> lanes::Result<Effect> {
    command.apply(task, &TransitionContext { now: &now(), request, previous, new_request: None })
}

/// A refusal of the queue names the task; every error is one line that a terminal can show.
fn check_words(error: &lanes::Error, place: &str) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{place}: {text:?}");
    if error.kind() == ErrorKind::Refused {
        assert!(text.contains(ID), "{place}: {text}");
    }
}

/// What a change must and must not have done, whatever the command.
fn check_change(place: &str, command: &Command, before: &Task, after: &Task) {
    let new = &after.bookkeeping.recent[before.bookkeeping.recent.len()..];
    assert!(!new.is_empty(), "{place}: no event");
    for (event, n) in new.iter().zip(before.bookkeeping.last_event + 1..) {
        assert_eq!((event.n, event.created_at), (Some(n), now().wall), "{place}");
    }
    assert_eq!(after.bookkeeping.last_event, before.bookkeeping.last_event + new.len() as u64, "{place}");
    assert_eq!(after.updated_at, now().wall, "{place}");
    let claims = u64::from(matches!(command, Command::Claim { .. }));
    assert_eq!(after.fence, before.fence + claims, "{place}: the fence counts claims");
    let asks = matches!(command, Command::Ask { question, .. } if !question.keeps_claim);
    let given_back = u32::from(asks || matches!(command, Command::Release { spent: None, .. }));
    assert_eq!(after.attempt + given_back, before.attempt + claims as u32, "{place}: attempts");
    if before.status.is_terminal() {
        assert_eq!(after.status, before.status, "{place}: what has ended has ended");
    }
    let ends = after.status.is_terminal() && !before.status.is_terminal();
    assert_eq!(after.bookkeeping.response.is_some(), ends, "{place}: an answer exactly when it ends");
    let live = matches!(after.status, Status::Claimed(_)) && claims > 0;
    assert!(!live || after.bookkeeping.lease.is_some(), "{place}: a lease by the uptime");
    // Nothing else changes.
    let mut rest = after.clone();
    (rest.status, rest.attempt, rest.fence) = (before.status.clone(), before.attempt, before.fence);
    (rest.bookkeeping, rest.updated_at) = (before.bookkeeping.clone(), before.updated_at);
    match command {
        Command::Move { .. } => rest.spec.lane.clone_from(&before.spec.lane),
        Command::Edit(_) => rest.spec.name.clone_from(&before.spec.name),
        Command::Ask { .. } | Command::AnswerQuestion { .. } | Command::Settle | Command::Claim { .. } => {
            rest.questions.clone_from(&before.questions);
        }
        Command::AddKeys { .. } => rest.spec.exclusive.clone_from(&before.spec.exclusive),
        Command::Tell { .. } | Command::ReadMessages { .. } => rest.messages.clone_from(&before.messages),
        Command::Retried { .. } => rest.retried_as.clone_from(&before.retried_as),
        _ => {}
    }
    assert_eq!(rest, *before, "{place}");
}

#[test]
fn every_command_in_every_state() {
    let mut lines = TABLE.lines().filter(|line| !line.is_empty());
    let states: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    for line in lines {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells.len(), states.len() + 1, "{line}");
        let command = row(cells[0]);
        for (state, expected) in states.iter().zip(&cells[1..]) {
            let place = format!("{} on {state}", cells[0]);
            let before = task(state);
            let mut after = before.clone();
            let outcome = apply(&mut after, &command, &RequestCheck::Same, previous(&before).as_ref())
                .inspect_err(|error| {
                    check_words(error, &place);
                    assert_eq!(after, before, "{place}: a refusal changed the task");
                });
            let found = match outcome.map_err(|error| error.kind()) {
                Ok(Effect::Changed) => state_of(&after),
                Ok(Effect::Unchanged) => "=",
                Err(ErrorKind::Refused) => "no",
                Err(ErrorKind::Invalid) => "bad",
                Err(kind) => panic!("{place}: {kind:?}"),
            };
            assert_eq!(found, *expected, "{place}");
            match found {
                "=" => assert_eq!(after, before, "{place}"),
                "no" | "bad" => {}
                _ => check_change(&place, &command, &before, &after),
            }
        }
    }
}

#[test]
fn the_table_has_every_variant_and_every_state() {
    let rows: Vec<&str> = TABLE.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    let mut name = Some("claim");
    while let Some(first) = name {
        assert!(rows.contains(&first), "{first} has no row");
        name = next_variant(&row(first));
    }
    let states = TABLE.lines().nth(1).unwrap();
    for state in states.split_whitespace().filter(|state| *state != "last") {
        assert_eq!(state_of(&task(state)), state);
    }
    assert_eq!(states.split_whitespace().count(), 22);
}

#[test]
fn the_queues_own_event_kinds_cannot_be_forged() {
    for kind in ENGINE_KINDS.into_iter().chain(["", "two words", "a\nb", "tab\t", &"x".repeat(65)]) {
        for proof in [None, Some("mine")] {
            let error =
                apply(&mut task("live"), &note(kind, proof), &RequestCheck::Unchecked, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{kind:?}");
            check_words(&error, kind);
        }
    }
    for kind in ["note", "headless_started", &"x".repeat(64)] {
        apply(&mut task("live"), &note(kind, None), &RequestCheck::Unchecked, None).unwrap();
    }
    // Whatever the queue itself writes is on the list.
    for line in TABLE.lines().skip(2).filter(|line| !line.starts_with("note")) {
        for state in ["queued", "due", "live", "last", "spent", "failed"] {
            let mut task = task(state);
            let command = row(line.split_whitespace().next().unwrap());
            let _ = apply(&mut task, &command, &RequestCheck::Same, None);
            for event in &task.bookkeeping.recent {
                assert!(ENGINE_KINDS.contains(&event.kind.as_str()), "{}", event.kind);
            }
        }
    }
}

#[test]
fn lengths_out_of_range_are_refused() {
    let longest = Duration::from_secs(30 * 86400);
    for lease in [Duration::ZERO, longest + Duration::from_nanos(1), Duration::MAX] {
        let claim = Command::Claim { owner: owner("bob"), token: token("new"), lease };
        let renew = Command::Renew { token: token("mine"), lease: Some(lease) };
        for (state, command) in [("queued", claim), ("live", renew)] {
            let error = apply(&mut task(state), &command, &RequestCheck::Same, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{lease:?}");
        }
    }
    for delay in [10 * 365 * 86400 + 1, u64::MAX] {
        let error = apply(&mut task("live"), &release("mine", Some(delay), false), &RequestCheck::Same, None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{delay}");
    }
    let longest = Command::Claim { owner: owner("bob"), token: token("new"), lease: longest };
    apply(&mut task("queued"), &longest, &RequestCheck::Same, None).unwrap();
}

#[test]
fn a_message_is_read_once_by_the_first_who_holds_the_task() {
    let mut task = task("live");
    for text in ["And the tests.", "And the docs."] {
        apply(&mut task, &tell(text), &RequestCheck::Unchecked, None).unwrap();
    }
    let read = |through| Command::ReadMessages { token: token("mine"), through };
    let readers = |task: &Task| -> Vec<bool> {
        task.messages.iter().map(|message| message.receipt.is_some()).collect()
    };
    assert_eq!(apply(&mut task, &read(2), &RequestCheck::Unchecked, None).unwrap(), Effect::Changed);
    assert_eq!(readers(&task), [true, true, false]);
    let first = task.messages[0].receipt.clone().unwrap();
    assert_eq!((first.by, first.at), (owner("ann"), now().wall));
    assert_eq!(apply(&mut task, &read(2), &RequestCheck::Unchecked, None).unwrap(), Effect::Unchanged);
    assert_eq!(task.bookkeeping.recent.last().unwrap().message, "messages 1 to 2 read by ann");
    apply(&mut task, &read(u32::MAX), &RequestCheck::Unchecked, None).unwrap();
    assert_eq!(task.unread_messages().count(), 0);
    let again = Task::from_object(task.to_object()).unwrap();
    assert_eq!(again.messages, task.messages);
}
