//! With what a bridge logs in: an API key, a token, or a name and a password.

use crate::bridge::board::{BoardError, BoardErrorCode, BoardResult};
use crate::workspace::{Secret, Secrets};

/// How a bridge proves to Planka who it is.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// `PLANKA_API_KEY`.
    ApiKey(Secret),
    /// `PLANKA_TOKEN`.
    Token(Secret),
    /// `PLANKA_USER` and `PLANKA_PASSWORD`, for which the server gives a token.
    Password {
        /// The name of the user or the e-mail address.
        user: Secret,
        /// The password.
        password: Secret,
    },
}

impl Credentials {
    /// Chooses among the secrets that are there: what the file has comes before the environment, and a key before a
    /// token before a password.
    ///
    /// # Errors
    /// `Auth` if there are none, or one that no HTTP header can carry.
    pub(super) fn choose(secrets: &Secrets) -> BoardResult<Self> {
        let chosen = choose(|name| secrets.in_file(name)).or_else(|| choose(|name| secrets.get(name)));
        let Some(credentials) = chosen else {
            let only = if secrets.get("PLANKA_USER").is_some() {
                "PLANKA_USER is there without PLANKA_PASSWORD"
            } else {
                "no key for Planka"
            };
            let place = secrets.place();
            let message = format!(
                "{only}: put PLANKA_API_KEY (or PLANKA_TOKEN, or PLANKA_USER and PLANKA_PASSWORD) into {place}"
            );
            return Err(BoardError::new(BoardErrorCode::Auth, message));
        };
        if let Self::ApiKey(secret) | Self::Token(secret) = &credentials
            && !secret.reveal().bytes().all(|byte| byte.is_ascii_graphic())
        {
            let name = credentials.name();
            let message = format!("{name} in {} has a space or a character that no key has", secrets.place());
            return Err(BoardError::new(BoardErrorCode::Auth, message));
        }
        Ok(credentials)
    }

    /// Returns the name of the variable, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "PLANKA_API_KEY",
            Self::Token(_) => "PLANKA_TOKEN",
            Self::Password { .. } => "PLANKA_PASSWORD",
        }
    }

    /// Returns every text that must not appear in a message.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::ApiKey(secret) | Self::Token(secret) => vec![secret],
            Self::Password { password, .. } => vec![password],
        }
    }
}

fn choose<'a>(get: impl Fn(&str) -> Option<&'a Secret>) -> Option<Credentials> {
    if let Some(key) = get("PLANKA_API_KEY") {
        return Some(Credentials::ApiKey(key.clone()));
    }
    if let Some(token) = get("PLANKA_TOKEN") {
        return Some(Credentials::Token(token.clone()));
    }
    let (user, password) = (get("PLANKA_USER")?.clone(), get("PLANKA_PASSWORD")?.clone());
    Some(Credentials::Password { user, password })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn chosen(file: &str, environment: &[(&str, &str)]) -> BoardResult<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, file).unwrap();
        let environment =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let secrets = Secrets::read(Some(&path), environment.collect()).unwrap();
        let credentials = Credentials::choose(&secrets)?;
        let values: Vec<&str> = credentials.secrets().into_iter().map(Secret::reveal).collect();
        Ok(format!("{}={}", credentials.name(), values.join(",")))
    }

    #[test]
    fn the_file_comes_first_and_a_key_before_a_token_before_a_password() {
        let all = "PLANKA_USER=u\nPLANKA_PASSWORD=p\nPLANKA_TOKEN=t\nPLANKA_API_KEY=k\n";
        assert_eq!(chosen(all, &[]).unwrap(), "PLANKA_API_KEY=k");
        assert_eq!(chosen(&all[..all.len() - 17], &[]).unwrap(), "PLANKA_TOKEN=t");
        let password = "PLANKA_USER=u\nPLANKA_PASSWORD=p\n";
        assert_eq!(chosen(password, &[("PLANKA_API_KEY", "other")]).unwrap(), "PLANKA_PASSWORD=p");
        assert_eq!(chosen("PLANKA_USER=u", &[("PLANKA_PASSWORD", "e")]).unwrap(), "PLANKA_PASSWORD=e");
        assert_eq!(chosen("", &[("PLANKA_TOKEN", "e")]).unwrap(), "PLANKA_TOKEN=e");
    }

    #[test]
    fn what_is_missing_or_no_key_is_said_without_showing_it() {
        for (file, expected) in [
            ("", "no key for Planka: put PLANKA_API_KEY"),
            ("PLANKA_USER=u", "PLANKA_USER is there without PLANKA_PASSWORD"),
            ("PLANKA_API_KEY='hunter 2'", "PLANKA_API_KEY in "),
            ("PLANKA_TOKEN=\"hunter\\n2\"", "PLANKA_TOKEN in "),
        ] {
            let error = chosen(file, &[]).unwrap_err();
            assert_eq!(error.code, BoardErrorCode::Auth);
            assert!(error.message.starts_with(expected), "{}", error.message);
            assert!(!error.message.contains("hunter"), "{}", error.message);
        }
    }
}
