//! Reads secrets from a file of `NAME=VALUE` lines, or from the environment.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::paths::show;
use super::text_file::TextFile;
use crate::error::{Error, ErrorKind, Result};

/// A text that must not be shown to anybody: its debug form hides it, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one that it is meant for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a bridge finds its secrets: in its file if it has one, otherwise in the environment.
#[derive(Debug)]
pub(crate) struct Secrets {
    path: Option<PathBuf>,
    file: Vec<(String, Secret)>,
    environment: Vec<(String, Secret)>,
    warning: Option<String>,
}

impl Secrets {
    /// Reads the file, if there is one; `environment` is what this process was given.
    ///
    /// # Errors
    /// `Config` if the file does not exist or is not a list of `NAME=VALUE` lines; `Io`. The message names file and line,
    /// and never a value.
    pub(crate) fn read(env_file: Option<&Path>, environment: Vec<(OsString, OsString)>) -> Result<Self> {
        let environment = environment.into_iter().filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                Secret::new(value.into_string().ok().filter(|text| !text.is_empty())?),
            ))
        });
        let mut secrets =
            Self { path: None, file: Vec::new(), environment: environment.collect(), warning: None };
        if let Some(path) = env_file {
            let mut mode = 0;
            let text = ENV_FILE.read_if(path, |metadata| {
                mode = metadata.permissions().mode();
                Ok(())
            })?;
            secrets.file = parse(&text).map_err(|(line, reason)| {
                Error::config(format!("{} {} line {line}: {reason}", ENV_FILE.name, show(path)))
                    .with_hint("write one NAME=VALUE on each line")
            })?;
            secrets.warning = warning(path, mode);
            secrets.path = Some(path.to_path_buf());
        }
        Ok(secrets)
    }

    /// Returns a secret: the one in the file, otherwise the one in the environment. An empty value counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.in_file(name).or_else(|| find(&self.environment, name))
    }

    /// Returns a secret if the file has it.
    pub(crate) fn in_file(&self, name: &str) -> Option<&Secret> {
        find(&self.file, name)
    }

    /// Returns where somebody has to put a secret, for messages.
    pub(crate) fn place(&self) -> String {
        match &self.path {
            Some(path) => show(path),
            None => "the environment, or a file that `env_file` names".to_string(),
        }
    }

    /// Returns a line for a person if the file can be read by others.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

const ENV_FILE: TextFile = TextFile {
    name: "env file",
    limit: 64 * 1024,
    refusal: ErrorKind::Config,
    hint_if_missing: "create it with NAME=VALUE lines and `chmod 600` it, or remove env_file",
    unique_keys: false,
};

fn find<'a>(variables: &'a [(String, Secret)], name: &str) -> Option<&'a Secret> {
    // As in a shell, the last one counts.
    variables.iter().rev().find(|(have, _)| have == name).map(|(_, value)| value)
}

fn warning(path: &Path, mode: u32) -> Option<String> {
    if mode & 0o077 == 0 {
        return None;
    }
    let (shown, mode) = (show(path), mode & 0o7777);
    Some(format!("env file {shown} can be read or written by others (mode {mode:04o}): `chmod 600` it"))
}

/// Reads the lines of an env file. Nothing is expanded. Fails with the number of a line and what is wrong with it.
fn parse(text: &str) -> std::result::Result<Vec<(String, Secret)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = |reason| (index + 1, reason);
        let line = match line.strip_prefix("export") {
            Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
            _ => line,
        };
        let (name, value) = line.split_once('=').ok_or(place("has no `=`"))?;
        let name = name.trim_end();
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !is_name || name.as_bytes()[0].is_ascii_digit() {
            return Err(place("the name before `=` must consist of letters, digits and `_`"));
        }
        let value = value_of(value.trim_start()).map_err(place)?;
        if !value.is_empty() {
            variables.push((name.to_string(), Secret::new(value)));
        }
    }
    Ok(variables)
}

fn value_of(written: &str) -> std::result::Result<String, &'static str> {
    let (value, rest) = match written.chars().next() {
        Some('\'') => {
            let (value, rest) =
                written[1..].split_once('\'').ok_or("the quote is not closed on this line")?;
            (value.to_string(), rest)
        }
        Some('"') => double_quoted(&written[1..])?,
        Some('#') | None => return Ok(String::new()),
        Some(_) => {
            let end = written.find(" #").or_else(|| written.find("\t#")).unwrap_or(written.len());
            return Ok(written[..end].trim_end().to_string());
        }
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("there is more text after the closing quote");
    }
    Ok(value)
}

