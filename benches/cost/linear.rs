//! What has to look at every task: so many microseconds for each.

use std::time::Duration;

use crate::measure::{processes, quantile};
use crate::scene::{LANE, LANES, Scene};
use crate::support::{self, Plan};

pub fn run() {
    const TASKS: u64 = 100_000;
    let scene = Scene::filled(&Plan::of(TASKS));
    let each = |times: &[Duration]| quantile(times, 0.5).as_secs_f64() * 1e6 / TASKS as f64;
    println!("microseconds per task of {TASKS}, median of 5");
    for args in [
        vec!["status", "--all"],
        vec!["list"],
        vec!["list", "--limit", "10"],
        vec!["list", "--state", "queued", "--limit", "10"],
        vec!["list", "--lane", LANE, "--active-only"],
        vec!["fsck"],
    ] {
        let cost = processes(LANES.as_ref(), scene.path(), &vec![args.clone(); 5]);
        println!(
            "{:<44} wall {:>6.2}   CPU {:>6.2}",
            args.join(" "),
            each(&cost.wall),
            cost.cpu_each().as_secs_f64() * 1e6 / TASKS as f64
        );
    }
    let mut rebuilt = Vec::new();
    let mut cpu = Duration::ZERO;
    for _ in 0..5 {
        support::without_index(&scene.root());
        let cost = processes(LANES.as_ref(), scene.path(), &[vec!["claim", "--lane", LANE]]);
        cpu += cost.cpu;
        rebuilt.extend(cost.wall);
    }
    println!(
        "{:<44} wall {:>6.2}   CPU {:>6.2}",
        "claim after the index was deleted",
        each(&rebuilt),
        cpu.as_secs_f64() * 1e6 / 5.0 / TASKS as f64
    );
}
