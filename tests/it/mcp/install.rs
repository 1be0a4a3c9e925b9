//! `lanes mcp install`: settings files of clients, and stand-ins for their programs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::testkit::command::{LANES, parse};
use crate::testkit::sandbox::{Outcome, Sandbox};

const CLIENTS: [&str; 5] = ["claude", "codex", "gemini", "opencode", "cursor"];

/// A home directory next to a workspace, and a directory of stand-ins for programs.
struct Home {
    sandbox: Sandbox,
    home: PathBuf,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Home {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let home = sandbox.root().parent().unwrap().join("home");
        std::fs::create_dir_all(home.join("bin")).unwrap();
        Self { sandbox, home, variables: Vec::new() }
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = self.sandbox.command(&[&["mcp", "install"], args].concat());
        command
            .env("HOME", &self.home)
            .env("PATH", format!("{}:/usr/bin:/bin", self.home.join("bin").display()));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.sandbox.outcome(command.output().unwrap())
    }

    /// What a command prints that must succeed.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}\n{outcome}");
        outcome.stdout.trim_end().to_string()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.home.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A program that records its arguments, one a line, in the file `calls`, and then runs `script`.
    fn program(&self, name: &str, script: &str) {
        let calls = self.home.join("calls");
        let text = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" -- >>'{}'\n{script}\n", calls.display());
        let path = self.write(&format!("bin/{name}"), text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.home.join("calls")).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }
}

/// Where a client keeps the settings of a user, and of a project.
fn files(client: &str) -> [&'static str; 2] {
    match client {
        "claude" => [".claude.json", ".mcp.json"],
        "codex" => [".codex/config.toml", ".codex/config.toml"],
        "gemini" => [".gemini/settings.json", ".gemini/settings.json"],
        "opencode" => [".config/opencode/opencode.json", "opencode.json"],
        _ => [".cursor/mcp.json", ".cursor/mcp.json"],
    }
}

/// What a person already has in the settings of a client.
fn settings(client: &str) -> &'static str {
    match client {
        "claude" => {
            "{\n  \"zeta\": 1.50,\n  \"mcpServers\": {\n    \"x\": {\"command\": \"x\"}\n  },\n  \"alpha\": [1,2]\n}"
        }
        "codex" => {
            "# mine\nmodel = 'gpt' # why\n\n[mcp_servers.x]\ncommand = \"x\"\n\n[profiles.p]\nz = 1\n\n# [off]\n# a = 1\n"
        }
        "gemini" => "{\n    // mine\n    \"ui\": {\"theme\": \"x\"}, // dark\n    \"general\": {}\n}\n",
        "opencode" => {
            "{\n\t\"$schema\": \"https://opencode.ai/config.json\",\n\t/* two */ \"mcp\": {\n\t\t\"x\": {\"type\": \"local\"}, // x\n\t},\n}\n"
        }
        _ => "{\"mcpServers\":{\"x\":{\"command\":\"x\"}}}\n",
    }
}

#[test]
fn every_client_is_registered_once_and_removed_without_a_trace() {
    for client in CLIENTS {
        for (scope, file) in ["user", "project"].into_iter().zip(files(client)) {
            let home = Home::new();
            let path = match scope {
                "user" => home.write(file, settings(client)),
                _ => {
                    home.sandbox.write(file, settings(client));
                    home.sandbox.path(file)
                }
            };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let args = ["--client", client, "--scope", scope];
            let printed = home.ok(&[&args[..], &["--print"]].concat());
            assert!(printed.contains("lanes"), "{printed}");
            assert_eq!(home.read(&path), settings(client), "--print changes nothing");
            assert!(home.ok(&args).starts_with(&format!("registered with {client} in ")));
            let registered = home.read(&path);
            assert!(registered.contains(LANES), "{registered}");
            assert!(home.ok(&args).starts_with("already registered with "));
            assert_eq!(home.read(&path), registered, "a second time nothing changes");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
            assert!(home.ok(&[&args[..], &["--remove", "--print"]].concat()).starts_with("would remove "));
            assert!(home.ok(&[&args[..], &["--remove"]].concat()).starts_with("removed the registration"));
            assert_eq!(home.read(&path), settings(client), "{registered}");
            assert!(home.ok(&[&args[..], &["--remove"]].concat()).starts_with("not registered with "));
        }
    }
}

