//! The claim of a task: who holds it, for how long, and what its token is good for.

use std::time::Duration;

use lanes::ErrorKind;
use lanes::internals::model::{ClaimToken, Command, Effect, FailureClass, Status, Task};

use crate::testkit::store::{Fixture, answer, in_lane, owner};

const LEASE: Duration = Duration::from_secs(60);

fn token(task: &Task) -> ClaimToken {
    task.status.claim().unwrap().token.clone()
}

fn release(task: &Task, delay: Option<Duration>, spent: Option<FailureClass>) -> Command {
    Command::Release { token: token(task), reason: Some("later".to_string()), delay, spent }
}

pub fn a_renewal_extends_the_lease_by_the_clock_of_the_store(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    let end = |task: &Task| {
        let claim = task.status.claim().unwrap();
        claim.lease_expires_at.seconds_since(store.now().wall)
    };
    assert!((end(&held) - 60.0).abs() < 0.001);
    fixture.pass(50.0);
    let (renewed, effect) =
        store.apply(&held.id, &Command::Renew { token: token(&held), lease: None }).unwrap();
    assert_eq!(effect, Effect::Changed);
    assert!((end(&renewed) - 60.0).abs() < 0.001, "the length of the claim");
    let longer = Command::Renew { token: token(&held), lease: Some(Duration::from_secs(600)) };
    let (renewed, _) = store.apply(&held.id, &longer).unwrap();
    assert!((end(&renewed) - 600.0).abs() < 0.001);
    fixture.pass(599.0);
    assert!(store.claim_next(&in_lane("l"), &owner("other"), LEASE).unwrap().is_none());
    fixture.pass(2.0);
    assert_eq!(store.claim_next(&in_lane("l"), &owner("other"), LEASE).unwrap().unwrap().fence, 2);
}

pub fn an_old_token_changes_nothing(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    let lost = fixture.claim(&store, "l");
    fixture.pass(61.0);
    let held = store.claim_next(&in_lane("l"), &owner("other"), LEASE).unwrap().unwrap();
    let before = store.task(&held.id).unwrap();
    for command in [
        Command::Renew { token: token(&lost), lease: None },
        release(&lost, None, None),
        Command::Respond(answer(&lost, "late")),
        Command::ReadMessages { token: token(&lost), through: 1 },
    ] {
        let refused = store.apply(&lost.id, &command).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused, "{command:?}: {refused}");
    }
    assert_eq!(store.task(&held.id).unwrap(), before);
}

pub fn a_refusal_tells_which_rule_refused(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    store.apply(&held.id, &release(&held, None, None)).unwrap();
    let refused = store.apply(&held.id, &release(&held, None, None)).unwrap_err();
    let rule = refused.refusal().expect("no rule");
    assert_eq!(rule.to_string(), refused.message());
}

pub fn a_release_gives_the_task_back_at_once_or_after_a_delay(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    let (released, _) = store.apply(&held.id, &release(&held, None, None)).unwrap();
    assert_eq!((released.attempt, &released.status), (0, &Status::Queued), "the attempt does not count");
    let again = fixture.claim(&store, "l");
    assert_eq!((&again.id, again.fence, again.attempt), (&task.id, 2, 1));
    assert_ne!(token(&again), token(&held));
    store.apply(&again.id, &release(&again, Some(Duration::from_secs(100)), None)).unwrap();
    assert!(store.claim_next(&in_lane("l"), &owner("me"), LEASE).unwrap().is_none());
    let due = store.next_due(std::slice::from_ref(&task.spec.lane)).unwrap();
    assert!((due.seconds_since(store.now().wall) - 100.0).abs() < 0.001, "{due}");
    fixture.pass(101.0);
    assert_eq!(fixture.claim(&store, "l").id, task.id);
}

pub fn a_spent_attempt_counts_and_the_last_one_ends_the_task(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |new| new.spec.max_attempts = Some(2));
    let held = fixture.claim(&store, "l");
    let (released, _) = store.apply(&held.id, &release(&held, None, Some(FailureClass::Error))).unwrap();
    assert_eq!((released.attempt, &released.status), (1, &Status::Queued));
    let held = fixture.claim(&store, "l");
    store.apply(&held.id, &release(&held, None, Some(FailureClass::Error))).unwrap();
    let ended = store.task(&task.id).unwrap();
    assert!(ended.status.is_terminal(), "{:?}", ended.status);
    assert!(store.response(&ended).unwrap().is_some(), "whoever waits gets an answer");
    assert_eq!(store.dead_tasks("l", &mut |error| panic!("{error}")).unwrap(), [task.id]);
}

pub fn of_many_claims_of_one_task_one_is_granted(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    let granted = std::thread::scope(|scope| {
        let claim = || fixture.store().claim(&task.id, &owner("me"), LEASE);
        let claims: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        claims.into_iter().filter_map(|claim| claim.join().unwrap().ok()).count()
    });
    assert_eq!(granted, 1);
    assert_eq!(store.task(&task.id).unwrap().fence, 1);
    fixture.check(&store);
}

pub fn a_task_is_answered_once(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    let (effects, answers): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let respond = |body: String| {
            let store = fixture.store();
            (store.apply(&held.id, &Command::Respond(answer(&held, &body))).is_ok(), body)
        };
        let all: Vec<_> = (0..6).map(|n| scope.spawn(move || respond(n.to_string()))).collect();
        all.into_iter().map(|one| one.join().unwrap()).unzip()
    });
    assert_eq!(effects.iter().filter(|is_ok| **is_ok).count(), 1);
    let won = effects.iter().position(|is_ok| *is_ok).unwrap();
    let done = store.task(&held.id).unwrap();
    assert_eq!(store.response(&done).unwrap().unwrap().body, answers[won]);
    let responses = store.events(&held.id).unwrap().iter().filter(|event| event.kind == "response").count();
    assert_eq!(responses, 1);
}
