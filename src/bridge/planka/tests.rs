//! The operations against a server: the stand-in, or a real one that LANES_TEST_PLANKA_URL names (see
//! tests/planka_real.sh). What only the stand-in can do, such as failing, is tested with it alone.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::*;
use stand_in::world::PlankaWorld;
use stand_in::{Fault, PlankaServer};

/// A board on a server, and how to connect to it.
struct World(PlankaWorld);

impl std::ops::Deref for World {
    type Target = PlankaWorld;

    fn deref(&self) -> &PlankaWorld {
        &self.0
    }
}

impl World {
    fn new() -> Self {
        Self(PlankaWorld::new())
    }

    fn with_stand_in() -> Self {
        Self(PlankaWorld::with_stand_in())
    }

    fn queue(&self, list: &str) -> QueueRef {
        QueueRef::Name(self.full_name(list))
    }

    fn secrets(&self, variables: &[(&str, &str)]) -> Secrets {
        let own = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Secrets::read(None, own.collect()).unwrap()
    }

    fn connect_as(&self, variables: &[(&str, &str)], limits: RequestLimits) -> BoardResult<PlankaBoard> {
        PlankaBoard::connect_within(&self.url, &self.secrets(variables), None, limits, &Arc::default())
    }

    fn connect(&self) -> PlankaBoard {
        self.connect_as(&[("PLANKA_API_KEY", &self.key)], QUICK).unwrap()
    }
}

const QUICK: RequestLimits =
    RequestLimits { time: Duration::from_secs(30), answer: 32 << 20, interval: Duration::ZERO };

fn names(cards: &[Card]) -> Vec<&str> {
    cards.iter().map(|card| card.name.as_str()).collect()
}

#[test]
fn a_card_has_its_texts_labels_members_and_check_lists() {
    let world = World::new();
    let body = json!({"type": "project", "position": 1, "name": "Fix it", "description": "All of it."});
    let id = world.make(&format!("/api/lists/{}/cards", world.lists[0]), body);
    let label = json!({"name": "bug", "color": "morning-sky", "position": 1});
    let label = world.make(&format!("/api/boards/{}/labels", world.board), label);
    world.make(&format!("/api/cards/{id}/card-labels"), json!({"labelId": label}));
    world.make(&format!("/api/cards/{id}/card-memberships"), json!({"userId": world.bot}));
    let checks = json!({"name": "Steps", "position": 1});
    let checks = world.make(&format!("/api/cards/{id}/task-lists"), checks);
    for (position, name, is_completed) in [(2, "second", true), (1, "first", false)] {
        let body = json!({"name": name, "position": position, "isCompleted": is_completed});
        world.make(&format!("/api/task-lists/{checks}/tasks"), body);
    }
    world.make(&format!("/api/cards/{id}/comments"), json!({"text": "Hello."}));
    world.make(&format!("/api/cards/{id}/comments"), json!({"text": "Again."}));

    let mut board = world.connect();
    let identity = board.identity().clone();
    let cards = board.get_ready_tasks(&world.queue("Todo"), 10).unwrap();
    let [card] = &cards[..] else { panic!("{cards:?}") };
    assert_eq!((card.id.as_str(), card.queue.as_str()), (id.as_str(), world.lists[0].as_str()));
    assert_eq!(id.len(), 19);
    assert_eq!((card.name.as_str(), card.description.as_str()), ("Fix it", "All of it."));
    assert_eq!(
        (card.labels.join(","), card.assignees.join(",")),
        ("bug".into(), identity.user.unwrap().name)
    );
    let checks: Vec<_> = card.tasks.iter().map(|check| (check.name.as_str(), check.done)).collect();
    assert_eq!(checks, [("first", false), ("second", true)]);
    assert_eq!(card.url, Some(format!("{}/cards/{id}", world.url)));
    assert!(card.generation.is_some());

    let whole = board.get_task(&id).unwrap();
    let comments: Vec<_> = whole.comments.iter().map(|comment| comment.text.as_str()).collect();
    assert_eq!(comments, ["Hello.", "Again."]);
    assert_eq!(Card { comments: Vec::new(), ..whole }, *card);
}

