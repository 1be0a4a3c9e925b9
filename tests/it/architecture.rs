//! Rules for the sources: layers, no circles of imports, one type for each name, nothing left open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// One file of the library, outside of its tests.
struct Source {
    /// Relative to `src`.
    file: String,
    /// The names of its module from the root of the crate on.
    module: Vec<String>,
    /// Its lines up to its tests, without comments.
    code: String,
}

/// Returns the files of the library, without tests, which may import anything, and without `main.rs`, which is a
/// separate crate.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for path in files_below(&root()) {
        let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_string).collect();
        if module == ["main"] || module.iter().any(|name| name == "tests" || name.ends_with("_tests")) {
            continue;
        }
        if module == ["lib"] || module.last().unwrap() == "mod" {
            module.pop();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        sources.push(Source { file, module, code });
    }
    assert!(sources.len() > 100, "only {} files were seen", sources.len());
    sources
}

/// The layers, lowest first. A module may import those before it, never those after it.
const LAYERS: [&str; 6] = ["os", "model", "store", "guard", "workspace", "interfaces"];

/// The interfaces, which form one layer and do not import each other, except for the command line, which starts
/// the others.
const INTERFACES: [&str; 5] = ["bridge", "cli", "http", "dispatch", "mcp"];

fn layer(module: &str) -> Option<usize> {
    let name = if INTERFACES.contains(&module) { "interfaces" } else { module };
    LAYERS.iter().position(|layer| *layer == name)
}

