//! Details of the state machine that the table of `transitions.rs` does not cover: changed requests, repeated
//! answers, spent attempts, texts with line breaks.

use lanes::Sha256;
use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::task::{Availability, LeaseClock};
use lanes::internals::model::transition::TransitionContext;
use lanes::internals::model::{
    Answer, AnswerOutcome, ClaimToken, Command, Effect, FailureClass, LaneName, Now, Owner, RequestCheck,
    Response, Status, Task, Time, Verdict, json,
};

use crate::testkit::store::owner;

const SHA: &str = "ab12";

fn at(seconds: i64) -> Time {
    Time::from_micros((1_795_244_400 + seconds) * 1_000_000)
}

fn now(seconds: i64) -> Now {
    Now { wall: at(seconds), uptime: (5000 + seconds) * 1_000_000, boot: "b1".to_string() }
}

fn queued(max_attempts: Option<u32>) -> Task {
    let text = format!(
        r#"{{"id": "t-1", "workspace_id": "w", "correlation_id": "c", "lane": "l", "workspace_root": "/w",
        "request_path": "/w/r\n\u001b[2J", "request_sha256": "{SHA}", "response_path": "/w/o", "state": "queued",
        "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z"}}"#
    );
    let mut task = Task::from_object(json::parse_object(text.as_bytes()).unwrap()).unwrap();
    task.spec.max_attempts = max_attempts;
    task
}

/// A lane as another implementation has named it.
fn stored_lane(name: &str) -> LaneName {
    let mut object = queued(None).to_object();
    object.insert("lane".to_string(), name.into());
    Task::from_object(object).unwrap().spec.lane
}

/// A worker as another implementation has named it.
fn stored_owner(name: &str) -> Owner {
    let mut task = queued(None);
    run(&mut task, 0, &claim("t")).unwrap();
    let mut object = task.to_object();
    object.insert("claim_owner".to_string(), name.into());
    Task::from_object(object).unwrap().status.claim().unwrap().owner.clone()
}

/// Applies a command at `seconds`; a refusal must leave the task unchanged, with a message of one line.
fn on(task: &mut Task, seconds: i64, request: &RequestCheck, command: &Command) -> Result<Effect, String> {
    let (before, previous) = (task.clone(), task.bookkeeping.response.clone());
    let context =
        TransitionContext { now: &now(seconds), request, previous: previous.as_ref(), new_request: None };
    command.apply(task, &context).map_err(|error| {
        assert_eq!(*task, before, "a refusal changed the task");
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(error.kind() == ErrorKind::Invalid || text.contains("t-1"), "{text}");
        text
    })
}

fn run(task: &mut Task, seconds: i64, command: &Command) -> Result<Effect, String> {
    on(task, seconds, &RequestCheck::Same, command)
}

fn claim(token: &str) -> Command {
    let token = ClaimToken::from_text(token);
    Command::Claim { owner: owner("ann"), token, lease: Duration::from_secs(60) }
}

fn release(token: &str, spent: Option<FailureClass>) -> Command {
    let token = ClaimToken::from_text(token);
    Command::Release { token, reason: Some("tired".into()), delay: None, spent }
}

fn answer(token: Option<&str>) -> Answer {
    Answer {
        token: token.map(ClaimToken::from_text),
        verdict: Some(Verdict::Accept),
        blocking_count: Some(0),
        nonblocking_count: Some(2),
        ..Answer::completed("ann", "fine")
    }
}

#[test]
fn a_changed_request_stops_claims_and_success_but_not_failure() {
    let changed = RequestCheck::Changed(Sha256::new("cd".repeat(32)).unwrap());
    for (request, expected) in [(&RequestCheck::Missing, "is missing"), (&changed, "has changed")] {
        let refusal = on(&mut queued(None), 0, request, &claim("a")).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
        for token in [None, Some("a")] {
            let mut task = queued(None);
            if token.is_some() {
                run(&mut task, 0, &claim("a")).unwrap();
            }
            let refusal = on(&mut task, 1, request, &Command::Respond(answer(token))).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
            let failed = Answer { outcome: AnswerOutcome::Failed(FailureClass::Error), ..answer(token) };
            on(&mut task, 1, request, &Command::Respond(failed)).unwrap();
            let response: Response = task.bookkeeping.response.unwrap();
            assert!(response.request_changed_before_response);
            assert_eq!(response.reviewed_request_sha256, SHA);
        }
    }
}

