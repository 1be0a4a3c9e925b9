//! Supervision of one process, against programs that misbehave in every way seen so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::testkit::command::LANES;
use crate::testkit::pool::stand_in;
use crate::testkit::wait::{SOON, is_alive};
use lanes::internals::dispatch::agent::StopHandle;
use lanes::internals::dispatch::agent::log::CappedLog;
use lanes::internals::dispatch::agent::process_tree::{RUN_ID_VARIABLE, marked_processes, run_marker};
use lanes::internals::dispatch::agent::reaper::GuardPool;
use lanes::internals::dispatch::agent::{AgentEvent, AgentSpec, FinishedAgent, run};
use lanes::internals::dispatch::outcome::{AgentExit, NotStarted, StopReason};
use lanes::internals::dispatch::output::{Baseline, Format, RunReport, StreamParser};
use lanes::internals::model::FailureClass;
use lanes::internals::model::RunId;

fn guard_pool() -> GuardPool {
    GuardPool::new(LANES)
}

struct Scene {
    dir: tempfile::TempDir,
    run: RunId,
    started: Instant,
}

impl Scene {
    fn new() -> Self {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).expect("random bytes");
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            run: RunId::from_random(u128::from_le_bytes(random)),
            started: Instant::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spec(&self, program: &str, args: &[&str]) -> AgentSpec {
        std::fs::write(self.path("prompt"), "hello").expect("prompt written");
        let log = |name| CappedLog::new(File::create(self.path(name)).expect("log"), 1 << 20, 1 << 16);
        AgentSpec {
            program: program.into(),
            args: args.iter().map(ToString::to_string).collect(),
            cwd: self.dir.path().to_path_buf(),
            env: BTreeMap::from([
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                (RUN_ID_VARIABLE.into(), run_marker(&self.run, None).into()),
            ]),
            run: self.run.clone(),
            stdin: self.path("prompt"),
            lock: None,
            log: None,
            stdout: log("stdout"),
            stderr: log("stderr"),
            parser: StreamParser::new(Format::ClaudeStream),
            cost_limit: None,
            timeout: Some(SOON),
            silence_timeout: None,
            grace: Duration::from_millis(300),
            linger: SOON,
            expected_session: None,
        }
    }

