//! The login of a browser: with a code that works once and is exchanged for a cookie.
//!
//! Browsers send cookies to every port of a host. The server therefore has a host name of its own, which no other
//! server on this machine can know: names that end in `.localhost` are the loopback.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::token::SecretHash;
use crate::error::Result;
use crate::store::new_secret;

/// How long the code is valid.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long the cookie is valid.
const COOKIE_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// The number of characters of a secret in the host name, which makes it impossible to guess.
const NAME_LENGTH: usize = 16;
const NAME_BEGIN: &str = "lanes-";
const NAME_END: &str = ".localhost";

/// The one browser session that a server offers.
#[derive(Debug)]
pub(crate) struct BrowserSession {
    cookie_name: String,
    state: Mutex<SessionState>,
}

#[derive(Debug)]
enum SessionState {
    /// The code has not been used yet.
    Offered { code: SecretHash, until: Instant },
    /// A browser has exchanged the code for the cookie.
    Open { cookie: SecretHash, until: Instant },
}

impl BrowserSession {
    /// Offers a session of the server at `port`, and returns it with the code that opens it.
    ///
    /// # Errors
    /// `Io` when the system has no random bytes.
    pub(crate) fn offer(port: u16, now: Instant) -> Result<(Self, String)> {
        let code = new_secret()?;
        let state = SessionState::Offered { code: SecretHash::of(&code), until: now + CODE_LIFETIME };
        Ok((Self { cookie_name: format!("lanes-{port}"), state: Mutex::new(state) }, code))
    }

    /// Exchanges the code for a cookie, once and while the code is valid; returns the `Set-Cookie` header.
    ///
    /// # Errors
    /// `Io` when the system has no random bytes.
    pub(crate) fn redeem(&self, shown: &str, now: Instant) -> Result<Option<String>> {
        let mut state = self.lock();
        let is_right = match *state {
            SessionState::Offered { code, until } => code.matches(shown) && now < until,
            SessionState::Open { .. } => false,
        };
        if !is_right {
            return Ok(None);
        }
        let cookie = new_secret()?;
        *state = SessionState::Open { cookie: SecretHash::of(&cookie), until: now + COOKIE_LIFETIME };
        Ok(Some(format!(
            "{}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
            self.cookie_name,
            COOKIE_LIFETIME.as_secs()
        )))
    }

    /// Returns whether the value of a `Cookie` header contains the valid cookie of this session.
    pub(crate) fn accepts(&self, cookies: &str, now: Instant) -> bool {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let Some((_, shown)) = pairs.find(|(name, _)| *name == self.cookie_name) else { return false };
        match *self.lock() {
            SessionState::Offered { .. } => false,
            SessionState::Open { cookie, until } => cookie.matches(shown) && now < until,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a host name that means the loopback and that nobody can guess: that of the secret which a store keeps, so that
/// an address of the page is still right when its server was started again; or without one a new name.
///
/// # Errors
/// `Io` when the system has no random bytes.
pub(super) fn host_name(secret: Option<SecretHash>) -> Result<String> {
    let name = match secret {
        Some(secret) => secret.derive("host name"),
        None => new_secret()?,
    };
    Ok(format!("{NAME_BEGIN}{}{NAME_END}", &name[..NAME_LENGTH]))
}

/// Returns whether a name may be one that [`host_name`] has made for another server.
pub(super) fn is_host_name(name: &str) -> bool {
    name.starts_with(NAME_BEGIN) && name.ends_with(NAME_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_works_once_and_in_time() {
        let start = Instant::now();
        let (session, code) = BrowserSession::offer(8765, start).unwrap();
        assert_eq!(session.redeem("", start).unwrap(), None);
        assert_eq!(session.redeem(&code[1..], start).unwrap(), None);
        assert_eq!(session.redeem(&code, start + CODE_LIFETIME).unwrap(), None);
        let set = session.redeem(&code, start).unwrap().unwrap();
        assert_eq!(session.redeem(&code, start).unwrap(), None);
        assert!(set.starts_with("lanes-8765=") && set.contains("; HttpOnly; SameSite=Strict"), "{set}");
        let cookie = set.split(';').next().unwrap();
        assert!(session.accepts(cookie, start));
        assert!(session.accepts(&format!("a=b; {cookie}; c=d"), start));
        for bad in ["", "lanes-8765=", &cookie[..20], &cookie.replace("8765", "8766"), &format!("x{cookie}")]
        {
            assert!(!session.accepts(bad, start), "{bad}");
        }
        assert!(!session.accepts(cookie, start + COOKIE_LIFETIME));
    }

    #[test]
    fn nothing_is_known_before_the_code_is_used() {
        let start = Instant::now();
        let (session, code) = BrowserSession::offer(1, start).unwrap();
        assert!(!session.accepts(&format!("lanes-1={code}"), start));
        assert_ne!(host_name(None).unwrap(), host_name(None).unwrap());
        let of = |secret: &str| host_name(Some(SecretHash::of(secret))).unwrap();
        assert_eq!(of("one secret"), of("one secret"));
        assert_ne!(of("one secret"), of("another secret"));
        assert!(is_host_name(&of("one secret")), "{}", of("one secret"));
    }
}