#[test]
fn an_answer_given_twice_counts_once_and_another_is_refused() {
    type Change = fn(&mut Answer);
    let changes: [(&str, Change); 9] = [
        ("token", |answer| answer.token = Some(ClaimToken::from_text("b"))),
        ("outcome", |answer| answer.outcome = AnswerOutcome::Failed(FailureClass::Error)),
        ("body", |answer| answer.body.push('!')),
        ("reviewer", |answer| answer.reviewer.push('!')),
        ("verdict", |answer| answer.verdict = None),
        ("blocking", |answer| answer.blocking_count = None),
        ("nonblocking", |answer| answer.nonblocking_count = Some(3)),
        ("follow up", |answer| answer.follow_up_required = true),
        ("metadata", |answer| drop(answer.metadata.insert("k".into(), 1.into()))),
    ];
    for token in [None, Some("a")] {
        let mut task = queued(None);
        if token.is_some() {
            run(&mut task, 0, &claim("a")).unwrap();
        }
        assert_eq!(run(&mut task, 1, &Command::Respond(answer(token))).unwrap(), Effect::Changed);
        let done = task.clone();
        assert_eq!(run(&mut task, 2, &Command::Respond(answer(token))).unwrap(), Effect::Unchanged);
        assert_eq!(task, done);
        for (what, change) in changes {
            let mut other = answer(token);
            change(&mut other);
            let refusal = run(&mut task, 2, &Command::Respond(other)).unwrap_err();
            assert!(refusal.contains("task is completed"), "{what}: {refusal}");
        }
    }
}

#[test]
fn an_answer_must_be_about_this_request_and_agree_with_itself() {
    let mut task = queued(None);
    let other = Answer { expect_sha256: Some("cd34".into()), ..answer(None) };
    assert!(run(&mut task, 0, &Command::Respond(other)).unwrap_err().contains("not cd34"));
    for verdict in [Verdict::Accept, Verdict::AcceptWithFollowUps] {
        let other = Answer { verdict: Some(verdict), blocking_count: Some(1), ..answer(None) };
        assert!(run(&mut task, 0, &Command::Respond(other)).unwrap_err().contains("needs-revision"));
    }
    let blocked = Answer {
        verdict: Some(Verdict::NeedsRevision),
        blocking_count: Some(1),
        expect_sha256: Some(SHA.into()),
        ..answer(None)
    };
    run(&mut task, 0, &Command::Respond(blocked)).unwrap();
}

#[test]
fn an_answer_has_a_largest_size() {
    let respond = |body: String| {
        let answer = Answer { body, ..answer(None) };
        run(&mut queued(None), 1, &Command::Respond(answer))
    };
    let refused = respond("x".repeat(100 * 1024 * 1024 + 1)).unwrap_err();
    assert!(refused.contains("the response is 104857601 bytes long; give at most 104857600"), "{refused}");
    assert_eq!(respond("x".repeat(100 * 1024 * 1024)), Ok(Effect::Changed));
    assert_eq!(respond(String::new()), Ok(Effect::Changed), "an empty answer is one");
}

#[test]
fn attempts_are_spent_by_claims_and_given_back_by_releases() {
    let mut task = queued(Some(2));
    for round in 0..5_u64 {
        run(&mut task, 0, &claim("a")).unwrap();
        assert_eq!((task.attempt, task.fence), (1, round + 1), "the fence never goes back");
        run(&mut task, 0, &release("a", None)).unwrap();
        assert_eq!((task.attempt, task.fence), (0, round + 1));
    }
    run(&mut task, 0, &claim("a")).unwrap();
    run(&mut task, 0, &release("a", Some(FailureClass::Timeout))).unwrap();
    assert_eq!((task.attempt, &task.status), (1, &Status::Queued));
    run(&mut task, 0, &claim("b")).unwrap();
    assert_eq!(task.availability(&now(59)), Availability::Leased(at(60)));
    assert_eq!(task.availability(&now(60)), Availability::Spent, "its lease was the last");
    let mut late = task.clone();
    run(&mut late, 70, &Command::Respond(answer(Some("b")))).unwrap();
    run(&mut task, 60, &Command::Settle).unwrap();
    let Status::Failed { class: FailureClass::Dead, reason, claim, .. } = &task.status else {
        panic!("{:?}", task.status);
    };
    assert!(reason.contains("2 of 2 attempts") && reason.contains("ann"), "{reason}");
    assert_eq!(claim.as_ref().unwrap().token.as_str(), "b");
    assert!(run(&mut task, 70, &Command::Respond(answer(Some("b")))).unwrap_err().contains("2 of 2"));
}

