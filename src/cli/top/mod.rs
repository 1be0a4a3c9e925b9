//! `lanes top`: shows the queue on a terminal, and follows it.
//!
//! - `overview` reads what is shown, and `frame` draws it as lines of text.
//! - `terminal` has the terminal, and `keys` reads its keys.
//! - `actions` is what keys do to tasks and lanes.

mod actions;
mod frame;
mod keys;
mod overview;
pub(super) mod terminal;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use self::actions::{TopAction, describe};
use self::frame::{FrameLine, FrameOptions, FrameSize, RowTarget, TextStyle, draw, targets};
use self::keys::TerminalKey;
use self::overview::{FollowedQueue, QueueOverview};
use self::terminal::{TakenTerminal, TerminalInput};
use super::args::number;
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use crate::error::{Error, Result, printable};
use crate::store::Store;

/// The size of a frame that is not for a terminal.
const DEFAULT_SIZE: FrameSize = FrameSize { width: 80, height: 24 };

/// The smallest and the largest frame, in columns and lines.
const MIN_SIZE: usize = 5;
const MAX_SIZE: usize = 1000;

/// How long changes are collected before they are read: a busy queue is not drawn more often.
const COLLECT: Duration = Duration::from_millis(200);

/// How long a frame is left as it is if nothing changes: ages are shown in minutes or more.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Show the queue on the terminal, and follow it.
///
/// Lists what needs you, what runs, the lanes, and what has ended last. Reads the store itself: no server is needed. On
/// anything but a terminal, prints one frame.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes top\n  lanes top --once --width 120 --height 40")]
pub(super) struct TopCommand {
    /// Print one frame and exit
    #[arg(long)]
    once: bool,
    /// Width of that frame, in columns [default: that of the terminal, or 80]
    #[arg(long, value_name = "N", value_parser = number::<usize>, requires = "once", allow_negative_numbers = true)]
    width: Option<usize>,
    /// Height of that frame, in lines [default: that of the terminal, or 24]
    #[arg(long, value_name = "N", value_parser = number::<usize>, requires = "once", allow_negative_numbers = true)]
    height: Option<usize>,
}

impl TopCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        context.refuse_json("top", "`lanes status --json` and `lanes workers --json` do")?;
        let size = self.size()?;
        let is_followed = !self.once && !env::is_plain_terminal() && terminal::is_usable();
        // Only a store that exists can be followed; the first task may come later.
        let store = if is_followed { context.store_for_settings()? } else { context.store()? };
        let queue = FollowedQueue::read(&store)?;
        let name = store.address().to_string_lossy().into_owned();
        if !is_followed {
            let options = FrameOptions { queue: &name, size, selected: None, footer: None };
            for line in draw(&queue.overview(&store)?, &store.now(), &options) {
                context.out.line(&line.text())?;
            }
            return Ok(CommandExit::Done);
        }
        Screen::open(&store, queue, name, context.out.is_coloured())?.run()?;
        Ok(CommandExit::Done)
    }

    fn size(&self) -> Result<FrameSize> {
        let default = terminal::size().unwrap_or(DEFAULT_SIZE);
        let within = |name: &str, given: Option<usize>, default: usize| match given {
            Some(given) if !(MIN_SIZE..=MAX_SIZE).contains(&given) => {
                Err(Error::invalid(format!("{name} must be from {MIN_SIZE} to {MAX_SIZE}")))
            }
            given => Ok(given.unwrap_or(default)),
        };
        Ok(FrameSize {
            width: within("--width", self.width, default.width)?,
            height: within("--height", self.height, default.height)?,
        })
    }
}

/// What the last line of the screen is for.
enum Footer {
    /// It shows the keys.
    Keys,
    /// It shows what an action has done, until the next key.
    Message(String),
    /// It asks for the word that confirms an action, or for what it needs.
    Asking { action: TopAction, typed: String },
}

/// A text in place of the overview.
struct Page {
    lines: Vec<FrameLine>,
    first: usize,
}

/// The interactive `lanes top`.
struct Screen<'a> {
    store: &'a Store,
    name: String,
    queue: FollowedQueue,
    overview: QueueOverview,
    terminal: TakenTerminal,
    selected: Option<RowTarget>,
    /// The place of the selected row, for when it is gone.
    place: usize,
    footer: Footer,
    page: Option<Page>,
}

impl<'a> Screen<'a> {
    fn open(store: &'a Store, queue: FollowedQueue, name: String, has_colour: bool) -> Result<Self> {
        let overview = queue.overview(store)?;
        let terminal = TakenTerminal::take(has_colour)?;
        Ok(Self {
            store,
            name,
            queue,
            overview,
            terminal,
            selected: None,
            place: 0,
            footer: Footer::Keys,
            page: None,
        })
    }

