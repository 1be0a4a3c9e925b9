//! The system calls of one run that change or sync files, from strace.

use std::collections::HashMap;
use std::process::Output;

use crate::scenarios::Scenario;
use crate::world::World;

/// One call at which a run can be killed or made to fail.
#[derive(Clone, Debug)]
pub struct Point {
    /// The system call.
    pub call: String,
    /// The number of the call in its thread, counting all calls of that name.
    pub nth: usize,
    /// The call as strace shows it.
    pub shown: String,
    /// Whether it makes a change of a task visible.
    pub commits: bool,
    /// Whether it only opens something to read it.
    pub reads: bool,
}

impl Point {
    /// Returns the strace options that act at this point.
    pub fn inject(&self, what: &str) -> [String; 2] {
        // Only the traced calls are recorded, because recording takes time.
        let call = &self.call;
        [format!("--trace={call}"), format!("--inject={call}:{what}:when={}", self.nth)]
    }
}

const CALLS: &str = "openat,openat2,mkdir,mkdirat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
                     ftruncate,utimensat,fsync,fdatasync,fchmod,copy_file_range,sendfile,linkat";

/// Runs a scenario to its end and lists its points. The store has been set up before.
pub fn of_run(world: &World, scenario: &Scenario) -> Vec<Point> {
    let (output, points) = listed(world, scenario);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {printed}", scenario.name);
    points
}

/// Lists the points as above, without those that only read.
pub fn of_changes(world: &World, scenario: &Scenario) -> Vec<Point> {
    let mut points = of_run(world, scenario);
    points.retain(|point| !point.reads);
    points
}

/// Lists the points as above, with the output of the run.
pub fn listed(world: &World, scenario: &Scenario) -> (Output, Vec<Point>) {
    let output = world.traced(&["-y", "-e", &format!("trace={CALLS}")], scenario);
    let home = world.home();
    let home = home.to_str().unwrap();
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut points: Vec<Point> = Vec::new();
    for line in world.trace().lines() {
        // Unfinished and resumed calls of threads: the first half counts.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let Some((call, _)) = rest.split_once('(') else { continue };
        if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let count = counts.entry((thread.to_string(), call.to_string())).or_default();
        *count += 1;
        // Threads wake each other through event descriptors, which no disk can fail.
        let reads = call.starts_with("open") && !rest.contains("O_CREAT");
        let is_ours = rest.rsplit_once(" = ").is_some_and(|(_, opened)| opened.contains(home));
        if reads && !is_ours || rest.contains("anon_inode") {
            continue;
        }
        // The first thread that reaches the number is affected.
        if points.iter().any(|point| point.call == call && point.nth == *count) {
            continue;
        }
        let commits =
            call == "renameat" && (rest.contains("\"task.json\")") || rest.contains("/tasks>, \"2"));
        points.push(Point { call: call.to_string(), nth: *count, shown: rest.to_string(), commits, reads });
    }
    (output, points)
}
