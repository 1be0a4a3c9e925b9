//! Translates the settings of artificer-dispatcher, a table in `pyproject.toml`, into `bridges` and `dispatch` of
//! `handoff.yaml`.

mod command;
mod table;

use std::collections::BTreeSet;
use std::path::Path;

use serde_yaml::{Mapping, Value};

use self::command::{Program, translate};
use self::table::SettingsTable;
use crate::{Error, Result};

/// The table with the settings.
const TABLE: [&str; 2] = ["tool", "artificer-dispatcher"];
/// The name of the bridge.
const BRIDGE: &str = "board";

/// The settings of another program in our words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImportedSettings {
    /// The value of `bridges`.
    pub bridges: Value,
    /// The value of `dispatch`.
    pub dispatch: Value,
    /// What could not be carried over, or works differently, in one line each.
    pub notes: Vec<String>,
}

impl ImportedSettings {
    /// Returns them as text for handoff.yaml.
    ///
    /// # Errors
    /// `Config` for what YAML cannot express.
    pub(crate) fn yaml(&self) -> Result<String> {
        let mut all = Mapping::new();
        all.insert("bridges".into(), self.bridges.clone());
        all.insert("dispatch".into(), self.dispatch.clone());
        serde_yaml::to_string(&all).map_err(|error| Error::config(format!("cannot write YAML: {error}")))
    }
}

/// Translates the table in `text`, which is the content of `file`.
///
/// # Errors
/// `Config`, with file and line: for text that is not TOML, without the table, and for values of other types.
pub(crate) fn import_settings(text: &str, file: &Path) -> Result<ImportedSettings> {
    let document = table::parse(text, file)?;
    let mut settings = SettingsTable::root(&document, text, file);
    for name in TABLE {
        let missing = || {
            Error::config(format!("{} has no table [{}]", table::shown(file), TABLE.join("."))).with_hint(
                "name the pyproject.toml of artificer-dispatcher; settings in Python code cannot be read",
            )
        };
        settings = settings.table(name)?.ok_or_else(missing)?;
    }
    let mut notes = Vec::new();
    let mut bridge = read_board(&settings, file, &mut notes)?;
    let mut dispatch = Mapping::new();
    put(&mut dispatch, "max_concurrent", settings.count("max_concurrent_agents")?.map(Value::from));
    let timeout = match settings.seconds("default_agent_timeout")? {
        None => settings.seconds("agent_timeout")?,
        found => found,
    };
    // Without a limit there, a run has none here either.
    put(&mut dispatch, "timeout", Some(timeout.unwrap_or_else(|| "none".into())));
    put(&mut bridge, "poll_interval", settings.seconds("poll_interval")?);
    let retries = settings.count("max_retries")?.filter(|retries| *retries > 0);
    if let Some(retries) = retries {
        put(&mut dispatch, "max_retries", Some(retries.into()));
        put(&mut dispatch, "retry_delay", Some(0.into()));
        put(&mut bridge, "retry", Some("move".into()));
    }
    put(&mut bridge, "dead_letter", settings.text("dead_letter_queue")?.map(Value::from));
    let default_command = settings.text("command")?;
    let (queues, routes) = read_routes(&settings, default_command.as_deref(), &mut notes)?;
    put(&mut bridge, "queues", Some(queues.into()));
    put(&mut dispatch, "routes", Some(routes.into()));
    note_server(&settings, &mut notes)?;
    note_unknown(&settings, &mut notes);
    notes.push(
        "an agent moves its card over HTTP, as before (`lanes serve`); give the queues `done` and `failed`, and cards \
         move by themselves"
            .to_string(),
    );
    let bridges = Mapping::from_iter([(Value::from(BRIDGE), Value::from(bridge))]);
    Ok(ImportedSettings { bridges: bridges.into(), dispatch: dispatch.into(), notes })
}

/// The keys that are read, and those that have a note of their own.
const KNOWN: [&str; 14] = [
    "backend",
    "routing",
    "routes",
    "poll_interval",
    "max_concurrent_agents",
    "default_agent_timeout",
    "agent_timeout",
    "max_retries",
    "dead_letter_queue",
    "command",
    "api_host",
    "api_port",
    "enable_queue_management",
    "agent_adapters",
];
/// The keys of a route that are read.
const KNOWN_OF_ROUTE: [&str; 8] = [
    "command",
    "args",
    "in_progress_queue",
    "timeout",
    "poll_interval",
    "priority",
    "max_retries",
    "dead_letter_queue",
];

fn put(mapping: &mut Mapping, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        mapping.insert(key.into(), value);
    }
}

