//! Measures agent-lanes, the implementation in Python, if it is on PATH.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::measure::{Cost, processes};
use crate::scene::Measured;

/// An installed agent-lanes.
pub struct Peer {
    program: PathBuf,
    python: PathBuf,
}

impl Peer {
    /// Finds it on PATH.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program =
            std::env::split_paths(&path).map(|dir| dir.join("agent-lanes")).find(|file| file.is_file())?;
        let python = program.with_file_name("python");
        if !python.exists() {
            return None;
        }
        Some(Self { program, python })
    }

    /// Measures `command` as a process in a new workspace.
    pub fn cost(&self, command: &Measured, scene: &crate::scene::Scene, times: usize) -> Cost {
        let runs: Vec<Vec<String>> = command
            .prepare(&scene.store(), times)
            .into_iter()
            .map(|run| {
                let config = scene.path().join("handoff/handoff.yaml").to_string_lossy().into_owned();
                ["--config".to_string(), config].into_iter().chain(run).collect()
            })
            .collect();
        processes(&self.program, scene.path(), &runs)
    }

    /// Measures how long its library takes for `count` cycles of submit, claim and respond.
    pub fn cycles(&self, dir: &Path, count: usize) -> Duration {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost/peer_cycles.py");
        let output = Command::new(&self.python)
            .args([script, &dir.to_string_lossy(), &count.to_string()])
            .output()
            .expect("python can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds =
            said.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Duration::from_secs_f64(seconds)
    }
}
