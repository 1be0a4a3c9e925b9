//! Durable cycles of submit, claim and respond in a second, and submits by the batch.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::measure::{processes, rate};
use crate::peer::Peer;
use crate::scene::{COMMANDS, LANE, LANES, Measured, Scene, cycle, wish};

const LIBRARY: usize = 1000;
const PROCESSES: usize = 200;
const SUBMITS: usize = 1000;
const LINES: usize = 2000;

pub fn run() {
    let peer = Peer::find();
    let scene = Scene::empty();
    let one = library(&scene, 1);
    let four = library(&scene, 4);
    println!("library, 1 worker          {one:>8.0} cycles/s");
    println!("library, 4 workers         {four:>8.0} cycles/s   {:.2} x one worker", four / one);
    if let Some(peer) = &peer {
        let theirs = rate(LIBRARY / 2, peer.cycles(scene.path(), LIBRARY / 2));
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

/// Cycles in a second when `workers` threads go through them, each with a store of its own.
fn library(scene: &Scene, workers: usize) -> f64 {
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
    rate(LIBRARY, begin.elapsed())
}

/// Cycles in a second when each step is a process.
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
