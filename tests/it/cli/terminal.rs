//! What commands print on a terminal: rows that fit its width, colours, and lines that erase themselves.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use crate::testkit::command::{LANES, clean, with_variables_of};
use crate::testkit::sandbox::{Running, Sandbox, text};
use crate::testkit::skip::skipped;
use crate::testkit::wait::{SOON, end_of, eventually};

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

/// A command line on a terminal whose keys the test presses, below a shell that survives Ctrl-C.
pub(super) struct TypedTerminal {
    child: Child,
    keys: ChildStdin,
    output: Arc<Mutex<Vec<u8>>>,
}

impl TypedTerminal {
    /// Starts it by the system's clock; `None` without script(1).
    pub(super) fn start(sandbox: &Sandbox, line: &str, env: &[(&str, &str)]) -> Option<Self> {
        let line = format!("trap : INT; {line}; echo \"ended with $?\"");
        let mut script = clean("/usr/bin/script");
        script.args(["-qec", &line, "/dev/null"]);
        with_variables_of(&mut script, &sandbox.live_command(&[]));
        script.env("TERM", "xterm").env("SHELL", "/bin/sh").env("USER", "tester");
        script.envs(env.iter().copied()).current_dir(sandbox.root());
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = script.spawn().ok()?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let (mut stdout, written) = (child.stdout.take().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                written.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        let keys = child.stdin.take().unwrap();
        Some(Self { child, keys, output })
    }

    /// What was printed so far.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).replace("\r\n", "\n")
    }

    #[track_caller]
    pub(super) fn wait_for(&self, text: &str) {
        eventually(&format!("{text:?} is shown"), || self.output().contains(text));
    }

    pub(super) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end, and returns all that was printed.
    #[track_caller]
    pub(super) fn end(mut self) -> String {
        self.wait_for("ended with ");
        assert!(end_of(&mut self.child, SOON).is_some(), "{}", self.output());
        self.output()
    }
}

