//! What README.md, docs/patterns.md and the README of each example tell their reader to type, typed literally.
//!
//! The fenced `sh` blocks of a page are one session, in a fresh home directory whose folder `lanes` holds the
//! examples. A command whose comment says `leave it running` is a terminal of its own: it runs until the session ends.
//! Agents and the compiler are stand-ins that are found on PATH. `<!-- norun -->` before a block leaves it out, for
//! what other tests run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use crate::testkit::command::{LANES, clean, clean_with_path};
use crate::testkit::wait::end_of;

/// The comment on a command that does not end by itself.
const STAYS: &str = "leave it running";

/// The time limit of a session, far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Speaks the format of claude or of codex, by the name that it is started with, and registers servers as claude does.
const AGENT: &str = r#"#!/bin/sh
case $* in --version) echo '2.1.329'; exit ;; esac
case $* in 'mcp add-json -s user '*) printf '{"mcpServers": {"%s": %s}}' "$5" "$6" > ~/.claude.json; exit ;; esac
cat > /dev/null
case ${0##*/} in
claude)
    echo '{"type":"system","subtype":"init","session_id":"s-1","model":"m-1"}'
    echo '{"type":"result","subtype":"success","is_error":false,"result":"built","session_id":"s-1","total_cost_usd":0.25}'
    ;;
codex)
    echo '{"type":"thread.started","thread_id":"t-1"}'
    echo '{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"VERDICT: accept"}}'
    echo '{"type":"turn.completed","usage":{"input_tokens":20,"output_tokens":3}}'
    ;;
esac
"#;

/// Makes a directory for `cargo new`, and does nothing otherwise.
const CARGO: &str = "#!/bin/sh\nif [ \"$1\" = new ]; then mkdir -p \"$2\"; fi\n";

/// The commands of a page, in order, each with whether it stays.
fn commands(page: &str) -> Vec<(String, bool)> {
    let mut commands: Vec<(String, bool)> = Vec::new();
    let (mut inside, mut before) = (false, "");
    for line in page.lines() {
        match (inside, line) {
            (false, "```sh") if before != "<!-- norun -->" => inside = true,
            (true, "```") => inside = false,
            (true, _) => match commands.last_mut() {
                Some((open, _)) if open.ends_with('\\') => write!(open, "\n{line}").unwrap(),
                _ => commands.push((line.to_string(), line.contains(STAYS))),
            },
            (false, _) => {}
        }
        before = line;
    }
    commands
}

