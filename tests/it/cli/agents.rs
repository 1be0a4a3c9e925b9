//! `lanes agents`.

use serde_json::json;

use crate::testkit::sandbox::Sandbox;

/// A workspace with a directory `app` and `claude` as the default vendor, whose program is there.
fn workspace(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/README.md", "# App\n\nThe billing service.\n");
    sandbox.write("app/Cargo.toml", "");
    let text = format!(
        "workspace_id: w\n{more}dispatch:\n  vendor: claude\n  vendors: {{claude: {{command: /bin/true}}}}\n"
    );
    sandbox.write("handoff/handoff.yaml", text);
    sandbox
}

#[test]
fn agents_are_added_shown_changed_and_removed() {
    let sandbox = workspace("agents:\n  infra: {directory: ../app, description: Terraform}\n");
    let added = sandbox.ok(&[
        "agents",
        "add",
        "api",
        "--directory",
        "app",
        "--model",
        "sonnet",
        "--timeout",
        "15m",
        "--allowed-tool",
        "Read",
        "--allowed-tool",
        "Edit",
        "--max-concurrent",
        "2",
        "--env",
        "A=1",
    ]);
    assert_eq!(added, "agent api added");
    let file = sandbox.path("handoff/state/agents.json");
    let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let api = json!({"directory": sandbox.path("app"), "model": "sonnet", "timeout": 900.0, "env": {"A": "1"},
        "allowed_tools": ["Read", "Edit"], "max_concurrent": 2});
    assert_eq!(stored, json!({"agents": {"api": api}}));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        sandbox.ok(&["agents"]),
        "NAME   VENDOR  MODEL   WHERE         DESCRIPTION\n\
         api    claude  sonnet  agents.json   The billing service. | Stack: Rust\n\
         infra  claude  -       handoff.yaml  Terraform"
    );
    assert_eq!(sandbox.ok(&["agents", "list"]), sandbox.ok(&["agents"]));
    let shown = sandbox.ok(&["agents", "show", "api"]);
    for line in ["api\n", "  lane: agent/api\n", "  model: sonnet\n", "  allowed_tools: [\"Read\",\"Edit\"]"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    let shown = sandbox.json(&["agents", "show", "infra"]);
    assert_eq!(shown["agent"]["source"], "handoff.yaml", "{shown}");
    assert_eq!(shown["agent"]["directory"], "$DIR/project/app", "{shown}");
    assert_eq!(sandbox.ok(&["agents", "describe", "infra"]), "The billing service. | Stack: Rust");
    // Only what is given changes.
    sandbox.ok(&[
        "agents",
        "set",
        "api",
        "--permission-mode",
        "plan",
        "--unset",
        "model",
        "--allowed-tool",
        "",
    ]);
    let listed = sandbox.json(&["agents"]);
    let api = &listed["agents"][0];
    assert_eq!((&api["model"], &api["settings"]["permission_mode"]), (&json!(null), &json!("plan")), "{api}");
    assert_eq!((&api["settings"]["allowed_tools"], &api["settings"]["timeout"]), (&json!([]), &json!(900.0)));
    assert_eq!(listed["count"], 2);
    assert_eq!(sandbox.ok(&["agents", "remove", "api"]), "agent api removed");
    assert_eq!(sandbox.json(&["agents"])["count"], 1);
}

