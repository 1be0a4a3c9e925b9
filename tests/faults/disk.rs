//! A model of a disk: replays the system calls of one process, and determines what a power cut may leave. The data
//! of a file is safe only after a sync of the file, a name only after a sync of its directory; pending changes may
//! survive in any combination, data also in part; only the move of a directory survives as a whole or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The number of a node.
type Node = usize;

#[derive(Clone)]
enum Change {
    Set(String, Node),
    Drop(String),
}

/// The content of a file, shared by all states in which it is the same.
#[derive(Clone)]
pub struct Data(Arc<(u64, Vec<u8>)>);

impl Data {
    fn new(bytes: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self(Arc::new((hasher.finish(), bytes)))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.1
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Hash for Data {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

#[derive(Clone)]
enum Content {
    File {
        now: Data,
        safe: Data,
    },
    /// Each pending item is a list of changes that survive together.
    Dir {
        now: BTreeMap<String, Node>,
        safe: BTreeMap<String, Node>,
        pending: Vec<Vec<Change>>,
    },
}

/// A random number generator that repeats its sequence for a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The files below one directory, and the open files of one process.
#[derive(Clone)]
pub struct Disk {
    home: PathBuf,
    nodes: Vec<Content>,
    /// Open files: node, place, and whether every write goes to the end.
    open: HashMap<i64, (Node, usize, bool)>,
    unfinished: HashMap<String, String>,
    /// Whether anything was written to the standard output.
    pub reported: bool,
}

/// The files that a power cut leaves: paths and contents; `None` is a directory.
pub type Left = BTreeMap<PathBuf, Option<Data>>;

impl Disk {
    /// Reads everything below `home` as safe.
    pub fn load(home: &Path) -> Self {
        let mut disk = Self {
            home: home.to_path_buf(),
            nodes: Vec::new(),
            open: HashMap::new(),
            unfinished: HashMap::new(),
            reported: false,
        };
        disk.load_dir(home);
        disk
    }

    fn load_dir(&mut self, path: &Path) -> Node {
        let node =
            self.add(Content::Dir { now: BTreeMap::new(), safe: BTreeMap::new(), pending: Vec::new() });
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let child = if entry.file_type().unwrap().is_dir() {
                self.load_dir(&entry.path())
            } else {
                let data = Data::new(std::fs::read(entry.path()).unwrap());
                self.add(Content::File { now: data.clone(), safe: data })
            };
            names.insert(entry.file_name().into_string().unwrap(), child);
        }
        self.nodes[node] = Content::Dir { now: names.clone(), safe: names, pending: Vec::new() };
        node
    }

    fn add(&mut self, content: Content) -> Node {
        self.nodes.push(content);
        self.nodes.len() - 1
    }

    fn child(&self, dir: Node, name: &str) -> Option<Node> {
        match &self.nodes[dir] {
            Content::Dir { now, .. } => now.get(name).copied(),
            Content::File { .. } => None,
        }
    }

    /// Returns the directory and the last name of a path in a call; `None` outside of `home`.
    fn place(&self, at: &str, path: &str) -> Option<(Node, String)> {
        let from = match at {
            "AT_FDCWD" => 0,
            number => self.open.get(&number.parse().ok()?)?.0,
        };
        let (mut dir, rest) = match path.strip_prefix('/') {
            None => (from, PathBuf::from(path)),
            Some(_) => (0, Path::new(path).strip_prefix(&self.home).ok()?.to_path_buf()),
        };
        let mut parts: Vec<&str> = rest.iter().map(|part| part.to_str().unwrap()).collect();
        let last = parts.pop().unwrap_or(".").to_string();
        for part in parts {
            dir = self.child(dir, part)?;
        }
        Some((dir, last))
    }

    fn find(&self, (dir, name): &(Node, String)) -> Option<Node> {
        if name == "." { Some(*dir) } else { self.child(*dir, name) }
    }

    fn rename_in(&mut self, dir: Node, changes: Vec<Change>) {
        let Content::Dir { now, pending, .. } = &mut self.nodes[dir] else { panic!("not a directory") };
        for change in &changes {
            match change {
                Change::Set(name, node) => drop(now.insert(name.clone(), *node)),
                Change::Drop(name) => drop(now.remove(name)),
            }
        }
        pending.push(changes);
    }

    /// Replays a line of `strace -f -xx`; returns whether it changed anything.
    pub fn replay(&mut self, line: &str) -> bool {
        let Some((thread, rest)) = line.split_once(' ') else { return false };
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            self.unfinished.insert(thread.to_string(), head.to_string());
            return false;
        }
        if rest.starts_with("<... ") {
            let Some(head) = self.unfinished.remove(thread) else { return false };
            let tail = rest.split_once("resumed>").unwrap().1;
            return self.call(&format!("{head}{tail}"));
        }
        self.call(rest)
    }

    fn call(&mut self, line: &str) -> bool {
        let Some((call, rest)) = line.split_once('(') else { return false };
        let Some((inner, result)) = rest.rsplit_once(") ") else { return false };
        let result = result.trim_start().trim_start_matches("= ");
        let Ok(result) = result.split(' ').next().unwrap().parse::<i64>() else { return false };
        if result < 0 {
            return false;
        }
        let words: Vec<&str> = inner.split(", ").collect();
        match call {
            "open" => self.open(&[&["AT_FDCWD"], words.as_slice()].concat(), result),
            "openat" => self.open(&words, result),
            "close" => {
                self.open.remove(&words[0].parse().unwrap());
                false
            }
            "fcntl" if words[1].starts_with("F_DUPFD") => {
                if let Some(file) = self.open.get(&words[0].parse().unwrap()).copied() {
                    self.open.insert(result, file);
                }
                false
            }
            "lseek" => {
                if let Some(file) = self.open.get_mut(&words[0].parse().unwrap()) {
                    file.1 = result as usize;
                }
                false
            }
            "mkdir" => self.mkdir("AT_FDCWD", words[0]),
            "mkdirat" => self.mkdir(words[0], words[1]),
            "write" => self.write(words[0], &bytes(words[1]), None),
            "pwrite64" => self.write(words[0], &bytes(words[1]), Some(words[3].parse().unwrap())),
            "ftruncate" => self.truncate(words[0], words[1].parse().unwrap()),
            "rename" => self.rename("AT_FDCWD", words[0], "AT_FDCWD", words[1]),
            "renameat2" if words[4].contains("RENAME_EXCHANGE") => {
                self.exchange((words[0], words[1]), (words[2], words[3]))
            }
            "renameat" | "renameat2" => self.rename(words[0], words[1], words[2], words[3]),
            "unlink" | "rmdir" => self.unlink("AT_FDCWD", words[0]),
            "unlinkat" => self.unlink(words[0], words[1]),
            "fsync" | "fdatasync" => self.sync(words[0]),
            "copy_file_range" => self.copy(words[0], words[2], result as usize),
            "sendfile" => self.copy(words[1], words[0], result as usize),
            "linkat" => self.link((words[0], words[1]), (words[2], words[3])),
            "fallocate" | "writev" | "dup" | "dup2" => {
                panic!("not modelled: {line}")
            }
            _ => false,
        }
    }

    fn open(&mut self, words: &[&str], result: i64) -> bool {
        let Some(place) = self.place(words[0], &name(words[1])) else {
            self.open.remove(&result);
            return false;
        };
        let append = words[2].contains("O_APPEND");
        if let Some(node) = self.find(&place) {
            self.open.insert(result, (node, 0, append));
            assert!(!words[2].contains("O_TRUNC"), "not modelled: {words:?}");
            return false;
        }
        let empty = Data::new(Vec::new());
        let node = self.add(Content::File { now: empty.clone(), safe: empty });
        self.rename_in(place.0, vec![Change::Set(place.1, node)]);
        self.open.insert(result, (node, 0, append));
        true
    }

    fn mkdir(&mut self, at: &str, path: &str) -> bool {
        let Some((dir, name)) = self.place(at, &name(path)) else { return false };
        let node =
            self.add(Content::Dir { now: BTreeMap::new(), safe: BTreeMap::new(), pending: Vec::new() });
        self.rename_in(dir, vec![Change::Set(name, node)]);
        true
    }

    fn write(&mut self, fd: &str, bytes: &[u8], at: Option<usize>) -> bool {
        let number: i64 = fd.parse().unwrap();
        self.reported |= number == 1;
        let Some((node, place, append)) = self.open.get_mut(&number) else { return false };
        let Content::File { now, .. } = &mut self.nodes[*node] else { panic!("not a file") };
        let start = at.unwrap_or(if *append { now.len() } else { *place });
        let mut whole = now.to_vec();
        whole.resize(whole.len().max(start + bytes.len()), 0);
        whole[start..start + bytes.len()].copy_from_slice(bytes);
        *now = Data::new(whole);
        if at.is_none() {
            *place = start + bytes.len();
        }
        true
    }

    /// Copies from the position of one file to that of the other, as `std::io::copy` requests it.
    fn copy(&mut self, from: &str, to: &str, length: usize) -> bool {
        let Some((node, place, _)) = self.open.get_mut(&from.parse().unwrap()) else { return false };
        let Content::File { now, .. } = &self.nodes[*node] else { panic!("not a file") };
        let bytes = now[*place..*place + length].to_vec();
        *place += length;
        self.write(to, &bytes, None)
    }

    fn truncate(&mut self, fd: &str, length: usize) -> bool {
        let Some((node, ..)) = self.open.get(&fd.parse().unwrap()) else { return false };
        let Content::File { now, .. } = &mut self.nodes[*node] else { panic!("not a file") };
        let mut whole = now.to_vec();
        whole.resize(length, 0);
        *now = Data::new(whole);
        true
    }

    fn rename(&mut self, from_at: &str, from: &str, to_at: &str, to: &str) -> bool {
        let from = self.place(from_at, &name(from)).unwrap();
        let to = self.place(to_at, &name(to)).unwrap();
        let node = self
            .find(&from)
            .unwrap_or_else(|| panic!("{from:?} {to:?} {:?} {:?}", self.open, self.nodes.len()));
        if from.0 == to.0 {
            self.rename_in(from.0, vec![Change::Drop(from.1), Change::Set(to.1, node)]);
        } else {
            self.rename_in(to.0, vec![Change::Set(to.1, node)]);
            self.rename_in(from.0, vec![Change::Drop(from.1)]);
        }
        true
    }

    fn exchange(&mut self, one: (&str, &str), other: (&str, &str)) -> bool {
        let one = self.place(one.0, &name(one.1)).unwrap();
        let other = self.place(other.0, &name(other.1)).unwrap();
        let nodes = [self.find(&one).unwrap(), self.find(&other).unwrap()];
        self.rename_in(other.0, vec![Change::Set(other.1, nodes[0])]);
        self.rename_in(one.0, vec![Change::Set(one.1, nodes[1])]);
        true
    }

    fn link(&mut self, from: (&str, &str), to: (&str, &str)) -> bool {
        let from = self.place(from.0, &name(from.1)).unwrap();
        let to = self.place(to.0, &name(to.1)).unwrap();
        let node = self.find(&from).unwrap_or_else(|| panic!("{from:?} is not there"));
        self.rename_in(to.0, vec![Change::Set(to.1, node)]);
        true
    }

    fn unlink(&mut self, at: &str, path: &str) -> bool {
        let Some((dir, name)) = self.place(at, &name(path)) else { return false };
        self.rename_in(dir, vec![Change::Drop(name)]);
        true
    }

    fn sync(&mut self, fd: &str) -> bool {
        let Some((node, ..)) = self.open.get(&fd.parse().unwrap()) else { return false };
        match &mut self.nodes[*node] {
            Content::File { now, safe } => safe.clone_from(now),
            Content::Dir { now, safe, pending } => {
                safe.clone_from(now);
                pending.clear();
            }
        }
        true
    }

    /// Returns what is pending: the changes of names one by one, then the files with unsynced data.
    fn items(&self) -> Vec<(Node, usize)> {
        let mut items = Vec::new();
        for (node, content) in self.nodes.iter().enumerate() {
            match content {
                Content::Dir { pending, .. } => items.extend((0..pending.len()).map(|n| (node, n))),
                Content::File { now, safe } if now != safe => items.push((node, 0)),
                Content::File { .. } => {}
            }
        }
        items
    }

    /// Returns states that a power cut may leave now, at most `limit` of them: every combination if there are few,
    /// otherwise the extremes, each item missing or surviving alone, and random others from `dice`.
    pub fn after_power_cut(&self, limit: usize, dice: &mut Dice) -> Vec<Left> {
        let items = self.items();
        let all = 1_u128.checked_shl(items.len() as u32).map_or(u128::MAX, |all| all - 1);
        let mut masks: Vec<u128> = vec![0, all];
        if items.len() <= 12 && (1 << items.len()) <= limit {
            masks = (0..=all).collect();
        } else {
            masks.extend((0..items.len().min(128)).flat_map(|n| [1 << n, all & !(1 << n)]));
            while masks.len() < limit {
                masks.push((u128::from(dice.roll()) << 64 | u128::from(dice.roll())) & all);
            }
            // The extremes stay, of the others a choice.
            while masks.len() > limit {
                masks.swap_remove(2 + dice.roll() as usize % (masks.len() - 2));
            }
        }
        masks.into_iter().map(|mask| self.state(&items, mask, dice)).collect()
    }

    fn state(&self, items: &[(Node, usize)], mask: u128, dice: &mut Dice) -> Left {
        let survives = |node: Node, n: usize| {
            items.iter().position(|item| *item == (node, n)).is_some_and(|at| at < 128 && mask >> at & 1 == 1)
        };
        let mut contents: Vec<Content> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(node, content)| match content {
                Content::File { now, safe } if now == safe => content.clone(),
                Content::File { now, safe } => {
                    let data = match (survives(node, 0), dice.roll() % 3) {
                        (true, _) => now.clone(),
                        (false, 0) => safe.clone(),
                        (false, kind) => Data::new(torn(now, safe, kind == 1)),
                    };
                    Content::File { now: data.clone(), safe: data }
                }
                Content::Dir { safe, pending, .. } => {
                    let mut names = safe.clone();
                    for (_, changes) in pending.iter().enumerate().filter(|(n, _)| survives(node, *n)) {
                        for change in changes {
                            match change {
                                Change::Set(name, node) => drop(names.insert(name.clone(), *node)),
                                Change::Drop(name) => drop(names.remove(name)),
                            }
                        }
                    }
                    Content::Dir { now: names, safe: BTreeMap::new(), pending: Vec::new() }
                }
            })
            .collect();
        self.put_moved_directories_back(&mut contents);
        let mut left = Left::new();
        collect(&contents, 0, Path::new(""), &mut left);
        left
    }

