//! Many processes at once on one store, some of them killed: each task has one holder at a time and one answer,
//! and none is lost.
//!
//! Sixteen processes for some seconds; with LANES_TEST_LONG sixty-four for a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::disk::Dice;
use crate::driver::Driver;
use crate::reader::{self, After};
use crate::usage;
use crate::world::{World, asked_for};
use serde_json::Value;

/// The successful replies to all workers.
#[derive(Default)]
struct Told {
    submitted: Mutex<BTreeSet<String>>,
    /// Tokens by task and fence.
    claims: Mutex<BTreeMap<(String, u64), String>>,
    answered: Mutex<BTreeMap<String, String>>,
    commands: AtomicU64,
    killed: AtomicU64,
    refused: AtomicU64,
}

impl Told {
    /// Runs a command that may be killed; returns its output if it succeeded.
    fn run(&self, world: &World, dice: &mut Dice, words: &[&str]) -> Option<String> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let mut child = world.lanes(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if dice.roll().is_multiple_of(8) {
            // A different moment each time, from at once to later than a command takes.
            std::thread::sleep(Duration::from_micros(dice.roll() % 15_000));
            let _ = child.kill();
        }
        let (mut printed, mut complaint) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        let status = child.wait().unwrap();
        match (status.code(), status.signal()) {
            (Some(0), _) => Some(printed.trim_end().to_string()),
            (_, Some(9)) => {
                self.killed.fetch_add(1, Ordering::Relaxed);
                // What it printed before it was killed counts.
                (printed.ends_with('\n') && !printed.is_empty()).then(|| printed.trim_end().to_string())
            }
            (Some(1 | 4), _) => {
                let is_refusal = complaint.lines().count() <= 1 && !complaint.contains("internal error");
                assert!(is_refusal, "{words:?}: {complaint}");
                assert!(!complaint.contains("is not a task"), "{words:?}: {complaint}");
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
            _ => panic!("{words:?}: {status}: {complaint}"),
        }
    }

    fn work(&self, world: &World, seed: u64, end: Instant) {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut held: Vec<(String, String)> = Vec::new();
        let mut count = 0;
        while Instant::now() < end {
            count += 1;
            let name = format!("{seed}-{count}");
            match dice.roll() % 10 {
                0..=2 => {
                    if let Some(id) =
                        self.run(world, &mut dice, &["submit", "--lane", "h", "--prompt", &name])
                    {
                        self.submitted.lock().unwrap().insert(id);
                    }
                }
                3..=5 => {
                    let words = ["claim", "--lane", "h", "--owner", &name, "--json"];
                    let Some(printed) = self.run(world, &mut dice, &words) else { continue };
                    let reply: Value = serde_json::from_str(&printed).unwrap();
                    let task = &reply["task"];
                    let id = task["id"].as_str().unwrap().to_string();
                    let token = task["claim_token"].as_str().unwrap().to_string();
                    let fence = task["fence"].as_u64().unwrap();
                    let before = self.claims.lock().unwrap().insert((id.clone(), fence), token.clone());
                    assert_eq!(before, None, "{id} was given away twice under one number");
                    held.push((id, token));
                }
                kind => {
                    if held.is_empty() {
                        continue;
                    }
                    let at = dice.roll() as usize % held.len();
                    let (id, token) = held[at].clone();
                    let words: Vec<&str> = match kind {
                        6 => vec!["renew", &id, "--claim-token", &token],
                        7 => vec!["release", &id, "--claim-token", &token],
                        8 if dice.roll().is_multiple_of(3) => vec!["cancel", &id],
                        _ => vec!["respond", &id, "--claim-token", &token, "--body", &name],
                    };
                    let done = self.run(world, &mut dice, &words).is_some();
                    if words[0] == "respond" && done {
                        let before = self.answered.lock().unwrap().insert(id.clone(), name.clone());
                        assert_eq!(before, None, "answered twice");
                    }
                    if words[0] != "renew" {
                        held.swap_remove(at);
                    }
                }
            }
        }
    }
}

/// Checks the history of one task: claims, ends of claims, and at most one answer, in a possible order.
fn check_life(id: &str, events: &[Value], claims: &BTreeMap<(String, u64), String>) {
    let mut fence = 0;
    let mut is_held = false;
    let mut is_over = false;
    for event in events {
        let kind = event["type"].as_str().unwrap();
        // Anybody may add a note at any time.
        if kind == "note" {
            continue;
        }
        assert!(!is_over, "{id}: {kind} after the end");
        match kind {
            "created" => {}
            "claimed" => {
                assert!(!is_held, "{id}: claimed while it was held");
                fence += 1;
                assert_eq!(event["data"]["fence"].as_u64(), Some(fence), "{id}");
                is_held = true;
            }
            "renewed" => assert!(is_held, "{id}: renewed by nobody"),
            "released" => {
                assert!(is_held, "{id}: released by nobody");
                is_held = false;
            }
            "response" | "cancelled" => is_over = true,
            other => panic!("{id}: {other}"),
        }
    }
    let highest = claims.keys().filter(|(task, _)| task == id).map(|(_, fence)| *fence).max();
    assert!(highest.unwrap_or(0) <= fence, "{id}: a reported claim is not in its history");
}

#[test]
fn many_at_once_with_kills() {
    let (workers, seconds) = if asked_for("LANES_TEST_LONG") { (64, 60) } else { (16, 8) };
    let world = World::new();
    let reported = Told::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for seed in 0..workers {
            let (world, reported) = (&world, &reported);
            scope.spawn(move || reported.work(world, seed + 1, end));
        }
    });
    let what = "afterwards";
    let seen = usage::look(&world, After::Kill, what);
    let claims = reported.claims.lock().unwrap();
    for id in reported.submitted.lock().unwrap().iter() {
        assert!(seen.tasks.contains_key(id), "{id} is lost");
    }
    for (id, body) in reported.answered.lock().unwrap().iter() {
        assert_eq!(seen.tasks[id].answer.as_ref(), Some(body), "{id}: another answer than was accepted");
    }
    // Any of several concurrent submits may be the last to set the correlation; this one is.
    world.ok(&["submit", "--lane", "h", "--prompt", "the last"]);
    usage::work_it_off(&world, After::Kill, Driver::Commands, what);
    let lives = usage::look(&world, After::Kill, what);
    for (id, view) in lives.tasks.iter().filter(|(_, view)| view.lane == "h") {
        let path = world.store().join("tasks").join(id).join("events.jsonl");
        let mut events = reader::lines(&path, After::Kill).unwrap();
        events.retain(|event| event["type"] != "seen");
        check_life(id, &events, &claims);
        assert!(view.answer.is_some());
    }
    println!(
        "{} commands, {} killed, {} refused; {} tasks, {} claims, {} answers reported",
        reported.commands.load(Ordering::Relaxed),
        reported.killed.load(Ordering::Relaxed),
        reported.refused.load(Ordering::Relaxed),
        lives.tasks.len(),
        claims.len(),
        reported.answered.lock().unwrap().len()
    );
}
