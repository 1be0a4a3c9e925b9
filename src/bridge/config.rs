//! Reads the settings of the bridges: `bridges:` in `handoff.yaml`.
//!
//! What a bridge says of its queues in general holds for each of them, unless the queue says otherwise; `null` there
//! switches it off.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_yaml::Value;

use super::adapter::CALL_TIMEOUT;
use super::board::QueueRef;
use super::queue_flow;
use super::settings::{AdapterSettings, BridgeSettings, CardRetry, MoveOn, TaskFate, WatchedQueue};
use crate::model::bridge::check_bridge_name;
use crate::model::{LaneName, duration};
use crate::workspace::{Config, Override, Section, SourceText, absolute, most_similar, plain_path};
use crate::{Error, Result};

/// The keys of a bridge that say which board it serves, and how fast.
pub(crate) const BRIDGE_KEYS: [&str; 12] = [
    "adapter",
    "path",
    "url",
    "env_file",
    "ca_file",
    "secrets",
    "config",
    "call_timeout",
    "poll_interval",
    "requests_per_second",
    "take_assigned_after",
    "queues",
];
/// The keys of a watched queue, apart from its lane. A bridge may have them too, for all of its queues.
pub(crate) const QUEUE_KEYS: [&str; 9] = [
    "in_progress",
    "move_on",
    "done",
    "failed",
    "dead_letter",
    "retry",
    "gone",
    "moved_away",
    "poll_interval",
];
/// The key of the lane of a watched queue.
const LANE: &str = "lane";

/// The interval between two looks at a queue.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(30);
/// How long an assigned card lies in its queue until it is taken nevertheless: longer than any request takes.
const DEFAULT_TAKE_ASSIGNED_AFTER: Duration = Duration::from_secs(60);
/// Requests to a board per second.
const DEFAULT_RATE: f64 = 5.0;

/// Reads the bridges of a configuration, in the order of the file.
///
/// # Errors
/// `Config`, with file, line and key.
pub(crate) fn bridges(workspace: &Config) -> Result<Vec<BridgeSettings>> {
    let file = workspace.path().map(|path| path.to_string_lossy().into_owned());
    let text = workspace.path().and_then(|path| std::fs::read_to_string(path).ok());
    let source = SourceText {
        file: file.as_deref().unwrap_or("handoff.yaml"),
        text: text.as_deref().unwrap_or_default(),
    };
    let directory = workspace.path().and_then(Path::parent).unwrap_or(Path::new("/"));
    read_bridges(workspace.bridges.as_ref(), source, directory)
}

/// Reads the value of the key `bridges` of a file in `directory`.
fn read_bridges(
    bridges: Option<&Value>,
    source: SourceText<'_>,
    directory: &Path,
) -> Result<Vec<BridgeSettings>> {
    let section = Section::new(source, &["bridges"], bridges)?;
    let read = |name: String| read_bridge(&section.section(&name)?, name, directory);
    section.keys()?.into_iter().map(read).collect()
}

fn read_bridge(section: &Section<'_>, name: String, directory: &Path) -> Result<BridgeSettings> {
    check_bridge_name(&name).map_err(|error| {
        let place = section.error_here(error.message());
        place.with_hint(error.hint().unwrap_or_default())
    })?;
    let known: Vec<&str> = BRIDGE_KEYS.into_iter().chain(QUEUE_KEYS).collect();
    section.refuse_unknown_keys(&known)?;
    let adapter = read_adapter(section, directory)?;
    let requests_per_second = section.positive_number("requests_per_second")?.or(DEFAULT_RATE);
    let take_assigned_after = section.duration("take_assigned_after")?.or(DEFAULT_TAKE_ASSIGNED_AFTER);
    let base = QueueDefaults::none().read(section)?;
    let watched = section.section("queues")?;
    let read = |name: String| read_queue(&watched.section(&name)?, &name, &base);
    let queues: Vec<WatchedQueue> = watched.keys()?.into_iter().map(read).collect::<Result<_>>()?;
    if queues.is_empty() {
        let reason = "name at least one queue of the board, such as {Todo: {lane: work}}";
        return Err(section.error("queues", reason));
    }
    if let Some(problem) = queue_flow::problem(&queues) {
        return Err(watched.section(&problem.queue)?.error(problem.key, &problem.reason));
    }
    Ok(BridgeSettings { name, adapter, requests_per_second, take_assigned_after, queues })
}