/// A script that runs `before`, the commands, then `check`, and ends whatever stays. After a command that stays, the next
/// one is in another terminal, which starts where the first one did.
fn script(before: &str, commands: &[(String, bool)], check: &str) -> String {
    // With job control, what stays is a process group.
    let mut script = String::from(
        "set -eum\nstaying=\ntrap 'for job in $staying; do kill -- \"-$job\" || :; done; wait' EXIT\n",
    );
    writeln!(script, "{before}").unwrap();
    for (command, stays) in commands {
        if *stays {
            // The comment would hide what comes after it.
            let command = command.split(" #").next().unwrap();
            writeln!(script, "{command} &\nstaying=\"$staying $!\"\ncd ~/lanes").unwrap();
        } else {
            writeln!(script, "{command}").unwrap();
        }
    }
    writeln!(script, "{check}").unwrap();
    script
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the README of an example, then `check`, and returns what was printed.
#[track_caller]
fn followed(name: &str, check: &str) -> String {
    followed_page(&format!("examples/{name}/README.md"), "", check)
}

/// Runs `before`, the commands of a page, then `check`, and returns what was printed.
#[track_caller]
fn followed_page(page: &str, before: &str, check: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let (bin, here) = (home.join("bin"), home.join("lanes"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(here.join("src/model")).unwrap();
    symlink(LANES, bin.join("lanes")).unwrap();
    program(&bin.join("claude"), AGENT);
    program(&bin.join("codex"), AGENT);
    program(&bin.join("cargo"), CARGO);
    let copied = clean_with_path("cp").arg("-r").arg(root.join("examples")).arg(&here).status().unwrap();
    assert!(copied.success());
    let reviewed = "src/model/transition.rs";
    fs::copy(root.join(reviewed), here.join(reviewed)).unwrap();
    let commands = commands(&fs::read_to_string(root.join(page)).unwrap());
    assert!(!commands.is_empty(), "{page} has no commands");
    let printed = home.join("printed");
    let output = File::create(&printed).unwrap();
    let mut shell = clean("/bin/bash")
        .args(["-c", &script(before, &commands, check)])
        .current_dir(&here)
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("USER", "you")
        .env("SHELL", "/bin/bash")
        .env("LANES_BIN", LANES)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let status = end_of(&mut shell, PATIENCE);
    let text = fs::read_to_string(&printed).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{page}: {status:?}\n{text}");
    text
}

/// Asserts that the parts were printed, in any order: terminals print as they please.
#[track_caller]
fn has_printed(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn two_agents_answer() {
    has_printed(&followed("agents", ""), &["built\n", "agent/shop", "completed"]);
}

#[test]
fn the_night_has_its_schedule_and_its_budget() {
    let check = "until grep -q 'serves nights' ~/printed; do sleep 0.05; done";
    has_printed(&followed("nightly", check), &["dependencies", "nights", "runs_per_day"]);
}

#[test]
fn claude_builds_and_codex_reviews() {
    let check =
        "until lanes list --lane review --state completed | grep -q review; do sleep 0.05; done; lanes list";
    has_printed(&followed("pool", check), &["build", "built\n", "claude", "Fix the parser"]);
}

#[test]
fn the_review_measures_a_file_twice() {
    let text = followed("review", "");
    has_printed(
        &text,
        &["Handed over as a file:", "verdict: ", "Handed over as a prompt:", "verdict: ", "LANE"],
    );
}

#[test]
fn one_terminal_asks_and_the_other_counts() {
    has_printed(&followed("two-terminal", ""), &["handed over", "7 words\n"]);
}

#[test]
fn the_work_is_reviewed_until_it_is_accepted() {
    let text = followed("workflow", "lanes show \"$join\"");
    has_printed(&text, &["It must greet by name.", "As it should be.", "answer (completed"]);
    assert_eq!(text.matches("4 answered").count(), 2, "{text}");
}

#[test]
fn the_readme_is_followed() {
    let text =
        followed_page("README.md", "lanes init -q", "grep -q 'Handing work to other agents' AGENTS.md");
    has_printed(&text, &["Handed over as a prompt:", "built\n", "WORKER", "mcp"]);
}

#[test]
fn the_patterns_are_followed() {
    let before = "git init -q .\nlanes init -q\necho 'Rewrite it.' > plan.md\ngit add plan.md\necho 'Soon.' >> plan.md\n\
        lanes --config handoff/handoff.yaml dispatch --lane review --lane work --quiet --command -- \
            sh -c 'cat > /dev/null; echo agreed' > /dev/null &\nstaying=\"$staying $!\"";
    let check = "grep -q agreed plan.review.md";
    has_printed(&followed_page("docs/patterns.md", before, check), &["agreed\n", "lane=pool"]);
}

#[test]
fn every_example_with_commands_is_followed() {
    let here = include_str!("examples.rs");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(readme) = fs::read_to_string(path.join("README.md")) else { continue };
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_followed = here.contains(&format!("followed(\"{name}\""));
        assert_eq!(is_followed, !commands(&readme).is_empty(), "{name}");
    }
}

#[test]
fn commands_are_read_as_documented() {
    let readme = "```sh\na \\\n  b\nc   # leave it running\n```\n\n<!-- norun -->\n```sh\nd\n```\n```yaml\ne: f\n```\n```sh\ng\n```\n";
    let read = commands(readme);
    let read: Vec<(&str, bool)> = read.iter().map(|(text, stays)| (text.as_str(), *stays)).collect();
    assert_eq!(read, [("a \\\n  b", false), ("c   # leave it running", true), ("g", false)]);
}
