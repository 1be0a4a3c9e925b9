//! Dispatch routes that are made over HTTP.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::testkit::server::{Server, ask, failed_start, program};
use crate::testkit::wait::eventually;

const PROGRAMS: [&str; 4] = ["--enable-queue-management", "--allow-route-programs", "--token-file", "token"];

#[test]
fn routes_are_those_of_the_file_and_those_set_over_http() {
    let text = "dispatch: {routes: {review: {vendor: claude, priority: 3, env: {SECRET: s3cret}, mcp_config: '{s3cret: 1}'}}}\n";
    let server = Server::configured(text, &PROGRAMS);
    let file = server.dir.path().join("handoff/handoff.yaml");
    let before = std::fs::read(&file).unwrap();
    let listed = server.get("/routes");
    assert_eq!(listed.text_at("/routes/0/settings/vendor"), "claude");
    assert!(!listed.text.contains("s3cret"), "{}", listed.text);
    assert_eq!(server.get("/routes/fix").status, 404);
    assert_eq!(server.get("/routes/review").text_at("/route/source"), "handoff.yaml");

    let delete = |lane: &str| ask(&server, "DELETE", &format!("/routes/{lane}"), None);
    let patch = |lane: &str, settings| {
        ask(&server, "PATCH", &format!("/routes/{lane}"), Some(json!({"settings": settings})))
    };
    let theirs = delete("review");
    assert_eq!((theirs.status, theirs.code().as_str()), (409, "refused"));
    assert!(theirs.text.contains("handoff.yaml"), "{}", theirs.text);
    let taken = server.post("/routes", &json!({"lane": "review", "settings": {"vendor": "codex"}}));
    assert_eq!(taken.status, 409);
    let changed = patch("review", json!({"priority": 1}));
    assert_eq!((changed.status, changed.text_at("/route/source").as_str()), (200, "routes.json"));
    assert_eq!(
        changed.at("/route/settings"),
        json!({"vendor": "claude", "priority": 1, "env": {"SECRET": null}, "mcp_config": null})
    );
    let kept = std::fs::read_to_string(server.dir.path().join("state/routes.json")).unwrap();
    assert!(kept.contains("s3cret"), "a route stands there as a whole: {kept}");
    assert_eq!(delete("review").status, 204);
    assert_eq!(server.get("/routes/review").at("/route/settings/priority"), json!(3), "the file's is back");
    assert_eq!(std::fs::read(&file).unwrap(), before);

    let made = server.post("/routes", &json!({"queue_name": "a/b", "settings": {"vendor": "codex"}}));
    assert_eq!((made.status, made.header("location")), (201, Some("/routes/a%2Fb")));
    assert_eq!(delete("a%2Fb").status, 204);
    assert_eq!(delete("a%2Fb").status, 404);
    assert_eq!(patch("a%2Fb", json!({"priority": 1})).status, 404);
}

#[test]
fn a_route_that_no_dispatcher_could_use_is_refused_by_its_key() {
    let server = Server::with(&PROGRAMS);
    for (settings, expected) in [
        (json!({"timeuot": 5}), "routes.l.timeuot: unknown key; did you mean timeout?"),
        (json!({"vendor": "clod"}), "routes.l.vendor: unknown vendor clod"),
        (json!({"vendor": "claude", "command": "x"}), "either a vendor or a command"),
        (json!({"max_retries": -1}), "routes.l.max_retries"),
        (json!({"on_success": {"move_to": "l"}}), "to itself"),
        (json!({"model": "--x"}), "routes.l.model: it starts with a dash: --x"),
        (json!({"effort": "-x"}), "routes.l.effort: it starts with a dash"),
        (json!({"model": "a\u{200b}"}), "routes.l.model: it has invisible characters (U+200B)"),
        (json!({"k".repeat(800): 1}), "unknown key"),
    ] {
        let refused = server.post("/routes", &json!({"lane": "l", "settings": settings}));
        assert_eq!((refused.status, refused.code().as_str()), (400, "config"), "{}", refused.text);
        assert!(refused.text_at("/error").contains(expected), "{}", refused.text);
        assert!(refused.text.len() < 500, "{}", refused.text);
    }
    for body in [json!({"lane": "l"}), json!({"settings": {}}), json!({"lane": "-l", "settings": {}})] {
        assert_eq!(server.post("/routes", &body).status, 400, "{body}");
    }
    assert_eq!(server.get("/routes").at("/count"), json!(0));
    assert!(!server.dir.path().join("state/routes.json").exists());
}

