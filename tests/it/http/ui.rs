//! The web interface: what is served, with which headers, and what its files may contain.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::testkit::command;
use crate::testkit::server::{Client, Reply, Server, ask};

/// The largest size of all files together, in bytes.
const MAX_SIZE: usize = 300 * 1000;

/// The largest size of the files that a browser loads to show the first screen, in bytes.
const MAX_FIRST_SIZE: usize = 150 * 1000;

/// The headers of the page and of each of its files.
const SECURITY_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/ui")
}

/// Returns the files of the web interface, by name relative to its directory.
fn files() -> Vec<(String, String)> {
    let (mut files, mut dirs) = (Vec::new(), vec![directory()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(directory()).unwrap().to_str().unwrap().to_string();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.iter().any(|(name, _)| name == "index.html"), "{files:?}");
    files
}

/// Asks without a token.
fn stranger(server: &Server, method: &str, path: &str) -> Reply {
    Client::to(server.address).ask(method, path, &[], None)
}

/// Returns the path under which the page loads its files, without a slash at the end.
fn assets(server: &Server) -> String {
    let page = stranger(server, "GET", "/").text;
    let start = page.find("/ui/").unwrap_or_else(|| panic!("no file is loaded: {page}"));
    let hash: String = page[start + 4..].chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(hash.len(), 64, "{page}");
    format!("/ui/{hash}")
}

#[test]
fn the_page_and_its_files_are_served_to_everybody_with_all_limits() {
    let server = Server::with_token();
    assert_eq!(stranger(&server, "GET", "/status").status, 401);
    let page = stranger(&server, "GET", "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.text.contains("{{") && !page.text.contains(&server.token_of_store()), "{}", page.text);
    let assets = assets(&server);
    for (name, content) in files() {
        if name == "index.html" {
            continue;
        }
        let path = format!("{assets}/{name}");
        let file = stranger(&server, "GET", &path);
        assert_eq!((file.status, &file.text), (200, &content), "{path}");
        let kind = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("the build leaves out {name}, and {other} has no media type"),
        };
        assert_eq!(file.header("content-type"), Some(kind), "{path}");
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
        assert_eq!(file.head.matches("Cache-Control").count(), 1, "{path}");
        assert_eq!(file.header("content-encoding"), Some("gzip"), "{path}");
        for (header, value) in SECURITY_HEADERS {
            assert_eq!((file.header(header), page.header(header)), (Some(value), Some(value)), "{path}");
        }
        let head = stranger(&server, "HEAD", &path);
        assert_eq!((head.status, head.header("content-length")), (200, file.header("content-length")));
    }
}

#[test]
fn a_client_that_cannot_unpack_a_file_is_told_so() {
    let server = Server::with_token();
    let path = format!("{}/app.js", assets(&server));
    let ask =
        |encodings| Client::to(server.address).ask("GET", &path, &[("Accept-Encoding", encodings)], None);
    for accepted in ["gzip, deflate, br", "br, GZIP;q=0.5", "*", "identity, *;q=0.1"] {
        assert_eq!(ask(accepted).status, 200, "{accepted}");
    }
    for refused in ["", "br", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "identity", "gzipped"] {
        let answer = ask(refused);
        assert_eq!((answer.status, answer.code().as_str()), (406, "gzip_only"), "{refused}");
    }
}

#[test]
fn a_path_without_a_file_and_a_file_of_another_version_are_not_found() {
    let server = Server::with_token();
    let assets = assets(&server);
    let old = "0".repeat(64);
    for path in [
        format!("{assets}/index.html"),
        format!("{assets}/none.js"),
        format!("{assets}/"),
        assets.clone(),
        format!("{assets}/../{}/app.js", &assets[4..]),
        format!("/ui/{old}/app.js"),
        "/ui/app.js".to_string(),
        "/ui/".to_string(),
    ] {
        let answer = stranger(&server, "GET", &path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_route"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    for path in ["/", &format!("{assets}/app.js")] {
        let posted = stranger(&server, "POST", path);
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
        let options = stranger(&server, "OPTIONS", path);
        assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")), "{path}");
    }
    // Other names of the server are refused as everywhere.
    let foreign = Client::to(server.address).ask("GET", "/", &[("Host", "evil.test")], None);
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "host_refused"));
}

#[test]
fn the_page_is_shown_while_the_store_is_locked() {
    let server = Server::new();
    let _holder = server.hold_lock();
    assert_eq!(stranger(&server, "GET", "/").status, 200);
}

#[test]
fn without_the_page_its_paths_are_those_of_nothing() {
    let server = Server::with(&["--no-ui", "--open"]);
    for path in ["/", "/ui/0/app.js"] {
        assert_eq!(stranger(&server, "GET", path).status, 401, "{path}");
        let answer = server.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_route"), "{path}");
    }
    assert_eq!(server.get("/status").status, 200);
}

#[test]
fn a_read_only_server_shows_everything_and_changes_nothing() {
    let mut server = Server::new();
    let id = server.submit("l");
    assert_eq!(server.get("/status").at("/read_only"), json!(false));
    server.stop();
    let read_only = command_of(&server, &["serve", "--port", "0", "--no-token", "--read-only"]);
    (server.child, server.address) = Server::start(server.dir.path(), read_only);
    assert_eq!(server.get("/status").at("/read_only"), json!(true));
    assert_eq!(server.get(&format!("/tasks/{id}")).status, 200);
    let before = server.lanes(&["events", "--json"]);
    let mut refused = 0;
    let document = server.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let target = path.replace("{id}", &id).replace("{name}", "l").replace("{lane}", "l");
        for method in methods.as_object().unwrap().keys().filter(|method| *method != "get") {
            let body = (method != "delete").then(|| json!({"lane": "l", "prompt": "p", "owner": "w"}));
            let answer = ask(&server, &method.to_uppercase(), &target, body);
            assert_eq!((answer.status, answer.code().as_str()), (403, "read_only"), "{method} {target}");
            refused += 1;
        }
    }
    assert!(refused > 20, "only {refused} routes were tried");
    assert_eq!(server.post("/mcp", &json!({})).status, 404);
    assert_eq!(server.lanes(&["events", "--json"]), before);
    for other in ["--enable-queue-management", "--mcp"] {
        let output = command_of(&server, &["serve", "--read-only", other]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{other}: {printed}");
        assert!(printed.contains("--read-only") && printed.contains(other), "{printed}");
    }
}

fn command_of(server: &Server, args: &[&str]) -> std::process::Command {
    let mut command = command::lanes();
    command.args(args).current_dir(server.dir.path());
    command
}

#[test]
fn the_files_of_the_page_are_small_and_load_nothing_from_elsewhere() {
    let files = files();
    let size: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(size <= MAX_SIZE, "the web interface has {size} bytes");
    let first = first_files(&files);
    let size: usize = files.iter().filter(|(name, _)| first.contains(name)).map(|(_, text)| text.len()).sum();
    assert!(size <= MAX_FIRST_SIZE, "the first screen needs {size} bytes: {first:?}");
    for (name, text) in &files {
        // The name of a vocabulary, which nothing is loaded from.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for word in ["http://", "https://", "\"//", "'//", "`//", "@import", "sourceMappingURL"] {
            let is_check = name.ends_with(".js") && is_check_of_scheme(&text, word);
            assert!(is_check || !text.contains(word), "{name} contains {word}");
        }
    }
}

/// Returns the names of the files that a browser loads to show the board: those of the page, and what they import.
fn first_files(files: &[(String, String)]) -> Vec<String> {
    let (_, page) = files.iter().find(|(name, _)| name == "index.html").unwrap();
    let names = files.iter().map(|(name, _)| name);
    let styles = names.filter(|name| name.ends_with(".css") && page.contains(&format!("/{name}\"")));
    let mut found: Vec<String> = styles.cloned().collect();
    let mut next: Vec<String> =
        ["index.html", "icon.svg", "app.js", "screens/board.js"].map(String::from).into();
    while let Some(name) = next.pop() {
        if found.contains(&name) {
            continue;
        }
        let (_, text) = files.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}"));
        let folder = &name[..name.rfind('/').map_or(0, |slash| slash + 1)];
        for (at, start) in text.match_indices("from \"") {
            let target = text[at + start.len()..].split('"').next().unwrap();
            next.push(match target.strip_prefix("../") {
                Some(above) => above.to_string(),
                None => format!("{folder}{}", target.trim_start_matches("./")),
            });
        }
        found.push(name);
    }
    found
}