#[test]
fn what_cannot_be_used_is_refused_and_nothing_is_written() {
    let sandbox = workspace("agents:\n  infra: {directory: ../app}\nlanes: {agent/odd: x}\n");
    sandbox.ok(&["agents", "add", "api", "--directory", "app"]);
    let file = sandbox.path("handoff/state/agents.json");
    let before = std::fs::read(&file).unwrap();
    let ends_with = |code: i32, line: &str, expected: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = sandbox.run(&[&["agents"], &words[..]].concat());
        outcome.refused(code, expected);
        assert_eq!(std::fs::read(&file).unwrap(), before, "{line}");
    };
    let refused = |line: &str, expected: &str| ends_with(1, line, expected);
    let misused = |line: &str, expected: &str| ends_with(2, line, expected);
    refused(
        "add infra --directory app",
        "agent 'infra' is in handoff.yaml; change it there, or choose another name",
    );
    refused("set infra --model x", "agent 'infra' is in handoff.yaml");
    refused("remove infra", "agent 'infra' is in handoff.yaml");
    refused("add api --directory app", "agent 'api' exists already; `lanes agents set api` changes it");
    refused("add new --directory gone", "gone does not exist");
    refused("add new --directory handoff/handoff.yaml", "handoff.yaml does not exist");
    refused("add new --directory handoff/state/tasks", "is in the state directory");
    misused("add ../new --directory app", "invalid agent name '../new'");
    refused("add new --directory app --vendor nobody", "agents.new.vendor: unknown vendor nobody");
    refused(
        "add new --directory app --max-budget-usd -1",
        "agents.new.max_budget_usd: expected a number above 0",
    );
    refused("add new --directory app --instructions {x}", "agents.new.instructions: unknown placeholder {x}");
    refused(
        "add new --directory app --vendor codex --max-budget-usd 1",
        "codex, which serves lane agent/new, does not",
    );
    misused("set api", "nothing to change");
    misused("set api --unset directory", "'directory' is not a setting that can be removed");
    misused("set api --unset modle", "'modle' is not a setting that can be removed");
    refused("set nobody --model x", "no agent 'nobody' in agents.json; choose one of api");
    refused("show nobody", "no agent 'nobody' in this workspace; choose one of api, infra, odd");
    // A route of the lane excludes an agent.
    let text = sandbox.read("handoff/handoff.yaml");
    sandbox.write("handoff/handoff.yaml", format!("{text}  routes: {{agent/new: {{}}}}\n"));
    refused("add new --directory app", "agent 'new' is the route of its lane");
    // What handoff.yaml has as well does not count, and may be removed.
    let text = sandbox.read("handoff/handoff.yaml");
    sandbox.write(
        "handoff/handoff.yaml",
        text.replace("agents:\n", "agents:\n  api: {directory: ../app, model: opus}\n"),
    );
    refused("set api --model x", "agent 'api' is in handoff.yaml");
    assert_eq!(sandbox.json(&["agents", "show", "api"])["agent"]["model"], "opus");
    sandbox.ok(&["agents", "remove", "api"]);
}

#[test]
fn a_right_to_do_everything_and_a_problem_are_shown_in_capitals() {
    let sandbox = workspace(
        "agents:\n  free: {directory: ../app, permission_mode: bypassPermissions}\n  gone: {directory: ../gone}\n",
    );
    let listed = sandbox.ok(&["agents"]);
    assert!(listed.contains("BYPASSES PERMISSIONS (bypassPermissions); The billing"), "{listed}");
    assert!(
        listed.contains("NOT READY: ") && listed.contains("agents.gone.directory: directory "),
        "{listed}"
    );
}

#[test]
fn agents_of_agent_dispatch_are_imported() {
    let sandbox = workspace("agents:\n  api: {directory: ../app}\n");
    sandbox.write(
        "agents.yaml",
        "settings: {default_timeout: 60}\nagents:\n  api: {directory: app}\n  web: {directory: app, model: opus, \
         instructions: 'Use {}', max_budget_usd: 0}\n",
    );
    let printed = sandbox.ok(&["agents", "import", "agents.yaml"]);
    assert_eq!(printed, "agent web added\nagent api exists already, and stays as it is");
    let web = sandbox.json(&["agents", "show", "web"])["agent"].clone();
    assert_eq!((&web["vendor"], &web["model"]), (&json!("claude"), &json!("opus")), "{web}");
    assert_eq!(
        (&web["settings"]["timeout"], &web["settings"]["instructions"]),
        (&json!(60), &json!("Use {{}}"))
    );
    let again = sandbox.json(&["agents", "import", "agents.yaml"]);
    assert_eq!((&again["added"], &again["kept"]), (&json!([]), &json!(["api", "web"])));
    // All or none.
    sandbox.write("agents.yaml", "agents:\n  one: {directory: app}\n  two: {directory: gone}\n");
    sandbox.run(&["agents", "import", "agents.yaml"]).refused(1, "gone does not exist");
    assert_eq!(sandbox.json(&["agents"])["count"], 2);
}

