//! Each operation on small boards.

use super::*;

#[test]
fn cards_are_read_in_the_order_of_the_file() {
    let mut test = TestBoard::new(BOARD);
    let cards = test.board.get_ready_tasks(&queue("Todo"), 10).unwrap();
    assert_eq!(cards.iter().map(|card| card.id.as_str()).collect::<Vec<_>>(), ["7", "A-1"]);
    let card = &cards[0];
    assert_eq!(
        (card.queue.as_str(), card.name.as_str(), card.description.as_str()),
        ("Todo", "Fix login", "It fails")
    );
    assert_eq!(
        (card.labels.clone(), card.url.clone(), card.generation.clone()),
        (vec!["bug".to_string()], None, None)
    );
    let items: Vec<(&str, bool)> = card.tasks.iter().map(|item| (item.name.as_str(), item.done)).collect();
    assert_eq!(items, [("reproduce", true), ("fix it", false)]);
    assert_eq!(card.extra["due"].to_string(), "1.50");
    assert_eq!(test.board.get_task("A-1").unwrap().url.unwrap(), "https://board.example/A-1");
    assert_eq!(test.board.get_ready_tasks(&queue("Todo"), 1).unwrap().len(), 1);
    assert_eq!(test.board.get_task("8").unwrap_err().code, BoardErrorCode::NotFound);
    let error = test.board.get_ready_tasks(&queue("Todos"), 1).unwrap_err();
    assert_eq!(error.message, r#"there is no queue "Todos"; the board has "Todo", "In Progress", "Done""#);
    assert_eq!(
        (test.text().as_str(), test.names()),
        (BOARD, vec!["board.json".to_string()]),
        "reading writes nothing"
    );
}

#[test]
fn all_forms_of_a_card_are_read() {
    let mut test = TestBoard::new(
        r#"{"queues": {"A": [
            {"id": 1, "name": null, "labels": null, "comments": "one", "tasks": [{"title": "t", "completed": true}]},
            {"id": 2, "name": 5, "labels": [{"name": "x", "color": "red"}, "y", 3], "assignees": [{"username": "ann"}],
             "comments": [{"body": "b", "author": "ann"}, {"when": 1}, "c\ud800d"], "generation": 9, "queue": "Z"},
            {"\u0069d": 3, "name": "first", "name": "last", "x": NaN, "comments": {"text": "one object"}}
        ]}}"#,
    );
    let cards = test.board.get_ready_tasks(&queue("A"), 10).unwrap();
    assert_eq!((cards[0].name.as_str(), cards[0].labels.len()), ("", 0));
    assert_eq!((cards[0].comments[0].text.as_str(), cards[0].tasks[0].done), ("one", true));
    assert_eq!((cards[1].name.as_str(), cards[1].assignees[0].as_str()), ("5", "ann"));
    assert_eq!(cards[1].labels, ["x", "y", "3"]);
    let comments: Vec<&str> = cards[1].comments.iter().map(|comment| comment.text.as_str()).collect();
    assert_eq!(comments, ["b", r#"{"when": 1}"#, "c\u{fffd}d"]);
    assert_eq!(cards[1].comments[0].extra["author"], "ann");
    assert_eq!((cards[1].queue.as_str(), cards[1].extra.len()), ("A", 0));
    assert_eq!((cards[2].name.as_str(), cards[2].comments[0].text.as_str()), ("last", "one object"));
    assert!(serde_json::to_string(&cards).is_ok());
}

#[test]
fn a_card_is_moved_as_it_is_written() {
    let after = changed(BOARD, |board| {
        board.move_task("7", &queue("Done"), Some(&queue("Todo"))).unwrap();
        board.move_task("A-1", &queue("Done"), None).unwrap();
    });
    insta::assert_snapshot!(after, @r#"
    {
      "title": "Team",
      "queues": {
        "Todo": [],
        "In Progress": [],
        "Done": [
          {
            "id": 7,
            "name": "Fix login",
            "description": "It fails",
            "labels": ["bug"],
            "assignees": [],
            "comments": [],
            "tasks": [{"name": "reproduce", "done": true}, "fix it"],
            "due": 1.50
          },
          {"id": "A-1", "name": "Write docs", "url": "https://board.example/A-1"}
        ]
      },
      "version": 12345678901234567890123
    }
    "#);
}

#[test]
fn a_move_is_refused_from_elsewhere_and_repeated_without_a_change() {
    let mut test = TestBoard::new(BOARD);
    let error = test.board.move_task("7", &queue("Done"), Some(&queue("In Progress"))).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Conflict);
    assert_eq!(
        error.message,
        r#"the card "7" is in the queue "Todo", neither in "In Progress" nor in "Done""#
    );
    let error = test.board.move_task("7", &queue("Gone"), None).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Invalid, "the card is not what is missing");
    test.board.move_task("7", &queue("Todo"), Some(&queue("Done"))).unwrap();
    assert_eq!(test.text(), BOARD);
}