#[test]
fn each_lease_ends_by_the_clock_that_can_be_trusted() {
    let mut task = queued(None);
    run(&mut task, 0, &claim("a")).unwrap();
    let at_moment = |wall: i64, uptime: i64, boot: &str| Now {
        wall: at(wall),
        uptime: (5000 + uptime) * 1_000_000,
        boot: boot.to_string(),
    };
    // The lease lasts from 0 to 60: (wall, uptime, boot, live).
    let table = [
        (0, 0, "b1", true),
        (59, 59, "b1", true),
        (60, 60, "b1", false),
        (9999, 59, "b1", true),
        (-9999, 59, "b1", true),
        (-9999, 60, "b1", false),
        (59, 60, "b2", true),
        (60, -4000, "b2", false),
        (59, 9999, "", true),
        (-60, -4000, "b2", true),
        (-61, -4000, "b2", false),
    ];
    for (wall, uptime, boot, live) in table {
        assert_eq!(task.lease_is_live(&at_moment(wall, uptime, boot)), live, "{wall} {uptime} {boot}");
    }
    // Another implementation renewed it: the end by the uptime is no longer that of this lease.
    let Status::Claimed(claim) = &mut task.status else { panic!("{:?}", task.status) };
    claim.lease_expires_at = at(500);
    for (wall, uptime, live) in [(499, 499, true), (500, 0, false), (-60, 0, true), (-61, 0, false)] {
        assert_eq!(task.lease_is_live(&at_moment(wall, uptime, "b1")), live, "{wall} {uptime}");
    }
    // If the system has no boot id, the uptime cannot be trusted.
    let lease = LeaseClock { expires_at: at(500), boot: String::new(), until: i64::MAX };
    task.bookkeeping.lease = Some(lease);
    assert!(!task.lease_is_live(&at_moment(500, 0, "")));
}

#[test]
fn hostile_words_stay_on_one_line() {
    let evil = "x\n\u{1b}[2J\r\u{2028}\u{202e}y";
    let refused = Owner::new(evil).unwrap_err().to_string();
    assert!(!refused.chars().any(char::is_control), "{refused:?}");
    let mut task = queued(None);
    on(&mut task, 0, &RequestCheck::Missing, &claim("a")).unwrap_err();
    // Another implementation accepts such a name.
    let claim_as_evil = |task: &mut Task, moment: i64| {
        run(task, moment, &claim("a")).unwrap();
        let Status::Claimed(held) = &mut task.status else { panic!("{:?}", task.status) };
        held.owner = stored_owner(evil);
    };
    claim_as_evil(&mut task, 0);
    let others = [
        claim("b"),
        release("b", None),
        Command::Respond(answer(None)),
        Command::Respond(answer(Some("b"))),
        Command::Move { lane: stored_lane(evil) },
        Command::Note { kind: evil.into(), message: evil.into(), data: json::Object::new(), token: None },
        Command::Respond(Answer { expect_sha256: Some(evil.into()), ..answer(Some("a")) }),
    ];
    for command in &others {
        run(&mut task, 1, command).unwrap_err();
    }
    let cancel = |by: &str| Command::Cancel { reason: Some(evil.into()), by: by.into() };
    run(&mut task, 1, &cancel(evil)).unwrap_err();
    run(&mut task, 1, &cancel("eve")).unwrap();
    for command in [claim("b"), release("a", None), Command::Respond(answer(Some("a")))] {
        run(&mut task, 2, &command).unwrap_err();
    }
    let mut dead = queued(Some(1));
    claim_as_evil(&mut dead, 0);
    run(&mut dead, 60, &Command::Settle).unwrap();
    run(&mut dead, 61, &claim("b")).unwrap_err();
    dead.status = Status::Unknown(evil.into());
    run(&mut dead, 61, &claim("b")).unwrap_err();
    dead.status = Status::Queued;
    run(&mut dead, 61, &Command::Retried { new_id: evil.into(), by: evil.into() }).unwrap_err();
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    let mut task = queued(None);
    (task.fence, task.attempt, task.bookkeeping.last_event) = (u64::MAX, u32::MAX, u64::MAX);
    task.spec.priority = i32::MIN;
    run(&mut task, 0, &claim("a")).unwrap();
    assert_eq!(task.fence, u64::MAX, "it never goes back");
    task.spec.priority = i32::MAX;
    task.created_at = Time::from_micros(i64::MIN);
    assert!(task.rank() < 0);
    let renew = Command::Renew { token: ClaimToken::from_text("a"), lease: None };
    let Status::Claimed(claim) = &mut task.status else { panic!("{:?}", task.status) };
    (claim.lease, claim.claimed_at) = (None, Time::from_micros(i64::MAX));
    let refusal = run(&mut task, 1, &renew).unwrap_err();
    assert!(refusal.contains("out of range"), "a lease of negative length: {refusal}");
}