#[test]
fn a_list_of_two_hundred_cards_is_read_whole_and_in_its_order() {
    let world = World::new();
    // The order in which they were made is not the order on the board.
    for number in (0..200).rev() {
        world.new_card(0, &format!("card {number}"), f64::from(number + 1) * 16.0);
    }
    let mut board = world.connect();
    let cards = board.get_ready_tasks(&world.queue("Todo"), 1000).unwrap();
    let expected: Vec<String> = (0..200).map(|number| format!("card {number}")).collect();
    assert_eq!(names(&cards), expected);
    assert_eq!(names(&board.get_ready_tasks(&world.queue("Todo"), 2).unwrap()), expected[..2]);
}

#[test]
fn a_move_goes_to_the_end_makes_a_generation_and_is_refused_from_elsewhere() {
    let world = World::new();
    let (first, second) = (world.new_card(0, "first", 1.0), world.new_card(0, "second", 2.0));
    world.new_card(1, "before", 7.0);
    let mut board = world.connect();
    let [todo, doing, done] = ["Todo", "Doing", "Done"].map(|list| world.queue(list));
    let old = board.get_task(&first).unwrap().generation;
    board.move_task(&first, &doing, Some(&todo)).unwrap();
    let new = board.get_task(&first).unwrap().generation;
    assert_ne!(old, new);
    // Again, and it stays: the same generation.
    board.move_task(&first, &doing, Some(&todo)).unwrap();
    assert_eq!(board.get_task(&first).unwrap().generation, new);
    board.move_task(&second, &doing, None).unwrap();
    assert_eq!(names(&board.get_ready_tasks(&doing, 9).unwrap()), ["before", "first", "second"]);
    let error = board.move_task(&first, &done, Some(&todo)).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Conflict);
    assert_eq!(board.get_task(&first).unwrap().queue, world.lists[1]);
}

