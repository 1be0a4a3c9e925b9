//! Measures times.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cost of several runs of a program.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Wall time of each run.
    pub wall: Vec<Duration>,
    /// User and system time of all runs together; the kernel reports it in steps of 10 ms.
    pub cpu: Duration,
}

impl Cost {
    /// Returns the median wall time.
    pub fn median(&self) -> Duration {
        quantile(&self.wall, 0.5)
    }

    /// Returns the average user and system time of one run.
    pub fn cpu_each(&self) -> Duration {
        self.cpu / u32::try_from(self.wall.len().max(1)).unwrap_or(u32::MAX)
    }

    /// Adds the runs of another series.
    pub fn add(&mut self, other: Self) {
        self.wall.extend(other.wall);
        self.cpu += other.cpu;
    }
}

/// Runs `program` once for each list of arguments in `dir`, one after the other. All must succeed.
pub fn processes<S: AsRef<OsStr>>(program: &Path, dir: &Path, runs: &[Vec<S>]) -> Cost {
    let mut cost = Cost::default();
    let before = children_cpu();
    for args in runs {
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in ["LANES_STORE", "LANES_CONFIG"] {
            command.env_remove(name);
        }
        let begin = Instant::now();
        let mut child = command.spawn().expect("the program can be started");
        let status = child.wait().expect("a child can be waited for");
        cost.wall.push(begin.elapsed());
        if !status.success() {
            let mut said = String::new();
            let _ = child.stderr.take().expect("it is piped").read_to_string(&mut said);
            let words: Vec<_> = args.iter().map(AsRef::as_ref).collect();
            panic!("{} {words:?} failed: {said}", program.display());
        }
    }
    cost.cpu = children_cpu() - before;
    cost
}

/// Measures the time of `work`, `times` times.
pub fn repeat(times: usize, mut work: impl FnMut(usize)) -> Vec<Duration> {
    (0..times)
        .map(|n| {
            let begin = Instant::now();
            work(n);
            begin.elapsed()
        })
        .collect()
}

/// Returns the `q` quantile of `values`.
pub fn quantile(values: &[Duration], q: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let place = ((sorted.len().max(1) - 1) as f64 * q).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// Returns the rate per second if `count` operations took `time`.
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Returns `part` as a share of `whole`.
pub fn ratio(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64().max(1e-9)
}

/// Returns a time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns the user and system time of the children that have ended.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    // The name of the program may contain spaces; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[13..15].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
