//! Files that are no boards, cannot be used, or are not plain files.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// Returns the error of opening a board with this content.
fn refusal(content: &[u8]) -> BoardError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("board.json");
    std::fs::write(&path, content).unwrap();
    let mut error = JsonBoard::open(path.clone()).err().unwrap();
    error.message = error.message.replace(path.to_str().unwrap(), "FILE");
    error
}

#[test]
fn a_file_that_is_no_board_is_an_error_with_line_and_column() {
    for (content, expected) in [
        ("", "FILE: the file is empty; a board without cards is {\"queues\": {}}"),
        (
            "{\"queues\": {\n  \"Todo\": [\n",
            "FILE: not JSON: it ends inside a list: a ] is missing, at line 3 column 0",
        ),
        (
            "{\"queues\": {\n  \"Todo\": [1,]\n}}",
            "FILE: not JSON: a value is a text in quotes, a number, true, false, null, a [list] or an {object}, at line 2 column 14",
        ),
        (
            "{\"queues\": {}} x",
            "FILE: not JSON: there is more text after the end of the value, at line 1 column 16",
        ),
        ("[]", "FILE: a board is an object with \"queues\" (line 1 column 1)"),
        ("{\"a\": 1}", "FILE: a board needs the key \"queues\", as in {\"queues\": {}} (line 1 column 1)"),
        ("{\"queues\": {},\n \"queues\": {}}", "FILE: \"queues\" is there twice (line 2 column 2)"),
        (
            "{\"queues\": []}",
            "FILE: \"queues\" is not an object with a list of cards for each queue (line 1 column 12)",
        ),
        (
            "{\"queues\": {\"A\": {}}}",
            "FILE: the queue \"A\" is not a list of cards, as in \"queues\": {\"Todo\": []} (line 1 column 18)",
        ),
        (
            "{\"queues\": {\"A\": [],\n \"\\u0041\": []}}",
            "FILE: the queue \"A\" is there already at line 1 column 13: rename one of the two (line 2 column 2)",
        ),
        ("{\"queues\": {\"A\": [7]}}", "FILE: a card in the queue \"A\" is not an object (line 1 column 19)"),
        (
            "{\"queues\": {\"A\": [\n {\"name\": \"x\"}]}}",
            "FILE: a card in the queue \"A\" has no id: give it one that no other card has (line 2 column 2)",
        ),
        (
            "{\"queues\": {\"A\": [{\"id\": null}]}}",
            "FILE: a card in the queue \"A\" has an id that is neither a number nor a text: give it one that no other card \
             has (line 1 column 26)",
        ),
        (
            "{\"queues\": {\"A\": [{\"id\": \"\"}]}}",
            "FILE: a card in the queue \"A\" has an empty id: give it one that no other card has (line 1 column 26)",
        ),
        (
            "{\"queues\": {\"A\": [{\"id\": 7}], \"B\": [\n{\"id\": 7}]}}",
            "FILE: a card with the id 7 is there already at line 1 column 19: give one of the two another id (line 2 column 1)",
        ),
        (
            "{\"queues\": {\"A\": [{\"id\": 7},\n{\"id\": \"7\"}]}}",
            "FILE: a card with the id \"7\", the same as 7, is there already at line 1 column 19: give one of the two another id \
             (line 2 column 1)",
        ),
    ] {
        let error = refusal(content.as_bytes());
        assert_eq!(
            (error.code, error.message.as_str()),
            (BoardErrorCode::Unavailable, expected),
            "{content}"
        );
    }
    let deep = format!("{{\"queues\": {{}}, \"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
    assert_eq!(refusal(deep.as_bytes()).message, "FILE: its values are nested more than 127 levels deep");
    assert!(refusal("[".repeat(1_000_000).as_bytes()).message.starts_with("FILE: not JSON: it ends"));
    assert_eq!(refusal(b"{\n \"a\xff").message, "FILE is not UTF-8 text at line 2 column 4");
    let large = " ".repeat(8 * 1024 * 1024 + 1);
    assert!(
        refusal(large.as_bytes()).message.contains("is too large"),
        "{}",
        refusal(large.as_bytes()).message
    );
}

#[test]
fn a_broken_file_is_no_empty_board_and_recovers() {
    let mut test = TestBoard::new(BOARD);
    let half = &BOARD[..BOARD.len() / 2];
    std::fs::write(test.path(), half).unwrap();
    for result in [
        test.board.list_queues().map(drop),
        test.board.move_task("7", &queue("Done"), None),
        test.board.delete_queue(&queue("Done")),
    ] {
        assert_eq!(result.unwrap_err().code, BoardErrorCode::Unavailable);
    }
    assert_eq!(test.text(), half);
    std::fs::write(test.path(), BOARD).unwrap();
    assert_eq!(test.board.get_ready_tasks(&queue("Todo"), 9).unwrap().len(), 2);
}

#[test]
fn a_file_that_is_not_there_yet_may_come() {
    let mut test = TestBoard::new(BOARD);
    std::fs::remove_file(test.path()).unwrap();
    let error = test.board.list_queues().unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Unavailable);
    let message = "board.json does not exist; create it with the content {\"queues\": {\"Todo\": []}}, or correct `path` in handoff.yaml";
    assert!(error.message.ends_with(message), "{error:?}");
    symlink("nowhere", test.path()).unwrap();
    assert!(test.board.list_queues().unwrap_err().message.contains("is a link that leads nowhere; create"));
    std::fs::remove_file(test.path()).unwrap();
    std::fs::create_dir(test.path()).unwrap();
    assert!(test.board.list_queues().unwrap_err().message.ends_with("board.json is not a regular file"));
}

