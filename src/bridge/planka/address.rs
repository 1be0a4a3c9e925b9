//! The address of a Planka server, and whether secrets may be sent there.

use std::net::IpAddr;

use ureq::http::Uri;

use crate::bridge::board::{BoardError, BoardErrorCode, BoardResult};
use crate::error::brief;

/// The address of a server: an origin, with a path if Planka is below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    /// Without a slash at its end.
    base: String,
    host: String,
    is_https: bool,
}

impl ServerAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// `Invalid` if it is not an http or https address, or contains more than origin and path.
    pub(super) fn parse(url: &str) -> BoardResult<Self> {
        let refuse = |reason: &str| {
            let message = format!("url '{}' {reason}: write it as https://planka.example", brief(url));
            Err(BoardError::new(BoardErrorCode::Invalid, message))
        };
        if url.contains(['?', '#']) {
            return refuse("has a query or a fragment");
        }
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse("is not an address");
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("is not a whole address");
        };
        if authority.as_str().contains('@') {
            // The address is not shown: it has a password in it.
            let message = "url must not contain a user or a password: put PLANKA_USER and PLANKA_PASSWORD into env_file";
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        if scheme != "https" && scheme != "http" {
            return refuse("is neither https nor http");
        }
        if authority.host().is_empty() {
            return refuse("names no host");
        }
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            base: format!("{scheme}://{authority}{path}"),
            host: authority.host().trim_matches(['[', ']']).to_ascii_lowercase(),
            is_https: scheme == "https",
        })
    }

    /// Returns the address of `path`, which begins with a slash.
    pub(super) fn with(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns whether what is sent there is encrypted.
    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Returns whether nobody on the way can read what is sent there.
    pub(super) fn is_private(&self) -> bool {
        self.is_https || self.is_loopback()
    }

    fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
        }
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_with_a_path() {
        for (url, base, is_private) in [
            ("https://planka.example", "https://planka.example", true),
            ("https://planka.example/", "https://planka.example", true),
            ("https://host:8443/planka/", "https://host:8443/planka", true),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://127.0.0.2:3000", "http://127.0.0.2:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://planka.localhost", "http://planka.localhost", true),
            ("http://planka.example", "http://planka.example", false),
            ("http://192.168.1.2:3000", "http://192.168.1.2:3000", false),
            ("http://localhost.example", "http://localhost.example", false),
        ] {
            let address = ServerAddress::parse(url).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_private()), (base, is_private));
            assert_eq!(address.with("/api"), format!("{base}/api"));
        }
    }

    #[test]
    fn anything_else_is_refused_in_one_line() {
        for (url, expected) in [
            ("", "not an address"),
            ("planka.example", "not a whole address"),
            ("/planka", "not a whole address"),
            ("ftp://planka.example", "neither https nor http"),
            ("https://planka.example?x=1", "query"),
            ("https://planka.example/#/a", "fragment"),
            ("https://a b", "not an address"),
        ] {
            let error = ServerAddress::parse(url).unwrap_err();
            assert_eq!(error.code, BoardErrorCode::Invalid, "{url}");
            assert!(error.message.contains(expected), "{url}: {}", error.message);
        }
        let error = ServerAddress::parse("https://bot:hunter2@planka.example").unwrap_err();
        assert!(error.message.contains("PLANKA_PASSWORD") && !error.message.contains("hunter2"));
    }
}
