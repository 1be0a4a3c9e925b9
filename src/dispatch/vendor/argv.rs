//! Argument lists as templates. The result is an array that goes to the program as it is: no shell
//! ever sees it, and a value that could be mistaken for a flag never gets into it.

use serde_yaml::Value;

use crate::model::names::hidden;
use crate::{Error, Result};

/// Longest value that may be put into an argument.
const LONGEST_VALUE: usize = 4096;

/// The values a template can ask for. A missing value drops the group that asks for it.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Conversation id chosen for a fresh run.
    pub session_id: Option<String>,
    /// Conversation to go on with.
    pub resume_id: Option<String>,
    /// Model in the vendor's words.
    pub model: Option<String>,
    /// Effort in the vendor's words.
    pub effort: Option<String>,
    /// Permission mode in the vendor's words.
    pub permission_mode: Option<String>,
    /// Whose settings the program loads, separated by commas.
    pub setting_sources: Option<String>,
    /// Most money one run may cost, in dollars.
    pub max_budget_usd: Option<String>,
    /// MCP configuration: a file, or JSON text.
    pub mcp_config: Option<String>,
    /// Working directory.
    pub cwd: Option<String>,
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
    /// Where the repository of the working directory keeps what a commit writes.
    pub git_dirs: Vec<String>,
    /// Arguments that the configuration adds; the only ones that may look like flags.
    pub extra_args: Vec<String>,
}

/// The value of a placeholder.
enum Fill<'a> {
    One(Option<&'a str>),
    /// Each value becomes an argument of its own.
    Spread(&'a [String]),
    /// Each value repeats the whole group.
    Repeat(&'a [String]),
}

const PLACEHOLDERS: [&str; 18] = [
    "session_id",
    "resume_id",
    "model",
    "effort",
    "permission_mode",
    "setting_sources",
    "max_budget_usd",
    "mcp_config",
    "cwd",
    "last_message",
    "allowed_tools",
    "allowed_tool",
    "disallowed_tools",
    "task_dir",
    "add_dirs",
    "add_dir",
    "git_dir",
    "extra_args",
];

impl Slots {
    fn fill(&self, name: &str) -> Fill<'_> {
        match name {
            "session_id" => Fill::One(self.session_id.as_deref()),
            "resume_id" => Fill::One(self.resume_id.as_deref()),
            "model" => Fill::One(self.model.as_deref()),
            "effort" => Fill::One(self.effort.as_deref()),
            "permission_mode" => Fill::One(self.permission_mode.as_deref()),
            "setting_sources" => Fill::One(self.setting_sources.as_deref()),
            "max_budget_usd" => Fill::One(self.max_budget_usd.as_deref()),
            "mcp_config" => Fill::One(self.mcp_config.as_deref()),
            "cwd" => Fill::One(self.cwd.as_deref()),
            "last_message" => Fill::One(self.last_message.as_deref()),
            "allowed_tools" => Fill::Spread(&self.allowed_tools),
            "allowed_tool" => Fill::Repeat(&self.allowed_tools),
            "disallowed_tools" => Fill::Spread(&self.disallowed_tools),
            "task_dir" => Fill::One(self.task_dir.as_deref()),
            "add_dirs" => Fill::Spread(&self.add_dirs),
            "add_dir" => Fill::Repeat(&self.add_dirs),
            "git_dir" => Fill::Repeat(&self.git_dirs),
            "extra_args" => Fill::Spread(&self.extra_args),
            _ => Fill::One(None),
        }
    }

    /// Refuses values that a program could read as a flag. They come from tasks, that is from
    /// anybody who may submit one. `extra_args` come from the operator and are flags on purpose.
    fn guard(&self) -> Result<()> {
        let single = [
            ("session id", &self.session_id),
            ("session id", &self.resume_id),
            ("model", &self.model),
            ("effort", &self.effort),
            ("permission mode", &self.permission_mode),
            ("setting sources", &self.setting_sources),
            ("budget", &self.max_budget_usd),
            ("MCP configuration", &self.mcp_config),
            ("working directory", &self.cwd),
            ("task directory", &self.task_dir),
            ("file for the last message", &self.last_message),
        ];
        // A program may take other words for a file, a title or "the latest": conversations of others.
        let is_id = |id: &str| {
            let has_its_characters = id.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.:".contains(&c));
            // "The last one", "the third one", and directories.
            let is_choice = (!id.is_empty() && id.bytes().all(|c| c.is_ascii_digit() || c == b'.'))
                || ["last", "latest"].iter().any(|word| id.eq_ignore_ascii_case(word));
            has_its_characters && !is_choice
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
                guard(what, value)?;
            }
        }
        let lists = [&self.allowed_tools, &self.disallowed_tools, &self.add_dirs, &self.git_dirs];
        lists.into_iter().flatten().try_for_each(|value| guard("tool or directory", value))
    }
}