#[test]
fn a_comment_is_added_once_and_in_the_form_of_the_others() {
    let after = changed(BOARD, |board| {
        board.add_comment("7", "Done.\n_lanes 1_", "_lanes 1_").unwrap();
        board.add_comment("7", "Done, again.\n_lanes 1_", "_lanes 1_").unwrap();
        board.add_comment("A-1", "ü", "_lanes 2_").unwrap();
    });
    assert!(
        after.contains("        \"comments\": [\n          \"Done.\\n_lanes 1_\"\n        ],\n"),
        "{after}"
    );
    assert!(after.contains(r#""url": "https://board.example/A-1", "comments": ["ü"]}"#), "{after}");
    assert_eq!(after.matches("_lanes 1_").count(), 1);

    let objects = r#"{"queues":{"A":[{"id":1,"comments":[{"author":"ann","body":"x","created_at":"2026-01-01","n":1}]},{"id":2}]}}"#;
    let after = changed(objects, |board| board.add_comment("2", "y", "").unwrap());
    let added =
        r#"{"id":2,"comments":[{"author":"lanes","body":"y","created_at":"2026-11-29T10:00:00.000000Z"}]}"#;
    assert_eq!(after, objects.replace(r#"{"id":2}"#, added));

    for (before, after) in
        [("null", r#"["y"]"#), (r#""x""#, r#"["x", "y"]"#), ("[ \"x\" ]", "[ \"x\", \"y\" ]")]
    {
        let text =
            |comments: &str| format!(r#"{{"queues": {{"A": [{{"id": 1, "comments": {comments}}}]}}}}"#);
        assert_eq!(changed(&text(before), |board| board.add_comment("1", "y", "m").unwrap()), text(after));
    }
}

#[test]
fn an_update_changes_what_it_names() {
    let change = CardChange {
        name: Some("Fix \"login\"".to_string()),
        description: Some("It fails".to_string()),
        labels: Some(vec!["urgent".to_string(), "bug".to_string()]),
        assignees: None,
    };
    let after = changed(BOARD, |board| board.update_task("7", &change).unwrap());
    let expected = BOARD
        .replace("\"name\": \"Fix login\"", "\"name\": \"Fix \\\"login\\\"\"")
        .replace("[\"bug\"]", "[\"urgent\", \"bug\"]");
    assert_eq!(after, expected);

    let text = r#"{"queues": {"A": [{"id": 1, "labels": [{"name": "x", "color": "red"}]}]}}"#;
    let labels = |names: &[&str]| CardChange {
        labels: Some(names.iter().map(|name| name.to_string()).collect()),
        ..CardChange::default()
    };
    let after = changed(text, |board| board.update_task("1", &labels(&["y", "x"])).unwrap());
    assert_eq!(after, text.replace("[{\"name", r#"[{"name": "y"}, {"name"#));
    assert_eq!(changed(text, |board| board.update_task("1", &labels(&["x"])).unwrap()), text);
    let none = changed(text, |board| board.update_task("1", &labels(&[])).unwrap());
    assert_eq!(none, r#"{"queues": {"A": [{"id": 1, "labels": []}]}}"#);
}

#[test]
fn a_card_is_assigned_once() {
    let mut test = TestBoard::new(BOARD);
    let mut other = JsonBoard::open(test.path()).unwrap();
    let assigned = [test.board.assign_task("A-1"), other.assign_task("A-1"), test.board.assign_task("A-1")];
    assert_eq!(assigned, [Ok(true), Ok(false), Ok(false)]);
    assert_eq!(other.get_task("A-1").unwrap().assignees, ["lanes"]);
    let again = CardChange { assignees: Some(Vec::new()), ..CardChange::default() };
    test.board.update_task("A-1", &again).unwrap();
    assert_eq!(test.board.assign_task("A-1"), Ok(true));
    assert_eq!(test.board.assign_task("9").unwrap_err().code, BoardErrorCode::NotFound);
}

#[test]
fn a_card_is_created_once_for_each_key() {
    let mut test = TestBoard::new(BOARD);
    let new = |key: Option<&str>| NewCard {
        queue: queue("In Progress"),
        name: "New".to_string(),
        description: String::new(),
        key: key.map(str::to_string),
    };
    let first = test.board.create_task(&new(Some("k"))).unwrap();
    assert_eq!((first.id.as_str(), first.queue.as_str(), first.name.as_str()), ("8", "In Progress", "New"));
    assert_eq!(test.board.create_task(&new(Some("k"))).unwrap(), first);
    assert_eq!(test.board.create_task(&new(None)).unwrap().id, "9");
    let line = r#"{"id": "8", "name": "New", "description": "", "labels": [], "assignees": [], "comments": [], "tasks": [], "key": "k"}"#;
    assert!(
        test.text().contains(&format!("\"In Progress\": [\n      {line},\n      {{\"id\": \"9\"")),
        "{}",
        test.text()
    );
    let nameless = NewCard { name: " ".to_string(), ..new(None) };
    assert_eq!(test.board.create_task(&nameless).unwrap_err().code, BoardErrorCode::Invalid);

    let empty = "{\r\n\t\"queues\": {\r\n\t\t\"In Progress\": []\r\n\t}\r\n}\r\n";
    let after = changed(empty, |board| drop(board.create_task(&new(None)).unwrap()));
    let lines = "[\r\n\t\t\t{\r\n\t\t\t\t\"id\": 1,\r\n\t\t\t\t\"name\": \"New\",\r\n\t\t\t\t\"description\": \"\",\r\n";
    assert!(after.contains(lines), "{after}");
    assert!(after.ends_with("\r\n\t\t\t\t\"tasks\": []\r\n\t\t\t}\r\n\t\t]\r\n\t}\r\n}\r\n"), "{after}");
}

#[test]
fn queues_are_created_renamed_and_deleted_when_empty() {
    let mut test = TestBoard::new(BOARD);
    assert_eq!(test.board.create_queue("Attic").unwrap().id, "Attic");
    assert!(test.text().contains("    \"Done\": [],\n    \"Attic\": []\n  },"), "{}", test.text());
    assert_eq!(test.board.create_queue("Attic").unwrap_err().code, BoardErrorCode::Conflict);
    assert_eq!(test.board.create_queue("a\nb").unwrap_err().code, BoardErrorCode::Invalid);
    let by_id = QueueRef::Id { id: "Todo".to_string() };
    assert_eq!(test.board.update_queue(&by_id, "Backlog").unwrap().name, "Backlog");
    assert!(test.text().contains("\"Backlog\": [\n      {\n        \"id\": 7"), "{}", test.text());
    assert_eq!(
        test.board.update_queue(&queue("Backlog"), "Done").unwrap_err().code,
        BoardErrorCode::Conflict
    );
    let error = test.board.delete_queue(&queue("Backlog")).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Conflict);
    assert_eq!(error.message, "the queue \"Backlog\" has 2 cards: move or delete them first");
    for name in ["Attic", "In Progress", "Done"] {
        test.board.delete_queue(&queue(name)).unwrap();
    }
    test.board.update_queue(&queue("Backlog"), "Todo").unwrap();
    assert_eq!(test.text(), BOARD.replace(",\n    \"In Progress\": [],\n    \"Done\": []", ""));
    let names: Vec<String> = test.board.list_queues().unwrap().into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, ["Todo"]);
    assert_eq!(test.board.get_queue(&queue("Done")).unwrap_err().code, BoardErrorCode::NotFound);
}

#[test]
fn a_file_in_ascii_stays_so() {
    let text = "{\"queues\": {\"Pr\\u00fcfung\": [{\"id\": 1}], \"A\": []}}";
    let after = changed(text, |board| {
        board.add_comment("1", "schön 😀", "m").unwrap();
        board.move_task("1", &queue("A"), Some(&queue("Prüfung"))).unwrap();
    });
    let comment = r#"{"id": 1, "comments": ["sch\u00f6n \ud83d\ude00"]}"#;
    assert_eq!(after, format!("{{\"queues\": {{\"Pr\\u00fcfung\": [], \"A\": [{comment}]}}}}"));
}
