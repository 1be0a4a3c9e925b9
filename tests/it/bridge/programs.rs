//! Bridges whose board is behind a program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::examples::{example, with_repository};
use crate::testkit::pool::Pool;
use crate::testkit::skip::has;

const DISPATCH: &str =
    "dispatch:\n  vendor: claude\n  grace: 0.5\n  vendors:\n    claude: {command: AGENT}\n";

/// A pool with a bridge `notes` to `board.md`, by way of the programs `before`, if there are any; these may hang.
fn with_notes(before: &str, board: &str) -> Pool {
    let patience = if before.is_empty() { "1m" } else { "1s" };
    let markdown = example("markdown.py");
    let pool = Pool::new(&format!(
        "{DISPATCH}bridges:\n  notes:\n    adapter: [{before}{}]\n    config: {{path: board.md}}\n    \
         requests_per_second: 1000\n    call_timeout: {patience}\n    \
         queues: {{Todo: {{lane: work, in_progress: Doing, done: Done}}}}\n",
        markdown.display()
    ));
    std::fs::write(pool.path("board.md"), board).unwrap();
    pool
}

fn text(pool: &Pool, name: &str) -> String {
    std::fs::read_to_string(pool.path(name)).unwrap()
}

/// The lines of a heading.
fn under<'a>(board: &'a str, heading: &str) -> &'a str {
    board.split_once(&format!("## {heading}\n")).unwrap().1.split("\n## ").next().unwrap()
}

#[test]
fn a_list_in_markdown_becomes_tasks_and_answers() {
    if !has("python3") {
        return;
    }
    let pool = with_notes("", "## Todo\n\n- [ ] Say yes\n    DO: result Yes\n\n## Doing\n\n## Done\n");
    pool.ok(&["bridge", "notes", "--once"]);
    let board = text(&pool, "board.md");
    assert!(under(&board, "Doing").contains("- [ ] Say yes ^lanes-"), "{board}");
    pool.dispatch_once(&[]);
    for _ in 0..2 {
        pool.ok(&["bridge", "notes", "--once"]);
    }
    let board = text(&pool, "board.md");
    let done = under(&board, "Done");
    assert!(done.contains("- [x] Say yes ^lanes-") && done.matches("    > Yes\n").count() == 1, "{board}");
    assert_eq!(pool.json(&["list"])["tasks"].as_array().unwrap().len(), 1);
}

#[test]
fn a_program_that_fails_in_every_way_loses_and_doubles_nothing() {
    if !has("python3") {
        return;
    }
    let cards: String = (1..=3).map(|n| format!("- [ ] Card {n}\n    DO: result Yes{n}\n")).collect();
    let board = format!("## Todo\n\n{cards}\n## Doing\n\n## Done\n");
    let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bridge/unreliable.py");
    let pool = with_notes(&format!("python3, {}, ", wrapper.display()), &board);
    let (mut failures, mut quiet) = (0, 0);
    for _ in 0..100 {
        let output = pool.output(&["bridge", "notes", "--once"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("lanes: ")).collect();
        if output.status.success() {
            assert!(errors.iter().all(|line| line.starts_with("lanes: warning: ")), "{stderr}");
            // Rounds without a failure, after the work is done.
            let is_done = under(&text(&pool, "board.md"), "Done").matches("- [x] Card").count() == 3;
            quiet += usize::from(is_done);
        } else {
            failures += 1;
            let last = errors.last().unwrap();
            assert!(last.starts_with("lanes: bridge notes: the adapter python3 "), "{stderr}");
        }
        if quiet == 3 && failures >= 8 {
            break;
        }
        pool.dispatch_once(&[]);
    }
    let board = text(&pool, "board.md");
    assert!(quiet >= 3 && failures >= 8, "{quiet} {failures} {board}");
    for number in 1..=3 {
        assert_eq!(board.matches(&format!("- [x] Card {number} ^")).count(), 1, "{board}");
        assert_eq!(board.matches(&format!("    > Yes{number}\n")).count(), 1, "{board}");
    }
    assert_eq!(pool.json(&["list"])["tasks"].as_array().unwrap().len(), 3);
}

/// The paths below a directory whose files contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).contains(text) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn an_issue_of_github_is_answered_and_closed_and_its_token_stays_secret() {
    if !has("python3") {
        return;
    }
    let pool = Pool::new(&format!(
        "{DISPATCH}bridges:\n  issues:\n    adapter: [{}]\n    config: {{repo: me/demo}}\n    env_file: secrets.env\n    \
         secrets: [GH_TOKEN]\n    requests_per_second: 1000\n    \
         queues: {{todo: {{lane: work, in_progress: doing, done: closed}}}}\n",
        example("github.py").display()
    ));
    with_repository(&pool.path(""));
    let file = pool.path("bin/state.json");
    let state = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap();
    let mut changed = state();
    changed["issues"][6]["labels"] = json!([{"id": 11, "name": "queue:todo"}]);
    changed["issues"][6]["body"] = json!("DO: env > environment\nDO: result Yes");
    std::fs::write(&file, changed.to_string()).unwrap();
    let round = || {
        let mut command = pool.lanes(&["bridge", "issues", "--once"]);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", pool.path("bin").display());
        let output = command.env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!format!("{output:?}").contains("gh-secret"), "{output:?}");
    };
    round();
    assert_eq!(state()["issues"][6]["labels"][0]["name"], "queue:doing");
    pool.dispatch_once(&[]);
    round();
    round();
    let state = state();
    assert_eq!((&state["issues"][6]["state"], &state["issues"][6]["labels"]), (&json!("closed"), &json!([])));
    let comments = state["comments"]["7"].as_array().unwrap();
    let answers = comments.iter().filter(|comment| comment["body"].as_str().unwrap().starts_with("Yes"));
    assert_eq!(answers.count(), 1, "{comments:?}");
    assert!(pool.path("environment").exists());
    let mode = std::fs::metadata(pool.path("secrets.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    assert_eq!(files_with(&pool.path(""), "gh-secret"), ["secrets.env", "state.json"]);
}
