mod paths;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::error::ErrorKind;
use crate::model::limits::{MAX_PROMPT, MAX_PROMPT_ONLY};
use crate::model::spec::MAX_COPIED_PROMPT;
use crate::sha256::sha256_bytes;
use crate::workspace::{SUBMIT_FIELDS, SubmitValue};

/// A workspace `<dir>/w` with `r.md`, `sub/` and `handoff/handoff.yaml`, and `<dir>/out.md` outside.
struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    /// Makes a workspace with additional lines in the configuration.
    fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("w");
        std::fs::create_dir_all(root.join("handoff/state")).unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        std::fs::write(root.join("r.md"), "request").unwrap();
        std::fs::write(root.join("../out.md"), "secret").unwrap();
        let path = root.join("handoff/handoff.yaml");
        std::fs::write(&path, format!("workspace_id: demo\n{lines}")).unwrap();
        let config = Config::load(&path, None).unwrap();
        Self { _dir: dir, root, config }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn check_of_client(&self, request: SubmitRequest) -> Result<CheckedSubmit> {
        let base = BaseDir::at(&self.root);
        let context = SubmitContext { for_client: true, ..SubmitContext::new(&self.config, &base, now()) };
        check_submit(&context, request)
    }

    fn refusal_of_client(&self, request: SubmitRequest) -> String {
        self.check_of_client(request).unwrap_err().to_string()
    }

    /// Submits from the workspace root.
    fn check(&self, request: SubmitRequest) -> Result<CheckedSubmit> {
        check_submit(&SubmitContext::new(&self.config, &BaseDir::at(&self.root), now()), request)
    }

    fn task(&self, request: SubmitRequest) -> NewTask {
        self.check(request).unwrap().task
    }

    fn refusal(&self, request: SubmitRequest) -> String {
        let error = self.check(request).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Config | ErrorKind::Io), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_string()
    }
}

fn now() -> Time {
    Time::from_micros(1_795_244_400_000_000)
}

/// Makes a request for a review of `r.md`.
fn request() -> SubmitRequest {
    SubmitRequest {
        lane: Some("review".to_string()),
        request_from: Some("r.md".into()),
        ..SubmitRequest::default()
    }
}

/// Makes a request with only a prompt.
fn ask(prompt: &str) -> SubmitRequest {
    SubmitRequest {
        lane: Some("review".to_string()),
        prompt: Some(prompt.to_string()),
        ..SubmitRequest::default()
    }
}

/// Makes a request with only a task file of this text.
fn from_file(bench: &Bench, text: &str) -> SubmitRequest {
    bench.write("sub/job.yaml", text);
    SubmitRequest { task_file: Some("sub/job.yaml".into()), ..SubmitRequest::default() }
}

#[test]
fn a_file_request_is_pinned() {
    let bench = Bench::new();
    let task = bench.task(SubmitRequest {
        response_to: Some("new/dir/a.md".into()),
        prompt: Some("look".to_string()),
        ..request()
    });
    let request = NewRequest::File { path: bench.path("r.md"), sha256: sha256_bytes(b"request") };
    assert_eq!(task.request, request);
    assert_eq!(task.response_path, Some(bench.path("new/dir/a.md")));
    assert_eq!(task.spec.workspace_id, "demo");
    assert_eq!(task.spec.workspace_root, bench.root.to_str().unwrap());
    assert_eq!(
        (task.spec.correlation_id.as_str(), task.spec.source_agent.as_str()),
        ("review", "orchestrator")
    );
    assert_eq!(task.spec.prompt, "look");
    assert_eq!((task.spec.priority, task.spec.max_attempts, task.not_before), (0, None, None));
}

#[test]
fn a_prompt_alone_is_the_request() {
    let bench = Bench::new();
    let task = bench.task(ask("hello\r\n"));
    assert_eq!(task.request, NewRequest::Text("hello\r\n".to_string()));
    assert_eq!(task.spec.prompt, "hello\r\n");
    assert_eq!(task.response_path, None);

    let long = "x".repeat(MAX_COPIED_PROMPT + 1);
    let task = bench.task(ask(&long));
    assert_eq!(task.request, NewRequest::Text(long));
    assert!(task.spec.prompt.contains("16385 bytes"), "{}", task.spec.prompt);
    assert!(bench.check(ask(&"x".repeat(MAX_PROMPT_ONLY))).is_ok());
}