#[test]
fn no_module_imports_upward() {
    let mut checked = 0;
    for file in files_below(&root()) {
        let inside = file.strip_prefix(root()).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(own_layer) = layer(own) else { continue };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let module = name_at_start(used);
                let Some(used_layer) = layer(module) else { continue };
                let fine = match (own, module) {
                    (own, module) if own == module => true,
                    ("cli", _) => true,
                    _ => used_layer < own_layer,
                };
                assert!(fine, "{}:{}: {own} uses {module}", file.display(), number + 1);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were seen");
}

/// The files that read or open what is below `/proc`.
const PROC: [&str; 6] = [
    "os/directory.rs",
    "os/file_locks.rs",
    "os/machine.rs",
    "os/own_process.rs",
    "os/process_table.rs",
    "signals.rs",
];

/// What only Linux has, and the files of each: a port has another implementation of these files.
const LINUX_ONLY: &[(&str, &[&str])] = &[
    ("/proc", &PROC),
    ("/proc/locks", &["os/file_locks.rs"]),
    ("/proc/sys/", &["os/machine.rs"]),
    ("/proc/self/", &["os/directory.rs", "os/own_process.rs", "signals.rs"]),
    ("pidfd", &["os/process_handle.rs"]),
    ("subreaper(", &["os/process_family.rs"]),
    ("parent_process_death", &["os/process_family.rs"]),
    ("SYS_", &["os/process_family.rs"]),
    ("openat2", &["os/directory.rs"]),
    ("renameat_with", &["os/rename.rs"]),
    ("RenameFlags", &["os/rename.rs"]),
    ("statfs", &["os/file_system.rs"]),
    ("Boottime", &["os/machine.rs"]),
    ("F_NOTIFY", &["store/watch/dnotify.rs"]),
    ("F_SETLEASE", &["store/atomic/write_hold.rs"]),
    ("peercred", &["http/transport/socket.rs"]),
    ("epoll", &["http/transport/connection.rs", "http/transport/listener.rs", "http/transport/reactor.rs"]),
    ("eventfd", &["dispatch/agent/supervisor.rs", "http/transport/listener.rs"]),
    ("libc::malloc", &["http/transport/memory.rs"]),
];

#[test]
fn what_depends_on_linux_is_in_its_seams() {
    let sources = sources();
    let mut misplaced = Vec::new();
    for (word, homes) in LINUX_ONLY.iter().copied() {
        let users: BTreeSet<&str> = sources
            .iter()
            .filter(|source| source.code.contains(word))
            .map(|source| source.file.as_str())
            .collect();
        let homes = BTreeSet::from_iter(homes.iter().copied());
        if users != homes {
            misplaced.push(format!("{word} is in {users:?}, and its seams are {homes:?}"));
        }
    }
    assert!(misplaced.is_empty(), "{misplaced:#?}");
}

#[test]
fn every_seam_is_in_the_architecture() {
    let text = std::fs::read_to_string(root().with_file_name("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## What depends on Linux\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listed = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let files = sources().into_iter().map(|source| source.file);
    let seams: BTreeSet<String> = LINUX_ONLY
        .iter()
        .flat_map(|(_, homes)| homes.iter().map(ToString::to_string))
        .chain(files.filter(|file| file.starts_with("os/") && file != "os/mod.rs"))
        .collect();
    assert_eq!(listed.map(str::to_string).collect::<BTreeSet<_>>(), seams);
}

/// The words for what only a store of files has: where it is, and the names of its files.
const OF_FILES: [&str; 15] = [
    ".root()",
    "FileStore",
    "\"budget.json\"",
    "\"conversations\"",
    "\"events.jsonl\"",
    "\"feed.jsonl\"",
    "\"indexes\"",
    "\"lanes.json\"",
    "\"on-demand.lock\"",
    "\"outbox\"",
    "\"response.json\"",
    "\"serve.token\"",
    "\"task.json\"",
    "\"usage.jsonl\"",
    "\"vendors.json\"",
];

/// The file that may know them: `init` makes the directory of a store of files as agent-lanes does.
const MAKES_A_STORE_OF_FILES: &str = "workspace/scaffold/mod.rs";

/// A store need not be a directory: what another module needs of it is in `store/api/`, `blobs` and `spool`.
#[test]
fn no_other_module_knows_what_keeps_a_store() {
    let mut named = Vec::new();
    let is_other = |source: &&Source| {
        source.module.first().is_some_and(|top| top != "store") && source.file != MAKES_A_STORE_OF_FILES
    };
    for source in sources().iter().filter(is_other) {
        let words = OF_FILES.iter().filter(|word| source.code.contains(**word));
        named.extend(words.map(|word| format!("{}: {word}", source.file)));
    }
    assert!(named.is_empty(), "{named:#?}");
}

/// The files outside of the store that read the clock of the machine, each with the reason.
const OTHER_CLOCKS: [(&str, &str); 1] =
    [("bridge/json_board/mod.rs", "the times of a board are for its readers, and no store is at hand")];

/// Leases and delays go by the clock of the store, which may be on another machine.
#[test]
fn the_time_of_the_queue_is_that_of_the_store() {
    let own = ["SystemTime::now", "Clock::system", "Timestamp::now"];
    let sources = sources();
    let others: Vec<&str> = sources
        .iter()
        .filter(|source| source.module.first().is_some_and(|top| top != "store"))
        .filter(|source| own.iter().any(|clock| source.code.contains(clock)))
        .map(|source| source.file.as_str())
        .collect();
    assert_eq!(others, OTHER_CLOCKS.map(|(file, _)| file));
}

#[test]
fn the_face_of_a_store_hands_out_no_engine() {
    let sources = sources();
    let store = sources.iter().find(|source| source.file == "store/mod.rs").unwrap();
    assert!(store.code.contains("\nstruct FileStore {"), "FileStore is private to the store");
    let face = sources.iter().filter(|source| source.file.starts_with("store/api/"));
    let (mut methods, mut passed_on) = (0, 0);
    for source in face {
        methods += source.code.matches(" fn ").count();
        passed_on += ["engine!(self, ", "files!(self, ", "FileStore::"]
            .iter()
            .map(|word| source.code.matches(word).count())
            .sum::<usize>();
        assert!(!source.code.contains("pub struct FileStore") && !source.code.contains("-> &FileStore"));
    }
    // Besides them there is only what makes a store of an engine: of files, and of a server with the feature and without.
    assert_eq!(methods, passed_on + 3);
    assert!(methods > 100, "only {methods} methods were seen");
}

/// The modules that make HTTP requests.
const MAKE_REQUESTS: [&str; 2] = ["bridge/planka/", "store/remote/"];

#[test]
fn requests_are_made_by_two_modules_alone() {
    let makes = |source: &&Source| source.code.contains("ureq::") || source.code.contains("use ureq");
    let sources = sources();
    let files: Vec<&str> = sources.iter().filter(makes).map(|source| source.file.as_str()).collect();
    assert!(!files.is_empty());
    let others: Vec<&&str> =
        files.iter().filter(|file| !MAKE_REQUESTS.iter().any(|module| file.starts_with(module))).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn no_file_is_left_unfinished() {
    for file in files_below(&root()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for left_open in ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"] {
            assert!(!text.contains(left_open), "{} contains {left_open}", file.display());
        }
    }
}

/// Names that two types may have, each with the reason.
const SHARED_NAMES: [(&str, &str); 0] = [];

#[test]
fn no_two_types_have_one_name() {
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        for line in source.code.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let keyword = words.iter().position(|word| ["struct", "enum", "trait"].contains(word));
            let Some(at) = keyword.filter(|at| words[..*at].iter().all(|word| word.starts_with("pub")))
            else {
                continue;
            };
            let name = name_at_start(words.get(at + 1).copied().unwrap_or_default());
            assert!(!name.is_empty(), "{}: {line}", source.file);
            homes.entry(name.to_string()).or_default().insert(source.file.clone());
        }
    }
    assert!(homes.len() > 200, "only {} types were seen", homes.len());
    homes.retain(|_, files| files.len() > 1);
    homes.retain(|name, _| !SHARED_NAMES.iter().any(|(allowed, _)| allowed == name));
    assert!(homes.is_empty(), "these names stand for two types: {homes:#?}");
}

/// Modules of one parent that may import each other in a circle: the parent, the modules, the reason.
const CIRCLES: [(&str, &[&str], &str); 2] = [
    (
        "",
        &["error", "model"],
        "an error carries the refusal of the state machine, which reports errors itself",
    ),
    ("dispatch", &["config", "vendor"], "a configuration names vendors, whose profiles its reader reads"),
];

#[test]
fn modules_of_one_parent_import_each_other_in_no_circle() {
    let imports = imports_between_siblings(&sources());
    let count: usize = imports.values().map(BTreeMap::len).sum();
    assert!(count > 200, "only {count} imports were seen");
    let mut shown = String::new();
    for (parent, edges) in &imports {
        for circle in circles(edges) {
            let is_allowed = |(of, modules, _): &(&str, &[&str], &str)| {
                of == parent && circle.iter().all(|module| modules.contains(module))
            };
            if CIRCLES.iter().any(is_allowed) {
                continue;
            }
            shown += &format!("\nin {parent}: {}\n", circle.iter().copied().collect::<Vec<_>>().join(", "));
            for ((from, to), file) in edges {
                if circle.contains(from.as_str()) && circle.contains(to.as_str()) {
                    shown += &format!("  {from} imports {to} ({file})\n");
                }
            }
        }
    }
    assert!(shown.is_empty(), "modules import each other in a circle:\n{shown}");
}

/// From which module to which, and a file that shows it.
type Edges = BTreeMap<(String, String), String>;

/// For each parent, which of its modules imports which. What a module has below it counts as its own.
fn imports_between_siblings(sources: &[Source]) -> BTreeMap<String, Edges> {
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| source.module.as_slice()).collect();
    // What a module passes on under a name: `pub use child::Name` in the module of the parent.
    let mut passed_on: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for source in sources {
        for statement in source.code.split(';').filter_map(|text| text.rsplit_once("pub")) {
            let Some((_, tree)) = statement.1.split_once("use ") else { continue };
            for path in paths(tree.trim_start_matches("self::")) {
                let target = [&source.module[..], &path[..]].concat();
                let [.., name] = &path[..] else { continue };
                if path.len() > 1 && modules.contains(&target[..source.module.len() + 1]) {
                    passed_on.insert([&source.module[..], std::slice::from_ref(name)].concat(), target);
                }
            }
        }
    }
    let mut imports: BTreeMap<String, Edges> = BTreeMap::new();
    for source in sources {
        for target in uses(source) {
            let target = passed_on.get(&target).cloned().unwrap_or(target);
            let length =
                (0..=target.len()).rev().find(|length| modules.contains(&target[..*length])).unwrap();
            let target = &target[..length];
            let common = source.module.iter().zip(target).take_while(|(own, other)| own == other).count();
            let (Some(from), Some(to)) = (source.module.get(common), target.get(common)) else { continue };
            let edges = imports.entry(source.module[..common].join("::")).or_default();
            edges.entry((from.clone(), to.clone())).or_insert_with(|| source.file.clone());
        }
    }
    imports
}

