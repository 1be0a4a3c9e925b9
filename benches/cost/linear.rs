//! Measures commands that read every task: microseconds for each, and the ratio to opening, reading and
//! closing the same files and nothing else.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::measure::{Cost, processes, repeat};
use crate::scene::{LANE, LANES, Scene};
use crate::support::{self, Plan};

const TASKS: u64 = 100_000;
const RUNS: usize = 5;

pub fn run() {
    let scene = Scene::filled(&Plan::of(TASKS));
    let names: Vec<String> = std::fs::read_dir(scene.root().join("tasks"))
        .expect("the store has tasks")
        .map(|entry| entry.expect("they can be listed").file_name().into_string().expect("ids are ASCII"))
        .collect();
    println!("microseconds per task of {TASKS}, best of {RUNS}, and times the floor");
    let task_file = floor("task.json", &scene.root(), &names, &["task.json"]);
    let files = ["task.json", "events.jsonl", "response.json"];
    let all_files = floor("task.json, events.jsonl, response.json", &scene.root(), &names, &files);
    for (args, floor) in [
        (vec!["status", "--all"], Some(task_file)),
        (vec!["list"], Some(task_file)),
        (vec!["list", "--json"], Some(task_file)),
        (vec!["list", "--limit", "10"], None),
        (vec!["list", "--state", "queued", "--limit", "10"], None),
        (vec!["list", "--lane", LANE, "--active-only"], Some(task_file)),
        (vec!["fsck"], Some(all_files)),
    ] {
        let cost = processes(LANES.as_ref(), scene.path(), &vec![args.clone(); RUNS]);
        print(&args.join(" "), &cost, floor);
    }
    let mut cost = Cost::default();
    for _ in 0..RUNS {
        support::without_index(&scene.root());
        cost.add(processes(LANES.as_ref(), scene.path(), &[vec!["claim", "--lane", LANE]]));
    }
    print("claim after the index was deleted", &cost, Some(task_file));
}

fn print(what: &str, cost: &Cost, floor: Option<f64>) {
    let wall = best(&cost.wall);
    let ratio = floor.map_or(String::new(), |floor| format!("   {:>5.1} times", wall / floor));
    let cpu = cost.cpu_each().as_secs_f64() * 1e6 / TASKS as f64;
    println!("{what:<44} wall {wall:>6.2}   CPU {cpu:>6.2}{ratio}");
}

/// Returns the microseconds for each task.
fn best(times: &[Duration]) -> f64 {
    times.iter().min().copied().unwrap_or_default().as_secs_f64() * 1e6 / TASKS as f64
}

/// Measures opening, reading and closing these files of every task, with as many threads as there are
/// processors.
fn floor(what: &str, root: &Path, names: &[String], files: &[&str]) -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let tasks = rustix::fs::open(root.join("tasks"), flags, Mode::empty()).expect("the store has tasks");
    let read = |name: &String, buffer: &mut [u8]| {
        for file in files {
            // An open task has no response.
            if let Ok(file) = rustix::fs::openat(&tasks, format!("{name}/{file}"), flags, Mode::empty()) {
                rustix::io::pread(&file, &mut *buffer, 0).expect("a file of a task can be read");
            }
        }
    };
    let wall = repeat(RUNS, |_| {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let read = &read;
                scope.spawn(move || {
                    let mut buffer = vec![0; 64 * 1024];
                    names.iter().skip(thread).step_by(threads).for_each(|name| read(name, &mut buffer));
                });
            }
        });
    });
    let floor = best(&wall);
    println!("{:<44} wall {floor:>6.2}", format!("floor: {what}"));
    floor
}