#[test]
fn usual_runs_are_shown_when_there_were_enough() {
    let sandbox = workspace("agents:\n  api: {directory: ../app}\n");
    sandbox.ok(&["submit", "--lane", "agent/api", "--prompt", "x"]);
    let run = |n: u32| {
        json!({"started_at": "2026-11-21T06:00:00Z", "ended_at": "2026-11-21T07:00:00Z", "task_id": "t", "attempt": 1,
            "run": format!("r{n}"), "lane": "agent/api", "vendor": "claude", "outcome": "completed",
            "seconds": n * 60, "cost_usd": 0.5})
        .to_string()
    };
    sandbox.write("handoff/state/usage.jsonl", format!("{}\n{}\n", run(1), run(2)));
    assert_eq!(sandbox.json(&["agents", "show", "api"])["agent"]["typical"], json!(null));
    sandbox.write("handoff/state/usage.jsonl", format!("{}\n{}\n{}\n", run(1), run(2), run(6)));
    let typical = sandbox.json(&["agents", "show", "api"])["agent"]["typical"].clone();
    let expected = json!({"runs": 3, "median_seconds": 120.0, "p90_seconds": 360.0, "mean_cost_usd": 0.5});
    assert_eq!(typical, expected);
    let shown = sandbox.ok(&["agents", "show", "api"]);
    assert!(shown.contains("  usual run: 2m (90%: 6m), $0.50, of 3 runs"), "{shown}");
}

#[test]
fn two_changes_at_the_same_time_are_both_kept() {
    let sandbox = workspace("");
    sandbox.ok(&["submit", "--lane", "l", "--prompt", "x"]);
    let add = |n: usize| {
        let name = format!("a{n}");
        sandbox.live_command(&["agents", "add", &name, "--directory", "app"]).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(add).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(sandbox.json(&["agents"])["count"], 8);
}

#[test]
fn doctor_checks_agents() {
    let sandbox = workspace("agents:\n  one: {directory: ../app}\n");
    let agents = |sandbox: &Sandbox| -> Vec<(String, String)> {
        let outcome = sandbox.run(&["doctor", "--json"]);
        let checks = outcome.json()["checks"].as_array().unwrap().clone();
        let text = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap().to_string();
        let of_agents = checks.iter().filter(|check| check["area"] == "agents");
        of_agents.map(|check| (text(check, "code"), text(check, "message"))).collect()
    };
    assert_eq!(agents(&sandbox), [("agents".to_string(), "the agent can work".to_string())]);
    let sandbox = workspace(
        "agent_roots: [/, ../none]\nagents:\n  free: {directory: ../app, permission_mode: bypassPermissions}\n  \
         gone: {directory: ../gone}\n",
    );
    sandbox.ok(&["submit", "--lane", "agent/nobody", "--prompt", "x"]);
    let found = agents(&sandbox);
    let codes: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["agent-rights", "agent-problem", "agent-roots", "agent-tasks"], "{found:?}");
    assert_eq!(found[0].1, "agent free BYPASSES PERMISSIONS (bypassPermissions)");
    assert!(found[1].1.starts_with("agent gone cannot work: "), "{found:?}");
    assert!(found[2].1.ends_with("/none in agent_roots does not exist"), "{found:?}");
    assert_eq!(found[3].1, "1 task waits for agent nobody, which does not exist");
}
