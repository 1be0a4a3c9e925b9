//! A board that is a JSON file: `{"queues": {"Todo": [{"id": 1, "name": "…"}]}}`.
//!
//! The file belongs to people, their editors and their scripts. A change therefore leaves every byte that it is not about as
//! it is, and is written only if nobody has changed the file meanwhile (`store/shared_file.rs`).
//!
//! - `document.rs` finds the queues and cards, and refuses what is no board.
//! - `card.rs` reads a card.
//! - `change.rs` decides what a change is, `layout.rs` how it is written.
//! - `file_watch.rs` waits until somebody changes the file.

mod card;
mod change;
mod document;
mod file_watch;
mod layout;
mod located;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use self::card::read_card;
use self::change::{BoardEditor, find_card, find_queue};
use self::document::{BoardDocument, UnreadableBoard};
use self::file_watch::FileWatch;
use super::board::{
    Board, BoardAbilities, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, BoardUser,
    Card, CardChange, NewCard, QueueRef,
};
use crate::error::{Error, ErrorKind, printable};
use crate::model::json::Object;
use crate::store::{Clock, FileVersion, SharedFile};

/// The name by which the bridge is known in the assignees and as the author of comments: the file has no users.
const USER: &str = "lanes";

/// How often a file that is no board is read again before that is an error: somebody may be writing it.
const UNREADABLE_TRIES: u32 = 10;

/// The time between two of these tries.
const UNREADABLE_WAIT: Duration = Duration::from_millis(20);

/// How long a program may take to write the board after it has read it.
const WRITE_OVER_TIME: Duration = Duration::from_millis(100);

/// A board that is a JSON file.
pub(crate) struct JsonBoard {
    file: SharedFile,
    identity: BoardIdentity,
    watch: FileWatch,
    clock: Clock,
    /// The version of the file that this board has written last.
    own: Option<FileVersion>,
    /// Whether others have written the file after that, and before it was written again.
    is_mixed: bool,
    write_over_time: Duration,
}

/// Why a change of the file was not made.
enum ChangeFault {
    /// The file is no board, at least not now.
    Unreadable(UnreadableBoard),
    /// The board has no such card or queue, or refuses the change.
    Refused(BoardError),
    /// The file cannot be used.
    File(Error),
}

impl From<Error> for ChangeFault {
    fn from(error: Error) -> Self {
        Self::File(error)
    }
}

impl From<UnreadableBoard> for ChangeFault {
    fn from(fault: UnreadableBoard) -> Self {
        Self::Unreadable(fault)
    }
}

impl From<BoardError> for ChangeFault {
    fn from(error: BoardError) -> Self {
        Self::Refused(error)
    }
}

impl JsonBoard {
    /// Opens the board in the file at `path`, an absolute path.
    ///
    /// # Errors
    /// `Unavailable` when the file is no board or does not exist: it may be one later; `Forbidden` when it cannot be read.
    pub(crate) fn open(path: PathBuf) -> BoardResult<Self> {
        let can = BoardAbilities {
            generation: false,
            // One process at a time has the lock of the file.
            assign_once: true,
            watch: true,
            queues: true,
            labels: true,
        };
        let mut board = Self {
            file: SharedFile::new(path),
            identity: BoardIdentity {
                name: "json".to_string(),
                version: env!("CARGO_PKG_VERSION").to_string(),
                user: Some(BoardUser { id: USER.to_string(), name: USER.to_string() }),
                can,
            },
            watch: FileWatch::default(),
            clock: Clock::system(),
            own: None,
            is_mixed: false,
            write_over_time: WRITE_OVER_TIME,
        };
        board.read(|_| Ok(()))?;
        Ok(board)
    }

    /// Reads the board.
    fn read<T>(&mut self, read: impl Fn(&BoardDocument<'_>) -> BoardResult<T>) -> BoardResult<T> {
        self.patiently(|board| {
            let content = board.file.read()?;
            board.watch.note(content.version);
            Ok(read(&BoardDocument::parse(&content.text)?)?)
        })
    }

    /// Changes the board: `change` returns the new text, or `None` to keep it, and a result.
    fn change<T>(
        &mut self,
        change: impl Fn(&BoardEditor<'_, '_>) -> BoardResult<(Option<String>, T)>,
    ) -> BoardResult<T> {
        self.patiently(|board| {
            let changed = board.file.change(|text| {
                let (new, result) = change(&BoardEditor::new(&BoardDocument::parse(text)?))?;
                // A text that would not be a board is never written.
                new.as_deref().map(BoardDocument::parse).transpose()?;
                Ok::<_, ChangeFault>((new, result))
            })?;
            let Some(changed) = changed else {
                let message = format!("{} is changed by another program all the time", board.shown());
                // Not `Conflict`, which would mean the card or the queue.
                return Err(BoardError::new(BoardErrorCode::Unavailable, message).into());
            };
            board.watch.note(changed.read);
            board.watch.note_own(changed.written);
            if let Some(written) = changed.written {
                board.is_mixed |= board.own.is_some_and(|own| own != changed.read);
                board.own = Some(written);
            }
            Ok(changed.result)
        })
    }

    /// Does something with the file, again for a while if it is no board: a program that writes it in place leaves it
    /// half-written for a moment.
    fn patiently<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ChangeFault>,
    ) -> BoardResult<T> {
        let mut tries = 1;
        loop {
            match attempt(self) {
                Ok(result) => return Ok(result),
                Err(ChangeFault::Unreadable(_)) if tries < UNREADABLE_TRIES => {
                    tries += 1;
                    std::thread::sleep(UNREADABLE_WAIT);
                }
                Err(fault) => return Err(self.explain(fault)),
            }
        }
    }

