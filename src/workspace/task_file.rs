//! Task files: the fields of a submit, written down once in YAML or JSON.

use std::path::{Path, PathBuf};

use super::base_dir::Base;
use super::paths::show;
use super::text_file::TextFile;
use super::yaml::Fields;
use crate::error::{ErrorKind, Result};
use crate::model::Time;
use crate::model::json::Object;

const TASK_FILE: TextFile = TextFile {
    name: "task file",
    limit: 1024 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "check the path given to --task",
    unique_keys: true,
};

/// What a task file says, types checked, ranges not yet.
#[derive(Debug, Default)]
pub(super) struct TaskFile {
    pub lane: Option<String>,
    pub metadata: Object,
    pub prompt: Option<String>,
    /// Absolute: it is relative to the task file in the file.
    pub prompt_file: Option<PathBuf>,
    pub request_from: Option<PathBuf>,
    pub response_to: Option<PathBuf>,
    pub supporting: Vec<PathBuf>,
    pub worktree_path: Option<PathBuf>,
    pub branch: Option<String>,
    pub priority: Option<i64>,
    pub not_before: Option<Time>,
    pub delay_seconds: Option<f64>,
    pub max_attempts: Option<i64>,
    pub key: Option<String>,
    pub name: Option<String>,
    pub labels: Vec<String>,
    pub timeout_seconds: Option<f64>,
    /// Lines worth telling the user.
    pub warnings: Vec<String>,
}

impl TaskFile {
    /// Reads a task file; `path` is absolute and resolved.
    ///
    /// # Errors
    /// `Config` or `Io`, naming the file and the key, or line and column.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let fields = Fields::of_file(format!("task file {}", show(path)), TASK_FILE.read_document(path)?);
        // A file that could be read has a directory.
        Self::read(fields, &Base::at(path.parent().unwrap_or(Path::new("/"))))
    }

    /// Reads the same fields from an object; paths of prompts are relative to `base`.
    pub(super) fn read(mut fields: Fields, base: &Base) -> Result<Self> {
        let mut file = Self {
            lane: fields.text_or_blank("lane")?,
            metadata: fields.mapping("metadata")?,
            prompt: fields.text("prompt")?,
            prompt_file: fields
                .text_or_blank("prompt_file")?
                .map(|text| base.absolute(Path::new(&text)))
                .transpose()?,
            request_from: fields.text_or_blank("request_from")?.map(PathBuf::from),
            response_to: fields.text_or_blank("response_to")?.map(PathBuf::from),
            supporting: supporting(&mut fields)?,
            worktree_path: fields.text_or_blank("worktree_path")?.map(PathBuf::from),
            branch: fields.text_or_blank("branch")?,
            priority: fields.integer("priority")?,
            not_before: not_before(&mut fields)?,
            delay_seconds: fields.span("delay")?,
            max_attempts: fields.integer("max_attempts")?,
            key: fields.text("key")?,
            name: fields.text_or_blank("name")?,
            labels: fields.texts("labels")?,
            timeout_seconds: fields.span("timeout")?,
            warnings: Vec::new(),
        };
        file.warnings.extend(fields.unknown_keys());
        if file.prompt.is_some() && file.prompt_file.take().is_some() {
            file.warnings
                .push(format!("{} has both 'prompt' and 'prompt_file'; 'prompt' is used", fields.source()));
        }
        Ok(file)
    }
}

/// `supporting_paths`: each a text, or a mapping with the key `path`.
fn supporting(fields: &mut Fields) -> Result<Vec<PathBuf>> {
    let key = "supporting_paths";
    let paths = fields.texts_or(key, "path")?.filter(|paths| !paths.iter().any(String::is_empty));
    let paths = paths.ok_or_else(|| fields.wrong(key, "a list of paths"))?;
    Ok(paths.into_iter().map(PathBuf::from).collect())
}

