//! `exclusive:` of a route: the exclusive keys that its tasks get besides their own.

use serde_yaml::Value;

use crate::Result;
use crate::dispatch::prompt::fill_template;
use crate::model::ExclusiveKey;
use crate::model::exclusive_key::check_count;
use crate::workspace::{Override, Section};

/// Placeholders of a key, which may also stand alone without braces.
const PLACEHOLDERS: [&str; 4] = ["worktree", "cwd", "repository", "lane"];

/// The exclusive keys of a route, as templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteKeys(Vec<String>);

/// What the placeholders of the keys stand for.
pub(crate) struct KeyPlaces {
    /// The directory that the task names, else its workspace.
    pub worktree: String,
    /// The directory in which its agent works.
    pub cwd: String,
    /// The top of the git repository around that, else that directory.
    pub repository: String,
    /// The lane.
    pub lane: String,
}

impl RouteKeys {
    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether these have all keys of `others`.
    pub(crate) fn contains_all(&self, others: &Self) -> bool {
        others.0.iter().all(|key| self.0.contains(key))
    }

    /// Returns the keys for a task.
    pub(crate) fn fill(&self, places: &KeyPlaces) -> Vec<ExclusiveKey> {
        let KeyPlaces { worktree, cwd, repository, lane } = places;
        let values = [("worktree", worktree), ("cwd", cwd), ("repository", repository), ("lane", lane)];
        let values = values.map(|(name, value)| (name, value.as_str()));
        // The templates were checked when they were read. A path may be longer than a key of a submit.
        let filled = self.0.iter().filter_map(|template| fill_template(template, &values).ok());
        filled.map(ExclusiveKey::stored).collect()
    }
}

/// Reads a text or a list of texts.
fn texts(value: &Value) -> std::result::Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let read = match value {
        Value::Sequence(items) => items.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    };
    read.ok_or_else(|| "expected a text or a list of text".to_string())
}

/// Reads `exclusive` of a route; `null` switches off what the defaults say.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_exclusive(section: &Section<'_>, inherited: RouteKeys) -> Result<RouteKeys> {
    let templates = match section.read("exclusive", texts)? {
        Override::Inherit => return Ok(inherited),
        Override::Off => return Ok(RouteKeys::default()),
        Override::Value(templates) => templates,
    };
    let wrong = |error: crate::Error| section.error("exclusive", &error.to_string());
    check_count(templates.len()).map_err(wrong)?;
    let known = PLACEHOLDERS.map(|name| (name, "x"));
    let read = |template: String| {
        let template = match PLACEHOLDERS.contains(&template.as_str()) {
            true => format!("{{{template}}}"),
            false => template,
        };
        ExclusiveKey::new(fill_template(&template, &known).map_err(wrong)?).map_err(wrong)?;
        Ok(template)
    };
    templates.into_iter().map(read).collect::<Result<Vec<String>>>().map(RouteKeys)
}
