//! The clients with which the server can be registered, each with its settings files and the form of its entry.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::settings::EntryField;
use super::settings_format::SettingsFormat;
use crate::error::{Error, Result};

/// The name under which the server is registered; clients make it part of the names of tools.
pub(super) const SERVER_NAME: &str = "lanes";

/// How long a client waits for a call, in seconds: longer than any call takes.
const TOOL_TIMEOUT_SECONDS: u32 = 900;

/// A program that uses the tools of MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientApp {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
    /// Cursor.
    Cursor,
}

/// Where a registration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistrationScope {
    /// Wherever this user starts the client.
    User,
    /// In the current directory.
    Project,
}

/// The directories in which clients keep the settings of a user, as far as the environment names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientHomes {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `CLAUDE_CONFIG_DIR`.
    pub claude: Option<PathBuf>,
    /// `CODEX_HOME`.
    pub codex: Option<PathBuf>,
    /// `GEMINI_CLI_HOME`, in place of `HOME`.
    pub gemini: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config: Option<PathBuf>,
}

/// How the server is started, and which tools run without asking.
#[derive(Clone, Debug)]
pub(crate) struct ServerEntry {
    /// The absolute path of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The environment variables that it needs, for a client that passes none on.
    pub variables: Vec<String>,
    /// The tools that run without asking, for a client that asks about each tool.
    pub approved_tools: Vec<String>,
}