/// Returns whether a scheme stands only in quotes of its own, as where a link of a task is checked.
fn is_check_of_scheme(text: &str, scheme: &str) -> bool {
    scheme.ends_with("://")
        && text.match_indices(scheme).all(|(at, _)| text[at + scheme.len()..].starts_with(['"', '\'', '`']))
}

#[test]
fn no_file_of_the_page_makes_markup_or_code_of_text() {
    const FORBIDDEN: [&str; 15] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "setHTML",
        "createContextualFragment",
        "DOMParser",
        "srcdoc",
        "document.write",
        "eval(",
        "Function(",
        "setAttribute(\"style\"",
        "cssText",
        "javascript:",
        "localStorage.setItem(\"token",
        "document.cookie",
    ];
    for (name, text) in files() {
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{name} contains {word}");
        }
        if name.ends_with(".html") {
            for start in ["style=", "<style", " on"] {
                let inline = text.match_indices(start).any(|(at, _)| {
                    start != " on" || text[at..].split_whitespace().next().unwrap().contains('=')
                });
                assert!(!inline, "{name} contains {start}");
            }
            for script in text.split("<script").skip(1) {
                assert!(script.split_once('>').unwrap().1.starts_with("</script>"), "{name}: {script}");
            }
        }
    }
}

#[test]
fn modules_import_each_other_by_relative_names_that_exist() {
    let mut imports = 0;
    for (name, text) in files().iter().filter(|(name, _)| name.ends_with(".js")) {
        for (start, end) in [(" from \"", "\";\n"), ("import \"", "\";\n"), ("import(\"", "\")")] {
            for (at, _) in text.match_indices(start) {
                // Other text may contain such words.
                let Some(length) = text[at + start.len()..].find(end) else { continue };
                if text[at + start.len()..][..length].contains(['"', '\n']) {
                    continue;
                }
                let target = text[at + start.len()..].split('"').next().unwrap();
                assert!(target.starts_with("./") || target.starts_with("../"), "{name} imports {target}");
                let path = directory().join(name).parent().unwrap().join(target);
                assert!(path.is_file(), "{name} imports {target}");
                imports += 1;
            }
        }
    }
    assert!(imports > 0);
}

