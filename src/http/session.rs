//! A browser's way in: a code that works once, and the cookie for which it is exchanged.
//!
//! Browsers send cookies to every port of a host, so that the server has a host name of its own, which no other
//! server on this machine can know: names that end in `.localhost` are the loopback.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::token::SecretHash;
use crate::error::Result;
use crate::store::new_secret;

/// How long the code may be used.
pub const CODE_TIME: Duration = Duration::from_secs(5 * 60);
/// How long the cookie lets a browser in.
const COOKIE_TIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Characters of a secret that make a name nobody can guess.
const NAME_LENGTH: usize = 16;

/// The one session that a server offers.
#[derive(Debug)]
pub struct BrowserSession {
    cookie_name: String,
    state: Mutex<SessionState>,
}

#[derive(Debug)]
enum SessionState {
    /// Nobody has come yet.
    Offered { code: SecretHash, until: Instant },
    /// A browser has come.
    Open { cookie: SecretHash, until: Instant },
}

impl BrowserSession {
    /// A session of the server at `port`, and the code that opens it.
    ///
    /// # Errors
    /// `Io` when the system has no random bytes.
    pub fn offer(port: u16, now: Instant) -> Result<(Self, String)> {
        let code = new_secret()?;
        let state = SessionState::Offered { code: SecretHash::of(&code), until: now + CODE_TIME };
        Ok((Self { cookie_name: format!("lanes-{port}"), state: Mutex::new(state) }, code))
    }

    /// The `Set-Cookie` for the client that shows the right code in time, once.
    ///
    /// # Errors
    /// `Io` when the system has no random bytes.
    pub fn redeem(&self, shown: &str, now: Instant) -> Result<Option<String>> {
        let mut state = self.lock();
        let is_right = match *state {
            SessionState::Offered { code, until } => code.fits(shown) && now < until,
            SessionState::Open { .. } => false,
        };
        if !is_right {
            return Ok(None);
        }
        let cookie = new_secret()?;
        *state = SessionState::Open { cookie: SecretHash::of(&cookie), until: now + COOKIE_TIME };
        Ok(Some(format!(
            "{}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
            self.cookie_name,
            COOKIE_TIME.as_secs()
        )))
    }

    /// Whether the value of a `Cookie` header has the cookie of this session.
    pub fn knows(&self, cookies: &str, now: Instant) -> bool {
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let Some((_, shown)) = pairs.find(|(name, _)| *name == self.cookie_name) else { return false };
        match *self.lock() {
            SessionState::Offered { .. } => false,
            SessionState::Open { cookie, until } => cookie.fits(shown) && now < until,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host name for one server, which is the loopback and which nobody else knows.
///
/// # Errors
/// `Io` when the system has no random bytes.
pub fn host_name() -> Result<String> {
    Ok(format!("lanes-{}.localhost", &new_secret()?[..NAME_LENGTH]))
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
        assert_eq!(session.redeem(&code, start + CODE_TIME).unwrap(), None);
        let set = session.redeem(&code, start).unwrap().unwrap();
        assert_eq!(session.redeem(&code, start).unwrap(), None);
        assert!(set.starts_with("lanes-8765=") && set.contains("; HttpOnly; SameSite=Strict"), "{set}");
        let cookie = set.split(';').next().unwrap();
        assert!(session.knows(cookie, start));
        assert!(session.knows(&format!("a=b; {cookie}; c=d"), start));
        for bad in ["", "lanes-8765=", &cookie[..20], &cookie.replace("8765", "8766"), &format!("x{cookie}")]
        {
            assert!(!session.knows(bad, start), "{bad}");
        }
        assert!(!session.knows(cookie, start + COOKIE_TIME));
    }

    #[test]
    fn nothing_is_known_before_the_code_is_used() {
        let start = Instant::now();
        let (session, code) = BrowserSession::offer(1, start).unwrap();
        assert!(!session.knows(&format!("lanes-1={code}"), start));
        assert_ne!(host_name().unwrap(), host_name().unwrap());
    }
}