impl ClientApp {
    /// All clients.
    pub(crate) const ALL: [Self; 5] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode, Self::Cursor];

    /// Returns the name of the client, which is also that of its program.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::Cursor => "cursor",
        }
    }

    pub(super) const fn format(self) -> SettingsFormat {
        match self {
            Self::Claude => SettingsFormat::Json,
            Self::Codex => SettingsFormat::Toml,
            Self::Gemini | Self::Opencode | Self::Cursor => SettingsFormat::JsonWithComments,
        }
    }

    /// Returns where the entry is in the settings file.
    pub(super) const fn entry_path(self) -> [&'static str; 2] {
        match self {
            Self::Codex => ["mcp_servers", SERVER_NAME],
            Self::Opencode => ["mcp", SERVER_NAME],
            _ => ["mcpServers", SERVER_NAME],
        }
    }

    /// Returns the settings file that the client reads; if it would read either of two, the one that exists.
    ///
    /// # Errors
    /// `Config` when the environment names no home directory.
    pub(super) fn settings_path(
        self,
        scope: RegistrationScope,
        homes: &ClientHomes,
        directory: &Path,
    ) -> Result<PathBuf> {
        let home = || {
            homes.home.clone().ok_or_else(|| {
                Error::config(format!("{} keeps its settings in the home directory", self.as_str()))
                    .with_hint("set HOME, or register it with --scope project")
            })
        };
        Ok(match (self, scope) {
            (Self::Claude, RegistrationScope::Project) => directory.join(".mcp.json"),
            (Self::Claude, RegistrationScope::User) => match &homes.claude {
                Some(claude) => claude.join(".claude.json"),
                None => home()?.join(".claude.json"),
            },
            (Self::Codex, RegistrationScope::Project) => directory.join(".codex/config.toml"),
            (Self::Codex, RegistrationScope::User) => match &homes.codex {
                Some(codex) => codex.join("config.toml"),
                None => home()?.join(".codex/config.toml"),
            },
            (Self::Gemini, RegistrationScope::Project) => directory.join(".gemini/settings.json"),
            (Self::Gemini, RegistrationScope::User) => match &homes.gemini {
                Some(gemini) => gemini.join(".gemini/settings.json"),
                None => home()?.join(".gemini/settings.json"),
            },
            (Self::Opencode, RegistrationScope::Project) => json_or_jsonc(directory.join("opencode.json")),
            (Self::Opencode, RegistrationScope::User) => {
                let config = match &homes.xdg_config {
                    Some(config) => config.clone(),
                    None => home()?.join(".config"),
                };
                json_or_jsonc(config.join("opencode/opencode.json"))
            }
            (Self::Cursor, RegistrationScope::Project) => directory.join(".cursor/mcp.json"),
            (Self::Cursor, RegistrationScope::User) => home()?.join(".cursor/mcp.json"),
        })
    }

    /// Returns the fields of the entry, in the order in which they are written.
    pub(super) fn fields(self, entry: &ServerEntry) -> Vec<EntryField> {
        let command = ("command", entry.program.as_str().into());
        let arguments = ("args", entry.arguments.as_slice().into());
        let milliseconds = ("timeout", (TOOL_TIMEOUT_SECONDS * 1000).into());
        match self {
            Self::Claude | Self::Gemini => vec![command, arguments, milliseconds],
            Self::Cursor => vec![command, arguments],
            Self::Opencode => {
                let words: Vec<&String> = std::iter::once(&entry.program).chain(&entry.arguments).collect();
                vec![("type", "local".into()), ("command", json!(words)), milliseconds]
            }
            Self::Codex => {
                let mut fields = vec![command, arguments];
                if !entry.variables.is_empty() {
                    fields.push(("env_vars", entry.variables.as_slice().into()));
                }
                // Otherwise the first turn begins without the tools if the machine is busy.
                fields.push(("required", true.into()));
                fields.push(("tool_timeout_sec", TOOL_TIMEOUT_SECONDS.into()));
                if !entry.approved_tools.is_empty() {
                    let approve = |name: &String| (name.clone(), json!({"approval_mode": "approve"}));
                    fields.push(("tools", entry.approved_tools.iter().map(approve).collect()));
                }
                fields
            }
        }
    }

    /// Returns the arguments with which the client's program adds an entry, if it has such a command that writes all
    /// of it. `fields` is the entry as JSON.
    pub(super) fn add_command(
        self,
        scope: RegistrationScope,
        entry: &ServerEntry,
        fields: &str,
    ) -> Option<Vec<String>> {
        let words: Vec<&str> = match self {
            Self::Claude => vec!["mcp", "add-json", "-s", scope.as_str(), SERVER_NAME, fields],
            Self::Gemini if scope == RegistrationScope::User => {
                let timeout = (TOOL_TIMEOUT_SECONDS * 1000).to_string();
                let mut words = ["mcp", "add", "-s", scope.as_str(), "--timeout", &timeout, SERVER_NAME]
                    .map(str::to_string)
                    .to_vec();
                words.extend([entry.program.clone(), "--".to_string()]);
                words.extend(entry.arguments.iter().cloned());
                return Some(words);
            }
            // In a folder that it does not trust, gemini treats the project's settings as empty, and would lose
            // them.
            Self::Gemini => return None,
            // Codex has one, but it cannot write `required` and the time limit; that of opencode cannot write the
            // latter.
            Self::Codex | Self::Opencode | Self::Cursor => return None,
        };
        Some(words.into_iter().map(str::to_string).collect())
    }

    /// Returns the arguments with which the client's program removes an entry, if it has such a command.
    pub(super) fn remove_command(self, scope: RegistrationScope) -> Option<Vec<String>> {
        match (self, scope) {
            (Self::Claude, _) | (Self::Gemini, RegistrationScope::User) => {
                Some(["mcp", "remove", "-s", scope.as_str(), SERVER_NAME].map(str::to_string).to_vec())
            }
            _ => None,
        }
    }
}

