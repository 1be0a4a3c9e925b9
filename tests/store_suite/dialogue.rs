//! Questions of workers, and messages to them.

use std::time::Duration;

use lanes::internals::model::{ClaimToken, Command, Effect, Status, Task};
use lanes::internals::store::Store;
use lanes::{ErrorKind, NewQuestion};

use crate::testkit::store::{Fixture, in_lane, owner};

const LEASE: Duration = Duration::from_secs(60);

fn token(task: &Task) -> ClaimToken {
    task.status.claim().unwrap().token.clone()
}

fn ask(store: &Store, task: &Task, question: NewQuestion) -> Task {
    store.apply(&task.id, &Command::Ask { token: token(task), question }).unwrap().0
}

fn question(default: Option<(&str, u64)>) -> NewQuestion {
    let default = default.map(|(text, after)| (text.to_string(), Duration::from_secs(after)));
    NewQuestion { text: "Which one?".to_string(), default, ..NewQuestion::default() }
}

fn reply(number: Option<u32>, text: &str) -> Command {
    Command::AnswerQuestion { number, text: text.to_string(), is_choice: false, by: "boss".to_string() }
}

fn tell(text: &str) -> Command {
    Command::Tell { text: text.to_string(), by: "boss".to_string() }
}

pub fn a_question_gives_the_claim_back_until_it_is_answered(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    let asked = ask(&store, &held, question(None));
    assert_eq!((asked.status.as_str(), asked.attempt), ("input_required", 0));
    assert!(store.claim_next(&in_lane("l"), &owner("me"), LEASE).unwrap().is_none());
    assert!(store.claim(&task.id, &owner("me"), LEASE).is_err());
    let late = store.apply(&task.id, &Command::Renew { token: token(&held), lease: None }).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Refused);
    fixture.check(&store);
    store.apply(&task.id, &reply(Some(1), "the first")).unwrap();
    let again = fixture.claim(&store, "l");
    assert_eq!((&again.id, again.fence), (&task.id, 2));
    let answer = again.questions[0].answer.as_ref().unwrap();
    assert_eq!((answer.text.as_str(), answer.by.as_deref()), ("the first", Some("boss")));
    let twice = store.apply(&task.id, &reply(Some(1), "the second")).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Refused);
}

pub fn a_default_counts_when_its_time_has_come(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    ask(&store, &fixture.claim(&store, "l"), question(Some(("neither", 100))));
    fixture.pass(99.0);
    assert!(store.claim_next(&in_lane("l"), &owner("me"), LEASE).unwrap().is_none());
    fixture.pass(2.0);
    let again = fixture.claim(&store, "l");
    assert_eq!(again.id, task.id);
    let answer = again.questions[0].answer.as_ref().unwrap();
    assert_eq!((answer.text.as_str(), answer.by.as_deref()), ("neither", None));
}

pub fn a_question_that_keeps_the_claim_is_answered_under_it(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| ());
    let held = fixture.claim(&store, "l");
    let asked = ask(&store, &held, NewQuestion { keeps_claim: true, ..question(None) });
    assert_eq!(token(&asked), token(&held));
    store.apply(&held.id, &reply(None, "the first")).unwrap();
    fixture.respond(&store, &held, "done");
    assert!(matches!(store.task(&held.id).unwrap().status, Status::Completed { .. }));
}

pub fn messages_are_numbered_and_read_by_the_holder(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| ());
    store.apply(&task.id, &tell("before the claim")).unwrap();
    let held = fixture.claim(&store, "l");
    // Who tells does not hold the claim, and need not see its token.
    let before = store.task(&task.id).unwrap();
    let (told, _) = store.apply(&task.id, &tell("during the claim")).unwrap();
    let texts: Vec<(u32, &str)> =
        told.messages.iter().map(|message| (message.number, message.text.as_str())).collect();
    assert_eq!(texts, [(1, "before the claim"), (2, "during the claim")]);
    assert_eq!(told.status, before.status, "the claim is not affected");
    let read = |through| Command::ReadMessages { token: token(&held), through };
    let (task, _) = store.apply(&task.id, &read(1)).unwrap();
    let is_read: Vec<bool> = task.messages.iter().map(|message| message.receipt.is_some()).collect();
    assert_eq!(is_read, [true, false]);
    assert_eq!(store.apply(&task.id, &read(1)).unwrap().1, Effect::Unchanged);
    fixture.respond(&store, &held, "done");
    let late = store.apply(&task.id, &tell("after the end")).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Refused);
}
