//! Measures the time from an answer to the end of the wait for it, and the cost of waiting.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lanes::internals::store::{LaneQuery, Store};

use crate::measure::{ms, quantile, ratio, repeat};
use crate::scene::{LANE, LANES, Scene, answer, wish};
use crate::support::{Plan, lane_name, owner};

const ROUNDS: usize = 1000;
const PARKED: usize = 200;

pub fn run() {
    let (told, ended): (Vec<Duration>, Vec<Duration>) = (0..ROUNDS).map(|_| through_cat()).unzip();
    show("floor: cat has passed on a byte", &told);
    show("floor: and its process has ended", &ended);

    let scene = Scene::empty();
    let store = scene.store();
    let (mut told, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let id = store.submit(wish(store.root())).expect("a task can be submitted").task.id;
        let task = store.claim(&id, &owner("bench"), Duration::from_secs(3600)).expect("it can be claimed");
        let token = task.status.claim().expect("it is claimed").token.clone();
        let mut wait = park(&scene, &["wait", id.as_str(), "--quiet"]);
        store.apply(&id, &answer(token)).expect("it can be answered");
        let begin = Instant::now();
        let (first, end) = follow(&mut wait, begin);
        told.push(first);
        ended.push(end);
    }
    show("wait ID: its answer is printed", &told);
    show("wait ID: its process has ended", &ended);

    let (mut told, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut wait = park(&scene, &["claim", "--wait", "--lane", "woken", "--owner", "bench", "--quiet"]);
        let mut new = wish(store.root());
        new.spec.lane = lane_name("woken");
        store.submit(new).expect("a task can be submitted");
        let begin = Instant::now();
        let (first, end) = follow(&mut wait, begin);
        told.push(first);
        ended.push(end);
    }
    show("claim --wait: its claim is printed", &told);
    show("claim --wait: its process has ended", &ended);

    for (name, scene) in
        [("empty store", Scene::empty()), ("100,000 stored", Scene::filled(&Plan::of(100_000)))]
    {
        let mut waits: Vec<Child> = [["wait", "--lane", "never"], ["next", "--lane", "never"]]
            .iter()
            .map(|args| park(&scene, args))
            .collect();
        let before: Vec<Duration> = waits.iter().map(|wait| cpu(wait.id())).collect();
        std::thread::sleep(Duration::from_secs(30));
        for (wait, before) in waits.iter().zip(before) {
            println!(
                "waiting for 30 s, {name:<16} CPU {:.1} ms, {:.1} MiB resident",
                ms(cpu(wait.id()) - before),
                resident(wait.id())
            );
        }
        waits.iter_mut().for_each(end);
    }

    let quiet = submits(&Scene::empty());
    let scene = Scene::filled(&Plan { completed: 10_000, ..Plan::queue(0) });
    let mut waits: Vec<Child> =
        (0..PARKED).map(|_| park(&scene, &["wait", "--lane", LANE, "--match", "kind=none"])).collect();
    let busy = submits(&scene);
    waits.iter_mut().for_each(end);
    println!(
        "submit next to {PARKED} waits on its lane and 10,000 finished tasks: {:.2} ms, {:.2} x of {:.2} ms without",
        ms(busy),
        ratio(busy, quiet),
        ms(quiet)
    );
}

/// Measures how long the machine takes to wake a process that prints a byte and exits.
fn through_cat() -> (Duration, Duration) {
    let mut cat = asleep(Command::new("cat").stdin(Stdio::piped()));
    let begin = Instant::now();
    let mut stdin = cat.stdin.take().expect("it is piped");
    stdin.write_all(b"x").expect("it can be written");
    drop(stdin);
    follow(&mut cat, begin)
}

/// Starts a wait and lets it go to sleep.
fn park(scene: &Scene, args: &[&str]) -> Child {
    asleep(Command::new(LANES).args(args).current_dir(scene.path()).stdin(Stdio::null()))
}

/// Starts a process and lets it go to sleep.
fn asleep(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it can be started");
    let calls = format!("/proc/{}/syscall", child.id());
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        if is_sleep(&std::fs::read_to_string(&calls).unwrap_or_default()) {
            return child;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    end(&mut child);
    panic!("{command:?} did not go to sleep");
}

/// Whether /proc/PID/syscall names poll, ppoll, a futex wait, or a read of standard input. Before that, the
/// process may still be about to check.
fn is_sleep(call: &str) -> bool {
    let mut words = call.split_whitespace();
    match words.next() {
        Some("0") => words.next() == Some("0x0"),
        number => number.is_some_and(|number| ["7", "271", "202"].contains(&number)),
    }
}

/// Returns when the first bytes of its output came, and when it had exited.
fn follow(child: &mut Child, begin: Instant) -> (Duration, Duration) {
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut byte = [0; 1];
    stdout.read_exact(&mut byte).expect("it prints something");
    let told = begin.elapsed();
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "the wait failed");
    (told, begin.elapsed())
}

fn show(what: &str, times: &[Duration]) {
    println!(
        "{what:<38} median {:.2} ms, 99 % {:.2} ms, worst of {} {:.2} ms",
        ms(quantile(times, 0.5)),
        ms(quantile(times, 0.99)),
        times.len(),
        ms(quantile(times, 1.0))
    );
}

fn submits(scene: &Scene) -> Duration {
    let store = scene.store();
    let times = repeat(200, |_| drop(store.submit(wish(store.root())).expect("a task can be submitted")));
    drain(&store);
    quantile(&times, 0.5)
}

/// Claims everything that is still queued.
fn drain(store: &Store) {
    let want = LaneQuery::lane(lane_name(LANE));
    while store
        .claim_next(&want, &owner("bench"), Duration::from_secs(3600))
        .expect("the lane can be read")
        .is_some()
    {}
}

/// Returns the user and system time of a running process, as counted by the scheduler.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanos = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn resident(pid: u32) -> f64 {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn end(child: &mut Child) {
    child.kill().expect("a child can be ended");
    child.wait().expect("a child can be waited for");
}