/// Reads which board there is.
fn read_board(settings: &SettingsTable<'_>, file: &Path, notes: &mut Vec<String>) -> Result<Mapping> {
    let backend = settings.table("backend")?.ok_or_else(|| settings.error("backend", "is missing"))?;
    let kind = backend.text("type")?.ok_or_else(|| backend.error("type", "is missing: json or planka"))?;
    let url = backend.text("url")?.ok_or_else(|| backend.error("url", "is missing"))?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    let mut bridge = Mapping::new();
    put(&mut bridge, "adapter", Some(kind.as_str().into()));
    match kind.as_str() {
        "json" => {
            let path = url.strip_prefix("file://").unwrap_or(&url);
            put(&mut bridge, "path", Some(directory.join(path).to_string_lossy().into()));
        }
        "planka" => {
            put(&mut bridge, "url", Some(url.into()));
            let secrets = directory.join(".env");
            if secrets.is_file() {
                put(&mut bridge, "env_file", Some(secrets.to_string_lossy().into()));
            } else {
                notes.push(
                    "PLANKA_API_KEY, PLANKA_TOKEN, or PLANKA_USER and PLANKA_PASSWORD come from the environment; \
                     `env_file` names a file with them"
                        .to_string(),
                );
            }
        }
        other => {
            let reason = format!("'{other}' is not built in; write a program for it (docs/bridge.md)");
            return Err(backend.error("type", &reason));
        }
    }
    Ok(bridge)
}

/// Reads the routes: the watched queues by their names, and the routes of their lanes.
fn read_routes(
    settings: &SettingsTable<'_>,
    default_command: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Mapping, Mapping)> {
    let routing = match settings.table("routing")? {
        None => settings.table("routes")?,
        found => found,
    };
    let routing = routing.ok_or_else(|| settings.error("routing", "is missing: no queue is watched"))?;
    let (mut queues, mut routes) = (Mapping::new(), Mapping::new());
    let mut lanes = BTreeSet::new();
    for name in routing.keys() {
        let route = routing.table(&name)?.ok_or_else(|| routing.error(&name, "expected a table"))?;
        let lane = free_lane(&name, &mut lanes);
        let mut queue = Mapping::new();
        put(&mut queue, "lane", Some(lane.as_str().into()));
        put(&mut queue, "in_progress", route.text("in_progress_queue")?.map(Value::from));
        put(&mut queue, "poll_interval", route.seconds("poll_interval")?);
        put(&mut queue, "dead_letter", route.text("dead_letter_queue")?.map(Value::from));
        let mut own = Mapping::new();
        let command = route.text("command")?.or_else(|| default_command.map(str::to_string));
        let command = command.ok_or_else(|| route.error("command", "is missing"))?;
        let program = Program { command, args: route.texts("args")?.unwrap_or_default() };
        own.extend(translate(&program, &lane, notes));
        put(&mut own, "timeout", route.seconds("timeout")?);
        put(&mut own, "priority", route.integer("priority")?.map(Value::from));
        if let Some(retries) = route.count("max_retries")? {
            put(&mut own, "max_retries", Some(retries.into()));
            put(&mut own, "retry_delay", Some(0.into()));
            put(&mut queue, "retry", (retries > 0).then(|| "move".into()));
        }
        for key in route.keys().iter().filter(|key| !KNOWN_OF_ROUTE.contains(&key.as_str())) {
            notes.push(format!("{}.{key} is not carried over", route.path()));
        }
        queues.insert(name.into(), queue.into());
        routes.insert(lane.into(), own.into());
    }
    if queues.is_empty() {
        return Err(settings.error("routing", "has no queue"));
    }
    Ok((queues, routes))
}

/// Returns the name of the lane for a queue that no other queue has.
fn free_lane(queue: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let words: String = queue.chars().map(plain).collect();
    let slug = words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    let slug: String = if slug.is_empty() { "board".to_string() } else { slug.chars().take(60).collect() };
    let numbered = |n: usize| if n == 1 { slug.clone() } else { format!("{slug}-{n}") };
    let lane = (1..).map(numbered).find(|lane| !taken.contains(lane)).unwrap_or_else(|| slug.clone());
    taken.insert(lane.clone());
    lane
}

fn note_server(settings: &SettingsTable<'_>, notes: &mut Vec<String>) -> Result<()> {
    let (host, port) = (settings.text("api_host")?, settings.count("api_port")?);
    let host = host.unwrap_or_else(|| "127.0.0.1".to_string());
    let port = port.unwrap_or(8000);
    notes.push(format!(
        "agents call the API at {host}:{port}: run `lanes serve --host {host} --port {port}`, and give them its token or \
         `--no-token` (docs/http.md)"
    ));
    Ok(())
}

