//! The life of a task: submitted, claimed, answered, and everything that may come between.

use std::collections::HashSet;
use std::time::Duration;

use crate::testkit::store::{Fixture, answer, idempotency_key, in_lane, lane_name, owner};
use lanes::internals::error::ErrorKind;
use lanes::internals::model::{Command, Effect, FailureClass, Filter, NewTask, ResponseStatus, Status, json};
use lanes::internals::store::{LaneQuery, Store};

pub fn a_task_goes_from_submit_to_answer(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 1);
    let claimed = store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!((claimed.id.clone(), claimed.fence, claimed.attempt), (task.id.clone(), 1, 1));
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 0);
    assert!(store.claim_next(&in_lane("l"), &owner("other"), Duration::from_secs(60)).unwrap().is_none());
    assert_eq!(fixture.respond(&store, &claimed, "done"), Effect::Changed);
    assert_eq!(
        fixture.respond(&store, &claimed, "done"),
        Effect::Unchanged,
        "a repeated answer changes nothing"
    );
    let other = store.apply(&task.id, &Command::Respond(answer(&claimed, "else"))).unwrap_err();
    assert!(other.to_string().contains("task is completed"), "{other}");
    let done = store.task(&task.id).unwrap();
    let response = store.response(&done).unwrap().unwrap();
    assert_eq!(response.body, "done");
    let kinds: Vec<String> = store.events(&task.id).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["created", "claimed", "response"]);
    let feed: Vec<u64> = store.feed_since(0, 10).unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(feed, [1, 2, 3]);
}

pub fn higher_priority_first_then_age_and_old_tasks_overtake(fixture: &Fixture) {
    let store = fixture.store();
    let old = fixture.submit(&store, |_| {});
    fixture.pass(3.0 * 3600.0);
    let plain = fixture.submit(&store, |_| {});
    let second = fixture.submit(&store, |_| {});
    let urgent = fixture.submit(&store, |new| new.spec.priority = 2);
    let mut order = Vec::new();
    while let Some(task) = store.claim_next(&in_lane("l"), &owner("me"), Duration::from_secs(60)).unwrap() {
        order.push(task.id);
    }
    assert_eq!(order, [old.id, urgent.id, plain.id, second.id]);
}

pub fn a_task_for_others_does_not_block_the_lane(fixture: &Fixture) {
    let store = fixture.store();
    let vendor =
        |name: &str| -> json::Object { [("required_vendor".into(), name.into())].into_iter().collect() };
    fixture.submit(&store, |new| new.spec.metadata = vendor("codex"));
    let mine = fixture.submit(&store, |new| new.spec.metadata = vendor("claude"));
    let filter = Filter::parse(&["required_vendor=claude,any"]).unwrap();
    let claude = LaneQuery { lanes: vec![lane_name("l")], filter };
    assert_eq!(store.peek_next(&claude).unwrap().unwrap().id, mine.id);
    assert_eq!(
        store.claim_next(&claude, &owner("me"), Duration::from_secs(60)).unwrap().unwrap().id,
        mine.id
    );
    assert!(store.claim_next(&claude, &owner("me"), Duration::from_secs(60)).unwrap().is_none());
}

pub fn an_expired_lease_is_offered_again_and_the_old_token_is_void(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| {});
    let first = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap();
    fixture.pass(61.0);
    assert_eq!(store.next_due(&[lane_name("l")]).unwrap(), first.status.claim().unwrap().lease_expires_at);
    let second = store.claim_next(&in_lane("l"), &owner("b"), Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!((second.fence, second.attempt), (2, 2));
    let late = store.apply(&first.id, &Command::Respond(answer(&first, "late"))).unwrap_err();
    assert!(late.to_string().contains("claim token"), "{late}");
    fixture.respond(&store, &second, "in time");
}

