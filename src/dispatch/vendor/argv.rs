//! Argument lists with placeholders. The filled list is passed to the program unchanged: no shell is involved,
//! and a value that could be mistaken for a flag is refused.

use serde_yaml::Value;

use crate::model::names::first_hidden;
use crate::{Error, Result};

/// Maximum length of a value inserted into an argument, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// The values of the placeholders. A missing value drops the group that uses it.
#[derive(Clone, Debug, Default)]
pub struct ArgumentValues {
    /// Session id for a new conversation.
    pub session_id: Option<String>,
    /// Session id of the conversation to resume.
    pub resume_id: Option<String>,
    /// Model, as the vendor names it.
    pub model: Option<String>,
    /// Effort, as the vendor names it.
    pub effort: Option<String>,
    /// Permission mode, as the vendor names it.
    pub permission_mode: Option<String>,
    /// Whose settings the program loads, separated by commas.
    pub setting_sources: Option<String>,
    /// Maximum cost of one run, in US dollars.
    pub max_budget_usd: Option<String>,
    /// MCP configuration: a file, or JSON text.
    pub mcp_config: Option<String>,
    /// MCP configuration, as JSON text, of the server that asks a person for permissions.
    pub permission_prompt: Option<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Settings with the hook that brings an agent the messages to its task, as JSON text.
    pub message_hook: Option<String>,
    /// File for the text of the last message.
    pub last_message: Option<String>,
    /// Tools that run without asking.
    pub allowed_tools: Vec<String>,
    /// Tools that are refused.
    pub disallowed_tools: Vec<String>,
    /// The task's own directory in the store.
    pub task_dir: Option<String>,
    /// Directories outside the working directory that the agent may use.
    pub add_dirs: Vec<String>,
    /// Directories in which git writes when the agent commits.
    pub git_dirs: Vec<String>,
    /// JSON Schema of the answer, as ASCII text.
    pub schema: Option<String>,
    /// File with the JSON Schema of the answer.
    pub schema_file: Option<String>,
    /// Arguments added by the configuration, the only values that may look like flags.
    pub extra_args: Vec<String>,
}

