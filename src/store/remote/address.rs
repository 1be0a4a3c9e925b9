//! The address of a server, and whether a token may be sent there.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::error::{Error, Result, brief};

/// The address of `lanes serve`: an origin, with a path if a proxy serves it below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreAddress {
    /// Without a slash at its end.
    base: String,
    is_https: bool,
}

impl StoreAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// `Invalid` if it is none, has more than an origin and a path, or would send a token unencrypted to another machine.
    pub(super) fn parse(text: &str, allows_plain_http: bool) -> Result<Self> {
        let refuse = |reason: &str| {
            let message = format!("the address of the store {reason}: {}", brief(text));
            Err(Error::invalid(message).with_hint("write it as https://host or https://host/prefix"))
        };
        // Not shown: there may be a password in it.
        if text.contains('@') {
            return Err(Error::invalid("the address of the store must not contain a user or a password")
                .with_hint("put the token into LANES_TOKEN or a file for --store-token-file"));
        }
        if text.contains(['?', '#']) {
            return refuse("has a query or a fragment");
        }
        let Ok(uri) = text.parse::<Uri>() else { return refuse("cannot be read") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("is not whole");
        };
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return refuse("names no host");
        }
        let is_https = scheme == "https";
        if !is_https && !allows_plain_http && !is_loopback(&host) {
            return Err(Error::invalid(format!(
                "{} is not encrypted, and the token would be readable on the way",
                brief(text)
            ))
            .with_hint(
                "use https://, or an ssh tunnel to a loopback address; --insecure-http sends it nevertheless",
            ));
        }
        let path = uri.path().trim_end_matches('/');
        Ok(Self { base: format!("{scheme}://{authority}{path}"), is_https })
    }

    /// Returns the address of `path`, which begins with a slash.
    pub(super) fn with(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns whether requests are encrypted.
    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns the address as text.
    pub(super) fn as_str(&self) -> &str {
        &self.base
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_and_a_prefix() {
        let base = |text: &str| StoreAddress::parse(text, false).unwrap().base;
        assert_eq!(base("https://box/"), "https://box");
        assert_eq!(base("https://Box:8443/queues/a/"), "https://Box:8443/queues/a");
        assert_eq!(base("http://127.0.0.1:8765"), "http://127.0.0.1:8765");
        assert_eq!(base("http://[::1]:8765/q"), "http://[::1]:8765/q");
        assert_eq!(
            StoreAddress::parse("https://box/q", false).unwrap().with("/store/v1"),
            "https://box/q/store/v1"
        );
    }

    #[test]
    fn what_would_give_a_secret_away_is_refused() {
        for text in
            ["http://box", "http://10.0.0.3:8765", "http://localhost.evil.test", "http://127.0.0.1.evil.test"]
        {
            let error = StoreAddress::parse(text, false).unwrap_err();
            assert!(error.is_misuse() && error.to_string().contains("not encrypted"), "{error}");
            assert!(StoreAddress::parse(text, true).is_ok(), "{text}");
        }
        let error = StoreAddress::parse("https://me:secret@box", false).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn other_text_is_no_address() {
        for text in ["http:box", "https://", "https://box?x=1", "https://box#a", "https:///q", "https://a b"]
        {
            assert!(StoreAddress::parse(text, true).unwrap_err().is_misuse(), "{text}");
        }
    }
}
