//! The examples of the documents, run literally, and other checks of the documents.
//!
//! Every fenced `console` block of CONTRACT.md, README.md and docs/ is a session of `sh`: lines that start
//! with `$ ` are commands (`> ` continues one), the lines after a command are its standard output
//! and standard error together. A block starts in a new empty directory, which the documents call
//! `/home/you/demo`, with a clock that stands still and random numbers from a fixed seed, so that
//! ids and tokens repeat. A comment in the line before the fence changes that:
//!
//! * `<!-- continue -->`: go on where the block before ended, with its directory, clock and variables;
//! * `<!-- norun -->`: not run, for what needs an agent.
//!
//! `LANES_TEST_BLESS=1 cargo test --test it contract` writes what was printed into the documents.

#![expect(clippy::disallowed_methods, reason = "the wish to rewrite the documents comes by the environment")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::testkit::command::{LANES, clean, lanes, listed_commands};
use crate::testkit::wait::end_of;

/// The documents outside docs/ whose examples are run.
const DOCUMENTS: [&str; 2] = ["CONTRACT.md", "README.md"];

/// How the documents call the directory of a block's parent, which is also its home directory.
const HOME: &str = "/home/you";

/// Stands between the outputs of two commands; no command prints it.
const MARK: &str = "\u{1}next command\u{1}";

/// The time limit of a session, far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One command of a block with the output that the document shows, and where that output is.
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
    output_from: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Start {
    New,
    Continue,
    Never,
}

struct Block {
    start: Start,
    steps: Vec<Step>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            None if line == "```console" => {
                let start = match before {
                    "<!-- continue -->" => Start::Continue,
                    "<!-- norun -->" => Start::Never,
                    _ => Start::New,
                };
                open = Some(Block { start, steps: Vec::new() });
            }
            None => before = line,
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => add_line(block, number, line),
        }
    }
    assert!(open.is_none(), "a console block has no end");
    blocks
}

fn add_line(block: &mut Block, number: usize, line: &str) {
    if let Some(command) = line.strip_prefix("$ ") {
        let command = command.to_string();
        block.steps.push(Step { line: number, command, output: Vec::new(), output_from: number + 1 });
        return;
    }
    let step = block.steps.last_mut();
    let step = step.unwrap_or_else(|| panic!("line {}: a block starts with a command", number + 1));
    match line.strip_prefix("> ") {
        Some(more) if step.output.is_empty() => {
            write!(step.command, "\n{more}").unwrap();
            step.output_from = number + 1;
        }
        _ => step.output.push(line.to_string()),
    }
}

/// Runs commands as one session and returns what each printed.
fn run(commands: &[&str]) -> Vec<Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let real_home = home.path().canonicalize().unwrap();
    let directory = real_home.join("demo");
    fs::create_dir(&directory).unwrap();
    let mut script = String::from("umask 022\nexec 2>&1\n");
    for command in commands {
        // The mark must not change `$?`.
        write!(script, "rc_=$?; printf '%s\\n' '{MARK}'; (exit $rc_)\n{command}\n").unwrap();
    }
    let programs = Path::new(LANES).parent().unwrap();
    let printed = real_home.join("printed");
    let mut shell = clean("/bin/sh")
        .args(["-c", &script])
        .current_dir(&directory)
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("HOME", &real_home)
        .env("USER", "you")
        .env("LANES_TEST_NOW", "2026-11-21T07:00:00Z")
        .env("LANES_TEST_SEED", "1")
        .stdout(File::create(&printed).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    assert!(end_of(&mut shell, PATIENCE).is_some(), "this session does not end:\n{}", commands.join("\n"));
    let text = fs::read_to_string(&printed).unwrap().replace(real_home.to_str().unwrap(), HOME);
    let mut outputs: Vec<Vec<String>> = Vec::new();
    for line in text.lines() {
        match outputs.last_mut() {
            _ if line == MARK => outputs.push(Vec::new()),
            Some(output) => output.push(line.to_string()),
            None => panic!("printed before the first command: {line}"),
        }
    }
    assert_eq!(outputs.len(), commands.len(), "the shell stopped early:\n{text}");
    outputs
}

/// Every block of the documents as sessions: lists of blocks that belong together.
fn sessions(blocks: &[Block]) -> Vec<Vec<&Step>> {
    let mut sessions: Vec<Vec<&Step>> = Vec::new();
    for block in blocks {
        match block.start {
            Start::Never => continue,
            Start::New => sessions.push(Vec::new()),
            Start::Continue => assert!(!sessions.is_empty(), "the first block continues nothing"),
        }
        sessions.last_mut().unwrap().extend(&block.steps);
    }
    sessions
}

/// Returns the names of the Markdown files in a directory of the repository, `""` for its root.
fn pages(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("{directory}{name}")).collect();
    names.sort();
    names
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The documents whose examples are run, with their text.
fn documents() -> Vec<(String, String)> {
    let names = DOCUMENTS.map(str::to_string).into_iter().chain(pages("docs/"));
    names.map(|name| (name.clone(), read(&name))).collect()
}

