//! A command prints on a remote store what it prints on the store itself, and ends with the same code.

use std::collections::BTreeMap;
use std::process::Output;

use super::{Laptop, stderr, stdout};
use crate::testkit::command;
use crate::testkit::server::{CONFIG, Server};

/// What is done in turn: each line is a command; `ID`, `OTHER` and `TOKEN` are what the commands before have printed.
const SCRIPT: &[&str] = &[
    "status",
    "list",
    "submit --lane review --prompt question",
    "list",
    "show ID",
    "why ID",
    "status",
    "lanes",
    "submit --lane review --prompt question --key k",
    "submit --lane review --prompt question --key k",
    "submit --lane review --prompt other --key k",
    "submit review question",
    "submit --lane review",
    "next --lane review --timeout 0",
    "claim --lane review --owner me --with-prompt",
    "claim ID --owner me",
    "claim --lane nothing",
    "claim nosuch",
    "show ID",
    "why ID",
    "renew ID --claim-token TOKEN --lease-seconds 60",
    "renew ID --claim-token wrong",
    "event ID --message hello --claim-token TOKEN",
    "event ID --type claimed --message forged",
    "tell ID be-quick",
    "messages ID --claim-token TOKEN",
    "ask ID --claim-token TOKEN --question which? --choice a --choice b",
    "inbox",
    "answer ID --choice a",
    "answer ID --choice b",
    "claim ID --owner me",
    "release ID --claim-token wrong",
    "respond ID --claim-token TOKEN --body yes",
    "respond ID --claim-token TOKEN --body yes",
    "respond ID --claim-token TOKEN --body no",
    "wait ID --timeout 5",
    "wait ID --timeout 5 --json",
    "wait OTHER --timeout 0",
    "edit OTHER --priority 3 --add-label urgent --name title",
    "move OTHER --lane work",
    "list --lane work --json",
    "cancel OTHER --reason enough",
    "cancel OTHER",
    "retry OTHER",
    "retry ID",
    "submit --lane work --prompt after --after ID --group g --label x --name n --metadata a=b",
    "list --group g",
    "graph --group g",
    "cancel --group g",
    "pause review --reason lunch",
    "status",
    "claim --lane review",
    "resume review",
    "pause --vendor claude",
    "resume --vendor claude",
    "redrive --lane work",
    "list --state completed",
    "events",
    "show ID --json",
    "status --json",
];

/// Replaces what differs from run to run: ids, tokens, times and paths.
struct Normaliser {
    ids: BTreeMap<String, String>,
}

impl Normaliser {
    fn text(&mut self, text: &str, places: &[String]) -> String {
        let mut text = text.to_string();
        for place in places {
            text = text.replace(place.as_str(), "PLACE");
        }
        let mut words = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_alphanumeric() || "-.:_".contains(c) {
                word.push(c);
                continue;
            }
            words.push_str(&self.word(&std::mem::take(&mut word)));
            words.push(c);
        }
        // The columns of a table are as wide as what is in them.
        words
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").replace("AGE ago", "AGE"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn word(&mut self, word: &str) -> String {
        let is_time = |text: &str| {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            digits >= 14 && text.bytes().all(|byte| byte.is_ascii_digit() || b"TZ:.-".contains(&byte))
        };
        let is_age = |text: &str| {
            text.strip_suffix(['s', 'm', 'h'])
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let is_id =
            word.len() > 30 && word.get(..8).is_some_and(|date| date.bytes().all(|b| b.is_ascii_digit()));
        let is_hash = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            let number = self.ids.len();
            return self.ids.entry(word.to_string()).or_insert(format!("ID{number}")).clone();
        }
        match word {
            _ if is_time(word) => "TIME".to_string(),
            _ if is_hash => "HASH".to_string(),
            "now" => "AGE".to_string(),
            _ if is_age(word) => "AGE".to_string(),
            _ => word.to_string(),
        }
    }
}