#[test]
fn a_missing_file_is_made_with_the_whole_entry() {
    let home = Home::new();
    for client in CLIENTS {
        home.ok(&["--client", client]);
    }
    let entry = json!({"command": LANES, "args": ["mcp", "--user"], "timeout": 900_000});
    for file in [".claude.json", ".gemini/settings.json"] {
        assert_eq!(parse(&home.read(file)), json!({"mcpServers": {"lanes": entry}}), "{file}");
    }
    let words = [LANES, "mcp", "--user"];
    assert_eq!(
        parse(&home.read(".config/opencode/opencode.json")),
        json!({"mcp": {"lanes": {"type": "local", "command": words, "timeout": 900_000}}})
    );
    assert_eq!(
        parse(&home.read(".cursor/mcp.json")),
        json!({"mcpServers": {"lanes": {"command": LANES, "args": ["mcp", "--user"]}}})
    );
    let codex = format!(
        "[mcp_servers.lanes]\ncommand = \"{LANES}\"\nargs = [\"mcp\", \"--user\"]\nrequired = true\ntool_timeout_sec = 900\n"
    );
    assert_eq!(home.read(".codex/config.toml"), codex);
    let mode = home.home.join(".codex/config.toml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_server_is_given_absolute_paths_and_the_flags() {
    let home = Home::new();
    let args = |file: &str| parse(&home.read(file))["mcpServers"]["lanes"]["args"].clone();
    let config = home.sandbox.path("handoff/handoff.yaml");
    let config = config.to_str().unwrap();
    home.ok(&["--client", "cursor", "--scope", "project"]);
    let entry = parse(&home.sandbox.read(".cursor/mcp.json"));
    assert_eq!(entry["mcpServers"]["lanes"]["args"], json!(["--config", config, "mcp"]));
    home.ok(&[
        "--client",
        "cursor",
        "--config",
        "handoff/../handoff/handoff.yaml",
        "--tools",
        "caller,admin",
        "--prompts",
        "--max-wait",
        "5m",
    ]);
    let words = args(".cursor/mcp.json");
    let absolute = words[1].as_str().unwrap();
    assert!(Path::new(absolute).is_absolute() && Path::new(absolute).exists(), "{absolute}");
    assert_eq!(
        words.as_array().unwrap()[2..],
        json!(["mcp", "--tools", "caller,admin", "--prompts", "--max-wait", "300"]).as_array().unwrap()[..]
    );
    let store = home.sandbox.path("handoff/state");
    home.ok(&["--client", "cursor", "--store", "handoff/state", "--tools", "caller"]);
    assert_eq!(args(".cursor/mcp.json"), json!(["--store", store, "mcp", "--tools", "caller"]));
    // The server that is registered is one that starts.
    home.run(&["--client", "cursor", "--config", "none.yaml"]).refused(1, "none.yaml does not exist");
    home.run(&["--client", "cursor", "--tools", "some"]).refused(2, "expected one of caller");
    home.run(&["--client", "cursor", "--max-wait", "9d"]).refused(2, "--max-wait must be");
    std::fs::remove_dir_all(home.sandbox.path("handoff")).unwrap();
    home.run(&["--client", "cursor", "--scope", "project"]).refused(1, "no workspace found");
    home.ok(&["--client", "cursor", "--scope", "project", "--user"]);
}

#[test]
fn codex_runs_tools_unasked_only_with_approval_and_gets_variables() {
    let mut home = Home::new();
    home.ok(&["--client", "codex"]);
    assert!(!home.read(".codex/config.toml").contains("approval_mode"));
    home.variables.push(("XDG_STATE_HOME", home.home.join("state")));
    home.variables.push(("CODEX_HOME", home.home.join("other")));
    let printed = home.ok(&["--client", "codex", "--approve", "--print"]);
    assert!(!home.home.join("other").exists());
    let (file, entry) = printed.split_once(":\n").unwrap();
    assert_eq!(file, "$DIR/home/other/config.toml");
    home.ok(&["--client", "codex", "--approve"]);
    let written = home.read("other/config.toml");
    assert_eq!(written.trim_end(), entry);
    assert!(written.contains("env_vars = [\"XDG_STATE_HOME\", \"CODEX_HOME\"]\n"), "{written}");
    for tool in ["delegate", "dialogue", "cancel"] {
        let table = format!("\n[mcp_servers.lanes.tools.{tool}]\napproval_mode = \"approve\"\n");
        assert!(written.contains(&table), "{written}");
    }
    assert_eq!(written.matches("approval_mode").count(), 3);
    // What a person has allowed is kept.
    home.ok(&["--client", "codex"]);
    assert_eq!(home.read("other/config.toml"), written);
    home.run(&["--client", "gemini", "--approve"]).refused(2, "--approve is for codex");
}

#[test]
fn an_older_entry_is_changed_in_place_and_keeps_what_is_not_ours() {
    let home = Home::new();
    let old = "{\"mcpServers\": {\"lanes\": {\"trust\": true, \"command\": \"/old/lanes\", \"args\": [\"mcp\"]}, \"z\": {}}}";
    let path = home.write(".gemini/settings.json", old);
    assert!(home.ok(&["--client", "gemini"]).starts_with("changed the registration with gemini"));
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\"mcpServers\": {{\"lanes\": {{\"trust\": true, \"command\": \"{LANES}\", \"args\": [\"mcp\", \"--user\"], \"timeout\": 900000}}, \"z\": {{}}}}}}"
        )
    );
}