#[test]
fn nothing_to_do_and_too_much_are_refused() {
    let bench = Bench::new();
    for blank in ["", " \n\t"] {
        assert!(bench.refusal(ask(blank)).contains("--prompt-file"), "{blank:?}");
    }
    for (asked, expected) in [
        (ask(&"x".repeat(MAX_PROMPT_ONLY + 1)), "8388608"),
        (SubmitRequest { prompt: Some("x".repeat(MAX_PROMPT + 1)), ..request() }, "1048576"),
        (SubmitRequest { lane: None, ..request() }, "--lane"),
        (SubmitRequest { lane: Some("-x".to_string()), ..request() }, "invalid lane name"),
    ] {
        let refusal = bench.refusal(asked);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn prompt_files_count_from_where_they_are_named() {
    let bench = Bench::new();
    bench.write("p.md", "of the root");
    bench.write("sub/p.md", "of sub");
    let file = from_file(&bench, "lane: l\nprompt_file: p.md\nrequest_from: r.md\n");
    assert_eq!(bench.task(file.clone()).spec.prompt, "of sub");
    let flag = SubmitRequest { prompt_file: Some("p.md".into()), ..file.clone() };
    assert_eq!(bench.task(flag.clone()).spec.prompt, "of the root");
    let text = SubmitRequest { prompt: Some("given".to_string()), ..file };
    assert_eq!(bench.task(text).spec.prompt, "given");
    let both = bench.check(SubmitRequest { prompt: Some("given".to_string()), ..flag }).unwrap();
    assert_eq!(both.task.spec.prompt, "of the root");
    assert_eq!(both.warnings.len(), 1, "{:?}", both.warnings);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_configuration() {
    let bench = Bench::with("worktree_path: ../wt\nexpected_branch: main\n");
    bench.write("other.md", "o");
    let plain = bench.task(request());
    assert_eq!(plain.spec.worktree_path.as_deref(), Some(bench.path("wt").as_str()));
    assert_eq!(plain.spec.expected_branch.as_deref(), Some("main"));

    let file = from_file(
        &bench,
        "lane: l\nrequest_from: r.md\nresponse_to: a.md\nworktree_path: fwt\nbranch: fb\npriority: 1\n\
         max_attempts: 2\nkey: fk\nname: fn\nlabels: [fl]\ntimeout: 60\nmetadata: {a: 1, b: {c: 2}}\n",
    );
    let task = bench.task(file.clone());
    assert_eq!((task.spec.lane.as_str(), task.spec.correlation_id.as_str()), ("l", "job"));
    assert_eq!(task.spec.worktree_path, Some(bench.path("fwt")));
    assert_eq!(Value::Object(task.spec.metadata), json!({"a": 1, "b": {"c": 2}}));

    let text = |text: &str| Some(text.to_string());
    let flags = SubmitRequest {
        lane: text("m"),
        request_from: Some("other.md".into()),
        response_to: Some("b.md".into()),
        worktree_path: Some("cwt".into()),
        branch: text("cb"),
        metadata: [("a".to_string(), "y".into())].into_iter().collect(),
        source_agent: text("me"),
        correlation_id: text("c-1"),
        priority: Some(-5),
        max_attempts: Some(9),
        key: text("ck"),
        name: text("cn"),
        labels: vec!["cl".to_string()],
        timeout_seconds: Some(5.0),
        ..file
    };
    let task = bench.task(flags);
    assert!(matches!(&task.request, NewRequest::File { path, .. } if *path == bench.path("other.md")));
    assert_eq!(task.response_path, Some(bench.path("b.md")));
    assert_eq!(task.spec.worktree_path, Some(bench.path("cwt")));
    assert_eq!(task.spec.expected_branch, text("cb"));
    assert_eq!(Value::Object(task.spec.metadata), json!({"a": "y", "b": {"c": 2}}));
    assert_eq!(task.spec.lane, "m");
    assert_eq!([task.spec.source_agent, task.spec.correlation_id], ["me", "c-1"]);
    assert_eq!(
        (task.spec.priority, task.spec.max_attempts, task.spec.timeout),
        (-5, Some(9), Some(Duration::from_secs(5).into()))
    );
    assert_eq!((task.spec.key.map(String::from), task.spec.name), (text("ck"), text("cn")));
    assert_eq!(task.spec.labels, ["cl"]);
}

#[test]
fn delays_and_start_times_exclude_each_other() {
    let bench = Bench::new();
    let later = now().plus_seconds(100.0);
    let start =
        |delay_seconds, not_before| bench.check(SubmitRequest { delay_seconds, not_before, ..request() });
    assert_eq!(start(Some(100.0), None).unwrap().task.not_before, Some(later));
    assert_eq!(start(None, Some(later)).unwrap().task.not_before, Some(later));
    assert_eq!(start(Some(0.0), None).unwrap().task.not_before, None);
    assert!(start(Some(1.0), Some(later)).is_err());
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e20] {
        assert!(start(Some(bad), None).is_err(), "{bad}");
    }
    let both = from_file(&bench, "lane: l\nprompt: p\ndelay: 5\nnot_before: 2026-01-01T00:00:00Z\n");
    assert!(bench.refusal(both.clone()).contains("exclude each other"));
    let flag = SubmitRequest { delay_seconds: Some(0.0), ..both };
    assert_eq!(bench.task(flag).not_before, None);
}

#[test]
fn invalid_values_in_the_file_are_refused_like_the_flags() {
    let bench = Bench::new();
    for (line, expected) in [
        ("priority: 1001", "priority 1001 is out of range"),
        ("max_attempts: 0", "max_attempts of 0"),
        ("timeout: 0", "timeout of 0 seconds"),
        ("timeout: 31d", "timeout of 2678400 seconds"),
        ("delay: -1", "delay of -1 seconds"),
        ("key: ''", "key is empty"),
        ("labels: ['']", "label is empty"),
        ("lane: -x", "invalid lane name"),
        ("request_from: ../../../etc/passwd", "outside workspace_root"),
        ("supporting_paths: [/etc/passwd]", "supporting_paths[0] is outside workspace_root"),
        ("name: a\nname: b", "line 4: name: this key is given twice"),
        ("metadata: {a: 1,\n  a: 2}", "line 4: metadata.a: this key is given twice"),
    ] {
        let lane = if line.starts_with("lane") { "" } else { "lane: l\n" };
        let text = format!("{lane}prompt: p\n{line}\n");
        let refusal = bench.refusal(from_file(&bench, &text));
        assert!(refusal.contains(expected), "{line}: {refusal}");
    }
    let missing =
        bench.check(SubmitRequest { task_file: Some("none.yaml".into()), ..request() }).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Config);
    let checked = bench.check(from_file(&bench, "lane: l\nprompt: p\nprio: 1\n")).unwrap();
    assert!(checked.warnings[0].contains("unknown keys"), "{:?}", checked.warnings);
    // What is missing may be what was ignored.
    let error = bench.check(from_file(&bench, "lane: l\npromt: p\n")).unwrap_err();
    assert!(error.to_string().contains("there is nothing to do"), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.ends_with("unknown keys, which are ignored: promt")),
        "{error:?}"
    );
}