/// Refuses a value that could be read as a flag or that cannot be an argument.
pub fn guard(what: &str, value: &str) -> Result<()> {
    let complaint = if value.is_empty() {
        "is empty"
    } else if value.starts_with('-') {
        "starts with a dash"
    } else if value.chars().any(char::is_control) {
        "contains control characters"
    } else if hidden(value).is_some() {
        "contains invisible characters"
    } else if value.len() > LONGEST_VALUE {
        "is too long"
    } else {
        return Ok(());
    };
    let shown: String = value.chars().take(60).collect();
    Err(Error::invalid(format!(
        "{what} {:?} {complaint} and is not passed to an agent",
        crate::error::printable(&shown)
    )))
}

/// An argument list in which some values are still missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argv(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Taken as it is, braces included.
    Literal(String),
    /// One template, or several that stand or fall together.
    Group(Vec<String>),
}

impl Argv {
    /// Arguments without placeholders.
    pub fn literal(args: &[String]) -> Self {
        Self(args.iter().cloned().map(Piece::Literal).collect())
    }

    /// Reads a template list: text, or a list of text that is dropped when a value is missing.
    pub fn from_yaml(value: &Value) -> std::result::Result<Self, String> {
        let expected = || "expected a list of text and of lists of text".to_string();
        let mut pieces = Vec::new();
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
            pieces.push(Piece::Group(templates));
        }
        Ok(Self(pieces))
    }

    /// Whether a value called `name` has a place in this template.
    pub fn mentions(&self, name: &str) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Literal(_) => false,
            Piece::Group(templates) => templates.iter().any(|t| placeholders(t).any(|found| found == name)),
        })
    }

    /// The finished arguments. Fails when a value could be read as a flag.
    pub fn render(&self, slots: &Slots) -> Result<Vec<String>> {
        slots.guard()?;
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push(text.clone()),
                Piece::Group(templates) => render_group(templates, slots, &mut out),
            }
        }
        Ok(out)
    }
}

fn render_group(templates: &[String], slots: &Slots, out: &mut Vec<String>) {
    let repeated = templates.iter().flat_map(|t| placeholders(t)).find_map(|name| match slots.fill(name) {
        Fill::Repeat(values) => Some(values),
        _ => None,
    });
    let rounds: Vec<Option<&str>> = match repeated {
        Some(values) => values.iter().map(|value| Some(value.as_str())).collect(),
        None => vec![None],
    };
    for each in rounds {
        let mut group = Vec::new();
        let complete = templates.iter().all(|template| render_one(template, slots, each, &mut group));
        if complete {
            out.append(&mut group);
        }
    }
}