/// Reads which board a bridge serves. A key that is for another kind of board is refused.
fn read_adapter(section: &Section<'_>, directory: &Path) -> Result<AdapterSettings> {
    let kinds = "json, planka, or the command line of a program as a list, such as [./github.py]";
    let refuse = |keys: &[&str], kind: &str| match keys.iter().find(|key| section.has(key)) {
        Some(key) => Err(section.error(key, &format!("is not a key of an adapter {kind}"))),
        None => Ok(()),
    };
    let file = |key: &str| -> Result<Option<PathBuf>> {
        let text = section.text(key)?.value().filter(|text| !text.is_empty());
        let path = text.map(|text| absolute(directory, Path::new(&text))).transpose();
        let path = path.map_err(|error| section.error(key, error.message()))?;
        Ok(path.map(|path| plain_path(&path)))
    };
    let adapter = match section.mapping().get("adapter") {
        None | Some(Value::Null) => {
            return Err(section.error("adapter", &format!("is missing: {kinds}")));
        }
        Some(Value::Sequence(_)) => {
            refuse(&["path", "url", "ca_file"], "that is a program; `config` is passed on to it")?;
            return read_program(section, directory, file("env_file")?);
        }
        Some(_) => section.text("adapter")?.value().unwrap_or_default(),
    };
    match adapter.as_str() {
        "json" => {
            refuse(&["url", "env_file", "ca_file", "secrets", "config", "call_timeout"], "json")?;
            let path =
                file("path")?.ok_or_else(|| section.error("path", "is missing: the file of the board"))?;
            Ok(AdapterSettings::Json { path })
        }
        "planka" => {
            refuse(&["path", "secrets", "config", "call_timeout"], "planka")?;
            Ok(AdapterSettings::Planka {
                url: read_url(section)?,
                env_file: file("env_file")?,
                ca_file: file("ca_file")?,
            })
        }
        other => {
            let error = section.error("adapter", &format!("there is no adapter '{other}': {kinds}"));
            Err(match most_similar(other, &["json", "planka"]) {
                Some(similar) => error.with_hint(format!("did you mean {similar}?")),
                None => error,
            })
        }
    }
}

fn read_program(
    section: &Section<'_>,
    directory: &Path,
    env_file: Option<PathBuf>,
) -> Result<AdapterSettings> {
    let argv = section.list("adapter")?.value().unwrap_or_default();
    if argv.first().is_none_or(String::is_empty) {
        return Err(section.error("adapter", "names no program"));
    }
    let secrets = section.list("secrets")?.value().unwrap_or_default();
    let is_name = |name: &String| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if let Some(odd) = secrets.iter().find(|name| !is_name(name)) {
        let reason = format!("expected names of variables, such as API_KEY, not '{odd}'; never the secrets");
        return Err(section.error("secrets", &reason));
    }
    let config = section.section("config")?;
    let config = serde_json::to_value(config.mapping()).ok().and_then(|value| match value {
        serde_json::Value::Object(config) => Some(config),
        _ => None,
    });
    let config = config.ok_or_else(|| section.error("config", "expected what JSON can express"))?;
    let call_timeout = section.duration("call_timeout")?.or(CALL_TIMEOUT);
    let directory = directory.to_path_buf();
    Ok(AdapterSettings::Program { argv, directory, env_file, secrets, config, call_timeout })
}

