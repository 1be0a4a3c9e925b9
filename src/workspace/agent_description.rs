//! Describes an agent by what its directory contains, for agents whose settings have no description.
//!
//! The files may have been written by anybody. They are read up to a limit, without following links, and what is taken
//! from them is one line without control characters.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use crate::model::names::is_hidden;

/// The most characters of a description.
pub(crate) const MAX_DESCRIPTION: usize = 200;
/// How much of a file is read, in bytes.
const MAX_READ: u64 = 64 * 1024;
/// The most names of servers that are listed.
const MAX_SERVERS: usize = 5;

/// The files whose first paragraph describes a directory, the best first.
const PROSE: [&str; 4] = ["AGENTS.md", "CLAUDE.md", "README.md", "README"];

/// The files that show what a directory is built with.
const MARKERS: [(&str, &str); 12] = [
    ("Cargo.toml", "Rust"),
    ("go.mod", "Go"),
    ("package.json", "Node"),
    ("tsconfig.json", "TypeScript"),
    ("pyproject.toml", "Python"),
    ("requirements.txt", "Python"),
    ("Gemfile", "Ruby"),
    ("pom.xml", "Java"),
    ("build.gradle", "Gradle"),
    ("CMakeLists.txt", "CMake"),
    ("main.tf", "Terraform"),
    ("Dockerfile", "Docker"),
];

/// Returns a description of at most [`MAX_DESCRIPTION`] characters, in one line; empty if the directory shows nothing.
pub(crate) fn describe_directory(directory: &Path) -> String {
    let read = |name: &str| read_text(&directory.join(name));
    let prose = PROSE.iter().find_map(|name| first_paragraph(&read(name)?));
    let prose = prose.or_else(|| manifest_description(&read)).unwrap_or_default();
    let mut tail = String::new();
    let stack = stacks(directory);
    if !stack.is_empty() {
        tail += &format!("Stack: {}", stack.join(", "));
    }
    let servers = mcp_servers(directory);
    if !servers.is_empty() {
        let gap = if tail.is_empty() { "" } else { " | " };
        tail += &format!("{gap}MCP: {}", servers.join(", "));
    }
    let tail = cut(&one_line(&tail), MAX_DESCRIPTION / 2);
    let gap = if prose.is_empty() || tail.is_empty() { "" } else { " | " };
    let room = MAX_DESCRIPTION - tail.chars().count() - gap.len();
    format!("{}{gap}{tail}", cut(&prose, room))
}

/// Returns the languages and tools with which a directory is built, by the files in it.
pub(crate) fn stacks(directory: &Path) -> Vec<String> {
    let mut stacks: Vec<String> = Vec::new();
    for (name, stack) in MARKERS {
        if !stacks.iter().any(|known| known == stack) && is_regular_file(&directory.join(name)) {
            stacks.push(stack.to_string());
        }
    }
    stacks
}

/// Returns the names of the MCP servers of a project.
pub(crate) fn mcp_servers(directory: &Path) -> Vec<String> {
    read_text(&directory.join(".mcp.json")).map(|text| server_names(&text)).unwrap_or_default()
}

/// Returns the beginning of a text with at most `lines` lines, without control characters; `None` if there is no such
/// file.
#[cfg(feature = "mcp")]
pub(crate) fn preview(path: &Path, lines: usize) -> Option<String> {
    let text = read_text(path)?;
    let mut shown: Vec<String> = text.lines().take(lines).map(without_controls).collect();
    if text.lines().nth(lines).is_some() {
        shown.push("…".to_string());
    }
    Some(shown.join("\n"))
}

/// Reads the beginning of a regular file as text; `None` if there is none, or what it contains is not text.
fn read_text(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    // The limit may cut a character.
    let text = String::from_utf8_lossy(&bytes);
    (!text.contains('\0')).then(|| text.into_owned())
}

fn is_regular_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Returns the first paragraph of prose of a Markdown text, in one line.
fn first_paragraph(text: &str) -> Option<String> {
    let mut paragraph: Vec<&str> = Vec::new();
    let mut is_code = false;
    let mut is_front_matter = text.starts_with("---\n");
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if is_front_matter {
            is_front_matter = number == 0 || line != "---";
            continue;
        }
        if line.starts_with("```") || line.starts_with("~~~") {
            is_code = !is_code;
        }
        // Headings, quotes, lists, tables, images, badges, HTML and rules are no prose.
        let is_prose = !is_code
            && !line.is_empty()
            && !line.starts_with(['#', '>', '-', '*', '+', '|', '!', '[', '<', '`', '=', '@']);
        match (is_prose, paragraph.is_empty()) {
            (true, _) => paragraph.push(line),
            (false, false) => break,
            (false, true) => {}
        }
    }
    let line = one_line(&paragraph.join(" "));
    (!line.is_empty()).then_some(line)
}