/// The value of a placeholder.
enum Substitution<'a> {
    One(Option<&'a str>),
    /// Each value becomes an argument of its own.
    Spread(&'a [String]),
    /// Each value repeats the whole group.
    Repeat(&'a [String]),
}

const PLACEHOLDERS: [&str; 22] = [
    "session_id",
    "resume_id",
    "model",
    "effort",
    "permission_mode",
    "setting_sources",
    "max_budget_usd",
    "mcp_config",
    "permission_prompt",
    "message_hook",
    "cwd",
    "last_message",
    "allowed_tools",
    "allowed_tool",
    "disallowed_tools",
    "task_dir",
    "add_dirs",
    "add_dir",
    "git_dir",
    "schema",
    "schema_file",
    "extra_args",
];

impl ArgumentValues {
    fn substitution(&self, name: &str) -> Substitution<'_> {
        match name {
            "session_id" => Substitution::One(self.session_id.as_deref()),
            "resume_id" => Substitution::One(self.resume_id.as_deref()),
            "model" => Substitution::One(self.model.as_deref()),
            "effort" => Substitution::One(self.effort.as_deref()),
            "permission_mode" => Substitution::One(self.permission_mode.as_deref()),
            "setting_sources" => Substitution::One(self.setting_sources.as_deref()),
            "max_budget_usd" => Substitution::One(self.max_budget_usd.as_deref()),
            "mcp_config" => Substitution::One(self.mcp_config.as_deref()),
            "permission_prompt" => Substitution::One(self.permission_prompt.as_deref()),
            "message_hook" => Substitution::One(self.message_hook.as_deref()),
            "cwd" => Substitution::One(self.cwd.as_deref()),
            "last_message" => Substitution::One(self.last_message.as_deref()),
            "allowed_tools" => Substitution::Spread(&self.allowed_tools),
            "allowed_tool" => Substitution::Repeat(&self.allowed_tools),
            "disallowed_tools" => Substitution::Spread(&self.disallowed_tools),
            "task_dir" => Substitution::One(self.task_dir.as_deref()),
            "add_dirs" => Substitution::Spread(&self.add_dirs),
            "add_dir" => Substitution::Repeat(&self.add_dirs),
            "git_dir" => Substitution::Repeat(&self.git_dirs),
            "schema" => Substitution::One(self.schema.as_deref()),
            "schema_file" => Substitution::One(self.schema_file.as_deref()),
            "extra_args" => Substitution::Spread(&self.extra_args),
            _ => Substitution::One(None),
        }
    }

    /// Refuses values that a program could take for a flag. They come from tasks, that is, from anyone who may
    /// submit one. `extra_args` come from the operator and may be flags.
    fn check(&self) -> Result<()> {
        let single = [
            ("session id", &self.session_id),
            ("session id", &self.resume_id),
            ("model", &self.model),
            ("effort", &self.effort),
            ("permission mode", &self.permission_mode),
            ("setting sources", &self.setting_sources),
            ("budget", &self.max_budget_usd),
            ("MCP configuration", &self.mcp_config),
            ("configuration of the permission server", &self.permission_prompt),
            ("message hook", &self.message_hook),
            ("working directory", &self.cwd),
            ("task directory", &self.task_dir),
            ("file for the last message", &self.last_message),
            ("file for the schema", &self.schema_file),
        ];
        // A program may take any other text for a file, a title or a keyword, and resume someone else's conversation.
        let is_id = |id: &str| {
            let is_plain = id.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:".contains(&c));
            // An index, a directory, or a keyword for the last conversation.
            let is_selector = (!id.is_empty() && id.bytes().all(|c| c.is_ascii_digit() || c == b'.'))
                || ["last", "latest"].iter().any(|keyword| id.eq_ignore_ascii_case(keyword));
            is_plain && !is_selector
        };
        if let Some(id) = self.resume_id.as_ref().filter(|id| !is_id(id)) {
            let shown: String = id.chars().take(60).collect();
            return Err(Error::invalid(format!(
                "session id {:?} is not the id of a conversation and is not passed to an agent",
                crate::error::printable(&shown)
            )));
        }
        for (what, value) in single {
            if let Some(value) = value {
                check_value(what, value)?;
            }
        }
        let lists = [&self.allowed_tools, &self.disallowed_tools, &self.add_dirs, &self.git_dirs];
        lists.into_iter().flatten().try_for_each(|value| check_value("tool or directory", value))
    }
}

/// Refuses a value that could be read as a flag or that cannot be an argument; `what` names it in the message.
///
/// # Errors
/// `Invalid`, with the reason.
pub(super) fn check_value(what: &str, value: &str) -> Result<()> {
    let problem = if value.is_empty() {
        "is empty"
    } else if value.starts_with('-') {
        "starts with a dash"
    } else if value.chars().any(char::is_control) {
        "contains control characters"
    } else if first_hidden(value).is_some() {
        "contains invisible characters"
    } else if value.len() > MAX_VALUE_BYTES {
        "is too long"
    } else {
        return Ok(());
    };
    let shown: String = value.chars().take(60).collect();
    Err(Error::invalid(format!(
        "{what} {:?} {problem} and is not passed to an agent",
        crate::error::printable(&shown)
    )))
}

/// An argument list with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argv(Vec<ArgvItem>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ArgvItem {
    /// Passed on unchanged, with its braces.
    Literal(String),
    /// One template, or several that are dropped together when a value is missing.
    Group(Vec<String>),
}

impl Argv {
    /// Creates an argument list without placeholders.
    pub fn literal(args: &[String]) -> Self {
        Self(args.iter().cloned().map(ArgvItem::Literal).collect())
    }