fn read_url(section: &Section<'_>) -> Result<String> {
    let url = section.text("url")?.value().unwrap_or_default();
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let problem = match rest.map(|rest| rest.split('/').next().unwrap_or_default()) {
        None => "expected the address of the server, such as https://planka.example",
        Some("") => "names no server",
        Some(host) if host.contains('@') => "must not contain a user or password; they belong into env_file",
        Some(_) if url.contains(['?', '#']) || url.contains(char::is_whitespace) => {
            "expected an address without `?`, `#` and spaces"
        }
        Some(_) => return Ok(url.trim_end_matches('/').to_string()),
    };
    Err(section.error("url", problem))
}

/// The values of `move_on`, of `retry`, and of `gone` and `moved_away`.
const MOVES: [(&str, MoveOn); 2] = [("submit", MoveOn::Submit), ("claim", MoveOn::Claim)];
const RETRIES: [(&str, CardRetry); 2] = [("comment", CardRetry::Comment), ("move", CardRetry::Move)];
const FATES: [(&str, TaskFate); 2] = [("keep", TaskFate::Keep), ("cancel", TaskFate::Cancel)];

/// Returns the keys of a bridge that have an effect where it does not set them, with their values, for people.
pub(crate) fn default_values() -> Vec<(&'static str, serde_json::Value)> {
    fn name<T: PartialEq>(values: [(&'static str, T); 2], value: T) -> serde_json::Value {
        values.into_iter().find(|(_, known)| *known == value).map(|(name, _)| name).into()
    }
    let span = |length: Duration| serde_json::Value::from(duration::format_coarse(length));
    let queues = QueueDefaults::none();
    vec![
        ("poll_interval", span(queues.poll_interval)),
        ("requests_per_second", DEFAULT_RATE.into()),
        ("take_assigned_after", span(DEFAULT_TAKE_ASSIGNED_AFTER)),
        ("move_on", name(MOVES, queues.move_on)),
        ("retry", name(RETRIES, queues.retry)),
        ("gone", name(FATES, queues.gone)),
        ("moved_away", name(FATES, queues.moved_away)),
    ]
}

/// What is said of all queues of a bridge.
#[derive(Clone, Debug)]
struct QueueDefaults {
    in_progress: Option<QueueRef>,
    move_on: MoveOn,
    done: Option<QueueRef>,
    failed: Option<QueueRef>,
    dead_letter: Option<QueueRef>,
    retry: CardRetry,
    gone: TaskFate,
    moved_away: TaskFate,
    poll_interval: Duration,
}

impl QueueDefaults {
    /// Returns what holds when nothing is said.
    fn none() -> Self {
        Self {
            in_progress: None,
            move_on: MoveOn::default(),
            done: None,
            failed: None,
            dead_letter: None,
            retry: CardRetry::default(),
            gone: TaskFate::Cancel,
            moved_away: TaskFate::Keep,
            poll_interval: DEFAULT_POLL_INTERVAL,
        }
    }

    /// Returns these settings with those of a section applied.
    fn read(&self, section: &Section<'_>) -> Result<Self> {
        let target = |key: &str, base: &Option<QueueRef>| {
            Ok::<_, Error>(queue_ref(section, key)?.or_inherit(base.clone()))
        };
        let fate = |key: &str, base: TaskFate| Ok::<_, Error>(choice(section, key, FATES)?.unwrap_or(base));
        let poll_interval = section.duration("poll_interval")?.value().unwrap_or(self.poll_interval);
        if poll_interval.is_zero() {
            return Err(section.error("poll_interval", "must be longer than 0 seconds"));
        }
        Ok(Self {
            in_progress: target("in_progress", &self.in_progress)?,
            move_on: choice(section, "move_on", MOVES)?.unwrap_or(self.move_on),
            done: target("done", &self.done)?,
            failed: target("failed", &self.failed)?,
            dead_letter: target("dead_letter", &self.dead_letter)?,
            retry: choice(section, "retry", RETRIES)?.unwrap_or(self.retry),
            gone: fate("gone", self.gone)?,
            moved_away: fate("moved_away", self.moved_away)?,
            poll_interval,
        })
    }
}

fn read_queue(section: &Section<'_>, name: &str, base: &QueueDefaults) -> Result<WatchedQueue> {
    let known: Vec<&str> = QUEUE_KEYS.into_iter().chain([LANE]).collect();
    section.refuse_unknown_keys(&known)?;
    let queue = parse_queue(name).map_err(|reason| section.error_here(&reason))?;
    let lane = section.text(LANE)?.value();
    let lane = lane.ok_or_else(|| section.error(LANE, "is missing: the lane of the tasks of its cards"))?;
    let lane = LaneName::new(lane).map_err(|error| section.error(LANE, error.message()))?;
    let own = base.read(section)?;
    Ok(WatchedQueue {
        lane,
        in_progress: own.in_progress,
        move_on: own.move_on,
        done: own.done,
        failed: own.failed,
        dead_letter: own.dead_letter,
        retry: own.retry,
        gone: own.gone,
        moved_away: own.moved_away,
        poll_interval: own.poll_interval,
        queue,
    })
}

/// Parses the name of a queue, or its id after `id:`.
pub(crate) fn parse_queue(text: &str) -> std::result::Result<QueueRef, String> {
    match text.strip_prefix("id:").map(str::trim) {
        _ if text.trim().is_empty() => Err("the name of the queue is empty".to_string()),
        Some("") => Err("the id of the queue is missing after `id:`".to_string()),
        Some(id) => Ok(QueueRef::Id { id: id.to_string() }),
        None => Ok(QueueRef::Name(text.to_string())),
    }
}

/// Reads a queue: its name, or `{id: …}`.
fn queue_ref(section: &Section<'_>, key: &str) -> Result<Override<QueueRef>> {
    let Some(Value::Mapping(_)) = section.mapping().get(key) else {
        return match section.text(key)? {
            Override::Inherit => Ok(Override::Inherit),
            Override::Off => Ok(Override::Off),
            Override::Value(name) => {
                parse_queue(&name).map(Override::Value).map_err(|reason| section.error(key, &reason))
            }
        };
    };
    let inner = section.section(key)?;
    inner.refuse_unknown_keys(&["id"])?;
    match inner.text("id")?.value() {
        Some(id) if !id.is_empty() => Ok(Override::Value(QueueRef::Id { id })),
        _ => Err(inner.error("id", "is missing")),
    }
}

/// Reads one of two words.
fn choice<T: Copy>(section: &Section<'_>, key: &str, words: [(&str, T); 2]) -> Result<Option<T>> {
    let Some(word) = section.text(key)?.value() else { return Ok(None) };
    match words.iter().find(|(name, _)| *name == word) {
        Some((_, value)) => Ok(Some(*value)),
        None => Err(section.error(key, &format!("expected {} or {}", words[0].0, words[1].0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<BridgeSettings>> {
        let value: Value = serde_yaml::from_str(text).expect("valid YAML");
        let source = SourceText { file: "handoff.yaml", text };
        read_bridges(value.get("bridges"), source, Path::new("/w/handoff"))
    }

    fn message(text: &str) -> String {
        read(text).expect_err("a mistake").to_string()
    }

    fn name(text: &str) -> Option<QueueRef> {
        Some(QueueRef::Name(text.to_string()))
    }

    const FULL: &str = "\
bridges:
  team:
    adapter: planka
    url: https://planka.example/
    env_file: .env
    ca_file: /etc/ca.pem
    poll_interval: 1m
    in_progress: In Progress
    dead_letter: Attic
    queues:
      App.Work.Todo:
        lane: work
        done: Done
        failed: null
        retry: move
        move_on: claim
        poll_interval: 5
      'id:19':
        lane: review
        in_progress: {id: '20'}
        dead_letter: null
        gone: keep
        moved_away: cancel
  local: {adapter: json, path: ../board.json, queues: {Todo: {lane: work}, '7': {lane: odd}}}
  issues:
    adapter: [./github.py, --fast, 2]
    env_file: ~/secrets
    secrets: [GH_TOKEN]
    config: {repository: o/r, limit: 5}
    requests_per_second: 0.5
    queues: {open: {lane: work, done: closed}}
";

    #[test]
    fn every_key_is_read_and_queues_inherit_from_their_bridge() {
        let all = read(FULL).unwrap();
        let names: Vec<&str> = all.iter().map(|bridge| bridge.name.as_str()).collect();
        assert_eq!(names, ["team", "local", "issues"], "the order of the file");
        let AdapterSettings::Planka { url, env_file, ca_file } = &all[0].adapter else { panic!("{all:?}") };
        assert_eq!(url, "https://planka.example");
        assert_eq!(env_file.as_deref(), Some(Path::new("/w/handoff/.env")));
        assert_eq!(ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
        let [todo, other] = &all[0].queues[..] else { panic!("{all:?}") };
        assert_eq!(todo.queue, QueueRef::Name("App.Work.Todo".to_string()));
        assert_eq!((todo.lane.as_str(), todo.failed.as_ref()), ("work", None));
        assert_eq!(todo.in_progress, name("In Progress"));
        assert_eq!((&todo.done, &todo.dead_letter), (&name("Done"), &name("Attic")));
        assert_eq!((todo.retry, todo.move_on), (CardRetry::Move, MoveOn::Claim));
        assert_eq!((todo.gone, todo.moved_away), (TaskFate::Cancel, TaskFate::Keep));
        assert_eq!(todo.poll_interval, Duration::from_secs(5));
        assert_eq!(other.queue, QueueRef::Id { id: "19".to_string() });
        assert_eq!(other.in_progress, Some(QueueRef::Id { id: "20".to_string() }));
        assert_eq!(other.dead_letter, None, "null switches an inherited queue off");
        assert_eq!((other.gone, other.moved_away), (TaskFate::Keep, TaskFate::Cancel));
        assert_eq!((other.retry, other.move_on), (CardRetry::Comment, MoveOn::Submit));
        assert_eq!(other.poll_interval, Duration::from_secs(60));

        let AdapterSettings::Json { path } = &all[1].adapter else { panic!("{all:?}") };
        assert_eq!(path, Path::new("/w/board.json"));
        assert_eq!(all[1].queues[1].queue, QueueRef::Name("7".to_string()));
        assert_eq!(
            (all[1].queues[0].poll_interval, all[1].requests_per_second),
            (Duration::from_secs(30), 5.0)
        );

        let AdapterSettings::Program { argv, directory, secrets, config, .. } = &all[2].adapter else {
            panic!("{all:?}")
        };
        assert_eq!(argv, &["./github.py", "--fast", "2"]);
        assert_eq!(
            (directory.as_path(), secrets.as_slice()),
            (Path::new("/w/handoff"), &["GH_TOKEN".to_string()][..])
        );
        assert_eq!(serde_json::to_string(config).unwrap(), r#"{"limit":5,"repository":"o/r"}"#);
        assert_eq!(all[2].queues[0].done, name("closed"));
        assert!(read("workspace_id: x\n").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_named_with_line_and_key() {
        let team = |body: &str| message(&format!("bridges:\n  team:\n{body}"));
        let json = |queue: &str| {
            team(&format!(
                "    adapter: json\n    path: b.json\n    queues:\n      Todo: {{lane: a}}\n      In: {queue}\n"
            ))
        };
        for (message, expected) in [
            (team("    adaptor: json\n"), "line 3: bridges.team.adaptor: unknown key; did you mean adapter?"),
            (team("    url: x\n"), "line 2: bridges.team.adapter: is missing: json, planka, or"),
            (team("    adapter: plankton\n"), "line 3: bridges.team.adapter: there is no adapter 'plankton'"),
            (team("    adapter: jsno\n"), "did you mean json?"),
            (team("    adapter: []\n"), "line 3: bridges.team.adapter: names no program"),
            (team("    adapter: json\n"), "bridges.team.path: is missing: the file of the board"),
            (
                team("    adapter: json\n    url: x\n"),
                "line 4: bridges.team.url: is not a key of an adapter json",
            ),
            (
                team("    adapter: planka\n    path: x\n"),
                "line 4: bridges.team.path: is not a key of an adapter planka",
            ),
            (
                team("    adapter: [x]\n    url: y\n"),
                "line 4: bridges.team.url: is not a key of an adapter that is a program",
            ),
            (
                team("    adapter: planka\n    url: planka.example\n"),
                "line 4: bridges.team.url: expected the address",
            ),
            (team("    adapter: planka\n    url: https://u:p@x\n"), "must not contain a user or password"),
            (team("    adapter: planka\n    url: https:///x\n"), "line 4: bridges.team.url: names no server"),
            (team("    adapter: planka\n    url: 'https://x/?a'\n"), "without `?`"),
            (
                team("    adapter: [x]\n    secrets: [sk-123]\n"),
                "line 4: bridges.team.secrets: expected names of variables",
            ),
            (
                team("    adapter: json\n    path: x\n    poll_interval: 0\n"),
                "line 5: bridges.team.poll_interval: must be longer",
            ),
            (team("    adapter: json\n    path: x\n    requests_per_second: 0\n"), "above 0"),
            (team("    adapter: json\n    path: x\n"), "bridges.team.queues: name at least one queue"),
            (
                json("{lane: a, doen: x}"),
                "line 7: bridges.team.queues.In.doen: unknown key; did you mean done?",
            ),
            (json("{done: x}"), "line 7: bridges.team.queues.In.lane: is missing"),
            (json("{lane: ../a}"), "line 7: bridges.team.queues.In.lane: "),
            (json("{lane: a, retry: often}"), "bridges.team.queues.In.retry: expected comment or move"),
            (json("{lane: a, gone: drop}"), "expected keep or cancel"),
            (json("{lane: a, done: {name: x}}"), "bridges.team.queues.In.done.name: unknown key"),
            (json("{lane: a, done: {id: 7}}"), "expected text; put it in quotes"),
            (json("{lane: a, in_progress: Todo}"), "bridges.team.queues.In.in_progress: is a watched queue"),
            (json("{lane: a, failed: In}"), "bridges.team.queues.In.failed: is the watched queue itself"),
            (json("{lane: a, done: ''}"), "the name of the queue is empty"),
            (message("bridges: {'a b': {}}"), "line 1: bridges.a b: 'a b' cannot be the name of a bridge"),
            (message("bridges: [team]"), "line 1: bridges: expected keys with values"),
        ] {
            assert!(
                message.starts_with("handoff.yaml line ") && message.contains(expected),
                "{message}\n  lacks {expected}"
            );
        }
    }

    #[test]
    fn a_card_goes_on_but_never_round_in_a_circle() {
        let queues = |b_done: &str| {
            read(&format!(
                "bridges:\n  t:\n    adapter: json\n    path: b\n    queues:\n      A: {{lane: a, done: B}}\n      \
                 B: {{lane: b, done: {b_done}}}\n"
            ))
        };
        assert_eq!(queues("C").unwrap()[0].queues.len(), 2);
        let refused = queues("A").unwrap_err().to_string();
        assert!(refused.contains("line 6: bridges.t.queues.A.done: leads back to this queue"), "{refused}");
        let twice = message(
            "bridges: {t: {adapter: json, path: b, queues: {'id:1': {lane: a}, 'id: 1': {lane: b}}}}",
        );
        assert!(twice.contains("the queue {id: 1} is watched twice"), "{twice}");
    }
}