    /// Gives its old name to a directory that was moved to another one, if neither name has survived: a file system writes
    /// down such a move as a whole. A directory cannot be linked, so that no program could do without this.
    fn put_moved_directories_back(&self, contents: &mut [Content]) {
        let (is_here, survived) = (named(&self.nodes), named(contents));
        for (node, content) in self.nodes.iter().enumerate() {
            let Content::Dir { safe, .. } = content else { continue };
            for (name, child) in safe {
                let is_directory = matches!(self.nodes[*child], Content::Dir { .. });
                if is_directory && is_here.contains(child) && !survived.contains(child) {
                    let Content::Dir { now, .. } = &mut contents[node] else { continue };
                    now.insert(name.clone(), *child);
                }
            }
        }
    }
}

/// Returns the nodes that have a name.
fn named(contents: &[Content]) -> HashSet<Node> {
    let names = contents.iter().filter_map(|content| match content {
        Content::Dir { now, .. } => Some(now.values().copied()),
        Content::File { .. } => None,
    });
    names.flatten().collect()
}

/// Returns data of which a part reached the disk: the first half, or only the length.
fn torn(now: &[u8], safe: &[u8], zeros: bool) -> Vec<u8> {
    if zeros {
        let mut data = safe.to_vec();
        data.resize(now.len(), 0);
        return data;
    }
    let first = now.iter().zip(safe).take_while(|(a, b)| a == b).count();
    let half = first + (now.len().max(first) - first) / 2;
    let mut data = now[..half].to_vec();
    data.extend(safe.iter().skip(half));
    data
}