    /// Reads a template list. Each item is a string, or a list of strings that is dropped when a value is missing.
    ///
    /// # Errors
    /// A description of the expected form, or the unknown placeholder.
    pub fn from_yaml(value: &Value) -> std::result::Result<Self, String> {
        let expected = || "expected a list of text and of lists of text".to_string();
        let mut items = Vec::new();
        for item in value.as_sequence().ok_or_else(expected)? {
            let templates = match item {
                Value::String(text) => vec![text.clone()],
                Value::Sequence(items) => items
                    .iter()
                    .map(|item| item.as_str().map(str::to_string).ok_or_else(expected))
                    .collect::<std::result::Result<_, _>>()?,
                _ => return Err(expected()),
            };
            for template in &templates {
                for name in placeholders(template) {
                    if !PLACEHOLDERS.contains(&name) {
                        return Err(format!("unknown placeholder {{{name}}}"));
                    }
                }
            }
            items.push(ArgvItem::Group(templates));
        }
        Ok(Self(items))
    }

    /// Returns whether this template has a placeholder called `name`.
    pub fn has_placeholder(&self, name: &str) -> bool {
        self.0.iter().any(|item| match item {
            ArgvItem::Literal(_) => false,
            ArgvItem::Group(templates) => {
                templates.iter().any(|t| placeholders(t).any(|found| found == name))
            }
        })
    }

    /// Fills in the values and returns the arguments.
    ///
    /// # Errors
    /// `Invalid` when a value could be read as a flag or cannot be an argument.
    pub fn render(&self, values: &ArgumentValues) -> Result<Vec<String>> {
        values.check()?;
        let mut out = Vec::new();
        for item in &self.0 {
            match item {
                ArgvItem::Literal(text) => out.push(text.clone()),
                ArgvItem::Group(templates) => render_group(templates, values, &mut out),
            }
        }
        Ok(out)
    }
}

/// Appends the arguments of a group, unless a value is missing.
fn render_group(templates: &[String], values: &ArgumentValues, out: &mut Vec<String>) {
    let repeated =
        templates.iter().flat_map(|t| placeholders(t)).find_map(|name| match values.substitution(name) {
            Substitution::Repeat(values) => Some(values),
            _ => None,
        });
    let rounds: Vec<Option<&str>> = match repeated {
        Some(values) => values.iter().map(|value| Some(value.as_str())).collect(),
        None => vec![None],
    };
    for each in rounds {
        let mut group = Vec::new();
        let complete = templates.iter().all(|template| render_one(template, values, each, &mut group));
        if complete {
            out.append(&mut group);
        }
    }
}

/// Appends the arguments that one template becomes; returns false when a value is missing.
fn render_one(template: &str, values: &ArgumentValues, each: Option<&str>, out: &mut Vec<String>) -> bool {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, name, after)) = next_placeholder(rest) {
        text.push_str(before);
        rest = after;
        match values.substitution(name) {
            Substitution::One(Some(value)) => text.push_str(value),
            Substitution::One(None) => return false,
            Substitution::Repeat(_) => text.push_str(each.unwrap_or_default()),
            Substitution::Spread(values) => {
                out.extend(values.iter().cloned());
                return !values.is_empty();
            }
        }
    }
    text.push_str(rest);
    out.push(text);
    true
}

fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let (_, name, after) = next_placeholder(rest)?;
        rest = after;
        Some(name)
    })
}