    /// Runs until the person leaves.
    fn run(mut self) -> Result<()> {
        self.wake_on_changes()?;
        let (mut is_stale, mut read_at) = (false, Instant::now());
        loop {
            if is_stale && read_at.elapsed() >= COLLECT {
                self.queue.follow(self.store)?;
                self.overview = self.queue.overview(self.store)?;
                (is_stale, read_at) = (false, Instant::now());
            }
            self.draw()?;
            assert!(!env::panics_for_test(), "LANES_TEST_PANIC is set");
            let limit = if is_stale { COLLECT.saturating_sub(read_at.elapsed()) } else { self.rest() };
            match self.terminal.input(limit)? {
                TerminalInput::Gone => return Ok(()),
                TerminalInput::Redraw => is_stale = true,
                TerminalInput::Woken => is_stale = true,
                TerminalInput::Keys(keys) => {
                    for key in keys {
                        if self.press(key)? {
                            return Ok(());
                        }
                    }
                    is_stale = true;
                }
            }
        }
    }

    /// Has a thread wake the terminal after each change of the store. The thread ends with the process.
    fn wake_on_changes(&self) -> Result<()> {
        let waker = self.terminal.waker()?;
        let mut watch = self.store.watch_feed();
        let follow = move || {
            loop {
                if watch.wait(Instant::now() + LONGEST_REST) {
                    waker.wake();
                }
            }
        };
        let thread = std::thread::Builder::new().name("changes".to_string());
        thread.spawn(follow).map(drop).map_err(|error| Error::io("start", "a thread", error))
    }

    /// Returns how long the frame stays true if nothing changes.
    fn rest(&self) -> Duration {
        let now = self.store.now().wall;
        let times = self.overview.running.iter().map(|row| now.seconds_since(row.since));
        let youngest = times.fold(f64::INFINITY, f64::min);
        // Seconds are shown up to two minutes.
        if youngest < 120.0 && self.page.is_none() { Duration::from_secs(1) } else { LONGEST_REST }
    }

    fn draw(&mut self) -> Result<()> {
        let size = terminal::size().unwrap_or(DEFAULT_SIZE);
        let footer = self.footer_line(size.width);
        if let Some(page) = &mut self.page {
            let frame = page.frame(size);
            return self.terminal.draw(frame);
        }
        let targets = targets(&self.overview);
        // A task may have several rows.
        let is_here = targets.get(self.place) == self.selected.as_ref();
        let found = self.selected.as_ref().filter(|_| !is_here);
        let found = found.and_then(|row| targets.iter().position(|target| target == row));
        self.place = found.unwrap_or(self.place).min(targets.len().saturating_sub(1));
        self.selected = targets.get(self.place).cloned();
        let options = FrameOptions { queue: &self.name, size, selected: Some(self.place), footer };
        let frame = draw(&self.overview, &self.store.now(), &options);
        self.terminal.draw(frame)
    }

    fn footer_line(&self, room: usize) -> Option<FrameLine> {
        let text = match &self.footer {
            Footer::Keys => return None,
            Footer::Message(message) => printable(message),
            Footer::Asking { action, typed } => action.prompt(typed, room),
        };
        Some(FrameLine(vec![(TextStyle::Bold, text)]))
    }

    /// Does what a key is for. Returns whether it was the key for leaving.
    fn press(&mut self, key: TerminalKey) -> Result<bool> {
        if let Footer::Asking { action, typed } = &mut self.footer {
            match key {
                TerminalKey::Char(c) => typed.push(c),
                TerminalKey::Backspace => drop(typed.pop()),
                TerminalKey::Clear => typed.clear(),
                TerminalKey::Enter => {
                    let done = action.run(self.store, typed.trim(), &env::user());
                    self.footer = Footer::Message(done.unwrap_or_else(|error| error.to_string()));
                }
                TerminalKey::Escape => self.footer = Footer::Keys,
                _ => {}
            }
            return Ok(false);
        }
        self.footer = Footer::Keys;
        if let Some(page) = &mut self.page {
            let height = terminal::size().unwrap_or(DEFAULT_SIZE).height;
            if page.press(key, height) {
                self.page = None;
            }
            return Ok(false);
        }
        let last = targets(&self.overview).len().saturating_sub(1);
        let half = terminal::size().unwrap_or(DEFAULT_SIZE).height / 2;
        match key {
            TerminalKey::Char('q') => return Ok(true),
            TerminalKey::Char('j') | TerminalKey::Down => self.select((self.place + 1).min(last)),
            TerminalKey::Char('k') | TerminalKey::Up => self.select(self.place.saturating_sub(1)),
            TerminalKey::PageDown => self.select((self.place + half).min(last)),
            TerminalKey::PageUp => self.select(self.place.saturating_sub(half)),
            TerminalKey::Char('g') | TerminalKey::Home => self.select(0),
            TerminalKey::Char('G') | TerminalKey::End => self.select(last),
            TerminalKey::Enter => self.show()?,
            TerminalKey::Char('l') => self.follow_log()?,
            TerminalKey::Char(key @ ('c' | 'r' | 'm' | 'p')) => self.ask(key),
            _ => {}
        }
        Ok(false)
    }