#[test]
fn mode_link_and_byte_order_mark_are_kept() {
    let mut test = TestBoard::new(BOARD);
    let real = test.path().with_file_name("real.json");
    std::fs::write(&real, format!("\u{feff}{BOARD}")).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::remove_file(test.path()).unwrap();
    symlink("real.json", test.path()).unwrap();
    test.board.move_task("A-1", &queue("Done"), None).unwrap();
    assert!(test.path().is_symlink());
    assert_eq!(real.metadata().unwrap().mode() & 0o777, 0o640);
    assert!(test.text().starts_with("\u{feff}{\n"), "{}", test.text());
    assert_eq!(test.names(), ["board.json", "real.json", "real.json.lock"], "nothing else is left behind");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o444)).unwrap();
    let error = test.board.move_task("7", &queue("Done"), None).unwrap_err();
    assert_eq!(error.code, BoardErrorCode::Forbidden);
    assert!(error.message.ends_with("board.json is read-only; make it writable with chmod u+w"), "{error:?}");
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let mut test = TestBoard::new(BOARD);
    let inode = test.path().metadata().unwrap().ino();
    let same = CardChange {
        name: Some("Fix login".to_string()),
        labels: Some(vec!["bug".to_string()]),
        ..CardChange::default()
    };
    test.board.update_task("7", &same).unwrap();
    test.board.move_task("7", &queue("Todo"), None).unwrap();
    test.board.update_queue(&queue("Todo"), "Todo").unwrap();
    assert_eq!(test.path().metadata().unwrap().ino(), inode);
    test.board.assign_task("7").unwrap();
    assert_ne!(test.path().metadata().unwrap().ino(), inode, "a change writes a new file");
}

#[test]
fn a_wait_ends_with_a_change_by_others() {
    let mut test = TestBoard::new(BOARD);
    let moment = Duration::from_millis(1);
    assert_eq!(test.board.wait_for_change(moment), Ok(false), "it was read when it was opened");
    test.board.assign_task("7").unwrap();
    assert_eq!(test.board.wait_for_change(moment), Ok(false), "the change is its own");
    // Between two reads, of which the first is out of date then.
    let shorter = test.text().replace("Team", "Us");
    std::fs::write(test.path(), &shorter).unwrap();
    test.board.list_queues().unwrap();
    assert_eq!(test.board.wait_for_change(moment), Ok(true));
    test.board.list_queues().unwrap();
    assert_eq!(test.board.wait_for_change(moment), Ok(false));
    for by_rename in [true, false] {
        let (path, text) = (test.path(), test.text() + "\n");
        let writer = std::thread::spawn(move || {
            let target = if by_rename { path.with_extension("new") } else { path.clone() };
            std::fs::write(&target, text).unwrap();
            if by_rename {
                std::fs::rename(&target, &path).unwrap();
            }
        });
        assert_eq!(test.board.wait_for_change(Duration::from_secs(60)), Ok(true));
        writer.join().unwrap();
        test.board.list_queues().unwrap();
    }
}