#[test]
fn every_example_prints_what_the_documents_show() {
    let bless = std::env::var_os("LANES_TEST_BLESS").is_some();
    let mut ran = 0;
    let mut wrong = String::new();
    for (name, text) in documents() {
        let blocks = blocks(&text);
        let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_string())).collect();
        for session in sessions(&blocks) {
            let commands: Vec<&str> = session.iter().map(|step| step.command.as_str()).collect();
            for (step, printed) in session.iter().zip(run(&commands)) {
                ran += 1;
                if printed == step.output {
                    continue;
                }
                for line in &mut lines[step.output_from..step.output_from + step.output.len()] {
                    *line = None;
                }
                let before = &mut lines[step.output_from - 1];
                *before = Some([&[before.clone().unwrap()], printed.as_slice()].concat().join("\n"));
                let (shown, printed) = (step.output.join("\n"), printed.join("\n"));
                let (number, command) = (step.line + 1, &step.command);
                writeln!(wrong, "{name}:{number}: $ {command}\n-- shown\n{shown}\n-- printed\n{printed}\n")
                    .unwrap();
            }
        }
        if bless {
            let text: Vec<String> = lines.into_iter().flatten().collect();
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name), text.join("\n") + "\n").unwrap();
        }
    }
    assert!(ran > 0, "no example was found: this test looks in the wrong place");
    assert!(wrong.is_empty() || bless, "\n{wrong}");
}

#[test]
fn every_command_has_its_contract_and_an_example() {
    let help = lanes().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let names = listed_commands(&help);
    assert!(names.contains(&"submit"), "{names:?}");
    let contract: String =
        documents().into_iter().filter(|(name, _)| name != "README.md").map(|(_, text)| text).collect();
    let blocks = blocks(&contract);
    let examples: Vec<&str> =
        blocks.iter().flat_map(|block| &block.steps).map(|step| step.command.as_str()).collect();
    for name in &names {
        let headed =
            contract.lines().any(|line| line.starts_with("##") && line.contains(&format!("`{name}`")));
        assert!(headed, "docs/ has no heading for `{name}`");
        let shown = examples.iter().any(|example| {
            let words: Vec<&str> = example.split_whitespace().collect();
            words.iter().position(|word| word.ends_with("lanes")).is_some_and(|at| words[at..].contains(name))
        });
        assert!(shown, "docs/ has no example of `{name}`");
    }
}

/// Returns the texts in quotes or backticks that look like the code of a finding.
fn codes(text: &str, quote: char) -> BTreeSet<String> {
    const WITHOUT_HYPHEN: [&str; 4] = ["link", "mode", "staged", "stranger"];
    let is_code = |word: &&str| {
        let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        WITHOUT_HYPHEN.contains(word) || (word.contains('-') && word.split('-').all(letters))
    };
    text.split(quote).filter(is_code).map(str::to_string).collect()
}

#[test]
fn every_finding_of_fsck_is_in_its_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for file in fs::read_dir(root.join("src/store/fsck")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        found.extend(text.lines().flat_map(|line| codes(line, '"')));
    }
    let section = read("docs/commands.md");
    let section = section.split("\n### `fsck`\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<String> = rows.flat_map(|cell| codes(&format!("`{cell}"), '`')).collect();
    assert!(found.len() > 30, "{found:?}");
    assert_eq!(found, listed);
}

#[test]
fn blocks_are_read_as_documented() {
    let text = "```console\n$ a\nout\n$ b <<E\n> in\n> E\n```\n<!-- continue -->\n```console\n$ c\n\nx\n```\n\
                <!-- norun -->\n```console\n$ d\n```\n```sh\n$ e\n```\n";
    let blocks = blocks(text);
    let starts: Vec<Start> = blocks.iter().map(|block| block.start).collect();
    assert!(starts == [Start::New, Start::Continue, Start::Never]);
    let sessions = sessions(&blocks);
    assert_eq!(sessions.len(), 1);
    let commands: Vec<&str> = sessions[0].iter().map(|step| step.command.as_str()).collect();
    assert_eq!(commands, ["a", "b <<E\nin\nE", "c"]);
    assert_eq!(sessions[0][0].output, ["out"]);
    assert!(sessions[0][1].output.is_empty());
    assert_eq!(sessions[0][2].output, ["", "x"]);
}

