//! What commands print on a terminal: rows that fit its width, and colours.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use crate::testkit::command::{LANES, clean, with_variables_of};
use crate::testkit::sandbox::{Running, Sandbox, text};
use crate::testkit::skip::skipped;
use crate::testkit::wait::eventually;

/// What a command prints on a terminal, by way of script(1); `None` when that is not installed.
pub(super) fn on_a_terminal(sandbox: &Sandbox, args: &[&str], env: &[(&str, &str)]) -> Option<String> {
    let words: Vec<String> = args.iter().map(|word| format!("'{word}'")).collect();
    shell_on_a_terminal(sandbox, &format!("'{LANES}' {}", words.join(" ")), env)
}

/// What a command line prints on a terminal.
fn shell_on_a_terminal(sandbox: &Sandbox, line: &str, env: &[(&str, &str)]) -> Option<String> {
    let mut script = clean("/usr/bin/script");
    script.args(["-qec", line, "/dev/null"]);
    with_variables_of(&mut script, &sandbox.command(&[]));
    script.env("TERM", "xterm").envs(env.iter().copied()).current_dir(sandbox.root());
    let output = script.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

/// What a command prints on a terminal of so many columns without colours.
fn plain(sandbox: &Sandbox, args: &[&str], columns: usize) -> Option<String> {
    let zone = ("TZ", "America/New_York");
    on_a_terminal(sandbox, args, &[("COLUMNS", &columns.to_string()), ("NO_COLOR", "1"), zone])
}

/// A queue with tasks in several states, and with texts that try to disturb a table.
fn varied() -> Sandbox {
    let sandbox = Sandbox::new();
    let long = "Check that the lock is fair when several processes wait for it, and that none starves for longer than \
                a second, whatever the load.";
    sandbox.ok(&["submit", "--lane", "review", "--prompt", long]);
    sandbox.ok(&["submit", "--lane", "review", "--prompt", "レビュー".repeat(20).as_str()]);
    sandbox.ok(&[
        "submit",
        "--lane",
        "review",
        "--prompt",
        "a \u{1b}[31m\u{9b}2J\u{202e}b\te\u{301}☃\u{fe0f}\nc",
    ]);
    sandbox.ok(&["submit", "--lane", "a-lane-with-a-rather-long-name", "--prompt", "x", "--delay", "1h"]);
    sandbox.answered("done", "completed", "b");
    sandbox.answered("done", "failed", "b");
    let (id, token) = sandbox.claim("review");
    sandbox.ok(&["ask", &id, "--claim-token", &token, "--question", "Which of the two\nlocks is meant?"]);
    sandbox.ok(&["claim", "--lane", "review", "--owner", "ann"]);
    sandbox
}

#[test]
fn tables_fit_a_terminal_and_use_its_width() {
    let sandbox = varied();
    for (name, args) in
        [("list", &["list"][..]), ("status", &["status"]), ("events", &["events"]), ("inbox", &["inbox"])]
    {
        for columns in [60, 80, 120] {
            let Some(shown) = plain(&sandbox, args, columns) else {
                return skipped("script");
            };
            assert_snapshot!(format!("{name}_{columns}"), shown);
        }
    }
}

#[test]
fn a_task_is_shown_with_its_history_in_rows_that_fit() {
    let sandbox = varied();
    let asking = text(&sandbox.json(&["list", "--state", "input_required"])["tasks"][0]["id"]);
    for columns in [60, 80, 120] {
        let Some(shown) = plain(&sandbox, &["show", &asking], columns) else {
            return skipped("script");
        };
        let shown = shown.replace(sandbox.root().to_str().unwrap(), "$DIR");
        assert_snapshot!(format!("show_{columns}"), shown);
    }
}

#[test]
fn colours_take_no_columns() {
    let sandbox = varied();
    for args in [&["list"][..], &["status"]] {
        for columns in [60, 80, 120] {
            let columns_text = columns.to_string();
            let size_and_time =
                [("COLUMNS", columns_text.as_str()), ("LANES_TEST_NOW", "2026-11-21T07:10:00Z")];
            let Some(coloured) = on_a_terminal(&sandbox, args, &size_and_time) else {
                return skipped("script");
            };
            let plain = on_a_terminal(&sandbox, args, &[&size_and_time[..], &[("NO_COLOR", "1")]].concat());
            if columns == 80 {
                assert_snapshot!(format!("{}_coloured", args[0]), coloured.replace('\u{1b}', "ESC"));
            }
            let mut bare = String::new();
            for (number, part) in coloured.split("\u{1b}[").enumerate() {
                bare += if number == 0 { part } else { part.split_once('m').unwrap().1 };
            }
            assert_eq!(Some(bare), plain, "{args:?} on {columns}");
        }
    }
}

#[test]
fn workers_fit_a_terminal() {
    let sandbox = Sandbox::new();
    let owner = "a-worker-with-a-rather-long-name-that-takes-much-room";
    let claim = ["claim", "--lane", "review", "--lane", "deploy", "--wait", "--owner", owner];
    let _worker = Running::start(sandbox.live_command(&claim));
    eventually("a worker is there", || sandbox.peek(&["workers"])["count"] == 1);
    for columns in [40, 60, 80, 120] {
        let Some(shown) = plain(&sandbox, &["workers"], columns) else {
            return skipped("script");
        };
        assert!(shown.lines().all(|line| line.width() <= columns), "{columns}: {shown}");
        assert!(shown.contains("claim") && shown.contains("a-worker"), "{columns}: {shown}");
    }
}

#[test]
fn messages_are_shown_with_local_times() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let (_, token) = sandbox.claim("work");
    sandbox.ok(&["tell", &id, "Use the old lock."]);
    let args = ["messages", &id, "--claim-token", &token];
    let Some(shown) = plain(&sandbox, &args, 80) else {
        return skipped("script");
    };
    assert!(shown.contains("(2026-11-21 02:00:0"), "{shown}");
}