pub fn attempts_run_out_and_a_waiter_gets_an_answer(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |new| new.spec.max_attempts = Some(2));
    for _ in 0..2 {
        store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap();
        fixture.pass(61.0);
    }
    assert!(store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().is_none());
    let dead = store.task(&task.id).unwrap();
    assert!(matches!(&dead.status, Status::Failed { class: FailureClass::Dead, .. }), "{:?}", dead.status);
    assert_eq!(store.response(&dead).unwrap().unwrap().status, ResponseStatus::Failed);
    let again = store.retry(&task.id, "me").unwrap();
    assert_eq!(store.retry(&task.id, "me").unwrap().task.id, again.task.id, "asked twice, retried once");
    assert_eq!(
        store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap().id,
        again.task.id
    );
    assert_eq!(store.task(&task.id).unwrap().retried_as.as_deref(), Some(again.task.id.as_str()));
}

pub fn delays_end_by_themselves(fixture: &Fixture) {
    let store = fixture.store();
    let now = store.now().wall;
    let task = fixture.submit(&store, |new| new.not_before = Some(now.plus_seconds(30.0)));
    assert!(store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().is_none());
    assert!(store.claim(&task.id, &owner("a"), Duration::from_secs(60)).is_err());
    fixture.pass(30.0);
    let claimed = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap();
    let token = claimed.status.claim().unwrap().token.clone();
    let release = Command::Release { token, reason: None, delay: Some(Duration::from_secs(5)), spent: None };
    let (released, _) = store.apply(&task.id, &release).unwrap();
    assert_eq!(released.attempt, 0, "a release gives the attempt back");
    assert!(store.peek_next(&in_lane("l")).unwrap().is_none());
    fixture.pass(5.0);
    assert_eq!(store.peek_next(&in_lane("l")).unwrap().unwrap().status, Status::Queued);
}

pub fn a_key_submits_once(fixture: &Fixture) {
    let store = fixture.store();
    let keyed = |store: &Store, prompt: &str| {
        let mut new = fixture.new_task("l");
        new.spec.key = idempotency_key("k");
        new.spec.prompt = prompt.into();
        store.submit(new)
    };
    let first = keyed(&store, "a").unwrap();
    let second = keyed(&store, "a").unwrap();
    assert!(!first.existing && second.existing);
    assert_eq!(first.task.id, second.task.id);
    assert!(keyed(&store, "b").unwrap_err().to_string().contains("idempotency key"));
    assert!(keyed(&fixture.store(), "a").unwrap().existing, "whoever submits");
}

pub fn a_prompt_has_a_largest_size_for_library_callers_too(fixture: &Fixture) {
    let store = fixture.store();
    let prompt = |bytes: usize| NewTask::prompt(lane_name("l"), "\"".repeat(bytes));
    let too_long = prompt(8 * 1024 * 1024 + 1);
    let refused = store.submit(too_long.clone()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("the prompt is 8388609 bytes long; at most 8388608"), "{refused}");

    let longest = prompt(8 * 1024 * 1024);
    let results = store.submit_batch(vec![longest.clone(), too_long]).unwrap();
    let [Ok(batched), Err(again)] = &results[..] else { panic!("{results:?}") };
    assert_eq!(again.to_string(), refused.to_string());
    for task in [&batched.task, &store.submit(longest.clone()).unwrap().task] {
        let task = store.task(&task.id).unwrap();
        assert_eq!(store.copy_request(&task).unwrap(), longest.request);
        assert_eq!(task.spec.prompt, "The request file holds the prompt (8388608 bytes).");
    }
}

pub fn long_names_are_refused_for_library_callers_too(fixture: &Fixture) {
    type Lengthen = fn(&mut NewTask, String);
    let store = fixture.store();
    let changes: [(&str, Lengthen); 5] = [
        ("the correlation id is 2000 bytes", |new, text| new.spec.correlation_id = text),
        ("the source agent is 2000 bytes", |new, text| new.spec.source_agent = text),
        ("the branch is 2000 bytes", |new, text| new.spec.expected_branch = Some(text)),
        ("name is 2000 bytes", |new, text| new.spec.name = Some(text)),
        ("label is 2000 bytes", |new, text| new.spec.labels = vec![text]),
    ];
    for (message, change) in changes {
        let mut new = fixture.new_task("l");
        change(&mut new, "x".repeat(2000));
        let refused = store.submit(new).unwrap_err().to_string();
        assert!(refused.starts_with(message), "{refused}");
    }
    let mut new = fixture.new_task("l");
    new.spec.labels = (0..51).map(|n| n.to_string()).collect();
    assert!(store.submit(new).unwrap_err().to_string().starts_with("51 labels are too many"));
    assert!(store.peek_next(&in_lane("l")).unwrap().is_none());
}