    fn select(&mut self, place: usize) {
        self.place = place;
        self.selected = targets(&self.overview).get(place).cloned();
    }

    fn selected_task(&mut self) -> Option<String> {
        match &self.selected {
            Some(RowTarget::Task(id)) => Some(id.clone()),
            _ => {
                self.footer = Footer::Message("select a task first".to_string());
                None
            }
        }
    }

    /// Asks for the confirmation of the action of a key.
    fn ask(&mut self, key: char) {
        let action = self.selected.as_ref().and_then(|row| TopAction::of_key(key, row, &self.overview));
        self.footer = match action {
            Some(action) => Footer::Asking { action, typed: String::new() },
            None => Footer::Message(describe(key).to_string()),
        };
    }

    /// Shows the selected task, or the tasks of the selected lane.
    fn show(&mut self) -> Result<()> {
        let columns = terminal::size().unwrap_or(DEFAULT_SIZE).width.to_string();
        let words = match &self.selected {
            Some(RowTarget::Task(id)) => vec!["show", id],
            Some(RowTarget::Lane(lane)) if !lane.is_empty() => {
                vec!["list", "--active-only", "--columns", &columns, "--lane", lane]
            }
            _ => return Ok(()),
        };
        let mut command = self.command(&words)?;
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| Error::io("run", "lanes", error))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        self.page = Some(Page::of(&text));
        Ok(())
    }

    /// Follows the output of the selected task until it ends or the person presses Ctrl-C.
    fn follow_log(&mut self) -> Result<()> {
        let Some(id) = self.selected_task() else { return Ok(()) };
        let mut command = self.command(&["logs", "--follow", &id])?;
        self.terminal.lend_to(&mut command)
    }

    /// Returns another `lanes` on the same store.
    fn command(&self, words: &[&str]) -> Result<Command> {
        let program =
            env::own_program().ok_or_else(|| Error::not_found("the program file of lanes is gone"))?;
        let mut command = Command::new(program);
        command.arg("--store").arg(self.store.address()).args(words);
        Ok(command)
    }
}

impl Page {
    fn of(text: &str) -> Self {
        let line = |line: &str| {
            let shown: Vec<String> = line.split('\t').map(printable).collect();
            FrameLine(vec![(TextStyle::Plain, shown.join("    "))])
        };
        Self { lines: text.lines().map(line).collect(), first: 0 }
    }

    fn frame(&mut self, size: FrameSize) -> Vec<FrameLine> {
        let rows: Vec<FrameLine> = self.lines.iter().flat_map(|line| line.wrapped(size.width)).collect();
        let room = size.height.saturating_sub(1).max(1);
        self.first = self.first.min(rows.len().saturating_sub(room));
        let mut frame: Vec<FrameLine> = rows.iter().skip(self.first).take(room).cloned().collect();
        frame.resize(room, FrameLine::default());
        let end = (self.first + room).min(rows.len());
        let keys =
            format!("lines {} to {end} of {}  j/k scroll  Space page  q back", self.first + 1, rows.len());
        frame.push(FrameLine(vec![(TextStyle::Dim, keys)]));
        frame
    }

    /// Scrolls. Returns whether the key was one for leaving the page.
    fn press(&mut self, key: TerminalKey, height: usize) -> bool {
        let page = height.saturating_sub(2).max(1);
        match key {
            TerminalKey::Char('q') | TerminalKey::Escape | TerminalKey::Enter => return true,
            TerminalKey::Char('j') | TerminalKey::Down => self.first += 1,
            TerminalKey::Char('k') | TerminalKey::Up => self.first = self.first.saturating_sub(1),
            TerminalKey::Char(' ') | TerminalKey::PageDown => self.first += page,
            TerminalKey::Char('b') | TerminalKey::PageUp => self.first = self.first.saturating_sub(page),
            TerminalKey::Char('g') | TerminalKey::Home => self.first = 0,
            TerminalKey::Char('G') | TerminalKey::End => self.first = usize::MAX / 2,
            _ => {}
        }
        false
    }
}