fn collect(contents: &[Content], node: Node, path: &Path, left: &mut Left) {
    match &contents[node] {
        Content::File { now, .. } => drop(left.insert(path.to_path_buf(), Some(now.clone()))),
        Content::Dir { now, .. } => {
            left.insert(path.to_path_buf(), None);
            for (name, child) in now {
                collect(contents, *child, &path.join(name), left);
            }
        }
    }
}

/// Makes `home` what a power cut left, as after a restart of the machine. `before` is its present content, if
/// known, so that only the differences are written.
pub fn materialise(home: &Path, left: &Left, before: Option<&Left>) {
    match before {
        None => std::fs::remove_dir_all(home).unwrap(),
        Some(before) => {
            for (path, content) in before.iter().rev() {
                match (content, left.get(path)) {
                    (None, Some(None)) => {}
                    (None, _) => std::fs::remove_dir(home.join(path)).unwrap(),
                    (Some(data), Some(Some(new))) if data == new => {}
                    (Some(_), _) => std::fs::remove_file(home.join(path)).unwrap(),
                }
            }
        }
    }
    let is_there = |path: &PathBuf, content| before.is_some_and(|before| before.get(path) == Some(content));
    for (path, content) in left.iter().filter(|(path, content)| !is_there(path, content)) {
        match content {
            None => std::fs::DirBuilder::new().mode(0o700).create(home.join(path)).unwrap(),
            Some(data) if path.ends_with("indexes/state") => {
                std::fs::write(home.join(path), of_an_earlier_boot(data)).unwrap();
            }
            Some(data) => std::fs::write(home.join(path), &**data).unwrap(),
        }
    }
}

/// Returns the state of an index as after a restart of the machine.
pub fn of_an_earlier_boot(state: &[u8]) -> String {
    let text = String::from_utf8_lossy(state);
    let boot = text.split(' ').nth(1).unwrap_or_default();
    if boot.len() == 36 { text.replace(boot, &"0".repeat(36)) } else { text.into() }
}

fn bytes(quoted: &str) -> Vec<u8> {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.unwrap_or_else(|| panic!("cut off: {quoted}"));
    inner.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn name(quoted: &str) -> String {
    String::from_utf8(bytes(quoted)).unwrap()
}
