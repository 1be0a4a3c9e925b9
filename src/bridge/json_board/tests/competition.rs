//! Changes while scripts and editors, which take no lock, rewrite the file.

use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::path::Path;

use super::*;

/// How often a script writes the file.
const WRITES: usize = 60;

/// How a script writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// A new file, renamed over the old one.
    Rename,
    /// Emptied, then written bit by bit.
    InPlace,
    /// Opened, read, written over and cut to its length.
    Over,
}

fn write(path: &Path, writing: Writing, change: impl Fn(&str) -> String) {
    match writing {
        Writing::Rename => {
            let Ok(text) = std::fs::read_to_string(path) else { return };
            let new = path.with_extension("new");
            std::fs::write(&new, change(&text)).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
        Writing::InPlace => {
            let Ok(text) = std::fs::read_to_string(path) else { return };
            let text = change(&text);
            let mut file = std::fs::File::create(path).unwrap();
            for piece in text.as_bytes().chunks(64) {
                file.write_all(piece).unwrap();
            }
        }
        Writing::Over => {
            let Ok(mut file) = std::fs::OpenOptions::new().read(true).write(true).open(path) else { return };
            let text = change(&std::io::read_to_string(&mut file).unwrap());
            file.rewind().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_len(text.len() as u64).unwrap();
        }
    }
}

/// Returns the ids of the cards of a queue, each once.
fn ids(board: &mut JsonBoard, name: &str) -> BTreeSet<String> {
    let cards = board.get_ready_tasks(&queue(name), usize::MAX).unwrap();
    let ids: BTreeSet<String> = cards.iter().map(|card| card.id.clone()).collect();
    assert_eq!(ids.len(), cards.len(), "a card is there twice");
    ids
}

#[test]
fn no_card_that_a_script_adds_is_lost() {
    for writing in [Writing::Rename, Writing::InPlace, Writing::Over] {
        let mut test = TestBoard::new("{\"queues\": {\"Todo\": [], \"Done\": []}}");
        let path = test.path();
        let script = std::thread::spawn(move || {
            let ids: BTreeSet<String> = (0..WRITES).map(|n| format!("s{n}")).collect();
            for (at, id) in ids.iter().enumerate() {
                write(&path, writing, |text| {
                    let card = format!("{{\"id\": \"{id}\"}}");
                    match text.contains("\"Todo\": []") {
                        true => text.replace("\"Todo\": []", &format!("\"Todo\": [{card}]")),
                        false => text.replace("\"Todo\": [", &format!("\"Todo\": [{card}, ")),
                    }
                });
                // Sometimes at once again, and sometimes so late that the board gets to change something in between.
                std::thread::sleep(Duration::from_millis(if at % 2 == 0 { 2 } else { 20 }));
            }
            ids
        });
        while !script.is_finished() {
            // The script may undo a move, since what it writes was read before; it is then repeated.
            // On a busy machine the script may leave the file half-written for long, which is an error that passes.
            let Ok(cards) = test.board.get_ready_tasks(&queue("Todo"), 3) else { continue };
            for id in cards.iter().map(|card| &card.id) {
                match test.board.move_task(id, &queue("Done"), Some(&queue("Todo"))) {
                    Ok(()) => {}
                    Err(error) => assert!(
                        matches!(
                            error.code,
                            BoardErrorCode::Conflict | BoardErrorCode::NotFound | BoardErrorCode::Unavailable
                        ),
                        "{error:?}"
                    ),
                }
            }
        }
        let added = script.join().unwrap();
        for id in ids(&mut test.board, "Todo") {
            test.board.move_task(&id, &queue("Done"), None).unwrap();
        }
        let lost: Vec<String> = added.difference(&ids(&mut test.board, "Done")).cloned().collect();
        assert_eq!(lost, [""; 0], "{writing:?}");
        assert_eq!(test.names(), ["board.json", "board.json.lock"]);
    }
}

#[test]
fn a_board_knows_whether_a_script_has_written_it_over() {
    let text = "{\"queues\": {\"A\": [{\"id\": 1}], \"B\": []}}";
    let mut test = TestBoard::new(text);
    test.board.set_write_over_time(Duration::ZERO);
    let move_to = |board: &mut JsonBoard, name| board.move_task("1", &queue(name), None).unwrap();
    assert!(!test.board.was_written_over(), "it has changed nothing");
    move_to(&mut test.board, "B");
    assert!(!test.board.was_written_over());
    // Before its changes, after them, and in between.
    std::fs::write(test.path(), text).unwrap();
    move_to(&mut test.board, "B");
    assert!(!test.board.was_written_over());
    std::fs::write(test.path(), text).unwrap();
    move_to(&mut test.board, "B");
    std::fs::write(test.path(), text).unwrap();
    assert!(test.board.was_written_over());
    move_to(&mut test.board, "B");
    std::fs::write(test.path(), text).unwrap();
    move_to(&mut test.board, "B");
    assert!(test.board.was_written_over());
    assert!(!test.board.was_written_over());
}

#[test]
fn two_processes_of_ours_undo_nothing_of_each_other() {
    let test = TestBoard::new("{\"queues\": {\"A\": []}}");
    let path = test.path();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut board = JsonBoard::open(path.clone()).unwrap();
                for n in 0..10 {
                    let card = NewCard {
                        queue: queue("A"),
                        name: n.to_string(),
                        description: String::new(),
                        key: None,
                    };
                    board.create_task(&card).unwrap();
                }
            });
        }
    });
    assert_eq!(ids(&mut JsonBoard::open(path).unwrap(), "A").len(), 40);
}
