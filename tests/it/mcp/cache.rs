//! Answers that are given again to equal requests.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Reply};
use crate::testkit::pool::Pool;

/// Counts its runs in `runs`, and answers with their number and a line of its prompt that begins with "STATUS: ".
const AGENT: &str = "echo run >> runs\nprompt=$(cat)\nprintf 'answer %s' $(wc -l < runs)\n\
    case $prompt in *'please fail'*) exit 3 ;; *'half of it'*) printf '\\nSTATUS: partial' ;; esac\n";

/// A pool with the agent `infra`, whose route has these settings besides its program.
fn pool(settings: &str) -> Pool {
    let pool = Pool::new("");
    std::fs::write(pool.path("agent.sh"), AGENT).unwrap();
    configure(&pool, settings);
    pool
}

fn configure(pool: &Pool, settings: &str) {
    let dispatch = format!(
        "workspace_id: pool\nworkspace_root: .\nqueue_root: state\n\
         dispatch:\n  retry_delay: 0\n  max_retries: 0\n  routes:\n    agent/infra: {{command: sh, args: [agent.sh]{settings}}}\n    \
         work: {{command: sh, args: [agent.sh]}}\n"
    );
    std::fs::write(pool.path("handoff.yaml"), dispatch).unwrap();
}

/// Delegates to the agent, with these arguments besides the usual ones.
#[track_caller]
fn ask(client: &mut Client, more: Value) -> Reply {
    let mut arguments = json!({"agent": "infra", "task": "Is it up?", "wait": 50});
    arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let reply = client.call("delegate", arguments);
    assert!(!reply.text.starts_with("queued ") || more["wait"] == 0, "{reply:?}");
    reply
}

fn is_cached(reply: &Reply) -> bool {
    reply.text.lines().next().unwrap().contains(" cached ")
}

