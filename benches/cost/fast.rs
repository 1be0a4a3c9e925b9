//! Compares each command as a process with agent-lanes and with the floor that the machine sets.

use crate::floor::Floor;
use crate::measure::{Cost, ms, processes, ratio};
use crate::peer::Peer;
use crate::scene::{COMMANDS, LANES, Scene};

/// Number of runs before the floor has its turn.
const BLOCK: usize = 20;
const BLOCKS: usize = 10;
const PEER_RUNS: usize = 15;

pub fn run() {
    let scene = Scene::empty();
    let peer = Peer::find();
    println!(
        "{:<14} {:>9} {:>9}   {:<44} agent-lanes' wall, CPU",
        "", "wall ms", "CPU ms", "its floor: a Rust program + durable writes"
    );
    for command in COMMANDS {
        let (mut cost, mut floor) = (Cost::default(), Floor::default());
        // In turns, because the speed of a shared machine varies.
        for _ in 0..BLOCKS {
            cost.add(processes(LANES.as_ref(), scene.path(), &command.prepare(&scene.store(), BLOCK)));
            floor.take(&scene.path().join("floor").join(command.name), BLOCK);
        }
        let (directories, replaced) = command.durable;
        let writes = floor.directory() * directories + floor.replace() * replaced;
        let of_floor = format!(
            "{:.2} x   ({:.2} ms + {:.2} ms)",
            ratio(cost.median(), floor.start() + writes),
            ms(floor.start()),
            ms(writes)
        );
        let compared = match &peer {
            Some(peer) if command.at_peer => {
                let theirs = peer.cost(&command, &scene, PEER_RUNS);
                format!(
                    "{:.0} x, {:.0} x",
                    ratio(theirs.median(), cost.median()),
                    ratio(theirs.cpu_each(), cost.cpu_each())
                )
            }
            _ => "-".to_string(),
        };
        println!(
            "{:<14} {:>9.2} {:>9.2}   {of_floor:<44} {compared}",
            command.name,
            ms(cost.median()),
            ms(cost.cpu_each()),
        );
    }
}
