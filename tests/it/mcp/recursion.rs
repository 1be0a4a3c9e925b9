//! Agents that delegate to agents.

use std::process::Stdio;

use serde_json::json;

use super::client::Client;
use crate::testkit::command;
use crate::testkit::pool::{Dispatcher, Pool, stand_in};
use crate::testkit::sandbox::Sandbox;

/// Calls `delegate` from inside a run: `sh delegate.sh AGENT FILE` gives that agent the script in FILE, and leaves the
/// reply in `FILE.reply`. With `cleared=1` the server gets as little of the environment as codex passes on, with `forged=1`
/// one in which it is another run.
const DELEGATE: &str = r#"
{
    printf '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delegate","arguments":{"agent":"%s","task":"DO: . ./%s","wait":50}}}\n' "$1" "$2"
    while [ ! -s "$2.reply" ]; do sleep 0.02; done
} | ${cleared:+env -i "PATH=$PATH"} ${forged:+env LANES_DEPTH=0 LANES_CHAIN=x LANES_MCP=inherit} lanes --config "$LANES_CONFIG" mcp > "$2.reply"
"#;

const INHERIT: &str = "{mcp: inherit}";

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
    for variables in ["", "cleared=1 ", "forged=1 "] {
        let first = format!("{variables}sh delegate.sh b second.sh; result done");
        let second = format!("{variables}sh delegate.sh a third.sh; cat third.sh.reply > saw; result done");
        let scripts =
            [("first.sh", first.as_str()), ("second.sh", &second), ("third.sh", "touch ran; result done")];
        let pool = pool([INHERIT; 4], &scripts);
        let saw = run_first(&pool);
        let expected =
            "error (recursion): the agent a is already above this task: a>b. Do: choose another agent";
        assert!(saw.contains(expected) && saw.contains("\"isError\":true"), "{variables}{saw}");
        assert!(!pool.path("ran").exists());
        let first = pool.json(&["list", "--lane", "agent/b"])["tasks"][0].clone();
        let recorded = [&first["metadata"]["dispatch_depth"], &first["metadata"]["dispatch_chain"]];
        assert_eq!(recorded, [&json!("1"), &json!("a")], "{variables}{first}");
    }
}

#[test]
fn an_agent_is_offered_tools_only_if_its_route_says_so() {
    for variables in ["", "cleared=1 ", "forged=1 "] {
        let admin =
            "env -i \"PATH=$PATH\" lanes --config \"$LANES_CONFIG\" mcp --tools all < /dev/null 2>> saw";
        let script = format!(
            "{variables}sh delegate.sh b second.sh; cat second.sh.reply > saw; {admin} || result refused"
        );
        let pool = pool(["{}"; 4], &[("first.sh", &script)]);
        let saw = run_first(&pool);
        let expected = "unknown tool: delegate; agents have tools only if their route says mcp: inherit";
        assert!(saw.contains(expected), "{variables}{saw}");
        assert!(saw.contains("mcp --tools admin is not for agents"), "{variables}{saw}");
    }
    let sandbox = Sandbox::empty();
    let mut command = sandbox.live_command(&["mcp", "--prompts"]);
    command.env("LANES_RUN_ID", "0123456789abcdef0123456789abcdef").env("LANES_MCP", "off");
    let mut client = Client::start(command);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let hello = client.ask("initialize", hello)["result"].clone();
    assert!(hello["instructions"].as_str().unwrap().starts_with("No tools are offered here"), "{hello}");
    assert_eq!(hello["capabilities"], json!({"tools": {}}), "no prompts either");
    assert_eq!(client.ask("tools/list", json!({}))["result"]["tools"], json!([]));
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
    let pool = pool(["{mcp: inherit, allow_cycles: true}", INHERIT, INHERIT, INHERIT], &scripts);
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
    let pool = pool([INHERIT; 4], &scripts);
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
    let pool = pool([INHERIT; 4], &[]);
    let mut submit = pool.lanes(&["submit", "--lane", "work", "--prompt", "x"]);
    let output = submit.env("LANES_CHAIN", "a\u{202e}b").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("lanes: LANES_CHAIN: a chain of agents has control or invisible"),
        "{message}"
    );
}

#[test]
fn the_agents_of_the_example_ask_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (root, bin) = (dir.path().join("shop"), dir.path().join("bin"));
    std::fs::create_dir(&bin).unwrap();
    // Both agents are the scripted one, which is found as claude is.
    std::os::unix::fs::symlink(stand_in("obeys.sh"), bin.join("claude")).unwrap();
    std::os::unix::fs::symlink(command::LANES, bin.join("lanes")).unwrap();
    let example = format!("{}/examples/agents", env!("CARGO_MANIFEST_DIR"));
    assert!(command::clean_with_path("cp").args(["-r", &example]).arg(&root).status().unwrap().success());
    let lanes = |words: &[&str]| {
        let mut lanes = command::lanes();
        lanes.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).current_dir(&root).args(words);
        lanes
    };
    let script = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    script("prices/delegate.sh", DELEGATE);
    script("shop/delegate.sh", DELEGATE);
    script("shop/shop.sh", "sh delegate.sh prices prices.sh; cat prices.sh.reply > saw; result done");
    script("prices/prices.sh", "sh delegate.sh shop back.sh; cat back.sh.reply > saw; result 'tea: 450'");
    let _dispatcher = Dispatcher::of(lanes(&["dispatch"]).stdout(Stdio::null()).stderr(Stdio::null()));
    let answer = command::ok(&mut lanes(&["call", "--lane", "agent/shop", "--prompt", "DO: . ./shop.sh"]));
    assert_eq!(answer.trim(), "done");
    let saw = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    assert!(saw("shop/saw").contains("tea: 450"), "{}", saw("shop/saw"));
    let back = saw("prices/saw");
    assert!(
        back.contains("error (recursion): the agent shop is already above this task: shop>prices"),
        "{back}"
    );
}