pub fn cancel_voids_the_claim(fixture: &Fixture) {
    let store = fixture.store();
    fixture.submit(&store, |_| {});
    let claimed = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap();
    let cancel = Command::Cancel { reason: Some("no longer needed".into()), by: "boss".into() };
    store.apply(&claimed.id, &cancel).unwrap();
    assert_eq!(store.apply(&claimed.id, &cancel).unwrap().1, Effect::Unchanged);
    let token = claimed.status.claim().unwrap().token.clone();
    let renew = store.apply(&claimed.id, &Command::Renew { token, lease: None }).unwrap_err();
    assert!(renew.to_string().contains("cancelled by boss: no longer needed"), "{renew}");
}

pub fn large_and_odd_answers_come_back_unchanged(fixture: &Fixture) {
    let store = fixture.store();
    for body in ["x".repeat(3_000_000), "a\r\nb\u{0}\u{2028}é😀".to_string(), String::new()] {
        fixture.submit(&store, |_| {});
        let claimed = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().unwrap();
        fixture.respond(&store, &claimed, &body);
        let done = store.task(&claimed.id).unwrap();
        assert!(store.response(&done).unwrap().unwrap().body == body);
        assert_eq!(fixture.respond(&store, &claimed, &body), Effect::Unchanged);
    }
}

pub fn threads_share_a_lane_without_taking_a_task_twice(fixture: &Fixture) {
    let store = fixture.store();
    let count = 60;
    for _ in 0..count {
        fixture.submit(&store, |_| {});
    }
    let taken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let store = fixture.store();
                    let mut taken = Vec::new();
                    while let Some(task) =
                        store.claim_next(&in_lane("l"), &owner("t"), Duration::from_secs(600)).unwrap()
                    {
                        taken.push(task.id.to_string());
                    }
                    taken
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(taken.len(), count);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), count);
}

pub fn many_events_stay_in_order_and_complete(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    for n in 0..50 {
        let data = json::Object::new();
        let note = Command::Note { kind: "note".into(), message: n.to_string(), data, token: None };
        store.apply(&task.id, &note).unwrap();
    }
    let events = store.events(&task.id).unwrap();
    let numbers: Vec<Option<u64>> = events.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=51).map(Some).collect::<Vec<_>>());
    assert_eq!(store.last_event(&store.task(&task.id).unwrap()).unwrap().unwrap().message, "49");
}

pub fn long_lanes_stay_sorted(fixture: &Fixture) {
    let store = fixture.store();
    let mut expected = Vec::new();
    for n in 0..400 {
        let task = fixture.submit(&store, |new| new.spec.priority = n % 3);
        expected.push((task.rank(), task.id));
    }
    expected.sort();
    assert_eq!(store.queue_depth(&lane_name("l")).unwrap(), 400);
    for (n, (_, id)) in expected.iter().enumerate() {
        let task = store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(6000)).unwrap().unwrap();
        assert_eq!(task.id, *id, "at {n}");
    }
    assert!(store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().is_none());
}

pub fn paused_lanes_hand_out_nothing(fixture: &Fixture) {
    let store = fixture.store();
    let task = fixture.submit(&store, |_| {});
    assert!(store.pause(&lane_name("l"), Some("maintenance")).unwrap());
    assert!(!store.pause(&lane_name("l"), None).unwrap());
    assert!(store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().is_none());
    assert!(
        store
            .claim(&task.id, &owner("a"), Duration::from_secs(60))
            .unwrap_err()
            .to_string()
            .contains("paused")
    );
    assert!(store.resume(&lane_name("l")).unwrap());
    assert!(store.claim_next(&in_lane("l"), &owner("a"), Duration::from_secs(60)).unwrap().is_some());
}