#[test]
fn no_row_is_wider_than_the_terminal() {
    let sandbox = varied();
    for args in [&["list"][..], &["status", "--all"], &["events"], &["inbox"]] {
        for columns in [1, 7, 20, 33, 40, 61, 79, 80, 81, 200] {
            let Some(shown) = plain(&sandbox, args, columns) else {
                return skipped("script");
            };
            // The line of counts below the tasks, and the note below the inbox, are no rows.
            let is_row = |line: &&str| !line.contains(" queued, ") && !line.starts_with('`');
            for line in shown.lines().filter(is_row) {
                assert!(line.width() <= columns, "{args:?} on {columns}: {line}");
                assert!(!line.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{line:?}");
            }
        }
    }
}

#[test]
fn a_short_id_names_the_task_and_wide_output_is_whole() {
    let sandbox = Sandbox::new();
    let text = "word ".repeat(39);
    let id = sandbox.submit("review", &["--name", text.trim()]);
    let Some(shown) = plain(&sandbox, &["list"], 80) else {
        return skipped("script");
    };
    let short = shown.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(short.len() == 6 && id.ends_with(short), "{shown}");
    assert!(sandbox.ok(&["show", short]).contains(&id));
    let wide = plain(&sandbox, &["list", "--wide"], 80).unwrap();
    assert!(wide.contains(&id) && wide.contains(text.trim()), "{wide}");
    assert!(plain(&sandbox, &["show", &id], 80).unwrap().contains(" 2026-11-21 02:00:0"));
    assert!(sandbox.ok(&["show", &id]).contains(" 2026-11-21T07:00:0"));
    let piped = sandbox.ok(&["list"]);
    assert!(piped.contains(&id), "{piped}");
}

#[test]
fn the_flag_and_the_environment_decide_about_colour() {
    let sandbox = varied();
    let has_colour = |args: &[&str], env: &[(&str, &str)]| {
        on_a_terminal(&sandbox, args, env).map(|shown| shown.contains("\u{1b}["))
    };
    let Some(on_terminal) = has_colour(&["list"], &[]) else {
        return skipped("script");
    };
    assert!(on_terminal);
    for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert_eq!(has_colour(&["list"], &[env]), Some(false), "{env:?}");
        assert_eq!(has_colour(&["list", "--color", "always"], &[env]), Some(true), "{env:?}");
    }
    assert_eq!(has_colour(&["list", "--color=never"], &[("CLICOLOR_FORCE", "1")]), Some(false));
    // In a pipe.
    assert!(sandbox.ok(&["--color", "always", "status"]).contains("\u{1b}[1m"));
    let mut forced = sandbox.command(&["list"]);
    let forced = sandbox.outcome(forced.env("CLICOLOR_FORCE", "1").output().unwrap());
    assert!(forced.stdout.contains("\u{1b}[31mfailed\u{1b}[0m"), "{forced}");
    sandbox.run(&["list", "--color", "red"]).refused(2, "--color");
}

