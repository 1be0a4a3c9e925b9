//! Agents that delegate to agents.

use serde_json::json;

use super::client::Client;
use crate::testkit::pool::Pool;

/// Calls `delegate` from inside a run: `sh delegate.sh AGENT FILE` gives that agent the script in FILE, and leaves the
/// text of the reply in `FILE.reply`.
const DELEGATE: &str = r#"
{
    printf '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delegate","arguments":{"agent":"%s","task":"DO: . ./%s","wait":50}}}\n' "$1" "$2"
    while [ ! -s "$2.reply" ]; do sleep 0.02; done
} | lanes mcp > "$2.reply"
"#;

/// A pool of the agents a, b, c and d, whose routes are `{routes}`, and in which these scripts lie.
fn pool(routes: [&str; 4], scripts: &[(&str, &str)]) -> Pool {
    let [a, b, c, d] = routes;
    let pool = Pool::scripted(&format!(
        "  max_concurrent: 4\n  routes:\n    agent/a: {a}\n    agent/b: {b}\n    agent/c: {c}\n    agent/d: {d}\n"
    ));
    for (name, script) in [&[("delegate.sh", DELEGATE)], scripts].concat() {
        std::fs::write(pool.path(name), script).unwrap();
    }
    pool
}

/// Gives the agent a the script in `first.sh`, which must be answered, and returns what the file `saw` contains then.
fn run_first(pool: &Pool) -> String {
    let _dispatcher = pool.dispatcher(&[]);
    let mut client = Client::connect(pool.lanes(&["mcp"]));
    let reply = client.call("delegate", json!({"agent": "a", "task": "DO: . ./first.sh", "wait": 50}));
    assert!(reply.text.starts_with("done "), "{reply:?}\n{}", pool.log());
    std::fs::read_to_string(pool.path("saw")).unwrap()
}

#[test]
fn an_agent_is_not_given_a_task_by_an_agent_that_works_for_it() {
    let scripts = [
        ("first.sh", "sh delegate.sh b second.sh; result done"),
        ("second.sh", "sh delegate.sh a third.sh; cat third.sh.reply > saw; result done"),
        ("third.sh", "touch ran; result done"),
    ];
    let pool = pool(["{}"; 4], &scripts);
    let saw = run_first(&pool);
    let expected = "error (recursion): the agent a is already above this task: a>b. Do: choose another agent";
    assert!(saw.contains(expected) && saw.contains("\"isError\":true"), "{saw}");
    assert!(!pool.path("ran").exists());
    let first = pool.json(&["list", "--lane", "agent/b"])["tasks"][0].clone();
    let recorded = [&first["metadata"]["dispatch_depth"], &first["metadata"]["dispatch_chain"]];
    assert_eq!(recorded, [&json!("1"), &json!("a")], "{first}");
}

#[test]
fn cycles_are_for_agents_that_allow_them_and_end_at_the_depth() {
    let scripts = [
        ("first.sh", "sh delegate.sh b second.sh; result done"),
        ("second.sh", "sh delegate.sh a third.sh; result done"),
        (
            "third.sh",
            "echo \"$LANES_DEPTH $LANES_CHAIN\" > saw; sh delegate.sh a fourth.sh; cat fourth.sh.reply >> saw; result done",
        ),
    ];
    let pool = pool(["{allow_cycles: true}", "{}", "{}", "{}"], &scripts);
    let saw = run_first(&pool);
    assert!(saw.starts_with("3 a>b>a\n"), "{saw}");
    assert!(saw.contains("error (recursion): agents that hand tasks to agents are 3 levels deep"), "{saw}");
}

#[test]
fn what_an_agent_writes_into_the_metadata_of_a_task_shortens_no_chain() {
    let scripts = [
        ("first.sh", "sh delegate.sh b second.sh; result done"),
        (
            "second.sh",
            "id=$(lanes submit --lane agent/a --prompt x --metadata dispatch_chain=c --metadata dispatch_depth=0); \
             lanes wait \"$id\" 2>&1 | cat > saw; result done",
        ),
    ];
    let pool = pool(["{}"; 4], &scripts);
    let saw = run_first(&pool);
    assert!(saw.contains("the agent a is already above this task: a>b"), "{saw}");
    let forged =
        pool.ok(&["submit", "--lane", "agent/d", "--prompt", "x", "--metadata", "dispatch_chain=a>d"]);
    let odd = pool.ok(&["submit", "--lane", "agent/d", "--prompt", "x", "--metadata", "dispatch_depth=9"]);
    pool.dispatch_once(&[]);
    let reason = |id: &str| pool.task(id)["failure_reason"].as_str().unwrap_or_default().to_string();
    assert!(reason(&forged).contains("the agent d is already above this task: a>d"), "{}", reason(&forged));
    assert!(reason(&odd).contains("9 levels deep"), "{}", reason(&odd));
}

#[test]
fn a_variable_that_no_dispatcher_sets_is_reported() {
    let pool = pool(["{}"; 4], &[]);
    let mut submit = pool.lanes(&["submit", "--lane", "work", "--prompt", "x"]);
    let output = submit.env("LANES_CHAIN", "a\u{202e}b").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("lanes: LANES_CHAIN: a chain of agents has control or invisible"),
        "{message}"
    );
}