#[test]
fn of_several_who_assign_a_card_one_alone_succeeds() {
    let world = World::new();
    let card = world.new_card(0, "card", 1.0);
    let boards: Vec<PlankaBoard> = (0..8).map(|_| world.connect()).collect();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = boards
            .into_iter()
            .map(|mut board| {
                let card = &card;
                scope.spawn(move || board.assign_task(card).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
    // Who is removed can be assigned anew.
    let mut board = world.connect();
    let change = CardChange { assignees: Some(Vec::new()), ..CardChange::default() };
    board.update_task(&card, &change).unwrap();
    assert!(board.assign_task(&card).unwrap());
}

#[test]
fn a_comment_is_made_once_though_many_follow_it() {
    let world = World::new();
    let card = world.new_card(0, "card", 1.0);
    let mut board = world.connect();
    board.add_comment(&card, "Done. _lanes 4a655c_", "_lanes 4a655c_").unwrap();
    for number in 0..120 {
        world.make(&format!("/api/cards/{card}/comments"), json!({"text": format!("note {number}")}));
    }
    board.add_comment(&card, "Done. _lanes 4a655c_", "_lanes 4a655c_").unwrap();
    let comments = board.get_task(&card).unwrap().comments;
    assert_eq!(comments.len(), 121);
    assert_eq!(comments[0].text, "Done. _lanes 4a655c_");
    assert_eq!(comments[120].text, "note 119");
    for text in ["", " \n", &"x".repeat(1_000_001)] {
        assert_eq!(board.add_comment(&card, text, "m").unwrap_err().code, BoardErrorCode::Invalid);
    }
    board.add_comment(&card, &"é".repeat(1_000_000), "none").unwrap();
}

#[test]
fn a_card_is_changed_and_created_once_for_a_key() {
    let world = World::new();
    let mut board = world.connect();
    let new = |key: Option<&str>| NewCard {
        queue: world.queue("Todo"),
        name: "new".to_string(),
        description: "text".to_string(),
        key: key.map(str::to_string),
    };
    let first = board.create_task(&new(Some("k1"))).unwrap();
    assert_eq!(board.create_task(&new(Some("k1"))).unwrap().id, first.id);
    board.move_task(&first.id, &world.queue("Done"), None).unwrap();
    assert_eq!(board.create_task(&new(Some("k1"))).unwrap().id, first.id);
    assert_ne!(board.create_task(&new(Some("k11"))).unwrap().id, first.id);
    assert_ne!(board.create_task(&new(None)).unwrap().id, board.create_task(&new(None)).unwrap().id);

    let change = CardChange {
        name: Some("other".to_string()),
        description: Some(String::new()),
        labels: Some(vec!["bug".to_string(), "new one".to_string()]),
        assignees: Some(vec![board.user.shown().to_string()]),
    };
    board.update_task(&first.id, &change).unwrap();
    board.update_task(&first.id, &change).unwrap();
    let card = board.get_task(&first.id).unwrap();
    assert_eq!((card.name.as_str(), card.description.as_str()), ("other", ""));
    assert_eq!((card.labels.join(","), card.assignees.len()), ("bug,new one".to_string(), 1));
    let change = CardChange { labels: Some(vec!["bug".to_string()]), ..CardChange::default() };
    board.update_task(&first.id, &change).unwrap();
    let card = board.get_task(&first.id).unwrap();
    assert_eq!((card.name.as_str(), card.labels.join(",")), ("other", "bug".to_string()));
    let change = CardChange { assignees: Some(vec!["nobody".to_string()]), ..CardChange::default() };
    let error = board.update_task(&first.id, &change).unwrap_err();
    assert!(error.message.contains("has no member nobody"), "{}", error.message);
}

#[test]
fn queues_are_found_by_names_with_dots_and_by_ids_and_twins_are_told_apart() {
    let world = World::new();
    let mut board = world.connect();
    let todo = board.get_queue(&world.queue("Todo")).unwrap();
    assert_eq!((&todo.id, &todo.name), (&world.lists[0], &format!("{}.Work.Todo", world.name)));
    let by_id = QueueRef::Id { id: todo.id.clone() };
    assert_eq!(board.get_queue(&by_id).unwrap(), todo);
    let all = board.list_queues().unwrap();
    for list in ["Todo", "Doing", "Done"] {
        assert!(all.iter().any(|queue| queue.name == format!("{}.Work.{list}", world.name)), "{all:?}");
    }
    let error = board.get_queue(&world.queue("Tudo")).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::NotFound);
    assert!(error.message.contains("Work.Todo"), "{}", error.message);
    let error = board.get_queue(&QueueRef::Name("Nothing".to_string())).unwrap_err();
    assert!(error.message.contains("write Project.Board.List"), "{}", error.message);
    for id in ["123", "x", "../users/me"] {
        let error = board.get_queue(&QueueRef::Id { id: id.to_string() }).unwrap_err();
        assert_eq!(error.code, BoardErrorCode::NotFound, "{id}");
    }

    let twin = world.new_list(&world.board, "Done");
    let error = board.get_queue(&world.queue("Done")).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Invalid);
    for id in [&twin, &world.lists[2]] {
        assert!(error.message.contains(&format!("{{id: \"{id}\"}}")), "{}", error.message);
    }
    assert_eq!(board.get_queue(&QueueRef::Id { id: twin.clone() }).unwrap().id, twin);
}

#[test]
fn a_queue_that_was_renamed_keeps_its_cards_and_one_that_was_deleted_is_missed() {
    let world = World::new();
    world.new_card(0, "card", 1.0);
    let mut board = world.connect();
    let todo = world.queue("Todo");
    board.get_ready_tasks(&todo, 9).unwrap();
    world.ask("PATCH", &format!("/api/lists/{}", world.lists[0]), &json!({"name": "Backlog"}));
    assert_eq!(names(&board.get_ready_tasks(&todo, 9).unwrap()), ["card"]);
    world.ask("DELETE", &format!("/api/lists/{}", world.lists[0]), &Value::Null);
    let error = board.get_ready_tasks(&todo, 9).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::NotFound);
    assert!(error.message.contains("no queue"), "{}", error.message);
    // Another one of that name takes its place.
    world.new_list(&world.board, "Todo");
    assert!(board.get_ready_tasks(&todo, 9).unwrap().is_empty());
}