/// Splits at the first `{name}` into the text before it, the name and the text after it. Braces around anything
/// that is not a name, such as JSON, are ordinary text.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for (start, _) in text.match_indices('{') {
        let inside = &text[start + 1..];
        if let Some(end) = inside.find('}')
            && is_name(&inside[..end])
        {
            return Some((&text[..start], &inside[..end], &inside[end + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Vendors;
    use super::*;

    fn rendered(vendor: &str, values: &ArgumentValues) -> String {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let vendor = vendors.get(vendor).expect("known vendor");
        let argv = match values.resume_id {
            Some(_) => vendor.resume_args.as_ref().expect("resumable"),
            None => &vendor.args,
        };
        argv.render(values).expect("harmless values").join(" ")
    }

    fn values() -> ArgumentValues {
        ArgumentValues {
            cwd: Some("/w".to_string()),
            task_dir: Some("/t".to_string()),
            add_dirs: vec!["/q".to_string(), "/r".to_string()],
            ..ArgumentValues::default()
        }
    }

    #[test]
    fn claude_gets_only_the_flags_that_have_values() {
        let mut values = values();
        values.session_id = Some("u".to_string());
        values.allowed_tools = vec!["Bash(git *)".to_string(), "mcp__lanes".to_string()];
        assert_eq!(
            rendered("claude", &values),
            "-p --output-format stream-json --verbose --session-id u --allowedTools Bash(git *) mcp__lanes --add-dir /w /t --add-dir /q /r"
        );
        values.model = Some("opus".to_string());
        values.effort = Some("high".to_string());
        values.session_id = None;
        values.resume_id = Some("u2".to_string());
        assert_eq!(
            rendered("claude", &values),
            "-p --output-format stream-json --verbose --resume u2 --model opus --effort high --allowedTools Bash(git *) mcp__lanes --add-dir /w /t --add-dir /q /r"
        );
    }

    #[test]
    fn codex_repeats_directories_and_puts_options_before_resume() {
        let mut values = values();
        values.permission_mode = Some("workspace-write".to_string());
        values.effort = Some("low".to_string());
        assert_eq!(
            rendered("codex", &values),
            "exec --json --skip-git-repo-check -C /w -s workspace-write --add-dir /q --add-dir /r -c model_reasoning_effort=low -"
        );
        values.resume_id = Some("t".to_string());
        assert_eq!(
            rendered("codex", &values),
            "exec -C /w -s workspace-write --add-dir /q --add-dir /r resume --json --skip-git-repo-check -c model_reasoning_effort=low t -"
        );
    }

    #[test]
    fn gemini_and_opencode_get_the_expected_arguments() {
        let mut values = values();
        values.session_id = Some("u".to_string());
        values.permission_mode = Some("yolo".to_string());
        values.model = Some("m".to_string());
        values.add_dirs.clear();
        assert_eq!(
            rendered("gemini", &values),
            "-o stream-json --skip-trust --approval-mode yolo --session-id u -m m --include-directories /t"
        );
        assert_eq!(rendered("opencode", &values), "run --format json --dir /w -m m");
    }

    #[test]
    fn values_that_look_like_flags_are_refused() {
        let refused = |change: fn(&mut ArgumentValues)| {
            let mut values = values();
            change(&mut values);
            let vendors = Vendors::built_in().expect("built-in profiles");
            let claude = vendors.get("claude").expect("claude");
            claude.args.render(&values).expect_err("a flag in disguise").to_string()
        };
        let dash = refused(|values| values.model = Some("--dangerously-skip-permissions".to_string()));
        assert!(dash.contains("starts with a dash"), "{dash}");
        let control = refused(|values| values.effort = Some("high\n".to_string()));
        assert!(control.contains("control characters"), "{control}");
        assert!(refused(|values| values.resume_id = Some(String::new())).contains("empty"));
        assert!(refused(|values| values.add_dirs = vec!["-x".to_string()]).contains("dash"));
    }

    #[test]
    fn literal_arguments_keep_their_braces_and_dashes() {
        let args = ["--json={}".to_string(), "{model}".to_string()];
        let rendered = Argv::literal(&args).render(&ArgumentValues::default()).expect("literal");
        assert_eq!(rendered, args);
        let json: Value = serde_yaml::from_str(r#"['{"a": 1}', [-x, '{model}']]"#).expect("YAML");
        let argv = Argv::from_yaml(&json).expect("template");
        assert_eq!(argv.render(&ArgumentValues::default()).expect("harmless"), [r#"{"a": 1}"#]);
    }
}