/// A script that does with the settings of claude what its own command does.
fn claude_script(home: &Home) -> String {
    let file = home.home.join(".claude.json");
    format!(
        "case $2 in\nadd-json) printf '{{\"mcpServers\": {{\"lanes\": %s}}}}' \"$6\" >'{0}';;\n\
         remove) printf '{{\"mcpServers\": {{}}}}' >'{0}';;\nesac\necho done",
        file.display()
    )
}

#[test]
fn the_own_command_of_a_client_is_used() {
    let home = Home::new();
    home.program("claude", &claude_script(&home));
    let words = format!("{{\"command\": \"{LANES}\", \"args\": [\"mcp\", \"--user\"], \"timeout\": 900000}}");
    let printed = home.ok(&["--client", "claude", "--print"]);
    assert_eq!(printed, format!("claude mcp add-json -s user lanes '{words}'"));
    assert!(home.calls().is_empty());
    let outcome = home.run(&["--client", "claude"]);
    assert_eq!(outcome.stdout, "registered with claude in $DIR/home/.claude.json\n", "{outcome}");
    assert!(outcome.stderr.contains("\"permissions\": {\"allow\": [\"mcp__lanes\"]}"), "{outcome}");
    assert_eq!(home.calls(), ["mcp", "add-json", "-s", "user", "lanes", &words, "--"]);
    home.ok(&["--client", "claude"]);
    assert_eq!(home.calls().len(), 7, "nothing is run when nothing changes");
    // An entry that is there has to be removed first; what a person has added comes back.
    home.write(".claude.json", "{\"mcpServers\": {\"lanes\": {\"command\": \"/old/lanes\", \"args\": [\"mcp\"], \"alwaysLoad\": true}}}");
    home.ok(&["--client", "claude"]);
    let entry = &parse(&home.read(".claude.json"))["mcpServers"]["lanes"];
    assert_eq!((&entry["command"], &entry["alwaysLoad"]), (&json!(LANES), &json!(true)));
    assert_eq!(home.calls()[7..13], ["mcp", "remove", "-s", "user", "lanes", "--"]);
    home.ok(&["--client", "claude", "--remove"]);
    assert_eq!(home.read(".claude.json"), "{\"mcpServers\": {}}");
}

#[test]
fn gemini_is_given_the_command_line_behind_its_own_flags() {
    let home = Home::new();
    let file = home.home.join(".gemini/settings.json");
    let entry =
        json!({"mcpServers": {"lanes": {"command": LANES, "args": ["mcp", "--user"], "timeout": 900_000}}});
    home.program(
        "gemini",
        &format!(
            "mkdir -p '{}'; printf '%s' '{entry}' >'{}'",
            file.parent().unwrap().display(),
            file.display()
        ),
    );
    home.ok(&["--client", "gemini"]);
    let expected =
        ["mcp", "add", "-s", "user", "--timeout", "900000", "lanes", LANES, "--", "mcp", "--user", "--"];
    assert_eq!(home.calls(), expected);
}

