//! Each command as a process, beside agent-lanes and beside what the machine itself takes.

use crate::floor::Floor;
use crate::measure::{ms, processes, ratio};
use crate::peer::Peer;
use crate::scene::{COMMANDS, LANES, Scene};

const RUNS: usize = 200;
const PEER_RUNS: usize = 15;

pub fn run() {
    let scene = Scene::empty();
    let floor = Floor::measure(scene.path());
    println!(
        "floors: a Rust program {:.2} ms (/bin/true {:.2} ms), a durable directory {:.2} ms, a durable replace {:.2} ms",
        ms(floor.start),
        ms(floor.least),
        ms(floor.directory),
        ms(floor.replace)
    );
    let peer = Peer::find();
    println!("{:<14} {:>9} {:>9} {:>14}   agent-lanes' wall, CPU", "", "wall ms", "CPU ms", "of its floor");
    for command in COMMANDS {
        let runs = command.prepare(&scene.store(), RUNS);
        let cost = processes(LANES.as_ref(), scene.path(), &runs);
        let (directories, replaced) = command.durable;
        let least = floor.start + floor.directory * directories + floor.replace * replaced;
        let beside = match &peer {
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
            "{:<14} {:>9.2} {:>9.2} {:>12.2} x   {beside}",
            command.name,
            ms(cost.median()),
            ms(cost.cpu_each()),
            ratio(cost.median(), least)
        );
    }
}