    /// Runs the stand-in, then checks what holds after every run.
    fn run(
        &self,
        spec: AgentSpec,
        stop: &StopHandle,
        observe: &mut dyn FnMut(AgentEvent<'_>),
    ) -> (FinishedAgent, RunReport) {
        let mut finished = run(spec, &guard_pool(), stop, observe).expect("the stand-in starts");
        assert!(self.started.elapsed() < SOON, "took {:?}", finished.duration);
        assert_eq!(marked_processes(&self.run), [], "nothing of the run is left");
        let parser = std::mem::replace(&mut finished.parser, StreamParser::new(Format::Text));
        (finished, parser.finish(&Baseline::Fresh))
    }

    fn run_plainly(&self, spec: AgentSpec) -> (FinishedAgent, RunReport) {
        self.run(spec, &StopHandle::new().expect("a handle"), &mut |_| {})
    }
}

fn pids(file: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(file).expect("numbers of processes");
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn a_good_run_is_read_and_logged() {
    let scene = Scene::new();
    let mut seen = Vec::new();
    let stop = StopHandle::new().expect("a handle");
    let (finished, report) = scene.run(scene.spec(&stand_in("answers.sh"), &[]), &stop, &mut |happening| {
        seen.push(match happening {
            AgentEvent::Started(_) => "started".to_string(),
            AgentEvent::Session(id) => format!("session {id}"),
            AgentEvent::Note(note) => note.text,
        });
    });
    assert_eq!(finished.exit, AgentExit::Code(0));
    assert_eq!((finished.stopped, finished.leftovers, finished.dropped), (None, 0, 0));
    assert_eq!(report.text, "hello");
    assert_eq!(report.cost_usd(), Some(0.25));
    seen.sort();
    assert_eq!(seen, ["session s-1", "started", "working"]);
    let log = std::fs::read_to_string(scene.path("stdout")).expect("log");
    assert_eq!(log.lines().count(), 3);
}

#[test]
fn an_agent_that_never_reads_its_prompt_is_no_problem() {
    let scene = Scene::new();
    let mut spec = scene.spec(&stand_in("closes_stdin.sh"), &[]);
    spec.parser = StreamParser::new(Format::Text);
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(finished.exit, AgentExit::Code(0));
    assert_eq!(report.text, "answer\n");
}

#[test]
fn a_run_ends_at_its_timeout() {
    let scene = Scene::new();
    let mut spec = scene.spec("sleep", &["1000"]);
    spec.timeout = Some(Duration::from_millis(20));
    spec.grace = SOON;
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(finished.stopped, Some(StopReason::Timeout));
    assert_eq!(finished.exit, AgentExit::Signal(15));
    assert_eq!(report.current_result(), None);
}

#[test]
fn a_deaf_agent_is_killed_after_the_grace() {
    let scene = Scene::new();
    let stop = StopHandle::new().expect("a handle");
    let mut spec = scene.spec(&stand_in("ignores_term.sh"), &[]);
    spec.parser = StreamParser::new(Format::Text);
    let (finished, _) = scene.run(spec, &stop, &mut |happening| {
        // From its first line on the stand-in ignores the polite signal.
        if let AgentEvent::Note(_) = happening {
            stop.stop(StopReason::Timeout);
        }
    });
    assert_eq!(finished.stopped, Some(StopReason::Timeout));
    assert_eq!(finished.exit, AgentExit::Signal(9));
}

#[test]
fn a_stop_from_another_thread_ends_the_run() {
    let scene = Scene::new();
    let stop = StopHandle::new().expect("a handle");
    let other = stop.clone();
    let mut started = false;
    let (finished, _) = scene.run(scene.spec("sleep", &["1000"]), &stop, &mut |happening| {
        if let AgentEvent::Started(_) = happening {
            started = true;
            let other = other.clone();
            std::thread::spawn(move || {
                assert!(other.stop(StopReason::Cancelled));
                assert!(!other.stop(StopReason::Shutdown), "the first reason counts");
            });
        }
    });
    assert!(started);
    assert_eq!(finished.stopped, Some(StopReason::Cancelled));
    assert_eq!(finished.exit, AgentExit::Signal(15));
}

#[test]
fn a_stop_before_the_start_wins() {
    let scene = Scene::new();
    let stop = StopHandle::new().expect("a handle");
    stop.stop(StopReason::Cancelled);
    let mut happenings = 0;
    let spec = scene.spec("sleep", &["1000"]);
    let reason = run(spec, &guard_pool(), &stop, &mut |_| happenings += 1).expect_err("it is not started");
    assert_eq!((reason, happenings), (NotStarted::Stopped(StopReason::Cancelled), 0));
}

#[test]
fn what_is_left_behind_is_ended_and_the_result_kept() {
    let scene = Scene::new();
    let file = scene.path("pids");
    let file_text = file.to_str().expect("a path");
    let spec = scene.spec(&stand_in("leaves_children.py"), &[file_text, "group", "session"]);
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(report.text, "done");
    assert_eq!(finished.exit, AgentExit::Code(0));
    assert_eq!((finished.leftovers, finished.survivors), (2, 0));
    let pids = pids(&file);
    assert_eq!(pids.len(), 2);
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn tools_in_their_own_session_die_with_a_killed_agent() {
    let scene = Scene::new();
    let file = scene.path("pids");
    let file_text = file.to_str().expect("a path");
    let mut spec = scene.spec(&stand_in("leaves_children.py"), &[file_text, "session", "wait"]);
    spec.linger = Duration::from_millis(100);
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(finished.stopped, Some(StopReason::Lingering));
    assert!(report.has_final_result(), "the result came before the process was ended");
    assert!(pids(&file).into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_stranger_without_parent_session_and_environment_is_ended() {
    let scene = Scene::new();
    let file = scene.path("pids");
    let spec = scene.spec(&stand_in("leaves_children.py"), &[file.to_str().expect("a path"), "stranger"]);
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(report.text, "done");
    assert_eq!((finished.exit, finished.leftovers, finished.survivors), (AgentExit::Code(0), 1, 0));
    let pids = pids(&file);
    assert_eq!(pids.len(), 1);
    assert!(pids.into_iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_flood_on_both_pipes_is_read_and_capped() {
    let scene = Scene::new();
    let (finished, report) = scene.run_plainly(scene.spec(&stand_in("floods.py"), &[]));
    assert_eq!(report.text, "still here");
    assert!(finished.dropped > 90_000_000, "{}", finished.dropped);
    for name in ["stdout", "stderr"] {
        let length = std::fs::metadata(scene.path(name)).expect("log").len();
        assert!(length < 1_200_000, "{name} has {length} bytes");
    }
    assert!(finished.stderr.len() <= 16 * 1024);
}

#[test]
fn broken_output_is_survived() {
    let scene = Scene::new();
    let (finished, report) = scene.run_plainly(scene.spec(&stand_in("half_line.sh"), &[]));
    assert_eq!(finished.exit, AgentExit::Code(0));
    assert_eq!((report.result.is_some(), report.skipped_lines), (false, 1));
    assert_eq!(report.session_id.as_deref(), Some("s-1"));

    let scene = Scene::new();
    let (_, report) = scene.run_plainly(scene.spec(&stand_in("invalid_utf8.sh"), &[]));
    assert_eq!((report.text.as_str(), report.skipped_lines), ("caf\u{fffd}", 2));

    let scene = Scene::new();
    let (finished, report) = scene.run_plainly(scene.spec(&stand_in("silent.sh"), &[]));
    assert_eq!((finished.exit, report.result), (AgentExit::Code(0), None));
}

#[test]
fn the_wrong_conversation_is_ended_at_once() {
    let scene = Scene::new();
    let script = r#"echo '{"type":"system","subtype":"init","session_id":"new"}'; exec sleep 1000"#;
    let mut spec = scene.spec("sh", &["-c", script]);
    spec.expected_session = Some("old".to_string());
    let (finished, report) = scene.run_plainly(spec);
    assert_eq!(finished.stopped, Some(StopReason::WrongSession));
    assert_eq!(report.session_id.as_deref(), Some("new"));
}

#[test]
fn an_agent_that_cannot_start_is_reported_with_the_reason() {
    let scene = Scene::new();
    let stop = StopHandle::new().expect("a handle");
    let failure = |spec| run(spec, &guard_pool(), &stop, &mut |_| {}).expect_err("cannot start");
    match failure(scene.spec("no-such-agent", &[])) {
        NotStarted::LaneUnready(message) => {
            assert_eq!(message, "no-such-agent is not installed, or its interpreter is missing");
        }
        other => panic!("{other:?}"),
    }
    let mut spec = scene.spec("sh", &[]);
    spec.cwd = scene.path("gone");
    match failure(spec) {
        NotStarted::Task(failure) => {
            assert_eq!(failure.class, FailureClass::Permanent);
            assert!(failure.message.contains("working directory"), "{}", failure.message);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_falls_silent_is_ended_and_one_that_speaks_goes_on() {
    let scene = Scene::new();
    let mut spec = scene.spec("/bin/sh", &["-c", "echo one; sleep 1000"]);
    spec.silence_timeout = Some(Duration::from_millis(300));
    let (finished, _) = scene.run_plainly(spec);
    assert_eq!(finished.stopped, Some(StopReason::Silent));

    // Output on either pipe is a sign of life.
    let scene = Scene::new();
    let words = "for n in 1 2 3 4 5 6; do sleep 0.5; echo out; sleep 0.5; echo err >&2; done";
    let mut spec = scene.spec("/bin/sh", &["-c", words]);
    spec.silence_timeout = Some(Duration::from_secs(5));
    let (finished, _) = scene.run_plainly(spec);
    assert_eq!((finished.stopped, finished.exit), (None, AgentExit::Code(0)));
    assert!(finished.duration > Duration::from_secs(5), "it took longer than it may be silent");
}