/// Returns the lines of a document outside its fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Returns the anchor that renderers of Markdown give a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text)
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let marks = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    headings.map(anchor).chain(marks.map(str::to_string)).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    let mut broken = Vec::new();
    let folders = [
        "",
        "docs/",
        "benches/",
        "examples/agents/",
        "examples/nightly/",
        "examples/workflow/",
        "examples/notify/",
        "examples/pool/",
        "examples/review/",
        "examples/two-terminal/",
    ];
    for name in folders.into_iter().flat_map(pages) {
        let text = read(&name);
        let links =
            prose(&text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            checked += 1;
            let (path, mark) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root.join(&name)
            } else {
                root.join(&name).parent().unwrap().join(path)
            };
            let found = match mark {
                "" => target.exists(),
                _ => fs::read_to_string(target).is_ok_and(|text| anchors(&text).contains(mark)),
            };
            if !found {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(checked > 50, "only {checked} links were found: this test looks in the wrong place");
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn every_page_of_the_contract_lists_its_sections() {
    for name in pages("docs/") {
        let text = read(&name);
        let missing: Vec<&str> = prose(&text)
            .filter_map(|line| line.strip_prefix("## "))
            .filter(|heading| !text.contains(&format!("](#{})", anchor(heading))))
            .collect();
        assert!(missing.is_empty(), "{name} does not list {missing:?} at its top");
        assert!(read("CONTRACT.md").contains(&format!("]({name})")), "CONTRACT.md does not list {name}");
    }
}

/// Returns whether a text in backticks names a file or folder of this repository rather than of a store.
fn is_file_of_ours(word: &str) -> bool {
    const FOLDERS: [&str; 10] = [
        "benches/",
        "cli/",
        "dispatch/",
        "examples/",
        "http/",
        "model/",
        "packaging/",
        "store/",
        "tests/",
        "workspace/",
    ];
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    plain && (FOLDERS.iter().any(|folder| word.starts_with(folder)) || word.ends_with(".rs"))
}

#[test]
fn every_file_that_the_documents_for_developers_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    let mut missing = Vec::new();
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "benches/README.md"] {
        let text = read(name);
        for word in prose(&text)
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .filter(|word| is_file_of_ours(word))
        {
            checked += 1;
            if !root.join(word).exists() && !root.join("src").join(word).exists() {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(checked > 100, "only {checked} files were found: this test looks in the wrong place");
    assert!(missing.is_empty(), "files that do not exist: {missing:#?}");
}

#[test]
fn every_item_that_the_map_finds_in_a_file_is_there() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = read("ARCHITECTURE.md");
    let mut checked = 0;
    for (at, between) in text.match_indices("` in `") {
        let item = text[..at].rsplit(['`', ':']).next().unwrap();
        let file = text[at + between.len()..].split('`').next().unwrap();
        let Ok(code) = fs::read_to_string(source.join(file)) else { continue };
        let forms = ["fn {}(", "fn {}<", "const {}:", "struct {}", "enum {}", "::{}("];
        let is_there = forms.iter().any(|form| code.contains(&form.replace("{}", item)));
        assert!(is_there, "ARCHITECTURE.md: there is no {item} in {file}");
        checked += 1;
    }
    assert!(checked > 10, "only {checked} items were found: this test looks in the wrong place");
}

/// Returns the name of the type that a line of Rust declares for others, if it declares one.
fn declared_type(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("pub")?;
    let line = match line.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1,
        None => line,
    };
    let (kind, rest) = line.trim_start().split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
    (["struct", "enum", "trait", "type"].contains(&kind) && !name.is_empty()).then_some(name)
}

/// Collects the types that the files below a folder declare; those of tests and of single commands are left out.
fn declared_types(folder: &Path, types: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains("test") || name.contains("fuzzing") {
            continue;
        }
        if path.is_dir() {
            declared_types(&path, types);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let is_command = |name: &&str| folder.ends_with("cli") && name.ends_with("Command");
            let names = text
                .lines()
                .filter_map(declared_type)
                .filter(|name| !is_command(name) || *name == "CliCommand");
            types.extend(names.map(str::to_string));
        }
    }
}

#[test]
fn every_type_has_a_line_in_the_glossary() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let glossary = read("docs/glossary.md");
    let code = glossary.split("\n## The code\n").nth(1).unwrap();
    let mut count = 0;
    for area in ["os", "model", "workspace", "store", "guard", "http", "dispatch", "bridge", "mcp", "cli"] {
        let mut types = BTreeSet::new();
        declared_types(&source.join(area), &mut types);
        let table = code.split(&format!("\nTypes of `{area}/`.\n")).nth(1).expect(area);
        let table = table.split("\n#").next().unwrap();
        let rows: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let explained: BTreeSet<String> = rows.iter().map(|name| name.to_string()).collect();
        let missing: Vec<&String> = types.difference(&explained).collect();
        let gone: Vec<&String> = explained.difference(&types).collect();
        assert!(missing.is_empty(), "types of {area} without a line in docs/glossary.md: {missing:?}");
        assert!(gone.is_empty(), "docs/glossary.md explains types that {area} does not have: {gone:?}");
        let misplaced = rows.windows(2).find(|pair| pair[0].to_lowercase() >= pair[1].to_lowercase());
        assert_eq!(misplaced, None, "types of {area} out of alphabetical order in docs/glossary.md");
        count += types.len();
    }
    assert!(count > 100, "only {count} types were found: this test looks in the wrong place");
}