impl RegistrationScope {
    /// Returns the name of the scope, as claude and gemini call it too.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

/// Returns the command line of an entry: the program and its arguments.
pub(super) fn started_words(entry: &Value) -> Vec<&str> {
    let words = |key: &str| match entry.get(key) {
        Some(Value::String(word)) => vec![word.as_str()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    [words("command"), words("args")].concat()
}

/// Returns whether an entry starts `lanes mcp`: this program, or one of the same name.
pub(super) fn is_ours(entry: &Value, program: &str) -> bool {
    let words = started_words(entry);
    let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
    let Some((command, arguments)) = words.split_first() else { return false };
    let is_program =
        name(command).is_some_and(|name_of| name_of == SERVER_NAME || Some(name_of) == name(program));
    is_program && arguments.contains(&"mcp")
}

fn json_or_jsonc(json: PathBuf) -> PathBuf {
    let jsonc = json.with_extension("jsonc");
    if !json.exists() && jsonc.exists() { jsonc } else { json }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> ServerEntry {
        ServerEntry {
            program: "/opt/lanes".to_string(),
            arguments: vec!["mcp".to_string(), "--user".to_string()],
            variables: Vec::new(),
            approved_tools: Vec::new(),
        }
    }

    /// What is written into an empty file.
    fn written(client: ClientApp, entry: &ServerEntry) -> String {
        client.format().set("", client.entry_path(), &client.fields(entry)).unwrap()
    }

    #[test]
    fn each_client_gets_its_form() {
        let json = |client| -> Value { serde_json::from_str(&written(client, &entry())).unwrap() };
        let common = json!({"command": "/opt/lanes", "args": ["mcp", "--user"], "timeout": 900_000});
        assert_eq!(json(ClientApp::Claude), json!({"mcpServers": {"lanes": common}}));
        assert_eq!(json(ClientApp::Gemini), json!({"mcpServers": {"lanes": common}}));
        assert_eq!(
            json(ClientApp::Cursor),
            json!({"mcpServers": {"lanes": {"command": "/opt/lanes", "args": ["mcp", "--user"]}}})
        );
        let words = ["/opt/lanes", "mcp", "--user"];
        assert_eq!(
            json(ClientApp::Opencode),
            json!({"mcp": {"lanes": {"type": "local", "command": words, "timeout": 900_000}}})
        );
        let unattended = ServerEntry {
            variables: vec!["XDG_STATE_HOME".to_string()],
            approved_tools: vec!["delegate".to_string(), "cancel".to_string()],
            ..entry()
        };
        assert_eq!(
            written(ClientApp::Codex, &unattended),
            "[mcp_servers.lanes]\ncommand = \"/opt/lanes\"\nargs = [\"mcp\", \"--user\"]\n\
             env_vars = [\"XDG_STATE_HOME\"]\nrequired = true\ntool_timeout_sec = 900\n\n\
             [mcp_servers.lanes.tools.cancel]\napproval_mode = \"approve\"\n\n\
             [mcp_servers.lanes.tools.delegate]\napproval_mode = \"approve\"\n"
        );
    }

    #[test]
    fn an_entry_of_another_program_is_not_ours() {
        for (entry, expected) in [
            (json!({"command": "/opt/lanes-2", "args": ["--store", "/s", "mcp"]}), true),
            (json!({"command": "lanes", "args": ["mcp"]}), true),
            (json!({"type": "local", "command": ["/x/lanes", "mcp"]}), true),
            (json!({"command": "lanes"}), false),
            (json!({"command": "/x/lanes", "args": ["serve"]}), false),
            (json!({"command": "npx", "args": ["lanes", "mcp"]}), false),
            (json!({"url": "http://127.0.0.1/mcp"}), false),
            (json!("lanes mcp"), false),
        ] {
            assert_eq!(is_ours(&entry, "/usr/bin/lanes-2"), expected, "{entry}");
        }
    }

    #[test]
    fn variables_name_other_places() {
        let homes = ClientHomes { home: Some("/h".into()), ..ClientHomes::default() };
        let moved = ClientHomes {
            claude: Some("/c".into()),
            codex: Some("/x".into()),
            gemini: Some("/g".into()),
            xdg_config: Some("/d".into()),
            ..homes.clone()
        };
        for (client, plain, elsewhere, project) in [
            (ClientApp::Claude, "/h/.claude.json", "/c/.claude.json", "/p/.mcp.json"),
            (ClientApp::Codex, "/h/.codex/config.toml", "/x/config.toml", "/p/.codex/config.toml"),
            (
                ClientApp::Gemini,
                "/h/.gemini/settings.json",
                "/g/.gemini/settings.json",
                "/p/.gemini/settings.json",
            ),
            (
                ClientApp::Opencode,
                "/h/.config/opencode/opencode.json",
                "/d/opencode/opencode.json",
                "/p/opencode.json",
            ),
            (ClientApp::Cursor, "/h/.cursor/mcp.json", "/h/.cursor/mcp.json", "/p/.cursor/mcp.json"),
        ] {
            let nowhere = ClientHomes::default();
            let path = |scope, homes| client.settings_path(scope, homes, Path::new("/p"));
            assert_eq!(path(RegistrationScope::User, &homes).unwrap(), Path::new(plain));
            assert_eq!(path(RegistrationScope::User, &moved).unwrap(), Path::new(elsewhere));
            assert_eq!(path(RegistrationScope::Project, &nowhere).unwrap(), Path::new(project));
            assert!(path(RegistrationScope::User, &nowhere).is_err());
        }
    }
}