#[test]
fn a_card_whose_next_queue_was_deleted_waits_for_a_new_one() {
    let world = World::new();
    let card = world.new_card(0, "card", 1.0);
    let mut board = world.connect();
    let done = QueueRef::Id { id: board.get_queue(&world.queue("Done")).unwrap().id };
    world.ask("DELETE", &format!("/api/lists/{}", world.lists[2]), &Value::Null);
    let error = board.move_task(&card, &done, None).unwrap_err();
    // Not as if the card were gone.
    assert_eq!(error.code, BoardErrorCode::Unavailable);
    assert!(error.message.contains("no queue with id"), "{}", error.message);
    assert_eq!(board.get_task(&card).unwrap().queue, world.lists[0]);
}

#[test]
fn queues_are_created_once_renamed_and_deleted_when_they_are_empty() {
    let world = World::new();
    let card = world.new_card(0, "card", 1.0);
    let mut board = world.connect();
    let name = format!("{}.Work.New.One", world.name);
    let new = board.create_queue(&name).unwrap();
    assert_eq!((new.name.as_str(), &board.create_queue(&name).unwrap().id), (name.as_str(), &new.id));
    let by_id = QueueRef::Id { id: new.id.clone() };
    let renamed = board.update_queue(&by_id, &format!("{}.Work.Other", world.name)).unwrap();
    assert_eq!((renamed.name, renamed.id), (format!("{}.Work.Other", world.name), new.id.clone()));
    assert!(board.update_queue(&by_id, "Plain").unwrap().name.ends_with(".Work.Plain"));
    board.delete_queue(&by_id).unwrap();
    assert_eq!(board.delete_queue(&by_id).unwrap_err().code, BoardErrorCode::NotFound);
    let error = board.delete_queue(&world.queue("Todo")).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Conflict);
    assert!(error.message.contains("has 1 cards: move them first"), "{}", error.message);
    assert_eq!(board.get_task(&card).unwrap().queue, world.lists[0]);
    assert_eq!(board.create_queue("Nowhere.To.Be").unwrap_err().code, BoardErrorCode::NotFound);
}

#[test]
fn a_card_that_was_archived_or_deleted_is_gone() {
    let world = World::new();
    let (archived, deleted) = (world.new_card(0, "a", 1.0), world.new_card(0, "b", 2.0));
    let mut board = world.connect();
    let lists = world.ask("GET", &format!("/api/boards/{}", world.board), &Value::Null);
    let lists = lists["included"]["lists"].as_array().unwrap().clone();
    let archive = lists.iter().find(|list| list["type"] == "archive").unwrap();
    world.ask("PATCH", &format!("/api/cards/{archived}"), &json!({"listId": archive["id"]}));
    world.ask("DELETE", &format!("/api/cards/{deleted}"), &Value::Null);
    for card in [&archived, &deleted] {
        assert_eq!(board.get_task(card).unwrap_err().code, BoardErrorCode::NotFound);
        let moved = board.move_task(card, &world.queue("Done"), None);
        assert_eq!(moved.unwrap_err().code, BoardErrorCode::NotFound);
    }
    assert_eq!(board.add_comment(&deleted, "x", "x").unwrap_err().code, BoardErrorCode::NotFound);
    assert!(board.get_ready_tasks(&world.queue("Todo"), 9).unwrap().is_empty());
}

