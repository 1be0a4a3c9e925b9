//! The web interface: a page that shows the queue in a browser, and the files that it loads.
//!
//! The files are part of the program and the same for everybody: they contain no data, so that they need no token. The
//! page asks for data as every other client does, through the routes and with the token or the cookie.
//!
//! A page must only load files of its own version, since they fit each other. The URLs of the files therefore contain
//! a hash of all of them; a page from before an upgrade gets 404 for what it has not loaded yet.
//!
//! The files lie in the program as gzip has compressed them, and are sent so: every browser unpacks them.

use std::fmt::Write as _;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::transport::response::HttpResponse;

/// The methods of the page and of its files.
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

/// The path of the page.
pub(super) const PAGE_PATH: &str = "/";

/// The beginning of the paths of the files.
const FILES_PATH: &str = "/ui/";

/// The path of a file, for the metrics and the access log.
const FILE_PATTERN: &str = "/ui/{hash}/{file}";

/// The name of the page among the files. It is served at [`PAGE_PATH`] alone, because it contains [`PLACEHOLDER`].
const PAGE_FILE: &str = "index.html";

/// What stands in the page for the path under which its files are served; without a slash at the end.
const PLACEHOLDER: &str = "{{assets}}";

/// What the page may do: load files of this server and talk to it. Text never becomes a script or markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// How long a browser keeps a file, whose content never changes under its URL.
const KEPT: &str = "public, max-age=31536000, immutable";

/// The encoding of the files.
const ENCODING: &str = "gzip";

/// The names and contents of the files, all but the page compressed. Made by build.rs from the directory `src/http/ui`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));

/// Returns the pattern of a path at which the web interface is served; `None` for the path of anything else.
pub(super) fn pattern(path: &str) -> Option<&'static str> {
    match path {
        PAGE_PATH => Some(PAGE_PATH),
        path if path.starts_with(FILES_PATH) => Some(FILE_PATTERN),
        _ => None,
    }
}

/// Responds with the page, or with the file at a path. `encodings` is the `Accept-Encoding` header, without which a client
/// takes any (RFC 9110, section 12.5.3).
///
/// # Errors
/// The response for a path without a file, among them those of other versions, and for a client that cannot unpack it.
pub(super) fn respond(path: &str, encodings: Option<&str>) -> Result<HttpResponse, HttpResponse> {
    if path == PAGE_PATH {
        return Ok(secured(HttpResponse::text(media_type(PAGE_FILE), page())));
    }
    let mut parts = path.strip_prefix(FILES_PATH).unwrap_or_default().splitn(2, '/');
    let name = (parts.next() == Some(hash())).then(|| parts.next()).flatten();
    let Some(content) = name.filter(|name| *name != PAGE_FILE).and_then(file) else {
        let text = "no such file; reload the page, which may be of another version of lanes";
        return Err(HttpResponse::error(404, "unknown_route", text));
    };
    if !encodings.is_none_or(is_accepted) {
        let text = "this file is sent compressed with gzip alone; ask for it with `Accept-Encoding: gzip`";
        return Err(HttpResponse::error(406, "gzip_only", text));
    }
    let response = HttpResponse::text(media_type(name.unwrap_or_default()), content);
    Ok(secured(response.with_header("Cache-Control", KEPT).with_header("Content-Encoding", ENCODING)))
}

/// Adds the headers that keep what the page shows from the pages of others, and the page from their content. A worker
/// is limited by the headers of its own file, so that every file has them.
fn secured(response: HttpResponse) -> HttpResponse {
    response
        .with_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .with_header("Referrer-Policy", "no-referrer")
        .with_header("Cross-Origin-Opener-Policy", "same-origin")
        .with_header("Cross-Origin-Resource-Policy", "same-origin")
}

/// Returns whether an `Accept-Encoding` header allows [`ENCODING`], by name or by `*`, with a weight above 0.
fn is_accepted(encodings: &str) -> bool {
    let weight = |wanted: &str| {
        encodings.split(',').find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            is_it.then(|| weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0)))
        })
    };
    weight(ENCODING).or_else(|| weight("*")).is_some_and(|weight: f64| weight > 0.0)
}

fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, content)| *content)
}

/// Returns the page with the path of its files.
fn page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| {
        let text = String::from_utf8_lossy(file(PAGE_FILE).unwrap_or_default());
        text.replace(PLACEHOLDER, &format!("{FILES_PATH}{}", hash()))
    })
}

/// Returns a hash of the names and contents of all files, in hexadecimal.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hash = Sha256::new();
        for (name, content) in FILES {
            for part in [name.as_bytes(), content] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