#[test]
fn programs_are_named_only_where_that_is_allowed() {
    let closed = Server::new();
    let route = json!({"lane": "l", "settings": {"priority": 3}});
    assert_eq!(closed.post("/routes", &route).code(), "management_disabled");
    assert_eq!(ask(&closed, "DELETE", "/routes/l", None).code(), "management_disabled");

    let text = "dispatch: {routes: {work: {command: /bin/cat}}}\n";
    let server = Server::configured(text, &["--enable-queue-management"]);
    for (key, value) in [
        ("command", json!("/bin/sh")),
        ("args", json!(["-c", "id"])),
        ("env", json!({"LD_PRELOAD": "/tmp/x"})),
        ("cwd", json!("/")),
        ("permission_mode", json!("bypassPermissions")),
        ("allowed_tools", json!(["Bash"])),
        ("disallowed_tools", json!([])),
        ("mcp_config", json!("/tmp/x")),
        ("add_dirs", json!(["/"])),
    ] {
        let made = server.post("/routes", &json!({"lane": "l", "settings": {key: value}}));
        assert_eq!((made.status, made.code().as_str()), (403, "programs_disabled"), "{key}: {}", made.text);
        let changed = ask(&server, "PATCH", "/routes/work", Some(json!({"settings": {key: value}})));
        // A program without a vendor does not support some of them, which is reported first.
        assert!([400, 403].contains(&changed.status), "{key}: {}", changed.text);
    }
    // Another vendor is another program, and a model too decides what runs.
    for settings in [json!({"vendor": "claude"}), json!({"model": "opus"})] {
        let made = server.post("/routes", &json!({"lane": "l", "settings": settings}));
        assert_eq!((made.status, made.code().as_str()), (403, "programs_disabled"), "{}", made.text);
    }
    assert_eq!(server.post("/routes", &json!({"lane": "l", "settings": {"priority": 3}})).status, 201);
    // The program in the file stays when another setting is changed.
    let slower = json!({"settings": {"concurrency": 1}});
    let changed = ask(&server, "PATCH", "/routes/work", Some(slower));
    assert_eq!(changed.at("/route/settings"), json!({"command": "/bin/cat", "concurrency": 1}));
    // The same request again changes nothing.
    let same = json!({"settings": {"command": "/bin/cat", "priority": 1}});
    assert_eq!(ask(&server, "PATCH", "/routes/work", Some(same)).status, 200);
    // Only holders of a token may choose programs, even where other users of the machine can connect.
    for some in [&PROGRAMS[..2], &PROGRAMS[1..]] {
        let refused = failed_start(server.dir.path(), some);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

#[test]
fn limits_can_only_be_narrowed() {
    let text = "dispatch: {max_retries: 2, routes: {work: {vendor: claude, timeout: 1h, concurrency: 2, \
                max_budget_usd: 1, retry_delay: 60, retry_delay_max: 600, silence_timeout: 10m}}}\n";
    let server = Server::configured(text, &["--enable-queue-management"]);
    let patch = |settings: Value| ask(&server, "PATCH", "/routes/work", Some(json!({"settings": settings})));
    for (key, narrower, wider) in [
        ("timeout", json!("30m"), [json!("2h"), json!(null)]),
        ("silence_timeout", json!("5m"), [json!("6m"), json!(null)]),
        ("concurrency", json!(1), [json!(9999), json!(null)]),
        ("max_budget_usd", json!(0.5), [json!(9999), json!(null)]),
        ("max_retries", json!(1), [json!(2), json!(100)]),
        ("retry_delay", json!(120), [json!(1), json!("119s")]),
        ("retry_delay_max", json!("20m"), [json!(599), json!("19m")]),
    ] {
        let less = patch(json!({key: narrower}));
        assert_eq!(less.status, 200, "{key}: {}", less.text);
        for more in wider {
            let refused = patch(json!({key: more}));
            assert_eq!((refused.status, refused.code().as_str()), (403, "programs_disabled"), "{key}={more}");
            assert!(refused.text_at("/error").contains(key), "{}", refused.text);
        }
    }
    assert_eq!(patch(json!({"concurrency": 0, "priority": 5, "timeout": "10m"})).status, 200);
    assert_eq!(patch(json!({"concurrency": 1, "priority": 5})).status, 403);
    // A new route may not allow more than a lane without one has.
    let made = |settings| server.post("/routes", &json!({"lane": "other", "settings": settings})).status;
    assert_eq!(made(json!({"max_retries": 3})), 403);
    assert_eq!(made(json!({"timeout": "7h"})), 403);
    assert_eq!(made(json!({"max_retries": 1, "timeout": "1h", "concurrency": 1})), 201);
}

/// A dispatcher that ends with the test.
struct Dispatcher(Child);

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dispatcher_runs_tasks_by_the_route_that_was_posted() {
    let text = "dispatch: {routes: {review: {command: /bin/cat}}}\n";
    let server = Server::configured(text, &PROGRAMS);
    let mut command = program(server.dir.path(), &["dispatch", "--log", "json"]);
    let _dispatcher = Dispatcher(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("a dispatcher is at work", || server.get("/status").json()["dispatchers"][0].is_object());

    let answer_of = |id: &str| server.get(&format!("/tasks/{id}/response?wait_seconds=60"));
    let says = |word: &str| json!({"command": "/bin/sh", "args": ["-c", format!("/bin/cat >/dev/null; echo {word}")]});
    let made = server.post("/routes", &json!({"lane": "work", "settings": says("first")}));
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(answer_of(&server.submit("work")).text_at("/response/body").trim(), "first");
    let changed = ask(&server, "PATCH", "/routes/work", Some(json!({"settings": says("second")})));
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(answer_of(&server.submit("work")).text_at("/response/body").trim(), "second");
}

#[test]
fn a_dispatcher_that_starts_later_uses_it_as_well() {
    let server = Server::configured("dispatch: {routes: {review: {command: /bin/cat}}}\n", &PROGRAMS);
    let settings = json!({"command": "/bin/sh", "args": ["-c", "/bin/cat >/dev/null; echo routed"]});
    assert_eq!(server.post("/routes", &json!({"lane": "work", "settings": settings})).status, 201);
    let id = server.submit("work");
    server.lanes(&["dispatch", "--once", "--quiet"]);
    assert_eq!(server.get(&format!("/tasks/{id}/response")).text_at("/response/body").trim(), "routed");
}

#[test]
fn the_lane_of_an_agent_gets_no_route() {
    let server = Server::configured("agents: {a: {directory: .}}\n", &PROGRAMS);
    let create =
        |lane: &str| server.post("/routes", &json!({"lane": lane, "settings": {"vendor": "claude"}}));
    let refused = create("agent/a");
    assert_eq!((refused.status, refused.code().as_str()), (409, "refused"));
    assert!(refused.text.contains("lane agent/a is that of an agent"), "{}", refused.text);
    assert_eq!(create("agent/b").status, 201);
}

#[test]
fn tasks_bring_commands_only_where_clients_may_choose_programs() {
    let plain = Server::configured("", &[]);
    let task = json!({"lane": "work", "prompt": "p", "verify": [["make", "test"], "a | b"]});
    let batch = json!({"tasks": [{"lane": "work", "prompt": "p"}, task]});
    for (path, body) in [("/tasks", &task), ("/tasks/batch", &batch)] {
        let refused = plain.post(path, body);
        assert_eq!((refused.status, refused.code().as_str()), (403, "programs_disabled"), "{}", refused.text);
        assert!(refused.text.contains("--allow-route-programs"), "{}", refused.text);
    }
    assert_eq!(plain.get("/tasks").json()["count"], 0, "nothing of the batch was submitted");
    let allowed = Server::configured("", &PROGRAMS);
    let made = allowed.post("/tasks", &task);
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(
        made.json()["task"]["verify"],
        json!([["make", "test"], ["sh", "-c", "a | b"]]),
        "{}",
        made.text
    );
    let wrong = allowed.post("/tasks", &json!({"lane": "work", "prompt": "p", "verify": [[]]}));
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    assert!(wrong.text.contains("'verify' must be a list of commands"), "{}", wrong.text);
}

#[test]
fn a_budget_is_raised_by_those_who_may_raise_limits() {
    let text = "dispatch: {vendor: claude, budget: {timezone: UTC, usd_per_day: 2, lanes: {review: {runs_per_day: 3}}}}\n";
    let wish = json!({"amount": 1.5});
    let closed = Server::configured(text, &[]).post("/budget", &wish);
    assert_eq!((closed.status, closed.code().as_str()), (403, "management_disabled"));
    let narrow = Server::configured(text, &["--enable-queue-management"]).post("/budget", &wish);
    assert_eq!((narrow.status, narrow.code().as_str()), (403, "programs_disabled"), "{}", narrow.text);
    let server = Server::configured(text, &PROGRAMS);
    let raised = server.post("/budget", &wish);
    assert_eq!((raised.status, raised.at("/count")), (200, json!(1)), "{}", raised.text);
    let limit = |n: usize| server.get("/budget").at(&format!("/budgets/{n}/limit"));
    let before = [limit(0), limit(1)];
    assert_eq!(raised.at("/budgets/0/limit"), json!(3.5));
    assert!(before.contains(&json!(3.5)) && before.contains(&json!(3.0)), "{before:?}");
    let runs = server.post("/budget", &json!({"amount": 2, "of": "runs", "lane": "review"}));
    assert_eq!(runs.at("/budgets/0/limit"), json!(5.0), "{}", runs.text);
    for (wrong, status) in [
        (json!({}), 400),
        (json!({"amount": 0}), 400),
        (json!({"amount": -1}), 400),
        (json!({"amount": 1, "of": "euros"}), 400),
        (json!({"amount": 1, "lane": "review", "vendor": "claude"}), 400),
        (json!({"amount": 1, "lane": "other"}), 409),
    ] {
        assert_eq!(server.post("/budget", &wrong).status, status, "{wrong}");
    }
}
