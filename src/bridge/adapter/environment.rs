//! The environment of an adapter: what programs need to find files, hosts and texts, and nothing else. Secrets come in
//! `initialize`.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables that an adapter inherits. A final `*` matches any ending.
const INHERITED: [&str; 24] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "XDG_*",
    // The network: proxies, and certificates of the machine.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// Returns the part of `parent` that an adapter inherits, sorted by name.
pub(super) fn adapter_environment(parent: &[(OsString, OsString)]) -> BTreeMap<OsString, OsString> {
    let is_inherited = |name: &str| {
        INHERITED.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
    };
    parent.iter().filter(|(name, _)| name.to_str().is_some_and(is_inherited)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_program_needs_is_inherited() {
        let names =
            ["PATH", "LC_ALL", "HTTPS_PROXY", "GH_TOKEN", "PLANKA_API_KEY", "LANES_TASK_ID", "LC", "PATHS"];
        let parent: Vec<_> = names.map(|name| (OsString::from(name), OsString::from("1"))).into();
        let inherited: Vec<_> = adapter_environment(&parent).into_keys().collect();
        assert_eq!(inherited, ["HTTPS_PROXY", "LC_ALL", "PATH"]);
    }
}