/// Runs the script and returns what each command did, comparably.
fn carry_out(run: &dyn Fn(&[&str]) -> Output, places: &[String]) -> Vec<String> {
    let mut normaliser = Normaliser { ids: BTreeMap::new() };
    let (mut ids, mut token) = (Vec::new(), String::new());
    let mut done = Vec::new();
    for line in SCRIPT {
        let known = |word: &str| match word {
            "ID" => ids.first().cloned().unwrap_or_default(),
            "OTHER" => ids.get(1).cloned().unwrap_or_default(),
            "TOKEN" => token.clone(),
            word => word.to_string(),
        };
        let words: Vec<String> = line.split(' ').map(known).collect();
        let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let text = stdout(&output);
        if line.starts_with("submit") && output.status.success() {
            ids.push(text.trim().to_string());
        }
        if let Some(given) = text.lines().find_map(|line| line.strip_prefix("claim_token=")) {
            token = given.to_string();
        }
        let told = format!("{}\n{}", text, stderr(&output));
        done.push(format!("$ {line}\n{}[{:?}]", normaliser.text(&told, places), output.status.code()));
    }
    done
}

/// Leaves out what differs for a reason: the key by which a remote submit is known, and paths, which are of this machine.
fn without_differences(text: &str) -> String {
    let differs = |line: &&str| {
        [
            "key submit-",
            "\"key\": \"submit-",
            "answer to",
            "request PLACE",
            "workspace",
            "response_path",
            "\"response_path\"",
        ]
        .iter()
        .any(|start| line.trim_start().starts_with(start))
            || ["request_path", "\"request_path\"", "\"workspace", "\"boot\"", "\"idempotency_key\""]
                .iter()
                .any(|start| line.trim_start().starts_with(start))
    };
    text.lines().filter(|line| !differs(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_command_says_what_it_says_on_the_store_itself() {
    let server = Server::with(&["--enable-queue-management"]);
    let laptop = Laptop::of(&server);
    let remote = carry_out(
        &|args| laptop.run(args),
        &[laptop.home().to_string_lossy().into_owned(), server.root().to_string_lossy().into_owned()],
    );
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("handoff")).unwrap();
    std::fs::write(here.path().join("handoff/handoff.yaml"), CONFIG).unwrap();
    let local = carry_out(
        &|args| command::lanes().args(args).current_dir(here.path()).output().unwrap(),
        &[here.path().to_string_lossy().into_owned()],
    );
    assert_eq!(remote.len(), SCRIPT.len());
    let mut differing = Vec::new();
    for (remote, local) in remote.iter().zip(&local) {
        let (remote, local) = (without_differences(remote), without_differences(local));
        if remote != local {
            differing.push(format!("--- on the server\n{remote}\n--- on the store itself\n{local}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

#[test]
fn the_lanes_that_the_server_describes_are_known() {
    let server = Server::configured("  work: Do it.\n", &[]);
    let laptop = Laptop::of(&server);
    let id = laptop.lanes(&["submit", "review", "Is it fair?"]);
    assert!(id.contains("-review-"), "{id}");
    let lanes = laptop.lanes(&["lanes", "--json"]);
    assert!(lanes.contains("Look, and say.") && lanes.contains("\"work\""), "{lanes}");
    let misspelt = laptop.run(&["submit", "reveiw", "x"]);
    assert!(stderr(&misspelt).contains("did you mean review?"), "{}", stderr(&misspelt));
    let unnamed = laptop.run(&["submit", "x"]);
    assert!(stderr(&unnamed).contains("this queue has review, work"), "{}", stderr(&unnamed));
}

#[test]
fn a_call_waits_for_a_worker_on_another_machine() {
    let server = Server::with_token();
    let (asker, worker) = (Laptop::of(&server), Laptop::of(&server));
    let mut call = asker.command(&["call", "--lane", "l", "--prompt", "2+2?", "--timeout", "50"]);
    let call =
        call.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let claimed = worker.lanes(&["claim", "--lane", "l", "--wait", "--timeout", "50"]);
    let value = |key: &str| {
        claimed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_string()
    };
    worker.lanes(&["respond", &value("task_id"), "--claim-token", &value("claim_token"), "-m", "4"]);
    let output = call.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "4");
}

#[test]
fn a_worker_that_waits_is_seen_and_gets_the_task() {
    let server = Server::with_token();
    let laptop = Laptop::of(&server);
    let mut waiting = laptop.command(&["claim", "--lane", "l", "--wait", "--timeout", "50"]);
    let waiting =
        waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    crate::testkit::wait::eventually("the worker is seen", || {
        laptop.lanes(&["workers", "--json"]).contains("\"l\"")
    });
    let id = laptop.lanes(&["submit", "--lane", "l", "--prompt", "x"]);
    let output = waiting.wait_with_output().unwrap();
    assert!(stdout(&output).contains(&id), "{}", stdout(&output));
}
