//! Bridges, dispatchers and adapters that are killed again and again, once in the life of every few cards.
//!
//! A few kills on each board; `LANES_TEST_KILLS=1000` makes it so many.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::desk::Desk;
use super::examples::example;
use super::killed::{killed_at, was_killed};
#[cfg(feature = "planka")]
use super::planka::{PlankaDesk, killed_round};
#[cfg(feature = "planka")]
use crate::testkit::planka::{KillTime, world::PlankaWorld};
use crate::testkit::pool::Pool;
use crate::testkit::skip::has;

/// How often something is killed on each board, unless the environment says otherwise.
const KILLS: usize = 4;

/// How many kills a board lives through until a new one takes its place.
const KILLS_OF_BOARD: usize = 25;

/// The most rounds after a kill until nothing changes any more.
const MAX_ROUNDS: usize = 12;

#[expect(clippy::disallowed_methods, reason = "it says how much is tested")]
fn kills() -> usize {
    let asked = std::env::var_os("LANES_TEST_KILLS");
    asked.map_or(KILLS, |number| number.to_str().unwrap().parse().expect("LANES_TEST_KILLS is a number"))
}

/// A board, with a bridge `team` whose tasks go to lane `work`.
trait Board {
    fn pool(&self) -> &Pool;
    /// Adds a card whose agent executes a script.
    fn add(&self, name: &str, script: &str);
    /// Each card by its name: its queue, and the first lines of its comments.
    fn cards(&self) -> BTreeMap<String, (String, Vec<String>)>;
    /// The queue of cards that have failed.
    fn failed(&self) -> &'static str;
    /// What can be killed here, one after the other.
    fn victims(&self) -> &'static [Victim];
    /// Makes a round that is killed at a side effect of the adapter; returns whether it was.
    fn round_killed_at_side_effect(&self, point: usize) -> bool;
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// The bridge, at a system call.
    Bridge,
    /// The dispatcher, its guard or its agent, whichever makes the system call.
    Dispatcher,
    /// The adapter: a process, or the bridge at a request that changes the board.
    Adapter,
}

impl Board for Desk {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn add(&self, name: &str, script: &str) {
        self.add(json!(name), script);
    }

    fn cards(&self) -> BTreeMap<String, (String, Vec<String>)> {
        let board = self.board();
        let queues = board["queues"].as_object().unwrap().iter();
        let cards =
            queues.flat_map(|(queue, cards)| cards.as_array().unwrap().iter().map(move |card| (queue, card)));
        let found: Vec<(String, (String, Vec<String>))> = cards
            .map(|(queue, card)| {
                let id = card["id"].as_str().unwrap().to_string();
                (id, (queue.clone(), self.comments(&card["id"])))
            })
            .collect();
        let count = found.len();
        let cards: BTreeMap<_, _> = found.into_iter().collect();
        assert_eq!(cards.len(), count, "a card is there twice: {board}");
        cards
    }

    fn failed(&self) -> &'static str {
        "Failed"
    }

    fn victims(&self) -> &'static [Victim] {
        &[Victim::Bridge, Victim::Dispatcher]
    }

    fn round_killed_at_side_effect(&self, _: usize) -> bool {
        unreachable!("the adapter is a part of the bridge")
    }
}

#[cfg(feature = "planka")]
impl Board for PlankaDesk {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn add(&self, name: &str, script: &str) {
        self.add(name, 1, script);
    }

    fn cards(&self) -> BTreeMap<String, (String, Vec<String>)> {
        let mut cards = BTreeMap::new();
        for (list, queue) in self.world.lists.iter().zip(["Todo", "Doing", "Done"]) {
            let reply = self.world.ask("GET", &format!("/api/lists/{list}"), &Value::Null);
            for card in reply["included"]["cards"].as_array().unwrap() {
                let told = self.told(card["id"].as_str().unwrap());
                cards.insert(card["name"].as_str().unwrap().to_string(), (queue.to_string(), told));
            }
        }
        cards
    }

    fn failed(&self) -> &'static str {
        "Doing"
    }

    fn victims(&self) -> &'static [Victim] {
        &[Victim::Adapter, Victim::Dispatcher, Victim::Bridge]
    }

    fn round_killed_at_side_effect(&self, point: usize) -> bool {
        let when = if point.is_multiple_of(2) { KillTime::Before } else { KillTime::After };
        killed_round(self, point, when)
    }
}