    /// Sets how long a program may take to write the board after it has read it.
    #[cfg(test)]
    pub(crate) fn set_write_over_time(&mut self, time: Duration) {
        self.write_over_time = time;
    }

    fn explain(&self, fault: ChangeFault) -> BoardError {
        let error = match fault {
            ChangeFault::Refused(error) => return error,
            ChangeFault::Unreadable(UnreadableBoard(what)) => {
                let message = format!("{}: {what}", self.shown());
                return BoardError::new(BoardErrorCode::Unavailable, message);
            }
            ChangeFault::File(error) => error,
        };
        let may_not = [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM, rustix::io::Errno::ROFS]
            .map(rustix::io::Errno::raw_os_error);
        let is_forbidden = error.raw_os_error().is_some_and(|number| may_not.contains(&number));
        let (code, hint) = match error.kind() {
            ErrorKind::NotFound => (
                BoardErrorCode::Unavailable,
                Some(
                    "create it with the content {\"queues\": {\"Todo\": []}}, or correct `path` in handoff.yaml",
                ),
            ),
            ErrorKind::Locked => (BoardErrorCode::Unavailable, Some("end or continue that process")),
            ErrorKind::Refused => (BoardErrorCode::Forbidden, error.hint()),
            ErrorKind::Io if is_forbidden => (
                BoardErrorCode::Forbidden,
                Some("the user of the bridge needs to write the file and its directory"),
            ),
            _ => (BoardErrorCode::Unavailable, error.hint()),
        };
        let message = hint.map_or(error.message().to_string(), |hint| format!("{}; {hint}", error.message()));
        BoardError::new(code, message)
    }

    fn shown(&self) -> String {
        printable(&self.file.path().to_string_lossy())
    }
}

fn board_queue(name: &str) -> BoardQueue {
    BoardQueue { id: name.to_string(), name: name.to_string(), extra: Object::new() }
}

impl Board for JsonBoard {
    fn identity(&self) -> &BoardIdentity {
        &self.identity
    }

    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        self.read(|board| {
            let queue = find_queue(board, queue)?;
            Ok(queue.cards.iter().take(limit).map(|card| read_card(card, &queue.name)).collect())
        })
    }

    fn get_task(&mut self, id: &str) -> BoardResult<Card> {
        self.read(|board| find_card(board, id).map(|(queue, _, card)| read_card(card, &queue.name)))
    }

    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()> {
        self.change(|board| Ok((board.move_card(id, queue, expected)?, ())))
    }

    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        let now = self.clock.now().wall.to_string();
        self.change(|board| Ok((board.add_comment(id, text, marker, &now)?, ())))
    }

    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        self.change(|board| Ok((board.update_card(id, change)?, ())))
    }

    fn assign_task(&mut self, id: &str) -> BoardResult<bool> {
        self.change(|board| {
            let new = board.assign(id, USER)?;
            let is_new = new.is_some();
            Ok((new, is_new))
        })
    }

    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card> {
        let id = self.change(|board| board.create_card(card))?;
        self.get_task(&id)
    }

    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        self.read(|board| Ok(board.queues.iter().map(|queue| board_queue(&queue.name)).collect()))
    }

    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        self.read(|board| find_queue(board, queue).map(|queue| board_queue(&queue.name)))
    }

    fn create_queue(&mut self, name: &str) -> BoardResult<BoardQueue> {
        self.change(|board| Ok((board.create_queue(name)?, board_queue(name))))
    }

    fn update_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue> {
        self.change(|board| Ok((board.rename_queue(queue, new_name)?, board_queue(new_name))))
    }

    fn delete_queue(&mut self, queue: &QueueRef) -> BoardResult<()> {
        self.change(|board| Ok((board.delete_queue(queue)?, ())))
    }

    fn was_written_over(&mut self) -> bool {
        let Some(own) = self.own.take() else { return false };
        std::thread::sleep(self.write_over_time);
        std::mem::take(&mut self.is_mixed) || self.file.version() != Some(own)
    }

    fn wait_for_change(&mut self, timeout: Duration) -> BoardResult<bool> {
        Ok(self.watch.wait(&self.file, timeout))
    }
}