/// Returns the description in the manifest of a package.
fn manifest_description(read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let of_toml = |name: &str| {
        let text = read(name)?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("description"))?;
        let value = line.trim_start().strip_prefix('=')?.trim();
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
        value[1..].split(quote).next().map(str::to_string)
    };
    let of_json = || {
        let manifest: Value = serde_json::from_str(&read("package.json")?).ok()?;
        manifest.get("description")?.as_str().map(str::to_string)
    };
    let found = of_toml("Cargo.toml").or_else(|| of_toml("pyproject.toml")).or_else(of_json)?;
    let found = one_line(&found);
    (!found.is_empty()).then_some(found)
}

/// Returns the names of the servers in the text of an .mcp.json.
fn server_names(text: &str) -> Vec<String> {
    let settings: Value = serde_json::from_str(text).unwrap_or_default();
    let servers = settings.get("mcpServers").and_then(Value::as_object);
    servers
        .into_iter()
        .flat_map(|servers| servers.keys())
        .take(MAX_SERVERS)
        .map(|name| cut(name, 30))
        .collect()
}

/// Returns a text in one line, with single spaces and without control characters.
fn one_line(text: &str) -> String {
    text.split_whitespace()
        .map(without_controls)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// Returns at most `max` characters of a text.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_string(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_directory_is_described_by_prose_stack_and_servers() {
        let readme = "---\ntitle: x\n---\n# Title\n\n[![badge](x)](y)\n\n```sh\nrun\n```\n- a list\n\nThe billing\nservice.\n\nMore.\n";
        let dir = directory(&[
            ("README.md", readme),
            ("Cargo.toml", "[package]\ndescription = \"not used\"\n"),
            ("Dockerfile", ""),
            (".mcp.json", r#"{"mcpServers": {"github": {}, "db": {}}}"#),
        ]);
        assert_eq!(
            describe_directory(dir.path()),
            "The billing service. | Stack: Rust, Docker | MCP: db, github"
        );
        std::fs::write(dir.path().join("AGENTS.md"), "Rules for agents.").unwrap();
        assert!(describe_directory(dir.path()).starts_with("Rules for agents. | Stack"));
        let dir = directory(&[("pyproject.toml", "[project]\ndescription = 'Sends mail'\n")]);
        assert_eq!(describe_directory(dir.path()), "Sends mail | Stack: Python");
        let dir = directory(&[("package.json", r#"{"description": "A page"}"#)]);
        assert_eq!(describe_directory(dir.path()), "A page | Stack: Node");
        assert_eq!(describe_directory(directory(&[]).path()), "");
        assert_eq!(describe_directory(&dir.path().join("gone")), "");
    }

    #[test]
    fn hostile_files_give_one_short_line_or_nothing() {
        let long = "word ".repeat(100_000);
        let servers: Vec<String> = (0..200).map(|n| format!("\"{}{n}\": {{}}", "s".repeat(50))).collect();
        let servers = format!("{{\"mcpServers\": {{{}}}}}", servers.join(","));
        let dir = directory(&[("README.md", &long), (".mcp.json", &servers)]);
        let described = describe_directory(dir.path());
        assert!(described.chars().count() <= MAX_DESCRIPTION, "{described}");
        let dir = directory(&[("README.md", "a\u{1b}[31mred\u{202e} \u{200b}b\u{7}\r\nc")]);
        assert_eq!(describe_directory(dir.path()), "a[31mred b c");
        assert_eq!(preview(&dir.path().join("README.md"), 1).unwrap(), "a[31mred b\n…");
        let secret = directory(&[("secret", "the password")]);
        let dir = directory(&[("CLAUDE.md", "bin\0ary")]);
        std::os::unix::fs::symlink(secret.path().join("secret"), dir.path().join("AGENTS.md")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        let pipe = dir.path().join("README.md");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::create_dir(dir.path().join("README")).unwrap();
        assert_eq!(describe_directory(dir.path()), "");
    }
}