/// Adds what one template becomes; false when a value is missing.
fn render_one(template: &str, slots: &Slots, each: Option<&str>, out: &mut Vec<String>) -> bool {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, name, after)) = next_placeholder(rest) {
        text.push_str(before);
        rest = after;
        match slots.fill(name) {
            Fill::One(Some(value)) => text.push_str(value),
            Fill::One(None) => return false,
            Fill::Repeat(_) => text.push_str(each.unwrap_or_default()),
            Fill::Spread(values) => {
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

/// The first `{name}`: the text before it, the name, the text after it. Braces around anything that
/// is no name (JSON, say) are ordinary text.
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

    fn rendered(vendor: &str, slots: &Slots) -> String {
        let vendors = Vendors::built_in().expect("built-in profiles");
        let vendor = vendors.get(vendor).expect("known vendor");
        let argv = match slots.resume_id {
            Some(_) => vendor.resume_args.as_ref().expect("resumable"),
            None => &vendor.args,
        };
        argv.render(slots).expect("harmless values").join(" ")
    }

    fn slots() -> Slots {
        Slots {
            cwd: Some("/w".to_string()),
            task_dir: Some("/t".to_string()),
            add_dirs: vec!["/q".to_string(), "/r".to_string()],
            ..Slots::default()
        }
    }

    #[test]
    fn claude_gets_only_the_flags_that_have_values() {
        let mut slots = slots();
        slots.session_id = Some("u".to_string());
        slots.allowed_tools = vec!["Bash(git *)".to_string(), "mcp__lanes".to_string()];
        assert_eq!(
            rendered("claude", &slots),
            "-p --output-format stream-json --verbose --session-id u --allowedTools Bash(git *) mcp__lanes --add-dir /w /t --add-dir /q /r"
        );
        slots.model = Some("opus".to_string());
        slots.effort = Some("high".to_string());
        slots.session_id = None;
        slots.resume_id = Some("u2".to_string());
        assert_eq!(
            rendered("claude", &slots),
            "-p --output-format stream-json --verbose --resume u2 --model opus --effort high --allowedTools Bash(git *) mcp__lanes --add-dir /w /t --add-dir /q /r"
        );
    }

    #[test]
    fn codex_repeats_directories_and_puts_options_before_resume() {
        let mut slots = slots();
        slots.permission_mode = Some("workspace-write".to_string());
        slots.effort = Some("low".to_string());
        assert_eq!(
            rendered("codex", &slots),
            "exec --json --skip-git-repo-check -C /w -s workspace-write --add-dir /q --add-dir /r -c model_reasoning_effort=low -"
        );
        slots.resume_id = Some("t".to_string());
        assert_eq!(
            rendered("codex", &slots),
            "exec -C /w -s workspace-write --add-dir /q --add-dir /r resume --json --skip-git-repo-check -c model_reasoning_effort=low t -"
        );
    }

    #[test]
    fn gemini_and_opencode_as_measured() {
        let mut slots = slots();
        slots.session_id = Some("u".to_string());
        slots.permission_mode = Some("yolo".to_string());
        slots.model = Some("m".to_string());
        slots.add_dirs.clear();
        assert_eq!(
            rendered("gemini", &slots),
            "-o stream-json --skip-trust --approval-mode yolo --session-id u -m m --include-directories /t"
        );
        assert_eq!(rendered("opencode", &slots), "run --format json --dir /w -m m");
    }

    #[test]
    fn values_that_look_like_flags_are_refused() {
        let refused = |change: fn(&mut Slots)| {
            let mut slots = slots();
            change(&mut slots);
            let vendors = Vendors::built_in().expect("built-in profiles");
            let claude = vendors.get("claude").expect("claude");
            claude.args.render(&slots).expect_err("a flag in disguise").to_string()
        };
        let dash = refused(|slots| slots.model = Some("--dangerously-skip-permissions".to_string()));
        assert!(dash.contains("starts with a dash"), "{dash}");
        let control = refused(|slots| slots.effort = Some("high\n".to_string()));
        assert!(control.contains("control characters"), "{control}");
        assert!(refused(|slots| slots.resume_id = Some(String::new())).contains("empty"));
        assert!(refused(|slots| slots.add_dirs = vec!["-x".to_string()]).contains("dash"));
    }

    #[test]
    fn literal_arguments_keep_their_braces_and_dashes() {
        let args = ["--json={}".to_string(), "{model}".to_string()];
        let rendered = Argv::literal(&args).render(&Slots::default()).expect("literal");
        assert_eq!(rendered, args);
        let json: Value = serde_yaml::from_str(r#"['{"a": 1}', [-x, '{model}']]"#).expect("YAML");
        let argv = Argv::from_yaml(&json).expect("template");
        assert_eq!(argv.render(&Slots::default()).expect("harmless"), [r#"{"a": 1}"#]);
    }
}