/// A board in a Markdown file, behind a program.
struct Notes(Pool);

impl Notes {
    fn new() -> Self {
        let pool = Pool::new(
            "dispatch:\n  vendor: claude\n  grace: 0.5\n  retry_delay: 0\n  max_retries: 1\n  vendors:\n    \
             claude: {command: AGENT}\nbridges:\n  team:\n    adapter: [./adapter.sh]\n    config: {path: board.md}\n    \
             requests_per_second: 1000\n    \
             queues: {Todo: {lane: work, in_progress: Doing, done: Done, failed: Failed}}\n",
        );
        std::fs::write(pool.path("board.md"), "## Todo\n\n## Doing\n\n## Done\n\n## Failed\n").unwrap();
        // At the call that the file names, if there is one.
        let script = format!(
            "#!/bin/sh\npoint=$(cat point 2>/dev/null) || exec python3 {0}\n\
             exec strace -qq -o /dev/null -e inject=write,rename,renameat,renameat2,fsync:signal=KILL:when=$point python3 {0}\n",
            example("markdown.py").display()
        );
        std::fs::write(pool.path("adapter.sh"), script).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(pool.path("adapter.sh"), mode).unwrap();
        Self(pool)
    }
}

impl Board for Notes {
    fn pool(&self) -> &Pool {
        &self.0
    }

    fn add(&self, name: &str, script: &str) {
        let path = self.0.path("board.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let card = format!("## Todo\n\n- [ ] {name}\n    DO: {script}\n");
        std::fs::write(&path, text.replacen("## Todo\n", &card, 1)).unwrap();
    }

    fn cards(&self) -> BTreeMap<String, (String, Vec<String>)> {
        let text = std::fs::read_to_string(self.0.path("board.md")).unwrap();
        let mut cards = BTreeMap::new();
        let (mut queue, mut name) = ("", String::new());
        // The first line after the end of another comment.
        let mut is_first = true;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                queue = heading;
            } else if let Some(title) = line.strip_prefix("- [") {
                name = title[3..].split(" ^").next().unwrap().to_string();
                let before = cards.insert(name.clone(), (queue.to_string(), Vec::new()));
                assert!(before.is_none(), "a card is there twice: {text}");
                is_first = true;
            } else if let Some(quote) = line.strip_prefix("    > ") {
                if is_first {
                    cards.get_mut(&name).unwrap().1.push(quote.to_string());
                }
                is_first = quote.starts_with("_lanes ");
            }
        }
        cards
    }

    fn failed(&self) -> &'static str {
        "Failed"
    }

    fn victims(&self) -> &'static [Victim] {
        &[Victim::Adapter, Victim::Dispatcher]
    }

    fn round_killed_at_side_effect(&self, point: usize) -> bool {
        std::fs::write(self.0.path("point"), point.to_string()).unwrap();
        let output = self.0.output(&["bridge", "team", "--once"]);
        std::fs::remove_file(self.0.path("point")).unwrap();
        !output.status.success()
    }
}

/// The id and state of each task, by the name of its card; each card has one.
fn tasks(board: &dyn Board) -> BTreeMap<String, [String; 2]> {
    let listed = board.pool().json(&["list"]);
    let found = listed["tasks"].as_array().unwrap();
    let tasks: BTreeMap<String, [String; 2]> = found
        .iter()
        .map(|task| {
            let name = task["name"].as_str().unwrap();
            (
                name.strip_prefix("Card ").unwrap_or(name).trim_matches('"').to_string(),
                ["id", "state"].map(|key| task[key].as_str().unwrap().to_string()),
            )
        })
        .collect();
    assert_eq!(tasks.len(), found.len(), "a card has two tasks: {listed}");
    tasks
}

/// Works until nothing changes any more.
fn work_it_off(board: &dyn Board) {
    let pool = board.pool();
    for _ in 0..MAX_ROUNDS {
        let before = (board.cards(), tasks(board));
        pool.ok(&["bridge", "team", "--once"]);
        pool.dispatch_once(&[]);
        if (board.cards(), tasks(board)) == before {
            return;
        }
    }
    panic!("it does not come to rest: {:?}", board.cards());
}

