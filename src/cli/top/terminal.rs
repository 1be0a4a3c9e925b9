//! The terminal while `lanes top` has it: its modes, its size, and what is drawn.
//!
//! However the process ends, the terminal must be as it was before: the modes are kept where the panic hook finds
//! them, and signals that would end or stop the process are only noted ([`TerminalSignals`]) until they are restored.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;

use super::frame::{FrameLine, FrameSize, TextStyle};
use super::keys::{TerminalKey, keys};
use crate::cli::colour::Colour;
use crate::error::{Error, Result};
use crate::signals::not_ignored;

/// The modes of the terminal before it was taken; `None` while it is not taken.
static MODES_BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Shows the other screen without cursor, where long lines are cut.
const TAKE: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J";
/// Undoes [`TAKE`].
const GIVE_BACK: &str = "\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// How long the rest of a key may take to arrive.
const KEY_REST: Duration = Duration::from_millis(25);

/// Returns whether frames can be drawn and keys read.
pub(super) fn is_usable() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns the size of the terminal at standard output; `None` when that is none or does not know.
pub(super) fn size() -> Option<FrameSize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    let (width, height) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (width > 0 && height > 0).then_some(FrameSize { width, height })
}

/// Gives the terminal back, if it is taken. Called at every end, also by the panic hook.
pub(in crate::cli) fn give_back() {
    // A panic while the lock is held must not wait for it.
    let modes = match MODES_BEFORE.try_lock() {
        Ok(mut modes) => modes.take(),
        Err(TryLockError::Poisoned(modes)) => modes.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    if let Some(modes) = modes {
        let _ = write_all(GIVE_BACK);
        let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &modes);
    }
}

/// Takes the terminal: keys are read as they are pressed and not shown. Keys that send signals still do.
fn take() -> Result<()> {
    let fail = |errno| Error::io("set up", "the terminal", errno);
    let before = rustix::termios::tcgetattr(stdin()).map_err(fail)?;
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::IEXTEN);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    *MODES_BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    rustix::termios::tcsetattr(stdin(), OptionalActions::Now, &modes).map_err(fail)?;
    write_all(TAKE)
}

/// Writes to standard output directly: what is buffered there must not end up between the pieces of a frame.
fn write_all(text: &str) -> Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("write", "standard output", errno)),
        }
    }
    Ok(())
}

/// The signals that are noted while the terminal is taken.
struct TerminalSignals {
    ends: Vec<(i32, Arc<AtomicBool>)>,
    stop: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
}

/// What has happened at a terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TerminalInput {
    /// Keys were pressed.
    Keys(Vec<TerminalKey>),
    /// The frame must be drawn anew: the size has changed, or the process was stopped.
    Redraw,
    /// A [`TerminalWaker`] was used, or the time is over.
    Woken,
    /// The terminal is gone.
    Gone,
}

/// A terminal that is taken. Dropping it gives it back.
pub(super) struct TakenTerminal {
    signals: TerminalSignals,
    woken: UnixStream,
    waker: UnixStream,
    /// What is on the screen; `None` when that is not known.
    drawn: Option<Vec<FrameLine>>,
    has_colour: bool,
}

/// Wakes the one that reads from a terminal; for another thread.
pub(super) struct TerminalWaker(UnixStream);