#[test]
fn the_page_uses_routes_that_every_client_has() {
    let document = lanes::internals::http::document();
    let routes: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let mut checked = 0;
    for (name, text) in files().iter().filter(|(name, _)| name.ends_with(".js")) {
        // The name that patches give to a file that is not there.
        for path in paths_in(text).into_iter().filter(|path| path != "/dev/null") {
            let is_known = routes.iter().any(|route| fits(route, &path));
            assert!(is_known, "{name} uses {path}, which is not in the OpenAPI document");
            checked += 1;
        }
    }
    assert!(checked > 0, "no path was found");
}

/// Returns the strings of a module that are paths, without their queries; `{}` is what an expression gives.
fn paths_in(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for quote in ['"', '\'', '`'] {
        for (at, _) in text.match_indices(&format!("{quote}/")) {
            let mut path = String::new();
            let mut rest = text[at + 1..].chars().peekable();
            while let Some(next) = rest.next().filter(|next| *next != quote && *next != '?') {
                if quote == '`' && next == '$' && rest.peek() == Some(&'{') {
                    let mut depth = 0;
                    for inside in rest.by_ref() {
                        depth += i32::from(inside == '{') - i32::from(inside == '}');
                        if depth == 0 {
                            break;
                        }
                    }
                    path.push_str("{}");
                } else {
                    path.push(next);
                }
            }
            if path.chars().nth(1).is_some_and(|first| first.is_ascii_lowercase()) && !path.contains('\n') {
                paths.push(path);
            }
        }
    }
    paths
}

/// Returns whether a path can be one of a route. An expression at the end may give a query.
fn fits(route: &str, path: &str) -> bool {
    let candidates = [path, path.strip_suffix("{}").unwrap_or(path)];
    candidates.iter().any(|path| {
        let (mut wanted, mut parts) = (route.split('/'), path.split('/'));
        loop {
            match (wanted.next(), parts.next()) {
                (None, None) => return true,
                (Some(wanted), Some(part)) if wanted == part || part == "{}" => {}
                (Some(wanted), Some(part)) if wanted.starts_with('{') && !part.is_empty() => {}
                _ => return false,
            }
        }
    })
}