#[test]
fn empty_flags_hide_nothing_and_mean_nothing() {
    let bench = Bench::with("expected_branch: main\n");
    let empty = || SubmitRequest {
        lane: Some(String::new()),
        request_from: Some(PathBuf::new()),
        response_to: Some(PathBuf::new()),
        prompt_file: Some(PathBuf::new()),
        worktree_path: Some(PathBuf::new()),
        branch: Some(String::new()),
        ..SubmitRequest::default()
    };
    let file = from_file(&bench, "lane: l\nprompt: p\nrequest_from: r.md\nresponse_to: a.md\nbranch: ''\n");
    let task = bench.task(SubmitRequest { task_file: file.task_file, ..empty() });
    assert_eq!((task.spec.lane.as_str(), task.spec.prompt.as_str()), ("l", "p"));
    assert!(matches!(&task.request, NewRequest::File { path, .. } if *path == bench.path("r.md")));
    assert_eq!(task.response_path, Some(bench.path("a.md")));
    assert_eq!((task.spec.worktree_path, task.spec.expected_branch.as_deref()), (None, Some("main")));
    assert!(bench.refusal(empty()).contains("invalid lane name"));
    // It is not treated as a prompt-only task.
    let asked = SubmitRequest { request_from: Some(PathBuf::new()), ..ask("p") };
    assert!(bench.refusal(asked).contains("request_from is empty"));
}

#[test]
fn blank_names_fall_back_to_their_defaults() {
    let bench = Bench::new();
    let blank = SubmitRequest {
        correlation_id: Some(" ".to_string()),
        source_agent: Some(" ".to_string()),
        ..from_file(&bench, "lane: l\nprompt: p\n")
    };
    let task = bench.task(blank);
    assert_eq!([task.spec.correlation_id, task.spec.source_agent], ["job", "orchestrator"]);
    let long = SubmitRequest { correlation_id: Some("x".repeat(1001)), ..request() };
    assert!(bench.refusal(long).contains("at most 1000"));
}

/// Checks a line of a batch.
fn task_of_line(bench: &Bench, line: &Value) -> NewTask {
    let base = BaseDir::at(&bench.root);
    let context = SubmitContext::new(&bench.config, &base, now());
    check_line(&context, (1, line.to_string().as_bytes()), SubmitRequest::default()).unwrap().task
}

#[test]
fn every_field_is_read_and_reaches_the_task() {
    let bench = Bench::new();
    for field in &SUBMIT_FIELDS {
        let value = match field.value {
            SubmitValue::Text(..) if field.key == "deadline" => json!("2h"),
            SubmitValue::Text(..) => json!("x"),
            SubmitValue::Path(_) => json!("r.md"),
            SubmitValue::Paths(_) | SubmitValue::Texts(_) => json!(["r.md"]),
            SubmitValue::Integer(..) | SubmitValue::Seconds(..) => json!(7),
            SubmitValue::Time(_) => json!("2027-01-01T00:00:00Z"),
            SubmitValue::Map(_) => json!({"x": 1}),
            SubmitValue::Schema(_) => json!({"type": "array"}),
            SubmitValue::Commands(_) => json!(["true", ["make", "test"]]),
            SubmitValue::Dependencies(..) => json!(["x", {"task": "y", "on": "ended"}]),
        };
        let mut line = json!({"lane": "l", "prompt": "p"});
        let plain = task_of_line(&bench, &line);
        if field.key == "prompt_file" {
            // A prompt takes precedence over it.
            line = json!({"lane": "l"});
        }
        line[field.key] = value;
        assert_ne!(task_of_line(&bench, &line), plain, "{} changes nothing", field.key);
    }
}