#[test]
fn where_the_command_of_gemini_would_lose_something_its_file_is_edited() {
    let home = Home::new();
    home.program("gemini", "exit 0");
    home.sandbox.write(".gemini/settings.json", settings("gemini"));
    home.ok(&["--client", "gemini", "--scope", "project"]);
    assert!(home.sandbox.read(".gemini/settings.json").contains(LANES));
    home.ok(&["--client", "gemini", "--scope", "project", "--remove"]);
    assert_eq!(home.sandbox.read(".gemini/settings.json"), settings("gemini"));
    let old =
        "{\"mcpServers\": {\"lanes\": {\"command\": \"/old/lanes\", \"args\": [\"mcp\"], \"trust\": true}}}";
    home.write(".gemini/settings.json", old);
    home.ok(&["--client", "gemini"]);
    assert_eq!(parse(&home.read(".gemini/settings.json"))["mcpServers"]["lanes"]["trust"], true);
    assert!(home.calls().is_empty());
}

#[test]
fn a_client_program_that_fails_is_reported_in_one_line() {
    let home = Home::new();
    home.program("claude", "echo; echo 'no such scope' >&2; exit 3");
    home.run(&["--client", "claude"])
        .refused(1, "`claude mcp add-json` fails (exit status: 3): no such scope");
    home.program("claude", "exit 0");
    home.run(&["--client", "claude"]).refused(1, "reports success, but the entry in");
    std::fs::write(home.home.join("bin/claude"), "#!/no/such/shell\n").unwrap();
    home.run(&["--client", "claude"]).refused(1, "cannot start $DIR/home/bin/claude");
}