fn entries(pool: &Pool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(pool.path("state/cache")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_equal_request_gets_the_answer_without_a_run() {
    let pool = pool("");
    let _dispatcher = pool.dispatcher(&[]);
    let connect = || Client::connect(pool.lanes(&["mcp", "--tools", "all"]));
    let mut client = connect();
    let first = ask(&mut client, json!({}));
    assert!(first.text.ends_with("\n\nanswer 1") && !is_cached(&first), "{first:?}");
    let again = ask(&mut client, json!({}));
    assert!(is_cached(&again) && again.text.ends_with("\n\nanswer 1"), "{again:?}");
    assert_eq!(again.id(), first.id());
    // Another session, and what does not change the answer.
    let other = ask(&mut connect(), json!({"timeout": 90, "priority": 3, "max_chars": 7}));
    assert!(is_cached(&other) && other.id() == first.id(), "{other:?}");
    let json = json!({"agent": "infra", "wait": 50, "tasks": [{"task": "Is it up?"}, {"task": "Is it up?"}]});
    let twice = client.call("delegate", json).fine();
    assert_eq!(twice.matches(" cached ").count(), 1, "who asks twice at once gets two answers: {twice}");
    assert_eq!(pool.until_file("runs").lines().count(), 2);
    let figures = client.call("upkeep", json!({"do": "cache_stats"})).fine();
    assert!(figures.starts_with("1 of at most 1000 answers cached, each for 300 s"), "{figures}");
    assert!(figures.ends_with("asked by this server: 2 hits, 1 misses"), "{figures}");
    let entry = entries(&pool).remove(0);
    assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(client.call("upkeep", json!({"do": "cache_clear"})).fine(), "1 cached answers removed");
    assert!(!is_cached(&ask(&mut client, json!({}))));
}

#[test]
fn whatever_may_change_the_answer_leads_to_a_run() {
    let pool = pool("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    ask(&mut client, json!({}));
    for more in [
        json!({"context": "It is old."}),
        json!({"caller": "me"}),
        json!({"goal": "peace"}),
        json!({"task": "Is it up now?"}),
        json!({"key": "k"}),
        json!({"fresh": true}),
    ] {
        let reply = ask(&mut client, more.clone());
        assert!(!is_cached(&reply) && !reply.is_error, "{more}: {reply:?}");
    }
    assert_eq!(pool.until_file("runs").lines().count(), 7);
    // The newest answer is the one that is kept.
    let newest = ask(&mut client, json!({}));
    assert!(is_cached(&newest) && newest.text.ends_with("answer 7"), "{newest:?}");
    // The agent has other settings now; with the old ones, the old answer is as good as before.
    configure(&pool, ", timeout: 5m");
    assert!(!is_cached(&ask(&mut client, json!({}))));
    configure(&pool, "");
    assert!(is_cached(&ask(&mut client, json!({}))));
    // A lane is served by whoever is there.
    for _ in 0..2 {
        let by_lane = client.call("delegate", json!({"lane": "work", "task": "Is it up?", "wait": 50}));
        assert!(by_lane.text.starts_with("done ") && !is_cached(&by_lane), "{by_lane:?}");
    }
}

#[test]
fn only_complete_answers_are_kept() {
    let pool = pool("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp", "--no-dispatch"]));
    for (task, state) in [("Do half of it", "done "), ("please fail", "failed ")] {
        for _ in 0..2 {
            let reply = ask(&mut client, json!({"task": task}));
            assert!(reply.text.starts_with(state) && !is_cached(&reply), "{reply:?}");
        }
    }
    // It was asked for as JSON, and is none.
    for _ in 0..2 {
        let reply = ask(&mut client, json!({"format": "json"}));
        assert!(reply.structured.unwrap().get("cached").is_none());
    }
    // A person who answers is not the agent.
    drop(_dispatcher);
    let id = ask(&mut client, json!({"task": "by hand", "wait": 0})).id();
    pool.ok(&["respond", &id, "--body", "Yes."]);
    assert!(ask(&mut client, json!({"task": "by hand"})).text.ends_with("Yes."));
    assert!(!is_cached(&ask(&mut client, json!({"task": "by hand", "wait": 0}))));
    assert!(entries(&pool).is_empty(), "{:?}", entries(&pool));
}

#[test]
fn an_entry_is_only_a_hint() {
    let pool = pool("");
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let first = ask(&mut client, json!({}));
    let other = ask(&mut client, json!({"task": "Something else."}));
    let entry = entries(&pool)
        .into_iter()
        .find(|path| std::fs::read_to_string(path).unwrap().contains(&first.id()))
        .unwrap();
    let valid = std::fs::read_to_string(&entry).unwrap();
    let mut runs = 2;
    let damages: [(&str, &dyn Fn()); 4] = [
        ("no JSON", &|| std::fs::write(&entry, "{").unwrap()),
        ("another task", &|| std::fs::write(&entry, valid.replace(&first.id(), &other.id())).unwrap()),
        ("from the future", &|| std::fs::write(&entry, valid.replace("\"20", "\"30")).unwrap()),
        ("a link", &|| {
            std::fs::remove_file(&entry).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &entry).unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage();
        runs += 1;
        let reply = ask(&mut client, json!({}));
        assert!(!is_cached(&reply) && reply.text.ends_with(&format!("answer {runs}")), "{what}: {reply:?}");
        assert!(is_cached(&ask(&mut client, json!({}))), "{what}: the entry was replaced");
    }
    // Neither tasks nor entries of them stay behind.
    pool.ok(&["gc", "--all-ended"]);
    assert!(entries(&pool).is_empty());
    assert!(!is_cached(&ask(&mut client, json!({}))));
    std::fs::write(pool.path("state/cache/stranger"), "x").unwrap();
    let report = pool.output(&["fsck", "--repair"]);
    let text = String::from_utf8(report.stdout).unwrap();
    assert!(text.contains("cache-entry"), "{text}");
    assert_eq!(entries(&pool).len(), 1);
    assert!(is_cached(&ask(&mut client, json!({}))));
}
