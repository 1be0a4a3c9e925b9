//! Measures each command as a fresh process, in stores of different sizes.

use crate::measure::{Cost, ms, processes, ratio};
use crate::scene::{COMMANDS, LANES, Scene};
use crate::support::Plan;

/// Number of runs of a command in one store before the next store has its turn.
const BLOCK: usize = 25;
const BLOCKS: usize = 8;

pub fn run() {
    let stores = [
        Scene::empty(),
        Scene::filled(&Plan::of(100_000)),
        Scene::filled(&Plan { lanes: 1, ..Plan::queue(10_000) }),
    ];
    println!(
        "{:<14} {:>9} {:>9}   {:>26}   {:>26}",
        "", "wall ms", "CPU ms", "100,000 stored: wall, CPU", "10,000 queued: wall, CPU"
    );
    for command in COMMANDS {
        let mut costs: [Cost; 3] = Default::default();
        // In turns, so that other load on the machine affects all of them alike.
        for _ in 0..BLOCKS {
            for (scene, cost) in stores.iter().zip(&mut costs) {
                let runs = command.prepare(&scene.store(), BLOCK);
                cost.add(processes(LANES.as_ref(), scene.path(), &runs));
            }
        }
        let [empty, many, queue] = costs;
        let compared = |cost: &Cost| {
            format!(
                "{:>13.2} x {:>8.2} x",
                ratio(cost.median(), empty.median()),
                ratio(cost.cpu_each(), empty.cpu_each())
            )
        };
        println!(
            "{:<14} {:>9.2} {:>9.2}   {:>26}   {:>26}",
            command.name,
            ms(empty.median()),
            ms(empty.cpu_each()),
            compared(&many),
            compared(&queue)
        );
    }
}
