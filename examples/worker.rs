//! A worker: claims the tasks of a lane until none is left, runs a shell command on each request and responds with
//! its output.
//! `cargo run --example worker -- STATE_DIR LANE COMMAND`, for example `-- .queue/state shout 'tr a-z A-Z'`.

use std::error::Error;
use std::fs::File;
use std::process::Command as Process;
use std::thread;
use std::time::{Duration, Instant};

use lanes::{Answer, Command, LaneQuery, ResponseStatus, Store, StoreOptions, Task};

/// How long a claim holds unless it is renewed, in seconds.
const LEASE: f64 = 60.0;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, lane, command] = args.as_slice() else {
        return Err("usage: worker STATE_DIR LANE COMMAND".into());
    };
    let store = Store::open_existing(root.as_ref(), StoreOptions::default())?;
    while let Some(task) = store.claim_next(&LaneQuery::lane(lane), "worker", LEASE)? {
        let answer = work(&store, &task, command.clone())?;
        store.apply(&task.id, &Command::Respond(answer))?;
    }
    Ok(())
}

fn work(store: &Store, task: &Task, command: String) -> Result<Answer, Box<dyn Error>> {
    let token = task.status.claim().map(|claim| claim.token.clone()).ok_or("the task is not claimed")?;
    let request = File::open(&task.request_path)?;
    let run = thread::spawn(move || Process::new("sh").args(["-c", &command]).stdin(request).output());
    let mut renewed = Instant::now();
    while !run.is_finished() {
        thread::sleep(Duration::from_millis(20));
        if renewed.elapsed().as_secs_f64() > LEASE / 3.0 {
            // An error ends this worker. If the claim is lost (`Error::refusal`), another one may have the task.
            store.apply(&task.id, &Command::Renew { token: token.clone(), lease_seconds: None })?;
            renewed = Instant::now();
        }
    }
    let output = run.join().map_err(|_| "the thread that ran the command panicked")??;
    let status = if output.status.success() { ResponseStatus::Completed } else { ResponseStatus::Failed };
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Answer { token: Some(token), status, ..Answer::completed("worker", body) })
}