fn not_before(fields: &mut Fields) -> Result<Option<Time>> {
    let key = "not_before";
    match fields.text(key)? {
        None => Ok(None),
        Some(text) => match Time::parse(&text) {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(fields.wrong(key, "a time such as 2026-01-31T09:00:00Z")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn load(text: &str) -> Result<TaskFile> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.yaml");
        std::fs::write(&path, text).unwrap();
        TaskFile::load(&path)
    }

    #[test]
    fn every_key_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.yaml");
        let text = "lane: review\nmetadata: {model_class: opus, n: 1}\nprompt_file: p.md\nrequest_from: r.md\n\
            response_to: ../out.md\nsupporting_paths: [a, {path: b}, 7]\nworktree_path: wt\nbranch: 12\npriority: -3\n\
            not_before: 2026-01-31T09:00:00Z\nmax_attempts: 4\nkey: k\nname: N\nlabels: [x, 7]\ntimeout: 1h30m\n";
        std::fs::write(&path, text).unwrap();
        let file = TaskFile::load(&path).unwrap();
        assert_eq!(file.lane.as_deref(), Some("review"));
        assert_eq!(Value::Object(file.metadata), json!({"model_class": "opus", "n": 1}));
        assert_eq!(file.prompt_file, Some(dir.path().join("p.md")));
        assert_eq!(file.request_from, Some(PathBuf::from("r.md")));
        assert_eq!(file.response_to, Some(PathBuf::from("../out.md")));
        assert_eq!(file.supporting, ["a", "b", "7"].map(PathBuf::from));
        assert_eq!(file.worktree_path, Some(PathBuf::from("wt")));
        assert_eq!(file.branch.as_deref(), Some("12"));
        assert_eq!(file.priority, Some(-3));
        assert_eq!(file.not_before.unwrap().to_string(), "2026-01-31T09:00:00.000000Z");
        assert_eq!(file.max_attempts, Some(4));
        assert_eq!((file.key.as_deref(), file.name.as_deref()), (Some("k"), Some("N")));
        assert_eq!(file.labels, ["x", "7"]);
        assert_eq!(file.timeout_seconds, Some(5400.0));
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }

    #[test]
    fn numbers_that_are_meant_as_text_stay_as_they_are_written() {
        for number in ["1.10", "6e2", "0x1F", "0b11", "-0", "5.", ".inf", "12345678901234567890123"] {
            let file = load(&format!(
                "base: &b {{branch: {number}}}\n<<: *b\nlane: {number}\nprompt: {number}\nrequest_from: {number}\n\
                 supporting_paths: [{number}, {{path: {number}}}]\nkey: {number}\nname: {number}\nlabels: [a, {number}]\n\
                 metadata: {{n: {number}, {number}: x}}\n"
            ));
            let file = file.unwrap();
            for text in [&file.lane, &file.branch, &file.prompt, &file.key, &file.name] {
                assert_eq!(text.as_deref(), Some(number));
            }
            assert_eq!(file.request_from, Some(number.into()));
            assert_eq!(file.supporting, [PathBuf::from(number), number.into()]);
            assert_eq!(file.labels, ["a", number]);
            assert_eq!(file.metadata[number], "x");
        }
        // The parser of JSON would spell it 6e+2.
        let json = load("{\"branch\": 1.10}").unwrap();
        assert_eq!(json.branch.as_deref(), Some("1.10"));
        assert!(
            load("{\"branch\": 6e2}")
                .unwrap_err()
                .to_string()
                .contains("'branch' must be text; put it in quotes")
        );
        // A number in metadata is a number, written as in the file where JSON has that.
        let metadata = load("metadata: {a: 1.10, b: 0x1F, c: 6e2, d: 7}\n").unwrap().metadata;
        assert_eq!(Value::Object(metadata).to_string(), "{\"a\":1.10,\"b\":31,\"c\":6e2,\"d\":7}");
    }

    #[test]
    fn empty_values_count_as_absent() {
        let file = load(
            "lane:\nmetadata: ~\nsupporting_paths:\nbranch: ''\nworktree_path: ' '\ndelay: ~\nrequest_from: ''\n",
        )
        .unwrap();
        assert!(file.lane.is_none() && file.branch.is_none() && file.worktree_path.is_none());
        assert!(file.request_from.is_none());
        assert!(file.metadata.is_empty() && file.supporting.is_empty() && file.delay_seconds.is_none());
    }

    #[test]
    fn delays_take_numbers_and_words() {
        for (text, seconds) in [("90", 90.0), ("'90'", 90.0), ("15m", 900.0), ("0.5", 0.5), ("-5", -5.0)] {
            let file = load(&format!("delay: {text}")).unwrap();
            assert_eq!(file.delay_seconds, Some(seconds), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_a_warning_in_one_line() {
        let file = load("lane: a\n\"x\\ny\": 1\ndispatch: 2\n").unwrap();
        assert_eq!(file.warnings.len(), 1);
        assert!(file.warnings[0].contains("unknown keys"), "{:?}", file.warnings);
        assert!(file.warnings[0].ends_with(": dispatch, x\\ny"), "{:?}", file.warnings);
    }

    #[test]
    fn a_prompt_and_a_prompt_file_make_a_warning() {
        let file = load("prompt: hello\nprompt_file: p.md\n").unwrap();
        assert_eq!((file.prompt.as_deref(), file.prompt_file), (Some("hello"), None));
        assert!(file.warnings[0].contains("'prompt' is used"), "{:?}", file.warnings);
    }

    #[test]
    fn wrong_types_are_named() {
        for (text, words) in [
            ("lane: [a]", "'lane' must be text"),
            ("lane: true", "'lane' must be text; put it in quotes"),
            ("prompt: {a: b}", "'prompt' must be text"),
            ("request_from: [a]", "'request_from' must be text"),
            ("metadata: [a]", "'metadata' must be a mapping"),
            ("metadata: text", "'metadata' must be a mapping"),
            ("supporting_paths: a", "'supporting_paths' must be a list"),
            ("supporting_paths: [[a]]", "'supporting_paths' must be a list of paths"),
            ("supporting_paths: [{file: a}]", "'supporting_paths' must be a list of paths"),
            ("supporting_paths: ['']", "'supporting_paths' must be a list of paths"),
            ("priority: high", "'priority' must be a whole number"),
            ("priority: 1.5", "'priority' must be a whole number"),
            ("priority: 123456789012345678901", "'priority' must be a whole number"),
            ("max_attempts: '3'", "'max_attempts' must be a whole number"),
            ("not_before: tomorrow", "'not_before' must be a time such as"),
            ("delay: soon", "'delay' must be a number of seconds"),
            ("delay: [1]", "'delay' must be a number of seconds"),
            ("timeout: {}", "'timeout' must be a number of seconds"),
            ("labels: a", "'labels' must be a list"),
            ("labels: [{}]", "'labels' must be a list of texts"),
            ("key: []", "'key' must be text"),
        ] {
            let error = load(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(error.message().starts_with("task file /"), "{error}");
            assert!(error.message().contains(words), "{text}: {error}");
        }
    }
}