impl TerminalWaker {
    /// Wakes it. Does nothing when it is about to wake anyway.
    pub(super) fn wake(&self) {
        let _ = rustix::io::write(&self.0, b"w");
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

impl TakenTerminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn take(has_colour: bool) -> Result<Self> {
        let fail = |error| Error::io("listen for", "signals", error);
        let (woken, waker) = UnixStream::pair().map_err(fail)?;
        woken.set_nonblocking(true).map_err(fail)?;
        waker.set_nonblocking(true).map_err(fail)?;
        let noted = |signal: i32| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(fail)?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone().map_err(fail)?).map_err(fail)?;
            Ok::<_, Error>(flag)
        };
        let mut ends = Vec::new();
        for signal in not_ignored(&[SIGINT, SIGHUP]).into_iter().chain([SIGTERM]) {
            ends.push((signal, noted(signal)?));
        }
        // Only to end the wait.
        for signal in [SIGCONT, SIGCHLD] {
            noted(signal)?;
        }
        let signals = TerminalSignals { ends, stop: noted(SIGTSTP)?, resized: noted(SIGWINCH)? };
        take()?;
        Ok(Self { signals, woken, waker, drawn: None, has_colour })
    }

    /// Returns what wakes [`Self::input`].
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn waker(&self) -> Result<TerminalWaker> {
        let waker = self.waker.try_clone();
        waker.map(TerminalWaker).map_err(|error| Error::io("listen for", "changes", error))
    }

    /// Draws a frame. Only lines that differ from the last one are written.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn draw(&mut self, frame: Vec<FrameLine>) -> Result<()> {
        let mut text = String::new();
        if self.drawn.is_none() {
            text.push_str("\u{1b}[2J");
        }
        let drawn = self.drawn.take().unwrap_or_default();
        for number in 0..frame.len().max(drawn.len()) {
            let (old, new) = (drawn.get(number), frame.get(number));
            if old != new {
                let _ = write!(text, "\u{1b}[{};1H", number + 1);
                text.push_str(&styled(new.unwrap_or(&FrameLine::default()), self.has_colour));
                text.push_str("\u{1b}[K");
            }
        }
        self.drawn = Some(frame);
        write_all(&text)
    }

    /// Waits for keys and other inputs, at most for `limit`. Ends or stops the process, with the terminal as it was
    /// before, when a signal asks for that.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn input(&mut self, limit: Duration) -> Result<TerminalInput> {
        let (has_keys, is_woken) = self.is_ready(limit)?;
        if is_woken {
            self.drain();
        }
        if self.obey_signals()? || self.signals.resized.swap(false, Ordering::SeqCst) {
            self.drawn = None;
            return Ok(TerminalInput::Redraw);
        }
        if !has_keys {
            return Ok(TerminalInput::Woken);
        }
        let mut bytes = Vec::new();
        loop {
            let mut buffer = [0; 256];
            match rustix::io::read(stdin(), &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::IO) => return Ok(TerminalInput::Gone),
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(errno) => return Err(Error::io("read from", "the terminal", errno)),
            }
            // An escape sequence may arrive in pieces.
            if bytes.last() != Some(&0x1b) || !self.is_ready(KEY_REST)?.0 {
                return Ok(TerminalInput::Keys(keys(&bytes)));
            }
        }
    }

    /// Waits at most for `limit`, and returns whether keys were pressed, and whether a waker or a signal came.
    fn is_ready(&self, limit: Duration) -> Result<(bool, bool)> {
        let input = stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for", "the terminal", errno)),
        }
        Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty()))
    }

    /// Ends or stops the process if a signal has asked for it. Returns whether it was stopped and continues.
    fn obey_signals(&self) -> Result<bool> {
        for (signal, flag) in &self.signals.ends {
            if flag.load(Ordering::SeqCst) {
                give_back();
                let _ = emulate_default_handler(*signal);
            }
        }
        let is_stopped = self.signals.stop.swap(false, Ordering::SeqCst);
        if is_stopped {
            give_back();
            let _ = emulate_default_handler(SIGTSTP);
            take()?;
        }
        Ok(is_stopped)
    }

    /// Gives the terminal to another program until it has ended and the person has read what it printed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn lend_to(&mut self, command: &mut Command) -> Result<()> {
        give_back();
        let ran = self.wait_for(command);
        // Keys that sent a signal meanwhile were for the other program.
        let is_interrupted = self.take_interrupt();
        if let Ok(Some(_)) = &ran
            && !is_interrupted
        {
            write_all("\nlanes: press Enter to go back\n")?;
            self.wait_for_line()?;
        }
        take()?;
        self.drawn = None;
        ran.map(drop).map_err(|error| Error::io("run", "lanes", error))
    }

    /// Runs a program. Stops with it; `None` if a signal is to end this process, which has ended the program.
    fn wait_for(&self, command: &mut Command) -> io::Result<Option<ExitStatus>> {
        let mut child = command.spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            self.sleep();
            if self.signals.stop.swap(false, Ordering::SeqCst) {
                emulate_default_handler(SIGTSTP)?;
            }
            let is_end =
                |(signal, flag): &(i32, Arc<AtomicBool>)| *signal != SIGINT && flag.load(Ordering::SeqCst);
            if self.signals.ends.iter().any(is_end) {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
        }
    }

    /// Sleeps until a signal or a wake-up.
    fn sleep(&self) {
        let mut fds = [PollFd::new(&self.woken, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        self.drain();
    }

    fn drain(&self) {
        let mut buffer = [0; 256];
        while rustix::io::read(&self.woken, &mut buffer).is_ok_and(|read| read == buffer.len()) {}
    }

    /// Waits until a line is entered at the terminal, which has its usual modes, or a signal comes.
    fn wait_for_line(&self) -> Result<()> {
        loop {
            let input = stdin();
            let mut fds = [PollFd::new(&input, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            if !fds[0].revents().is_empty() {
                let mut line = [0; 256];
                let _ = rustix::io::read(stdin(), &mut line);
                return Ok(());
            }
            self.drain();
            if self.signals.ends.iter().any(|(_, flag)| flag.load(Ordering::SeqCst)) {
                self.take_interrupt();
                return Ok(());
            }
            if self.signals.stop.swap(false, Ordering::SeqCst) {
                emulate_default_handler(SIGTSTP).map_err(|error| Error::io("stop", "lanes", error))?;
            }
        }
    }

    /// Returns whether Ctrl-C was pressed, and forgets it.
    fn take_interrupt(&self) -> bool {
        let mut interrupts = self.signals.ends.iter().filter(|(signal, _)| *signal == SIGINT);
        interrupts.any(|(_, flag)| flag.swap(false, Ordering::SeqCst))
    }
}

/// Returns a line with the codes for its styles.
fn styled(line: &FrameLine, has_colour: bool) -> String {
    let mut text = String::new();
    for (style, piece) in &line.0 {
        let code = match (style, has_colour) {
            (TextStyle::Plain, _) => "",
            (TextStyle::Bold, _) => Colour::Bold.code(),
            (TextStyle::Selected, _) => "7",
            (_, false) => "",
            (TextStyle::Dim, _) => Colour::Dim.code(),
            (TextStyle::Good, _) => Colour::Good.code(),
            (TextStyle::Bad, _) => Colour::Bad.code(),
            (TextStyle::Waiting, _) => Colour::Waiting.code(),
        };
        if code.is_empty() {
            text.push_str(piece);
        } else {
            let _ = write!(text, "\u{1b}[{code}m{piece}\u{1b}[0m");
        }
    }
    text
}
