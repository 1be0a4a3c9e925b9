//! A worker: claims the tasks of a lane until none is left, runs a shell command on each request and responds with
//! its output.
//! `cargo run --example worker -- STATE_DIR LANE COMMAND`, for example `-- .queue/state shout 'tr a-z A-Z'`.

#![expect(clippy::print_stderr, reason = "a program reports its errors there")]

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lanes::{
    Answer, AnswerOutcome, Command, FailureClass, LaneName, LaneQuery, Owner, Store, StoreOptions, Task,
};

/// How long a claim holds unless it is renewed.
const LEASE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, lane, command] = args.as_slice() else {
        return Err("usage: worker STATE_DIR LANE COMMAND".into());
    };
    let store = Store::open_existing(root.as_ref(), StoreOptions::default())?;
    let query = LaneQuery::lane(LaneName::new(lane)?);
    let me = Owner::new("worker")?;
    while let Some(task) = store.claim_next(&query, &me, LEASE)? {
        // The lease of a task that could not be answered ends, and the task is offered again.
        let done = work(&store, &me, &task, command).and_then(|answer| {
            store.apply(&task.id, &Command::Respond(answer))?;
            Ok(())
        });
        if let Err(error) = done {
            eprintln!("{}: {error}", task.id);
        }
    }
    Ok(())
}

fn work(store: &Store, me: &Owner, task: &Task, command: &str) -> Result<Answer, Box<dyn Error>> {
    let token = task.status.claim().map(|claim| claim.token.clone()).ok_or("the task is not claimed")?;
    let mut shell = Process::new("sh");
    shell.args(["-c", command]).stdin(File::open(&task.request_path)?).stdout(Stdio::piped());
    // Its own process group, so that whatever it starts can be killed with it.
    let mut run = shell.process_group(0).spawn()?;
    let mut stdout = run.stdout.take().ok_or("the output is not captured")?;
    let mut output = Vec::new();
    let reader = thread::spawn(move || stdout.read_to_end(&mut output).map(|_| output));
    let mut renewed = Instant::now();
    let status = loop {
        if let (true, Some(status)) = (reader.is_finished(), run.try_wait()?) {
            break status;
        }
        thread::sleep(Duration::from_millis(20));
        if renewed.elapsed() > LEASE / 3 {
            let renew = Command::Renew { token: token.clone(), lease: None };
            match store.apply(&task.id, &renew) {
                // The claim is lost: another worker may have the task.
                Err(error) if error.refusal().is_some() => {
                    Process::new("kill").args(["-KILL", "--", &format!("-{}", run.id())]).status()?;
                    run.wait()?;
                    return Err(error.into());
                }
                // Any other error may be over by the next renewal, before the lease ends.
                _ => renewed = Instant::now(),
            }
        }
    };
    let output = reader.join().map_err(|_| "the thread that read the output panicked")??;
    let outcome =
        if status.success() { AnswerOutcome::Completed } else { AnswerOutcome::Failed(FailureClass::Error) };
    let body = String::from_utf8_lossy(&output).into_owned();
    Ok(Answer { token: Some(token), outcome, ..Answer::completed(me, body) })
}