#[test]
fn who_may_not_edit_a_board_is_told_how_to_become_an_editor() {
    let world = World::new();
    let other = world.new_board("Other");
    world.add_bot(&other, "viewer");
    let list = world.new_list(&other, "Todo");
    let mut board = world.connect();
    let user = board.user.shown().to_string();
    for queue in [QueueRef::Name(format!("{}.Other.Todo", world.name)), QueueRef::Id { id: list }] {
        let error = board.get_ready_tasks(&queue, 9).unwrap_err();
        assert_eq!(error.code, BoardErrorCode::Forbidden);
        let expected = format!("add {user} as editor of board {}.Other in Planka", world.name);
        assert!(error.message.ends_with(&expected), "{}", error.message);
    }
    world.ask("DELETE", &format!("/api/boards/{other}"), &Value::Null);
}

#[test]
fn a_server_says_whom_it_does_not_know() {
    let world = World::new();
    let connect = |variables: &[(&str, &str)]| world.connect_as(variables, QUICK).err().unwrap();
    for (variables, expected) in [
        (&[("PLANKA_API_KEY", "hunter-2-hunter-2")][..], "does not accept PLANKA_API_KEY: check it"),
        (&[("PLANKA_TOKEN", "hunter-2-hunter-2")], "does not accept PLANKA_TOKEN: check it"),
        (
            &[("PLANKA_USER", "admin@planka.example"), ("PLANKA_PASSWORD", "hunter-2-hunter-2")],
            "does not accept PLANKA_USER with PLANKA_PASSWORD: check both",
        ),
        (&[], "no key for Planka: put PLANKA_API_KEY"),
    ] {
        let error = connect(variables);
        assert_eq!(error.code, BoardErrorCode::Auth, "{}", error.message);
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(!error.message.contains("hunter"), "{}", error.message);
    }
    // The terms are for a person to accept.
    let bot = world.ask("GET", &format!("/api/boards/{}", world.board), &Value::Null);
    let bot =
        bot["included"]["users"].as_array().unwrap().iter().find(|user| user["id"] == *world.bot).unwrap();
    let name = bot["username"].as_str().unwrap();
    let error = connect(&[("PLANKA_USER", name), ("PLANKA_PASSWORD", "correct-horse-battery")]);
    assert_eq!(error.code, BoardErrorCode::Auth);
    assert!(error.message.contains("log in there once as PLANKA_USER and accept them"), "{}", error.message);
}

#[test]
fn a_password_opens_a_session_again_when_it_has_ended_and_a_revoked_key_does_not() {
    let world = World::with_stand_in();
    let password = [("PLANKA_USER", "admin"), ("PLANKA_PASSWORD", stand_in::PASSWORD)];
    let mut board = world.connect_as(&password, QUICK).unwrap();
    world.server().end_sessions();
    assert_eq!(board.get_queue(&world.queue("Todo")).unwrap().id, world.lists[0]);
    let mut board = world.connect();
    world.server().revoke(&world.key);
    world.server().take_received();
    let error = board.get_ready_tasks(&world.queue("Todo"), 9).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Auth);
    assert_eq!(world.server().take_received().len(), 1);
}