/// Where the paths of a file lead that begin with `crate` or `super`, from the root of the crate on. Of a type
/// or a function, its name is the last.
fn uses(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, start) in source.code.match_indices("crate::").chain(source.code.match_indices("super::")) {
        let before = source.code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let mut rest = &source.code[at + start.len()..];
        let mut base = source.module.clone();
        if start == "crate::" {
            base.clear();
        } else {
            base.pop();
            while let Some(further) = rest.strip_prefix("super::") {
                base.pop();
                rest = further;
            }
        }
        found.extend(paths(rest).into_iter().map(|path| [&base[..], &path[..]].concat()));
    }
    found
}

/// The paths at the beginning of `text`, which may be a tree in braces.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut found = Vec::new();
        loop {
            rest = rest.trim_start();
            let end = end_of_item(rest);
            found.extend(paths(&rest[..end]));
            match rest[end..].strip_prefix(',') {
                Some(further) => rest = further,
                None => return found,
            }
        }
    }
    let name = name_at_start(text);
    if name.is_empty() {
        return vec![Vec::new()];
    }
    let own = vec![name.to_string()];
    match text[name.len()..].strip_prefix("::") {
        Some(rest) if rest.starts_with('{') || !name_at_start(rest).is_empty() => {
            paths(rest).into_iter().map(|path| [&own[..], &path[..]].concat()).collect()
        }
        _ => vec![own],
    }
}

