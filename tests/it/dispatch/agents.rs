//! Agents with a name: `agents:` and `agents_from` in handoff.yaml, and agents.json.

#![expect(clippy::disallowed_methods, reason = "files come and go as a whole, as editors do it")]

use crate::testkit::pool::Pool;

const SCRIPTED: &str = "dispatch:\n  vendor: claude\n  vendors: {claude: {command: AGENT}}\n";

/// Submits a task to an agent, whose script prints where it works and what it was told.
fn submit(pool: &Pool, agent: &str, script: &str) -> String {
    let lane = format!("agent/{agent}");
    pool.ok(&["submit", "--lane", &lane, "--prompt", &format!("DO: {script}\n")])
}

#[test]
fn an_agent_works_in_its_directory_with_its_settings() {
    let pool = Pool::new(&format!(
        "agents_from: ours/agents.yaml\nagents:\n  infra:\n    directory: infra\n    description: Terraform\n    \
         model: opus\n    max_concurrent: 1\n    env: {{GREETING: hello}}\n    instructions: Say {{{{hello}}}}.\n{SCRIPTED}"
    ));
    for directory in ["infra", "ours/api", "ours/infra", "state", "web"] {
        std::fs::create_dir_all(pool.path(directory)).unwrap();
    }
    // Of two with one name, the one in handoff.yaml counts; then the file that it names; then the store.
    let imported = "settings: {default_permission_mode: plan}\nagents:\n  infra: {directory: infra}\n  \
                    api: {directory: api, timeout: 0, capabilities: [x], allowed_tools: null, instructions: 'Use {}'}\n";
    std::fs::write(pool.path("ours/agents.yaml"), imported).unwrap();
    let web = pool.path("web");
    let stored = serde_json::json!({"agents": {"api": {"directory": "/"}, "web": {"directory": web}}});
    std::fs::write(pool.path("state/agents.json"), stored.to_string()).unwrap();
    let flag = |name: &str| format!("$(tr '\\0' ' ' < /proc/$$/cmdline | grep -o -e '{name} [a-z]*')");
    let infra = submit(&pool, "infra", &format!("result \"$PWD $GREETING {}\"", flag("--model")));
    let api = submit(&pool, "api", &format!("result \"$PWD {}\"", flag("--permission-mode")));
    let web_task = submit(&pool, "web", "result \"$PWD\"");
    pool.dispatch_once(&[]);
    let answer = |id: &str| pool.response(id)["body"].as_str().unwrap().to_string();
    assert_eq!(answer(&infra), format!("{} hello --model opus", pool.path("infra").display()));
    assert_eq!(answer(&api), format!("{} --permission-mode plan", pool.path("ours/api").display()));
    assert_eq!(answer(&web_task), web.to_str().unwrap());
    let prompt = |id: &str| {
        std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/1/prompt.md"))).unwrap()
    };
    assert!(prompt(&infra).contains("Say {hello}."), "{}", prompt(&infra));
    assert!(prompt(&api).contains("Use {}"), "{}", prompt(&api));
    // The limit of agent-dispatch is kept.
    let shown = pool.ok(&["dispatch", "--dry-run"]);
    let row = |lane: &str| shown.lines().find(|line| line.starts_with(lane)).unwrap_or_default().to_string();
    assert!(row("agent/api").contains(" 5m "), "{shown}");
    assert!(row("agent/infra").contains(" 6h "), "{shown}");
}

/// What `lanes dispatch` says of this handoff.yaml.
fn refusal(sections: &str) -> String {
    let pool = Pool::new(&format!("{sections}{SCRIPTED}"));
    let file = pool.path("handoff.yaml").display().to_string();
    pool.refused(&["dispatch", "--once"]).replace(&file, "FILE").trim_end().to_string()
}