#[test]
fn every_failure_of_a_server_has_its_kind_and_says_so_in_one_line() {
    use BoardErrorCode::{Invalid, NotFound, RateLimited, Unavailable};
    let world = World::with_stand_in();
    let limits = RequestLimits { answer: 1 << 20, ..QUICK };
    let mut board = world.connect_as(&[("PLANKA_API_KEY", &world.key)], limits).unwrap();
    let todo = world.queue("Todo");
    board.get_ready_tasks(&todo, 9).unwrap();
    for (fault, code, expected) in [
        (Fault::Status(500, String::new()), Unavailable, "answers with status 500"),
        (Fault::Status(503, "Retry-After: 7\r\n".to_string()), Unavailable, "answers with status 503"),
        (Fault::Status(429, "Retry-After: 7\r\n".to_string()), RateLimited, "asks for fewer requests"),
        (Fault::Status(400, String::new()), Invalid, "as the test says"),
        (
            Fault::Status(301, "Location: https://new.example/\r\n".to_string()),
            Invalid,
            "has moved to https://new",
        ),
        (Fault::DropBefore, Unavailable, "cannot reach Planka at http://127.0.0.1:"),
        (Fault::Text("<html>".to_string()), Unavailable, "with a web page"),
        (Fault::Text("{\"item\": 1}".to_string()), Unavailable, "not JSON of Planka"),
        (Fault::Pad(2 << 20), Invalid, "longer than 1 MiB: archive cards"),
    ] {
        world.server().fail("GET /api/lists", fault.clone(), 1);
        let error = board.get_ready_tasks(&todo, 9).unwrap_err();
        assert_eq!(error.code, code, "{fault:?}: {}", error.message);
        assert!(error.message.contains(expected), "{fault:?}: {}", error.message);
        assert!(!error.message.contains('\n') && !error.message.contains(&world.key), "{}", error.message);
        let told = matches!(&fault, Fault::Status(_, headers) if headers.starts_with("Retry"));
        assert_eq!(error.retry_after, told.then_some(Duration::from_secs(7)), "{fault:?}");
        assert!(board.get_ready_tasks(&todo, 9).unwrap().is_empty());
    }
    assert_eq!(board.get_task("1").unwrap_err().code, NotFound);

    world.server().set_off(true);
    assert_eq!(board.get_ready_tasks(&todo, 9).unwrap_err().code, Unavailable);
    world.server().set_off(false);
    board.get_ready_tasks(&todo, 9).unwrap();
    // Nothing listens there: the port was given back.
    let url = World::with_stand_in().url.clone();
    let secrets = world.secrets(&[("PLANKA_API_KEY", "k")]);
    let error = PlankaBoard::connect(&url, &secrets, None, 5.0, &Arc::default()).err().unwrap();
    assert!(error.message.ends_with("Connection refused"), "{}", error.message);
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let world = World::with_stand_in();
    let limits = RequestLimits { time: Duration::from_secs(3), ..QUICK };
    let mut board = world.connect_as(&[("PLANKA_API_KEY", &world.key)], limits).unwrap();
    world.server().fail("GET /api/projects", Fault::Delay(Duration::from_secs(5)), 1);
    let error = board.get_queue(&world.queue("Todo")).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Unavailable);
    assert!(error.message.ends_with("no answer within 3 s"), "{}", error.message);
}

#[test]
fn nine_mebibytes_are_no_trouble() {
    let world = World::with_stand_in();
    let mut board = world.connect();
    world.server().fail("GET /api/lists", Fault::Pad(9 << 20), 1);
    assert!(board.get_ready_tasks(&world.queue("Todo"), 9).unwrap().is_empty());
}

#[test]
fn a_comment_whose_answer_was_lost_is_not_made_twice() {
    let world = World::with_stand_in();
    let card = world.new_card(0, "card", 1.0);
    let mut board = world.connect();
    world.server().fail("POST /api/cards", Fault::DropAfter, 1);
    let lost = board.add_comment(&card, "Done. _m_", "_m_").unwrap_err();
    assert_eq!(lost.code, BoardErrorCode::Unavailable);
    board.add_comment(&card, "Done. _m_", "_m_").unwrap();
    assert_eq!(board.get_task(&card).unwrap().comments.len(), 1);
}

#[test]
fn the_key_goes_to_the_configured_server_alone() {
    let (world, stranger) = (World::with_stand_in(), PlankaServer::new());
    let mut board = world.connect();
    let moved = format!("Location: {}/api/projects\r\n", stranger.url());
    for status in [301, 302, 303, 307, 308] {
        world.server().fail("GET /api/projects", Fault::Status(status, moved.clone()), 1);
        let error = board.get_queue(&world.queue("Todo")).unwrap_err();
        assert!(error.message.contains("has moved to"), "{}", error.message);
    }
    assert!(stranger.take_received().is_empty());
    let received = world.server().take_received();
    let sent = received.iter().filter(|request| request.header("x-api-key") == Some(&world.key));
    assert!(sent.count() > 5);

    let secrets = world.secrets(&[("PLANKA_API_KEY", "k")]);
    let error =
        PlankaBoard::connect("http://planka.example", &secrets, None, 5.0, &Arc::default()).err().unwrap();
    assert_eq!(error.code, BoardErrorCode::Invalid);
    assert!(error.message.contains("use https, or put PLANKA_ALLOW_HTTP=1 into"), "{}", error.message);
}