#[test]
fn a_file_that_cannot_be_used_stays_untouched() {
    let home = Home::new();
    home.program("claude", "exit 0");
    for (client, file, text, expected) in [
        ("claude", ".claude.json", "{\n  \"a\": 1,\n}", "home/.claude.json: line 3, column 1: "),
        ("codex", ".codex/config.toml", "a = 1\nb == 2\n", "config.toml: line 2, column 4: "),
        ("gemini", ".gemini/settings.json", "{\n  // x\n  \"a\" 1\n}", "settings.json: line 3, column 7: "),
        ("opencode", ".config/opencode/opencode.json", "[]", "line 1, column 1: expected a JSON object"),
        ("cursor", ".cursor/mcp.json", "{\"mcpServers\": 7}", "mcpServers is not a table of settings"),
    ] {
        let path = home.write(file, text);
        home.run(&["--client", client]).refused(1, expected);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert!(home.calls().is_empty());
    home.write(".cursor/mcp.json", b"\xff");
    home.run(&["--client", "cursor"]).refused(1, "is not UTF-8 text (at byte 0)");
    let path = home.write(".cursor/mcp.json", "{}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    home.run(&["--client", "cursor"]).refused(1, "home/.cursor/mcp.json is read-only");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
    assert!(home.ok(&["--client", "cursor", "--print"]).contains("\"lanes\""), "the lines are shown");
}

#[test]
fn an_entry_of_another_program_is_left_alone() {
    let home = Home::new();
    let text = "{\"mcpServers\": {\"lanes\": {\"command\": \"npx\", \"args\": [\"other\\u001b\"]}}}";
    home.write(".cursor/mcp.json", text);
    for more in [&[][..], &["--remove"], &["--print"]] {
        let args = [&["--client", "cursor"], more].concat();
        home.run(&args).refused(1, "the entry lanes in $DIR/home/.cursor/mcp.json starts `npx other");
    }
    assert_eq!(home.read(".cursor/mcp.json"), text);
}

#[test]
fn a_link_stays_and_is_reported() {
    let home = Home::new();
    let real = home.write("dotfiles/cursor.json", "{}\n");
    std::fs::create_dir(home.home.join(".cursor")).unwrap();
    let link = home.home.join(".cursor/mcp.json");
    symlink(&real, &link).unwrap();
    let outcome = home.run(&["--client", "cursor"]);
    assert!(
        outcome.stderr.contains("mcp.json is a link to $DIR/home/dotfiles/cursor.json, which was changed"),
        "{outcome}"
    );
    assert!(link.is_symlink() && home.read("dotfiles/cursor.json").contains(LANES));
    std::fs::remove_file(&real).unwrap();
    home.run(&["--client", "cursor"]).refused(1, "mcp.json is a link that leads nowhere");
}

#[test]
fn the_reply_is_json_on_demand_and_bad_usage_is_refused() {
    let home = Home::new();
    let reply = |args: &[&str]| -> Value { parse(&home.ok(args)) };
    let planned = reply(&["--client", "cursor", "--print", "--json"]);
    assert_eq!((&planned["status"], &planned["change"]), (&json!("dry_run"), &json!("added")));
    assert_eq!(parse(planned["entry"].as_str().unwrap())["mcpServers"]["lanes"]["command"], LANES);
    let made = reply(&["--client", "cursor", "--json"]);
    assert_eq!(
        made,
        json!({
            "status": "ok", "change": "added", "client": "cursor", "scope": "user", "commands": [],
            "path": "$DIR/home/.cursor/mcp.json",
        })
    );
    assert_eq!(reply(&["--client", "cursor", "--json"])["change"], "unchanged");
    assert_eq!(reply(&["--client", "cursor", "--json", "--remove"])["change"], "removed");
    home.run(&["--client", "emacs"]).refused(2, "invalid value 'emacs' for --client");
    home.run(&["--client", "emacs"]).refused(2, "`lanes help mcp install` shows its options");
    home.run(&[]).refused(2, "--client CLIENT");
    home.run(&["--client", "cursor", "--remove", "--approve"]).refused(2, "cannot be used with");
    home.sandbox.run(&["mcp", "--user", "install", "--client", "cursor"]).refused(2, "");
    assert!(home.sandbox.ok(&["help", "mcp", "install"]).contains("--approve"));
    home.sandbox.ok(&["man", "man"]);
    assert!(home.sandbox.read("man/lanes-mcp-install.1").contains("approve"));
    home.sandbox.run(&["mcp", "install", "--client", "cursor"]).refused(1, "set HOME");
    let mut inside = home.sandbox.command(&["mcp", "install", "--client", "cursor", "--scope", "project"]);
    inside.env("LANES_RUN_ID", "x");
    home.sandbox.outcome(inside.output().unwrap()).refused(1, "mcp install is not for agents");
}

#[test]
fn doctor_reports_registrations_and_what_is_wrong_with_them() {
    let home = Home::new();
    let checks = || -> Vec<Value> {
        let mut command = home.sandbox.command(&["doctor", "--json"]);
        command.env("HOME", &home.home);
        let report = home.sandbox.outcome(command.output().unwrap()).json();
        let all = report["checks"].as_array().unwrap().clone();
        all.into_iter().filter(|check| check["area"] == "mcp").collect()
    };
    assert!(checks().is_empty());
    home.ok(&["--client", "codex"]);
    home.ok(&["--client", "cursor", "--scope", "project"]);
    let found = checks();
    assert_eq!(found[0]["message"], "registered with codex (user) in $DIR/home/.codex/config.toml");
    assert_eq!(found[1]["code"], "registration-approval");
    let asks =
        "codex asks before these tools, and refuses them where it cannot ask: delegate, dialogue, cancel; ";
    assert!(found[1]["message"].as_str().unwrap().starts_with(asks), "{found:?}");
    assert_eq!(found[2]["message"], "registered with cursor (project) in $DIR/project/.cursor/mcp.json");
    assert_eq!(found[3]["code"], "self-test");
    let answers = found[3]["message"].as_str().unwrap();
    assert!(answers.starts_with("the server answers, with 11 tools of "), "{answers}");
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|check| check["level"] == "ok"), "{found:?}");
    home.write(
        ".codex/config.toml",
        "[mcp_servers.lanes]\ncommand = \"/no/lanes\"\nargs = [\"mcp\"]\ntool_timeout_sec = 30\n",
    );
    home.write(".gemini/settings.json", "not JSON");
    let found = checks();
    let codes: Vec<&str> = found.iter().map(|check| check["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        [
            "registration-program",
            "registration-required",
            "registration-timeout",
            "registration-approval",
            "registration",
            "self-test"
        ]
    );
    assert_eq!(
        found[0]["message"],
        "codex starts /no/lanes, which does not exist ($DIR/home/.codex/config.toml)"
    );
    // The remedy is one.
    home.ok(&["--client", "codex", "--scope", "user", "--approve"]);
    let found = checks();
    assert!(found.iter().all(|check| check["level"] == "ok"), "{found:?}");
    assert!(found.iter().all(|check| check["code"] != "registration-approval"), "{found:?}");
}
