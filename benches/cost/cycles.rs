//! Measures durable cycles of submit, claim and respond per second, and batches of submits.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::floor::Floor;
use crate::measure::{processes, rate};
use crate::peer::Peer;
use crate::scene::{COMMANDS, LANE, LANES, Measured, Scene, cycle, wish};

/// Number of cycles before the next candidate has its turn.
const LIBRARY: usize = 200;
const ROUNDS: usize = 5;
const PROCESSES: usize = 200;
const SUBMITS: usize = 1000;
const LINES: usize = 2000;

pub fn run() {
    let peer = Peer::find();
    let scene = Scene::empty();
    let [mut one, mut four, mut theirs] = [Duration::ZERO; 3];
    let mut floor = Floor::default();
    // In turns, because the speed of a shared machine varies.
    for _ in 0..ROUNDS {
        one += library(&scene, 1);
        four += library(&scene, 4);
        floor.take(&scene.path().join("floor"), LIBRARY / 5);
        theirs += peer.as_ref().map_or(Duration::ZERO, |peer| peer.cycles(scene.path(), LIBRARY));
    }
    let [one, four, theirs] = [one, four, theirs].map(|time| rate(ROUNDS * LIBRARY, time));
    // What must survive a power cut: a directory, and its task.json replaced twice.
    let least = rate(1, floor.directory() + 2 * floor.replace());
    println!("durable writes of a cycle  {least:>8.0} cycles/s");
    println!("library, 1 worker          {one:>8.0} cycles/s   {:.2} x these writes", least / one);
    println!("library, 4 workers         {four:>8.0} cycles/s   {:.2} x one worker", four / one);
    if peer.is_some() {
        println!("agent-lanes' library       {theirs:>8.0} cycles/s   lanes {:.1} x", one / theirs);
    }

    let of_lanes = as_processes(&mut |command, times| {
        processes(LANES.as_ref(), scene.path(), &command.prepare(&scene.store(), times)).wall.iter().sum()
    });
    println!("processes                  {of_lanes:>8.0} cycles/s");
    if let Some(peer) = &peer {
        let theirs = as_processes(&mut |command, times| {
            peer.cost(command, &scene, times / 10).wall.iter().sum::<Duration>() * 10
        });
        println!("agent-lanes' processes     {theirs:>8.1} cycles/s   lanes {:.0} x", of_lanes / theirs);
    }

    let singly = {
        let store = scene.store();
        let begin = Instant::now();
        for _ in 0..SUBMITS {
            store.submit(wish(store.root())).expect("a task can be submitted");
        }
        rate(SUBMITS, begin.elapsed())
    };
    let submits = COMMANDS.iter().find(|command| command.name == "submit").expect("it is measured");
    let runs = submits.prepare(&scene.store(), PROCESSES);
    let as_process = rate(PROCESSES, processes(LANES.as_ref(), scene.path(), &runs).wall.iter().sum());
    let together = batch(&scene);
    println!("submits, library           {singly:>8.0} /s");
    println!("submits, processes         {as_process:>8.0} /s");
    println!(
        "submit --batch             {together:>8.0} /s          {:.1} x library, {:.1} x processes",
        together / singly,
        together / as_process
    );
}

/// Measures how long `workers` threads take for the cycles, each with its own store.
fn library(scene: &Scene, workers: usize) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let store = scene.store();
                for _ in 0..LIBRARY / workers {
                    cycle(&store, &scene.path().join("request.md"));
                }
            });
        }
    });
    begin.elapsed()
}

/// Measures cycles per second if each step is a process.
fn as_processes(time: &mut dyn FnMut(&Measured, usize) -> Duration) -> f64 {
    let steps =
        COMMANDS.iter().filter(|command| ["submit FILE", "claim ID", "respond"].contains(&command.name));
    rate(PROCESSES, steps.map(|step| time(step, PROCESSES)).sum())
}

fn batch(scene: &Scene) -> f64 {
    let path = scene.path().join("batch.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a new file"));
    for number in 0..LINES {
        writeln!(file, r#"{{"lane": "{LANE}", "prompt": "do it", "task_id": "batch-{number}"}}"#)
            .expect("it can be written");
    }
    file.into_inner().expect("it can be written");
    let cost = processes(LANES.as_ref(), scene.path(), &[vec!["submit", "--batch", "batch.jsonl"]]);
    rate(LINES, cost.wall.iter().sum())
}
