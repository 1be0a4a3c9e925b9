//! Runs a program with a time limit, and keeps a bounded part of its output.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Result};

/// The interval at which the program is checked for its end.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// The maximum wait for the end of the output after the program has ended: a child of it may keep the output
/// open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of bytes of output that are kept.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// Runs a program in a process group of its own, with `input` on standard input, and returns its output. After `limit`
/// the group is killed.
///
/// # Errors
/// `Io` when it cannot be started, or does not end in time.
pub(crate) fn output_within(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let program = command.get_program().to_owned();
    let fail = |error| Error::io("start", &program, error);
    let command =
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that reads nothing is judged by its output. Input beyond what a pipe holds waits for the program.
        std::thread::spawn(move || stdin.write_all(&input).is_ok());
    }
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(fail)? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                let seconds = limit.as_secs_f64();
                let error = std::io::Error::other(format!("it has not ended within {seconds} seconds"));
                return Err(Error::io("run", &program, error));
            }
            None => std::thread::sleep(CHECK_INTERVAL),
        }
    };
    let text = |bytes: Receiver<Vec<u8>>| bytes.recv_timeout(OUTPUT_TIMEOUT).unwrap_or_default();
    Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Reads to the end on a separate thread. Output beyond the limit is read and dropped, so that the program does
/// not block.
fn read_all(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.by_ref().take(MAX_OUTPUT).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        // Nobody receives it when the program was killed.
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Output> {
        output_within(Command::new("/bin/sh").args(["-c", script]), b"in\n", limit)
    }

    #[test]
    fn the_output_of_a_program_that_ends_is_returned() {
        let output = shell("cat; echo wrong >&2; exit 3", Duration::from_secs(30)).unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"in\n"[..], &b"wrong\n"[..]));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_program_need_not_read_its_input() {
        let input = vec![b'x'; 1 << 20];
        let run = |script| {
            output_within(Command::new("/bin/sh").args(["-c", script]), &input, Duration::from_secs(60))
        };
        assert!(run("true").unwrap().status.success());
        assert_eq!(run("wc -c").unwrap().stdout.trim_ascii(), b"1048576");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let began = Instant::now();
        let error = shell("sleep 600 & sleep 600", Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("has not ended within 0.1 seconds"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(output_within(&mut Command::new("/no/program"), b"", Duration::from_secs(1)).is_err());
    }
}