/// Reads up to the closing quote, and returns the value and what follows. `\"`, `\\` and `\$` stand for the second
/// character, `\n` for a newline; any other backslash stands for itself.
fn double_quoted(written: &str) -> std::result::Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = written.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &written[at + 1..])),
            '\\' => match chars.peek().map(|(_, next)| *next) {
                Some(next @ ('"' | '\\' | '$')) => {
                    value.push(next);
                    chars.next();
                }
                Some('n') => {
                    value.push('\n');
                    chars.next();
                }
                _ => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Err("the quote is not closed on this line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|(name, value)| (name, value.reveal().to_string())).collect()
    }

    #[test]
    fn values_are_read_as_a_shell_would_without_expanding_them() {
        for (line, expected) in [
            ("A=b", "b"),
            ("  A = b c  ", "b c"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=b#c", "b#c"),
            ("A=b # c", "b"),
            ("A=b\t# c", "b"),
            ("A='b # c'", "b # c"),
            ("A='b\\n' # c", "b\\n"),
            (r#"A="b \"c\" \\ \$d \e""#, r#"b "c" \ $d \e"#),
            (r#"A="b\nc""#, "b\nc"),
            ("A=$HOME/`id`", "$HOME/`id`"),
            ("A=b=c==", "b=c=="),
            ("A=b\r", "b"),
            ("\u{feff}A=b", "b"),
            ("A=ключ", "ключ"),
            ("A=a\nA=b", "b"),
        ] {
            let last = values(line).pop();
            assert_eq!(last, Some(("A".to_string(), expected.to_string())), "{line:?}");
        }
        assert_eq!(values("\n# A=b\nexport_B=c\n"), [("export_B".to_string(), "c".to_string())]);
        assert!(values("A=\nB=''\nC=\"\"\nD=# x\n").is_empty());
    }

    #[test]
    fn a_bad_line_is_named_and_its_content_is_not_shown() {
        for (text, line, expected) in [
            ("A=b\nhunter2\n", 2, "no `=`"),
            ("=hunter2", 1, "the name"),
            ("1A=hunter2", 1, "the name"),
            ("A-B=hunter2", 1, "the name"),
            ("exportA B=hunter2", 1, "the name"),
            ("\n\nA='hunter2", 3, "not closed"),
            ("A=\"hunter2\\\"", 1, "not closed"),
            ("A='hunter2' x", 1, "after the closing quote"),
        ] {
            let (at, reason) = parse(text).unwrap_err();
            assert_eq!(at, line, "{text:?}");
            assert!(reason.contains(expected), "{text:?}: {reason}");
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("secrets.env");
            std::fs::write(&path, text).unwrap();
            let error = Secrets::read(Some(&path), Vec::new()).unwrap_err().to_string();
            assert!(error.contains(&format!("secrets.env line {line}: ")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_file_comes_before_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "A=file\nEMPTY=\n").unwrap();
        let environment = || {
            [("A", "environment"), ("B", "environment"), ("EMPTY", "environment"), ("NONE", "")]
                .map(|(name, value)| (OsString::from(name), OsString::from(value)))
                .to_vec()
        };
        let secrets = Secrets::read(Some(&path), environment()).unwrap();
        let get = |name: &str| secrets.get(name).map(Secret::reveal);
        assert_eq!(
            (get("A"), get("B"), get("EMPTY"), get("NONE")),
            (Some("file"), Some("environment"), Some("environment"), None)
        );
        assert_eq!(secrets.in_file("B"), None);
        assert_eq!(secrets.place(), path.display().to_string());
        let without = Secrets::read(None, environment()).unwrap();
        assert_eq!(without.get("A").map(Secret::reveal), Some("environment"));
        assert_eq!(without.warning(), None);
        // Nothing that prints these shows a value.
        assert!(!format!("{secrets:?} {without:?}").contains("environment\""));
        assert!(!format!("{secrets:?}").contains("\"file\""));
    }

    #[test]
    fn a_file_that_others_can_read_is_reported_and_one_that_is_missing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "A=b\n").unwrap();
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let secrets = Secrets::read(Some(&path), Vec::new()).unwrap();
            assert_eq!(secrets.warning().is_none(), is_fine, "{mode:o}: {:?}", secrets.warning());
            assert!(is_fine || secrets.warning().unwrap().contains("chmod 600"));
        }
        let error = Secrets::read(Some(&dir.path().join("none")), Vec::new()).unwrap_err();
        assert!(error.to_string().contains("none does not exist; create it"), "{error}");
    }
}
