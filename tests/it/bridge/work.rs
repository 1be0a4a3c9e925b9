//! Cards are taken, worked on by a dispatcher, and answered.

use rustix::process::Signal;
use serde_json::json;

use super::desk::Desk;
use crate::testkit::pool::Dispatcher;
use crate::testkit::wait::eventually;

#[test]
fn three_cards_are_done_once_each() {
    let desk = Desk::new("");
    for id in [json!(7), json!("abc"), json!("1835601234567890123")] {
        desk.add(id, "result \"It works.\"");
    }
    desk.round();
    assert_eq!(desk.tasks().len(), 3);
    assert_eq!(desk.cards("In Progress"), [json!(7), json!("abc"), json!("1835601234567890123")]);
    desk.pool.dispatch_once(&[]);
    desk.round();
    assert_eq!(desk.cards("Done").len(), 3);
    for id in [json!(7), json!("abc"), json!("1835601234567890123")] {
        assert_eq!(desk.comments(&id), ["It works."]);
    }
    let before = std::fs::read(desk.board_file()).unwrap();
    let changed = std::fs::metadata(desk.board_file()).unwrap().modified().unwrap();
    desk.round();
    assert_eq!(std::fs::read(desk.board_file()).unwrap(), before);
    assert_eq!(std::fs::metadata(desk.board_file()).unwrap().modified().unwrap(), changed);
    assert_eq!(desk.tasks().len(), 3);
}

#[test]
fn two_attempts_fail_and_the_card_goes_to_the_dead_letters() {
    let desk = Desk::new("        dead_letter: Attic\n");
    let id = json!("1");
    desk.add(id.clone(), "exit 3");
    desk.round();
    desk.pool.dispatch_once(&[]);
    desk.round();
    assert_eq!(desk.cards("Attic"), [json!("1")]);
    let comments = desk.comments(&id);
    assert_eq!(comments.len(), 2, "{comments:?}");
    assert!(comments[0].starts_with("Attempt 1 of 2 failed: "), "{comments:?}");
    assert!(comments[1].starts_with("Gave up after 2 attempts: "), "{comments:?}");
    desk.pool.ok(&["redrive", "--lane", "work"]);
    desk.round();
    assert_eq!(desk.cards("In Progress"), [json!("1")]);
}

#[test]
fn a_running_bridge_follows_board_and_tasks() {
    let desk = Desk::new("");
    let mut bridge = Dispatcher::of(&mut desk.bridge(&["team"]));
    let dispatcher = desk.pool.dispatcher(&[]);
    desk.add(json!("1"), "result Yes");
    eventually("the card is done", || desk.cards("Done") == [json!("1")]);
    desk.put(&json!("1"), "Todo");
    eventually("the card is done again", || desk.tasks().len() == 2 && desk.cards("Done") == [json!("1")]);
    assert_eq!(desk.comments(&json!("1")), ["Yes", "Yes"]);
    assert!(!bridge.has_ended());
    let second = desk.bridge(&["team", "--once"]).output().unwrap();
    let message = super::desk::stderr(&second);
    assert!(
        message.contains("bridge team is running already as process ") && message.lines().count() == 1,
        "{message}"
    );
    assert_eq!(second.status.code(), Some(1));
    bridge.signal(Signal::TERM);
    assert!(bridge.wait().success());
    drop(dispatcher);
}

#[test]
fn a_card_follows_the_tasks_that_continue_its_own() {
    let desk = Desk::new("");
    let file = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let routes = "dispatch:\n  routes:\n    work: {on_success: {move_to: review}}\n    review: {}\n";
    std::fs::write(&file, text.replace("dispatch:\n", routes)).unwrap();
    let log = desk.pool.path("bridge.log");
    let bridge = Dispatcher::of(desk.bridge(&["team"]).stdout(std::fs::File::create(&log).unwrap()));
    let dispatcher = desk.pool.dispatcher(&[]);
    // The same script in both lanes: the second run finds what the first one has left.
    desk.add(json!("1"), "test -e built && result Reviewed || touch built; result Built");
    eventually("the card is done", || desk.cards("Done") == [json!("1")]);
    let comments = desk.comments(&json!("1"));
    assert_eq!((comments.len(), desk.tasks().len()), (2, 2), "{comments:?}");
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("moved to ").count(), 2, "to In Progress and to Done: {log}");
    assert!(desk.tasks().iter().all(|task| task["lane"] == "work" || task["lane"] == "review"));
    bridge.signal(Signal::TERM);
    assert!(bridge.wait().success());
    drop(dispatcher);
}