impl Drop for TypedTerminal {
    fn drop(&mut self) {
        // The terminal hangs up then, which ends what runs on it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
fn the_times_in_a_sentence_are_those_of_the_zone() {
    let sandbox = Sandbox::new();
    sandbox.submit("review", &[]);
    let (id, _) = sandbox.claim("review");
    sandbox.ok(&["pause", "review", "--reason", "lunch"]);
    for (args, expected) in [
        (&["why", &id][..], "until 2026-11-21 0"),
        (&["claim", &id], "paused since 2026-11-21 02:"),
        (&["lanes"], "paused since 2026-11-21 02:"),
    ] {
        let Some(shown) = plain(&sandbox, args, 200) else {
            return skipped("script");
        };
        assert!(shown.contains(expected) && !shown.contains(".000000Z"), "{args:?}: {shown}");
        let piped = sandbox.run(args);
        assert!(format!("{piped}").contains(".000000Z"), "{args:?}: {piped}");
    }
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

/// The key that interrupts.
const CTRL_C: &str = "\u{3}";

#[test]
fn ctrl_c_erases_the_line_of_a_wait() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    for args in [
        format!("wait {id}"),
        format!("wait {id} {id} --heartbeat-seconds 0"),
        "claim --lane idle --wait".to_string(),
        "next --lane idle".to_string(),
        "call --lane work --prompt x".to_string(),
        format!("logs --follow {id}"),
        format!("events --follow {id}"),
        "events --follow --since 1000".to_string(),
    ] {
        let Some(mut terminal) = TypedTerminal::start(&sandbox, &format!("'{LANES}' {args}"), &[]) else {
            return skipped("script");
        };
        terminal.wait_for("\r\u{1b}[Kwaiting for ");
        terminal.press(CTRL_C);
        let shown = terminal.end();
        assert!(shown.ends_with("\r\u{1b}[Kended with 130\n"), "{args}: {shown:?}");
    }
}

#[test]
fn the_line_of_a_wait_names_tasks_by_short_ids() {
    let sandbox = Sandbox::new();
    let first = sandbox.submit("work", &[]);
    let second = sandbox.submit("work", &["--after", &first]);
    let Some(shown) = on_a_terminal(&sandbox, &["wait", &second, "--timeout", "4"], &[("COLUMNS", "120")])
    else {
        return skipped("script");
    };
    let reason = format!("waiting for 1 of 1 dependency: {} (queued)", &first[first.len() - 6..]);
    assert!(shown.contains(&reason), "{shown:?}");
}

#[test]
fn commands_that_follow_say_what_they_wait_for_while_nothing_comes() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let end = &id[id.len() - 6..];
    for (args, line) in [
        (format!("logs -f {id}"), format!("waiting for {end} · queued ")),
        (format!("events -f {id}"), format!("waiting for {end} · queued ")),
        ("events -f".to_string(), "waiting for events · ".to_string()),
    ] {
        for quiet in ["", " -q"] {
            let Some(mut terminal) = TypedTerminal::start(&sandbox, &format!("'{LANES}' {args}{quiet}"), &[])
            else {
                return skipped("script");
            };
            if quiet.is_empty() {
                terminal.wait_for(&line);
            } else {
                // Longer than it takes until a line is shown.
                std::thread::sleep(std::time::Duration::from_millis(1500));
                assert!(!terminal.output().contains("waiting for "), "{}", terminal.output());
            }
            terminal.press(CTRL_C);
            terminal.end();
        }
    }
    let Some(terminal) = TypedTerminal::start(&sandbox, &format!("'{LANES}' events -f {id}"), &[]) else {
        return skipped("script");
    };
    terminal.wait_for("waiting for ");
    sandbox.ok(&["cancel", &id]);
    let shown = left_standing(&terminal.end());
    assert!(shown.contains("cancelled") && !shown.contains("waiting for"), "{shown}");
}

#[test]
fn a_graph_fits_a_terminal() {
    let sandbox = Sandbox::new();
    let submit = |after: &[&str]| {
        let args = ["--name", "A title that is longer than the columns that a file has for it"];
        sandbox.submit("work", &[&args, after].concat())
    };
    let build = submit(&[]);
    let mut last = submit(&["--after", &build]);
    for _ in 0..20 {
        last = submit(&["--after", &last]);
    }
    for columns in [20, 40, 80, 120] {
        let Some(shown) = plain(&sandbox, &["graph"], columns) else { return skipped("script") };
        assert_eq!(shown.lines().count(), 22, "{shown}");
        for (number, line) in shown.lines().enumerate() {
            assert!(line.width() <= columns, "{columns}: {line}");
            let short = line.split(['─', ' ', '…']).find(|word| word.len() >= 6).unwrap_or_default();
            if number == 0 {
                assert!(build.ends_with(short) && short.len() < build.len(), "{shown}");
                assert!(sandbox.ok(&["show", short]).contains(&build));
            }
            assert!(columns == 20 || line.contains("queued") || line.contains("blocked"), "{shown}");
        }
    }
    let wide = plain(&sandbox, &["graph", "--wide"], 80).unwrap();
    let piped = sandbox.ok(&["graph"]);
    for shown in [&wide, &piped] {
        assert!(shown.contains(&build) && shown.contains(&last), "{shown}");
    }
    assert!(wide.contains("has for it") && piped.contains("longer than the columns…"), "{wide} {piped}");
}

#[test]
fn a_person_is_shown_the_question_before_the_answer_is_typed() {
    let sandbox = Sandbox::new();
    let id = sandbox.submit("work", &[]);
    let (_, token) = sandbox.claim("work");
    let ask = ["ask", &id, "--claim-token", &token, "--question", "Delete\n\told.sql?"];
    sandbox.ok(&[&ask[..], &["--choice", "yes", "--choice", "no"]].concat());
    let start = |more: &str| TypedTerminal::start(&sandbox, &format!("'{LANES}' answer {id} {more}"), &[]);
    let Some(mut terminal) = start("") else { return skipped("script") };
    terminal.wait_for("end with Ctrl-D");
    let end = &id[id.len() - 6..];
    let question = format!("question 1 of worker about {end}:\n  Delete\n      old.sql?\n  - yes\n  - no\n");
    assert!(terminal.output().starts_with(&question), "{:?}", terminal.output());
    terminal.press("yes\n\u{4}");
    let shown = terminal.end();
    assert!(shown.ends_with(&format!("{id}\nended with 0\n")), "{shown}");
    assert_eq!(text(&sandbox.json(&["show", &id])["task"]["questions"][0]["answer"]), "yes");
    // Nobody types an answer that cannot count.
    for (more, refusal) in
        [("", "tester answered it at "), ("--question 7", "there is none with this number")]
    {
        let shown = start(more).unwrap().end();
        assert!(shown.contains(refusal) && shown.contains("ended with 1"), "{shown}");
        assert!(!shown.contains("Ctrl-D"), "{shown}");
    }
}

#[test]
fn the_columns_of_events_line_up() {
    let sandbox = Sandbox::new();
    let message = "the message";
    let mut last = String::new();
    for lane in ["l", "a-longer-lane"] {
        last = sandbox.submit(lane, &[]);
        let (_, token) = sandbox.claim(lane);
        for kind in ["short", "a-type-of-23-characters"] {
            let event = ["event", &last, "--claim-token", &token, "--type", kind, "--message", message];
            sandbox.ok(&event);
        }
    }
    for args in [&["events", &last][..], &["show", &last], &["events"]] {
        let shown = sandbox.ok(args);
        let places: Vec<usize> = shown.lines().filter_map(|line| line.find(message)).collect();
        assert!(places.len() >= 2 && places.iter().all(|place| *place == places[0]), "{shown}");
        // Long names do not take the room of the text on a terminal.
        let Some(shown) = plain(&sandbox, args, 80) else { return skipped("script") };
        assert!(shown.lines().filter(|line| line.contains("the mes")).count() >= 2, "{shown}");
    }
}