#[test]
fn mistakes_are_named_with_line_and_key() {
    for (sections, expected) in [
        (
            "agents:\n  a: {directory: ., tiemout: 5}\n",
            "line 6: agents.a.tiemout: unknown key; did you mean timeout?",
        ),
        ("agents:\n  a: {cwd: .}\n", "line 6: agents.a.cwd: unknown key; did you mean directory?"),
        (
            "agents:\n  a:\n    directory: .\n    max_concurrent: x\n",
            "line 8: agents.a.max_concurrent: expected a",
        ),
        ("agents:\n  a:\n    directory: --x\n", "line 7: agents.a.directory: "),
        ("agents:\n  a: {directory: gone}\n", "line 6: agents.a.directory: directory "),
        ("agents:\n  a: {directory: ., description: [x]}\n", "line 6: agents.a.description: expected text"),
        (
            "agents:\n  a: {directory: ., instructions: '{x}'}\n",
            "line 6: agents.a.instructions: unknown placeholder {x}",
        ),
        ("agents:\n  a: {model: x}\n", "line 6: agents.a: an agent needs a `directory`, in which it works"),
        ("agents:\n  a:\n", "line 6: agents.a: an agent needs a `directory`, in which it works"),
        (
            "agents:\n  a/../b: {directory: .}\n",
            "line 6: agents.a/../b: invalid agent name 'a/../b': it reads",
        ),
        ("agents: [a]\n", "line 5: agents: expected keys with values"),
        (
            "agents: {a: {directory: ., vendor: codex, disallowed_tools: [x]}}\n",
            "line 5: agents.a.disallowed_tools: codex, which serves lane agent/a, does not support it",
        ),
    ] {
        let printed = refusal(sections);
        assert!(printed.starts_with(&format!("lanes: FILE {expected}")), "{sections}\n{printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}

#[test]
fn an_agent_and_a_route_of_its_lane_exclude_each_other() {
    let pool =
        Pool::new(&format!("agents:\n  a: {{directory: .}}\n{SCRIPTED}  routes:\n    agent/a: {{}}\n"));
    let file = pool.path("handoff.yaml").display().to_string();
    let printed = pool.refused(&["dispatch", "--once"]).replace(&file, "FILE");
    assert_eq!(
        printed,
        "lanes: FILE line 6: agents.a: its lane has a route as well: FILE line 11: dispatch.routes.agent/a; keep one \
         of the two\n"
    );
    let pool = Pool::new(&format!("agents:\n  a: {{directory: .}}\n  b: {{directory: .}}\n{SCRIPTED}"));
    std::fs::create_dir_all(pool.path("state")).unwrap();
    std::fs::write(pool.path("state/routes.json"), "{\"routes\": {\"agent/a\": {}}}").unwrap();
    let printed = pool.refused(&["dispatch", "--once"]);
    assert!(
        printed.contains("agents.a: its lane has a route as well: ")
            && printed.contains("routes.json line 1: ")
    );
    // As for the route of a lane, null switches it off.
    std::fs::write(pool.path("state/routes.json"), "{\"routes\": {\"agent/a\": null}}").unwrap();
    let shown = pool.ok(&["dispatch", "--dry-run"]);
    assert!(shown.contains("agent/b ") && !shown.contains("agent/a "), "{shown}");
}

#[test]
fn a_file_of_agents_must_be_there_and_ones_own() {
    use std::os::unix::fs::PermissionsExt;
    let pool = Pool::new(&format!("agents_from: agents.yaml\n{SCRIPTED}"));
    let refused = |expected: &str| {
        let printed = pool.refused(&["dispatch", "--once"]);
        assert!(printed.contains(expected) && printed.contains("agents.yaml"), "{printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    };
    refused(" does not exist; correct `agents_from` in handoff.yaml, or remove it");
    let write = |text: &str| std::fs::write(pool.path("agents.yaml"), text).unwrap();
    write("agents: [");
    refused("cannot parse ");
    write("agents:\n  a: {directory: ., max_budget: 1}\n");
    refused("agents.yaml line 2: agents.a.max_budget: unknown key");
    write("agent: {}\n");
    refused("agents.yaml line 1: agent: unknown key; did you mean agents?");
    write("agents: {a: {directory: .}}\n");
    assert!(pool.ok(&["dispatch", "--dry-run"]).contains("agent/a "));
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(pool.path("agents.yaml"), open).unwrap();
    refused(" can be changed by another user; ");
}

#[test]
fn a_dispatcher_follows_changes_of_agents() {
    let pool = Pool::new(&format!("agents_from: agents.yaml\n{SCRIPTED}"));
    let write = |name: &str, text: String| {
        std::fs::write(pool.path("new"), text).unwrap();
        std::fs::rename(pool.path("new"), pool.path(name)).unwrap();
    };
    write("agents.yaml", "agents: {a: {directory: .}}\n".to_string());
    let _dispatcher = pool.dispatcher(&[]);
    pool.until("it runs", || pool.log().contains("serves"));
    let is_served = |lane: &str| pool.json(&["workers"])["workers"][0]["lanes"].to_string().contains(lane);
    pool.until("a is served", || is_served("agent/a"));
    write("agents.yaml", "agents: {b: {directory: .}}\n".to_string());
    pool.until("b is served", || is_served("agent/b") && !is_served("agent/a"));
    let stored = serde_json::json!({"agents": {"c": {"directory": pool.path("")}}});
    write("state/agents.json", stored.to_string());
    pool.until("c is served", || is_served("agent/c"));
    // A file that another setting of handoff.yaml names is followed as well.
    write("other.yaml", "agents: {d: {directory: .}}\n".to_string());
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    write("handoff.yaml", file.replace("agents_from: agents.yaml", "agents_from: other.yaml"));
    pool.until("d is served", || is_served("agent/d"));
    write("other.yaml", "agents: {e: {directory: .}}\n".to_string());
    pool.until("e is served", || is_served("agent/e") && !is_served("agent/d"));
}
