//! The adapters of `examples/bridges/`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::testkit::sandbox::{Outcome, Sandbox};
use crate::testkit::skip::has;

/// The path of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bridges").join(name)
}

/// Runs `lanes bridge test` on an example.
fn tested(sandbox: &Sandbox, options: &[&str], name: &str) -> Outcome {
    let program = example(name);
    let arguments = [&["bridge", "test"], options, &["--", program.to_str().unwrap()]].concat();
    let mut command = sandbox.live_command(&arguments);
    let own = sandbox.path("bin");
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", own.display()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    sandbox.outcome(command.output().unwrap())
}

/// Asserts that all checks passed, and that exactly these were skipped.
#[track_caller]
fn passed(outcome: &Outcome, skipped: &[&str]) {
    assert_eq!(outcome.code, 0, "{outcome}");
    let found: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.strip_prefix("skipped  ")).collect();
    assert_eq!(found, skipped, "{outcome}");
    let count = outcome.stdout.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(count >= 35, "{outcome}");
}

#[test]
fn each_is_short_and_executable() {
    for name in ["adapter.py", "github.py", "markdown.py"] {
        let text = std::fs::read_to_string(example(name)).unwrap();
        assert!(text.lines().count() < 120, "{name} has {} lines", text.lines().count());
        let mode = std::fs::metadata(example(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111 != 0, text.starts_with("#!"), "{name}: {mode:o}");
    }
}

const MARKDOWN: &str = "---\nkanban-plugin: board\n---\n\n## Todo\n\n- [ ] Old card\n    Its text\n- [x] Finished\n\n## Doing\n\n\
                        ## Done\n\n**Complete**\n\n%% kanban:settings\n{\"a\": 1}\n%%\n";

#[test]
fn markdown_passes_the_test() {
    if !has("python3") {
        return;
    }
    for ends in ["\n", "\r\n"] {
        let sandbox = Sandbox::empty();
        sandbox.write("board.md", MARKDOWN.replace('\n', ends));
        let options = ["--queue", "Todo", "--other", "Done", "--set", "path=board.md"];
        let skipped = [
            "update_task replaces the labels: it has no labels",
            "update_task assigns, once: it has no users",
            "generation: its cards have none",
        ];
        passed(&tested(&sandbox, &options, "markdown.py"), &skipped);
        let text = sandbox.read("board.md");
        assert_eq!(text.contains('\r'), ends == "\r\n");
        let text = text.replace("\r\n", "\n");
        let (head, rest) = text.split_once("- [ ] Old card ^lanes-").expect(&text);
        assert_eq!(head, "---\nkanban-plugin: board\n---\n\n## Todo\n\n");
        assert!(
            rest[8..].starts_with("\n    Its text\n- [x] Finished\n- [ ] Card 2 of `lanes bridge test` ^"),
            "{rest}"
        );
        assert!(
            rest.ends_with("\n\n## Doing\n\n## Done\n\n**Complete**\n\n%% kanban:settings\n{\"a\": 1}\n%%\n"),
            "{rest}"
        );
        // The cards are found again.
        passed(&tested(&sandbox, &options, "markdown.py"), &skipped);
        assert_eq!(sandbox.read("board.md").matches(" ^lanes-").count(), 3);
    }
}

#[test]
fn markdown_explains_what_is_wrong() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::empty();
    let outcome = tested(&sandbox, &["--queue", "Todo", "--set", "path=none.md"], "markdown.py");
    assert!(outcome.stdout.contains("No such file or directory: '$DIR/project/none.md'"), "{outcome}");
    sandbox.write("board.md", "# Other\n");
    let outcome = tested(&sandbox, &["--queue", "Todo", "--set", "path=board.md"], "markdown.py");
    let expected = "got the error not_found: board.md has no heading 'Todo'";
    assert!(outcome.stdout.contains(expected), "{outcome}");
    assert_eq!(sandbox.read("board.md"), "# Other\n");
}

/// Puts the stand-in of `gh` on the path, with a repository that has some issues.
pub fn with_repository(root: &Path) {
    let write = |name: &str, content: &str, mode: u32| {
        std::fs::write(root.join(name), content).unwrap();
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(root.join("bin")).unwrap();
    write("bin/gh", include_str!("gh.py"), 0o755);
    let labels = ["queue:todo", "queue:doing", "bug"].iter().zip([11, 12, 13]);
    let labels: Vec<Value> = labels.map(|(name, id)| json!({"id": id, "name": name})).collect();
    // More than a page of issues that are none of its business.
    let issues: Vec<Value> = (1..=120)
        .map(|number| {
            json!({"number": number, "title": format!("Issue {number}"), "state": "open", "body": null, "assignees": [],
                "labels": [labels[2]], "user": {"login": "bot"}, "html_url": format!("https://github.example/{number}")})
        })
        .collect();
    let state = json!({"repo": "me/demo", "token": "gh-secret", "labels": labels, "issues": issues, "comments": {},
        "requests": []});
    write("bin/state.json", &state.to_string(), 0o644);
    write("secrets.env", "GH_TOKEN=gh-secret\n", 0o600);
}

fn state(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.read("bin/state.json")).unwrap()
}

const GITHUB: [&str; 10] = [
    "--queue",
    "todo",
    "--other",
    "doing",
    "--set",
    "repo=me/demo",
    "--env-file",
    "secrets.env",
    "--secret",
    "GH_TOKEN",
];

#[test]
fn github_passes_the_test() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::empty();
    with_repository(&sandbox.root());
    for _ in 0..2 {
        let outcome = tested(&sandbox, &GITHUB, "github.py");
        passed(&outcome, &["generation: its cards have none"]);
        assert!(!outcome.to_string().contains("gh-secret"), "{outcome}");
    }
    let state = state(&sandbox);
    let issues = state["issues"].as_array().unwrap();
    assert_eq!(issues.len(), 122);
    assert_eq!(issues[121]["title"], "Card 2 of `lanes bridge test`");
    assert_eq!(issues[121]["labels"], json!([{"id": 11, "name": "queue:todo"}]));
    assert_eq!(issues[119]["labels"], json!([{"id": 13, "name": "bug"}]));
}

#[test]
fn github_reports_errors_as_the_protocol_has_them() {
    if !has("python3") {
        return;
    }
    let limited = json!({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800"});
    for (fail, code) in [
        (json!([500, {}]), "unavailable"),
        (json!([0, {}]), "unavailable: error connecting to api.github.com"),
        (json!([401, {}]), "auth"),
        (json!([403, {}]), "forbidden"),
        (json!([403, {"retry-after": "60"}]), "rate_limited"),
        (json!([403, limited]), "rate_limited"),
        (json!([429, {}]), "rate_limited"),
    ] {
        let sandbox = Sandbox::empty();
        with_repository(&sandbox.root());
        let mut state = state(&sandbox);
        state["fail"] = json!([fail]);
        sandbox.write("bin/state.json", state.to_string());
        let outcome = tested(&sandbox, &GITHUB, "github.py");
        assert_eq!(outcome.stdout.lines().count(), 2, "{outcome}");
        assert!(outcome.stdout.contains(&format!("got the error {code}")), "{code}: {outcome}");
    }
}