#[test]
fn requests_keep_their_distance() {
    let world = World::with_stand_in();
    let limits = RequestLimits { interval: Duration::from_millis(50), ..QUICK };
    let mut board = world.connect_as(&[("PLANKA_API_KEY", &world.key)], limits).unwrap();
    world.server().take_received();
    let start = Instant::now();
    board.get_ready_tasks(&world.queue("Todo"), 9).unwrap();
    board.get_ready_tasks(&world.queue("Todo"), 9).unwrap();
    let count = u32::try_from(world.server().take_received().len()).unwrap();
    assert!(count >= 4 && start.elapsed() >= Duration::from_millis(50) * (count - 1), "{count}");
    assert_eq!(RequestLimits::at_rate(5.0).interval, Duration::from_millis(200));
    assert_eq!(RequestLimits::at_rate(0.0).interval, Duration::ZERO);
}

#[test]
fn a_server_that_is_no_planka_2_is_refused() {
    let world = World::with_stand_in();
    for answer in ["{\"item\": {\"version\": \"1.26.3\"}}", "{\"item\": {}}"] {
        world.server().fail("GET /api/bootstrap", Fault::Text(answer.to_string()), 1);
        let error = world.connect_as(&[("PLANKA_API_KEY", &world.key)], QUICK).err().unwrap();
        assert_eq!(error.code, BoardErrorCode::Unsupported);
        assert!(error.message.ends_with("is not Planka 2: update the server"), "{}", error.message);
    }
    assert_eq!(world.connect().identity().version, "2.1.1");
}

#[test]
fn a_certificate_is_trusted_for_its_host_if_the_authority_is_given() {
    let server = PlankaServer::with_tls();
    let certificates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testkit/planka/tls"));
    let variables = [("PLANKA_USER", "admin"), ("PLANKA_PASSWORD", stand_in::PASSWORD)];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let secrets = Secrets::read(None, variables.to_vec()).unwrap();
    let port = server.address.port();
    let connect = |host: &str, ca_file: Option<&str>| {
        let ca_file = ca_file.map(|name| certificates.join(name));
        PlankaBoard::connect(
            &format!("https://{host}:{port}"),
            &secrets,
            ca_file.as_deref(),
            1000.0,
            &Arc::default(),
        )
    };
    let board = connect("127.0.0.1", Some("ca.pem")).unwrap();
    assert_eq!(board.identity().user.as_ref().unwrap().name, "admin");
    server.take_received();
    for (host, ca_file) in
        [("127.0.0.1", None), ("127.0.0.1", Some("other_ca.pem")), ("localhost", Some("ca.pem"))]
    {
        let error = connect(host, ca_file).err().unwrap();
        assert_eq!(error.code, BoardErrorCode::Unavailable, "{}", error.message);
        assert!(error.message.contains("invalid peer certificate"), "{}", error.message);
        let names_ca_file = error.message.ends_with("name the certificate of its authority in ca_file");
        assert_eq!(names_ca_file, host == "127.0.0.1", "{}", error.message);
    }
    // Not even a name is sent to a server that has not shown who it is.
    assert!(server.take_received().is_empty());
}

#[test]
fn a_file_without_certificates_is_refused() {
    let world = World::with_stand_in();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let secrets = world.secrets(&[("PLANKA_API_KEY", "k")]);
    let error = |path: PathBuf| {
        let error = PlankaBoard::connect("https://127.0.0.1:1", &secrets, Some(&path), 5.0, &Arc::default())
            .err()
            .unwrap();
        assert_eq!(error.code, BoardErrorCode::Invalid, "{}", error.message);
        error.message
    };
    assert!(error(file.clone()).contains("cannot read ca_file"));
    std::fs::write(&file, "nothing").unwrap();
    assert!(error(file.clone()).contains("has no certificate"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(error(file).contains("ca_file"));
}