/// Where the first item of a list ends: at its comma, or at the brace that closes the list.
fn end_of_item(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            ',' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn name_at_start(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The largest sets of modules of which each reaches each other one.
fn circles(edges: &Edges) -> Vec<BTreeSet<&str>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        reached.entry(from).or_default().insert(to);
    }
    loop {
        let before = reached.clone();
        for targets in reached.values_mut() {
            let further = targets.iter().filter_map(|target| before.get(target)).flatten().copied();
            *targets = further.chain(targets.iter().copied()).collect();
        }
        if reached == before {
            break;
        }
    }
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for (module, targets) in &reached {
        let back = |target: &&&str| reached.get(**target).is_some_and(|far| far.contains(module));
        let circle: BTreeSet<&str> = targets.iter().filter(back).copied().collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

#[test]
fn circles_are_found() {
    let source = |file: &str, module: &[&str], code: &str| Source {
        file: file.to_string(),
        module: module.iter().map(ToString::to_string).collect(),
        code: code.to_string(),
    };
    let sources = [
        source("lib.rs", &[], "pub mod error;\nmod p;"),
        source("error.rs", &["error"], ""),
        source("p/mod.rs", &["p"], "mod a;\npub(super) use a::{Other, Thing};\nfn f() { b::g() }"),
        source("p/a.rs", &["p", "a"], "use super::{b::{self, G}, c};\nuse crate::error::Error;"),
        source("p/b/mod.rs", &["p", "b"], "fn g() -> crate::p::Thing { super::f() }"),
        source("p/b/deep.rs", &["p", "b", "deep"], "use super::super::c::C;\nuse super::g;"),
        source("p/c.rs", &["p", "c"], "use crate::error::Error;"),
    ];
    let imports = imports_between_siblings(&sources);
    let shown: Vec<String> = imports
        .iter()
        .flat_map(|(parent, edges)| edges.keys().map(move |(from, to)| format!("{parent}: {from} {to}")))
        .collect();
    assert_eq!(shown, [": p error", "p: a b", "p: a c", "p: b a", "p: b c"]);
    assert_eq!(circles(&imports["p"]), [BTreeSet::from(["a", "b"])]);
    assert_eq!(circles(&imports[""]), [] as [BTreeSet<&str>; 0]);
}