fn note_unknown(settings: &SettingsTable<'_>, notes: &mut Vec<String>) {
    for key in settings.keys() {
        match key.as_str() {
            "enable_queue_management" => {
                notes.push(
                    "enable_queue_management has no counterpart: change queues on the board".to_string(),
                );
            }
            "agent_adapters" => {
                notes.push("agent_adapters are vendors here: see `vendor` in docs/dispatch.md".to_string());
            }
            known if KNOWN.contains(&known) => {}
            unknown => notes.push(format!("{}.{unknown} is not carried over", settings.path())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> Result<ImportedSettings> {
        import_settings(text, Path::new("/p/pyproject.toml"))
    }

    const FULL: &str = r#"
[project]
name = "x"
[tool.artificer-dispatcher]
poll_interval = 15
max_concurrent_agents = 2
default_agent_timeout = 600
max_retries = 1
dead_letter_queue = "Attic"
api_port = 8001
colour = "red"
[tool.artificer-dispatcher.backend]
type = "json"
url = "board.json"
[tool.artificer-dispatcher.routing."My Queue"]
command = "./agent.sh"
args = ["--task", "{task_id}", "it's"]
in_progress_queue = "Doing"
timeout = 5
priority = -1
shade = 1
[tool.artificer-dispatcher.routing."my-queue"]
command = "claude"
args = ["--agent", "engineer", "-p", "Work on {task_name}"]
max_retries = 0
"#;

    #[test]
    fn every_key_is_carried_over_or_named() {
        let imported = import(FULL).unwrap();
        assert_eq!(
            imported.yaml().unwrap(),
            "bridges:
  board:
    adapter: json
    path: /p/board.json
    poll_interval: 15
    retry: move
    dead_letter: Attic
    queues:
      My Queue:
        lane: my-queue
        in_progress: Doing
      my-queue:
        lane: my-queue-2
dispatch:
  max_concurrent: 2
  timeout: 600
  max_retries: 1
  retry_delay: 0
  routes:
    my-queue:
      command: sh
      args:
      - -c
      - exec ./agent.sh --task \"$LANES_TASK_ID\" 'it'\\''s'
      timeout: 5
      priority: -1
    my-queue-2:
      vendor: claude
      args:
      - --agent
      - engineer
      prompt: Work on {task_name}
      max_retries: 0
      retry_delay: 0
"
        );
        for expected in
            ["routing.My Queue.shade is not", "artificer-dispatcher.colour is not", "127.0.0.1:8001"]
        {
            assert!(
                imported.notes.iter().any(|note| note.contains(expected)),
                "{expected}: {:?}",
                imported.notes
            );
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("handoff.yaml");
        let yaml = import(FULL).unwrap().yaml().unwrap();
        std::fs::write(&path, format!("workspace_id: w\n{yaml}")).unwrap();
        let bridges =
            crate::bridge::config::bridges(&crate::workspace::Config::load(&path, None).unwrap()).unwrap();
        let lanes: Vec<&str> = bridges[0].queues.iter().map(|queue| queue.lane.as_str()).collect();
        assert_eq!(lanes, ["my-queue", "my-queue-2"]);
        assert!(bridges[0].queues.iter().all(|queue| queue.dead_letter.is_some()));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let table = "[tool.artificer-dispatcher]\n";
        let board = "[tool.artificer-dispatcher.backend]\ntype = 'json'\nurl = 'b'\n";
        for (text, expected) in [
            (
                "[tool.x]\n".to_string(),
                "/p/pyproject.toml has no table [tool.artificer-dispatcher]; name the",
            ),
            ("a = [\n".to_string(), "/p/pyproject.toml line "),
            (table.to_string(), "line 1: tool.artificer-dispatcher.backend: is missing"),
            (
                format!("{table}poll_interval = 'x'\n{board}"),
                "line 2: tool.artificer-dispatcher.poll_interval: expected",
            ),
            (format!("{table}{board}"), "tool.artificer-dispatcher.routing: is missing: no queue"),
            (
                format!("{table}[tool.artificer-dispatcher.backend]\ntype = 'jira'\nurl = 'b'\n"),
                "line 3: tool.artificer-dispatcher.backend.type: 'jira' is not built in",
            ),
            (
                format!("{table}{board}[tool.artificer-dispatcher.routing.A]\nargs = 'x'\ncommand = 'c'\n"),
                "line 6: tool.artificer-dispatcher.routing.A.args: expected a list of text",
            ),
            (
                format!("{table}{board}[tool.artificer-dispatcher.routing.A]\nargs = ['x']\n"),
                "line 5: tool.artificer-dispatcher.routing.A.command: is missing",
            ),
        ] {
            let error = import(&text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}\n lacks {expected}");
        }
    }

    #[test]
    fn lanes_have_plain_names_of_their_own() {
        let mut taken = BTreeSet::new();
        let lanes: Vec<String> = ["App.Work.Todo", "app work/todo", "…", "?"]
            .iter()
            .map(|queue| free_lane(queue, &mut taken))
            .collect();
        assert_eq!(lanes, ["app-work-todo", "app-work-todo-2", "board", "board-2"]);
    }
}