#[test]
fn a_state_has_one_colour_everywhere() {
    let sandbox = Sandbox::new();
    let id = sandbox.answered("l", "failed", "b");
    for command in ["list", "show", "status"] {
        let args = match command {
            "list" => vec![command],
            _ => vec![command, id.as_str()],
        };
        let shown = sandbox.ok(&[&["--color", "always"], &args[..]].concat());
        assert!(shown.contains("\u{1b}[31mfailed"), "{command}: {shown:?}");
    }
    let why = sandbox.ok(&["--color", "always", "why", &id]);
    assert!(why.starts_with("\u{1b}[31m"), "{why:?}");
}

/// What stands on the terminal in the end: of each line, what was printed after it was last erased.
fn left_standing(shown: &str) -> String {
    shown
        .lines()
        .map(|line| line.rsplit("\r\u{1b}[K").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn waits_say_what_they_wait_for_in_a_line_that_erases_itself() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let end = &id[id.len() - 6..];
    let queued = format!("\r\u{1b}[Kwaiting for {end} · queued ");
    for (args, line, last) in [
        (
            &["claim", "--lane", "idle", "--wait"][..],
            "\r\u{1b}[Kwaiting for lane idle · ",
            "waited 4 seconds",
        ),
        (&["next", "--lane", "idle"], "\r\u{1b}[Kwaiting for lane idle · ", "waited 4 seconds"),
        (&["wait", &id], &queued, "no answer within 4 seconds"),
        (&["call", "--lane", "work", "--prompt", "x"], " · nobody serves lane work", "no answer to "),
    ] {
        // The line appears after a second; on a busy machine somewhat later.
        let long = [args, &["--timeout", "4", "--heartbeat-seconds", "0.2"]].concat();
        let timed = [args, &["--timeout", "1.3", "--heartbeat-seconds", "0.2"]].concat();
        let Some(shown) = on_a_terminal(&sandbox, &long, &[]) else {
            return skipped("script");
        };
        assert!(shown.contains(line), "{shown:?}");
        let left = left_standing(&shown);
        assert!(!left.contains(" · ") && left.contains(last), "{shown:?}");
        // The line takes the place of the heartbeats.
        assert!(!shown.contains("state="), "{shown:?}");
        for flag in ["--json", "--quiet"] {
            let other = on_a_terminal(&sandbox, &[&timed[..], &[flag]].concat(), &[]).unwrap();
            assert!(!other.contains(" · ") && !other.contains('\r'), "{flag}: {other:?}");
        }
        let plain = on_a_terminal(&sandbox, &timed, &[("TERM", "dumb")]).unwrap();
        assert!(!plain.contains(" · "), "{plain:?}");
    }
}

#[test]
fn the_line_of_a_wait_is_erased_before_the_answer_is_printed_and_never_wraps() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..2).map(|_| sandbox.submit("work", &[])).collect();
    sandbox.claim("work");
    let args = [&["wait"], &[ids[0].as_str(), &ids[1]][..], &["--timeout", "4"]].concat();
    let Some(shown) = on_a_terminal(&sandbox, &args, &[("COLUMNS", "30")]) else {
        return skipped("script");
    };
    let is_cut = |n: u32| shown.contains(&format!("\r\u{1b}[Kwaiting for 2 tasks · {n}s · 1…"));
    assert!((1..=4).any(is_cut), "{shown:?}");
    let answer = format!("sleep 3; '{LANES}' respond {} --body yes", ids[1]);
    let both = format!("({answer} >/dev/null) & exec '{LANES}' wait {} --timeout 20", ids[1]);
    let shown = shell_on_a_terminal(&sandbox, &both, &[]).unwrap();
    assert!(shown.contains("waiting for") && shown.ends_with("\r\u{1b}[Kyes\n"), "{shown:?}");
}

#[test]
fn who_is_to_type_the_input_is_told() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let said = "reading standard input; end with Ctrl-D";
    for args in [
        &["respond", &id][..],
        &["respond", &id, "--file", "-"],
        &["submit", "--lane", "l", "--prompt-file", "-"],
        &["submit", "--batch", "-"],
        &["tell", &id, "-"],
        &["import", "-"],
    ] {
        let Some(shown) = on_a_terminal(&sandbox, args, &[]) else {
            return skipped("script");
        };
        assert_eq!(shown.matches(said).count(), 1, "{args:?}: {shown:?}");
        assert!(!on_a_terminal(&sandbox, &[args, &["-q"]].concat(), &[]).unwrap().contains(said), "{args:?}");
        assert!(!sandbox.run(args).stderr.contains(said), "{args:?}");
    }
}