/// Each card has one task, one accepted answer, and one comment of each kind.
fn check(board: &dyn Board, names: &BTreeSet<String>, what: &str) {
    let (cards, tasks) = (board.cards(), tasks(board));
    assert_eq!(cards.keys().cloned().collect::<BTreeSet<_>>(), *names, "{what}");
    assert_eq!(tasks.keys().cloned().collect::<BTreeSet<_>>(), *names, "{what}");
    for (name, (queue, told)) in &cards {
        let is_good = name.starts_with("good");
        let expected = if is_good { "Done" } else { board.failed() };
        assert_eq!(queue, expected, "{what}: {name}: {told:?}");
        let once: BTreeSet<&String> = told.iter().collect();
        assert_eq!(once.len(), told.len(), "{what}: {name}: {told:?}");
        let is_last =
            |line: &String| if is_good { line == "Yes" } else { line.starts_with("Gave up after ") };
        assert_eq!(told.iter().filter(|line| is_last(line)).count(), 1, "{what}: {name}: {told:?}");
        let others = told.iter().filter(|line| !is_last(line));
        let is_attempt = |line: &&String| line.starts_with("Attempt ");
        // One attempt may have been killed with its dispatcher; that is told, and does not count.
        let (most, lost) =
            (if is_good { 1 } else { 2 }, others.clone().filter(|line| line.contains(" was lost")));
        assert!(others.clone().all(|line| is_attempt(&line)), "{what}: {name}: {told:?}");
        assert!(others.count() <= most && lost.count() <= 1, "{what}: {name}: {told:?}");
    }
    for (name, [id, _]) in &tasks {
        let events = board.pool().events(id);
        let answers = events.iter().filter(|kind| ["response", "dead"].contains(&kind.as_str()));
        assert_eq!(answers.count(), 1, "{what}: {name}: {events:?}");
    }
}

/// Lets a board live through kills, and others after it.
#[expect(clippy::print_stdout, reason = "it says how much was tested")]
fn live(new: &dyn Fn() -> Box<dyn Board>) {
    let (mut killed, mut at) = (BTreeMap::<Victim, usize>::new(), 0);
    let mut most: BTreeMap<Victim, usize> = BTreeMap::new();
    while killed.values().sum::<usize>() < kills() {
        let board = new();
        let mut names = BTreeSet::new();
        let enough = at + KILLS_OF_BOARD;
        while at < enough && killed.values().sum::<usize>() < kills() {
            at += 1;
            assert!(at <= 4 * kills() + 10, "only {killed:?} kills in {at} trials");
            for (kind, script) in [("good", "result Yes"), ("bad", "exit 3")] {
                let name = format!("{kind} {at}");
                board.add(&name, script);
                names.insert(name);
            }
            let victim = board.victims()[at % board.victims().len()];
            if victim == Victim::Dispatcher {
                board.pool().ok(&["bridge", "team", "--once"]);
            } else if at.is_multiple_of(2) {
                // Then it is killed when it tells of the answers.
                board.pool().ok(&["bridge", "team", "--once"]);
                board.pool().dispatch_once(&[]);
            }
            // All points in turn; how many there are differs from round to round.
            let most = most.entry(victim).or_insert(if victim == Victim::Adapter { 12 } else { 40 });
            let point = 1 + at * 17 % *most;
            let was = match victim {
                Victim::Bridge => {
                    was_killed(&mut killed_at(board.pool(), point, &["bridge", "team", "--once"]))
                }
                Victim::Dispatcher => {
                    was_killed(&mut killed_at(board.pool(), point, &["dispatch", "--once"]))
                }
                Victim::Adapter => board.round_killed_at_side_effect(point),
            };
            if was {
                *killed.entry(victim).or_default() += 1;
                *most += 3;
            } else {
                *most = point.max(6);
            }
            work_it_off(board.as_ref());
            check(board.as_ref(), &names, &format!("trial {at}: {victim:?} at {point}"));
        }
    }
    println!("killed in {at} trials: {killed:?}");
}

#[test]
fn a_file_whose_bridge_and_dispatcher_are_killed() {
    if has("strace") {
        live(&|| Box::new(Desk::new("        dead_letter: Failed\n")));
    }
}

#[test]
#[cfg(feature = "planka")]
fn a_server_whose_bridge_and_dispatcher_are_killed() {
    if has("strace") {
        live(&|| Box::new(PlankaDesk::new(PlankaWorld::with_stand_in())));
    }
}

#[test]
fn a_program_that_is_killed_with_its_dispatcher() {
    if has("strace") && has("python3") {
        live(&|| Box::new(Notes::new()));
    }
}
