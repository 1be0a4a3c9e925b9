//! What a program needs to reach the store of a server: the address is in the place of a path, and this comes with it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, brief};

/// How the store of a server is reached.
#[derive(Clone, Debug, Default)]
pub struct RemoteAccess {
    /// The token that `lanes serve` wants.
    pub token: Option<StoreToken>,
    /// Whether requests may go unencrypted to another machine.
    pub allows_plain_http: bool,
    /// The certificates of authorities that are trusted in place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The directory of this user for what is kept of remote stores on this machine.
    pub spool: PathBuf,
}

/// A token for a server. It is never shown.
#[derive(Clone)]
#[cfg_attr(not(feature = "remote"), allow(dead_code, reason = "only a remote store sends it"))]
pub struct StoreToken(String);

impl StoreToken {
    /// Takes the text of a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[cfg(feature = "remote")]
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoreToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreToken(…)")
    }
}

/// Where a store is, by the text that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorePlace {
    /// In this directory.
    Path(PathBuf),
    /// On the server at this address.
    Server(PathBuf),
}

impl StorePlace {
    /// Reads what `--store`, `LANES_STORE` and `queue_root` take: a path, `file:` and a path, or an address. A name of a
    /// directory that looks like an address is written as `./https:`.
    ///
    /// # Errors
    /// `Invalid` for the address of something else.
    pub(crate) fn parse(text: &Path) -> Result<Self> {
        let Some(word) = text.to_str() else { return Ok(Self::Path(text.to_path_buf())) };
        let Some((scheme, rest)) = word.split_once(':') else { return Ok(Self::Path(text.to_path_buf())) };
        let is_scheme = scheme.len() > 1
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        match scheme.to_ascii_lowercase().as_str() {
            "file" => Ok(Self::Path(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            "http" | "https" => Ok(Self::Server(text.to_path_buf())),
            _ if is_scheme && rest.starts_with("//") => Err(Error::invalid(format!(
                "'{}' is no store that lanes knows",
                brief(&without_user(word))
            ))
            .with_hint(
                "give a directory, or the address of `lanes serve`: https://host or http://127.0.0.1:8765",
            )),
            _ => Ok(Self::Path(text.to_path_buf())),
        }
    }
}

/// Makes the error of a command that cannot be carried out on a store of another machine.
pub(crate) fn needs_the_store_itself() -> Error {
    Error::invalid("this needs the store itself, and not only its server")
        .with_hint("run it on the machine that has the store")
}

/// Returns whether a path is the address of a server.
pub(crate) fn is_address(path: &Path) -> bool {
    matches!(StorePlace::parse(path), Ok(StorePlace::Server(_)))
}

/// Returns an address without what may be a password.
fn without_user(address: &str) -> String {
    match address.split_once("//") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, host)) if !user.contains('/') => format!("{scheme}//{host}"),
            _ => address.to_string(),
        },
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_an_address() {
        let place = |text: &str| StorePlace::parse(Path::new(text)).unwrap();
        for path in ["state", "/q/state", "./https:", "./http://x", "C:", "a:b", "queue:2", "", "a b://c"] {
            assert_eq!(place(path), StorePlace::Path(path.into()), "{path}");
        }
        for (text, path) in [("file:state", "state"), ("file:///q/state", "/q/state"), ("FILE:/q", "/q")] {
            assert_eq!(place(text), StorePlace::Path(path.into()), "{text}");
        }
        for text in ["https://box", "http://127.0.0.1:8765/q", "HTTPS://box", "http:box"] {
            assert_eq!(place(text), StorePlace::Server(text.into()), "{text}");
        }
    }

    #[test]
    fn another_scheme_is_refused_without_its_password() {
        let error = StorePlace::parse(Path::new("redis://me:secret@box/1")).unwrap_err();
        assert!(error.is_misuse() && error.to_string().contains("redis://box/1"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_token_is_not_printed() {
        let access =
            RemoteAccess { token: Some(StoreToken::new("correct-horse")), ..RemoteAccess::default() };
        assert!(!format!("{access:?}").contains("horse"));
    }
}
