use std::os::unix::fs::PermissionsExt;

use super::super::config::Config;
use super::*;

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    (dir, real)
}

/// Returns the permissions of the owner, which a usual umask does not change.
fn owner_mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o700
}

fn is_executable(path: &Path) -> bool {
    owner_mode(path) & 0o100 != 0
}

/// Returns all files below `path`, relative to it, sorted.
fn files(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![path.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                left.push(entry);
            } else {
                found.push(entry.strip_prefix(path).unwrap().to_str().unwrap().to_string());
            }
        }
    }
    found.sort();
    found
}

fn id(text: &str) -> InitOptions {
    InitOptions { workspace_id: Some(text.to_string()), ..InitOptions::default() }
}

#[test]
fn init_makes_a_workspace_that_loads() {
    let (_dir, root) = dir();
    let target = root.join("new/my project");
    let made = init(&target, InitOptions::default()).unwrap();
    assert_eq!(made.handoff, target.join("handoff"));
    assert_eq!(made.workspace_id, "my project");
    assert_eq!((made.workspace_root.as_str(), made.queue_root.as_str()), ("..", "state"));
    assert_eq!(
        files(&made.handoff),
        [
            ".gitignore",
            "README.md",
            "REVIEWER-AGENT-PROMPT.md",
            "bin/handoff",
            "dispatcher.sh",
            "handoff.yaml",
            "state/.gitignore",
            "state/.gitkeep",
            "state/lock"
        ]
    );
    for program in ["bin/handoff", "dispatcher.sh"] {
        assert!(is_executable(&made.handoff.join(program)), "{program}");
    }
    assert!(!is_executable(&made.handoff.join("handoff.yaml")));
    let state = std::fs::metadata(made.handoff.join("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
    let ignore = std::fs::metadata(made.handoff.join("state/.gitignore")).unwrap();
    assert_eq!(ignore.permissions().mode() & 0o777, 0o600);

    let config = Config::load(&made.handoff.join("handoff.yaml"), None).unwrap();
    assert_eq!(config.workspace_id, "my project");
    assert_eq!(config.workspace_root, target);
    assert_eq!(config.store_root, target.join("handoff/state"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(config.lanes.contains_key("review"));
}

#[test]
fn no_placeholder_is_left() {
    let (_dir, root) = dir();
    init(&root, InitOptions::default()).unwrap();
    init_pool(&root, None).unwrap();
    for file in files(&root) {
        let text = std::fs::read_to_string(root.join(&file)).unwrap();
        assert!(!text.contains("{{") && !text.contains("}}"), "{file}");
    }
}

#[test]
fn hostile_names_come_back_through_the_parser() {
    for name in
        ["a: b", "null", "yes", "1.10", "it's", "\"q\"", "#x", "$(touch x)", "{{QUEUE_ROOT}}", "漢字 👍"]
    {
        let (_dir, root) = dir();
        let target = root.join(name);
        let made = init(&target, InitOptions::default()).unwrap();
        assert_eq!(made.workspace_id, name);
        let config = Config::load(&made.handoff.join("handoff.yaml"), None).unwrap();
        assert_eq!(config.workspace_id, name);
        assert_eq!(config.workspace_root, target);
        let pool = init_pool(&target, Some(name)).unwrap();
        let config = Config::load(&pool.config, None).unwrap();
        assert_eq!((config.workspace_id.as_str(), &config.store_root), (name, &pool.store));
    }
}

#[test]
fn roots_are_written_as_given() {
    let (_dir, root) = dir();
    let made = init(
        &root.join("p"),
        InitOptions {
            workspace_id: Some(" w ".to_string()),
            workspace_root: Some("../..".to_string()),
            queue_root: Some("../q: 1".to_string()),
        },
    )
    .unwrap();
    assert_eq!(made.workspace_id, "w");
    assert_eq!(made.queue_root, "../q: 1");
    let config = Config::load(&made.handoff.join("handoff.yaml"), None).unwrap();
    assert_eq!(config.workspace_root, root);
    assert_eq!(config.store_root, root.join("p/q: 1"));
    // A store elsewhere is created by its first user.
    assert!(!made.handoff.join("state").exists() && !root.join("p/q: 1").exists());

    let made = init(
        &root.join("r"),
        InitOptions { queue_root: Some("deep/q".to_string()), ..InitOptions::default() },
    )
    .unwrap();
    assert!(made.handoff.join("deep/q/.gitignore").exists());
}

#[test]
fn bad_wishes_make_nothing() {
    let (_dir, root) = dir();
    let target = root.join("t");
    let queue_root =
        |text: &str| InitOptions { queue_root: Some(text.to_string()), ..InitOptions::default() };
    for (wish, expected) in [
        (id(""), "the workspace id is empty"),
        (id("a\nb"), "the workspace id has control characters"),
        (id(&"x".repeat(201)), "the workspace id is 201 bytes long"),
        (queue_root(" "), "the queue root is empty"),
        (queue_root("~nobody-here/q"), "cannot expand"),
        // A file of a template has the name of the state directory.
        (queue_root("README.md"), "cannot make directory"),
        (queue_root("README.md/q"), "cannot"),
    ] {
        let error = init(&target, wish).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
        assert!(!target.exists(), "{expected}");
    }
    let error = init_pool(&target, Some("a\tb")).unwrap_err();
    assert!(error.hint().unwrap().contains("--workspace-id"), "{error}");
    assert!(init(&root.join("a\nb"), InitOptions::default()).is_err());
    assert!(init(&root.join("a\nb"), id("fine")).is_ok());
}

#[test]
fn what_exists_is_refused_untouched() {
    let (_dir, root) = dir();
    for name in ["handoff", ".agent-lanes-queue", "dispatchers"] {
        let target = root.join(format!("with {name}"));
        std::fs::create_dir_all(&target).unwrap();
        // A dangling link counts as existing, too.
        std::os::unix::fs::symlink("nowhere", target.join(name)).unwrap();
        let error = if name == "handoff" {
            init(&target, InitOptions::default()).unwrap_err()
        } else {
            init_pool(&target, None).unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains(&format!("{name}/ already exists")), "{error}");
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1, "{name}");
    }
    std::fs::write(root.join("file"), "").unwrap();
    assert!(init(&root.join("file"), InitOptions::default()).is_err());
    assert!(init(&root.join("file/below"), InitOptions::default()).is_err());
}

#[test]
fn of_many_at_once_one_wins_and_is_whole() {
    let (_dir, root) = dir();
    let target = root.join("pool");
    let results: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| init_pool(&target, Some("p")))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(std::result::Result::err) {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    assert_eq!(files(&target).len(), 10);
}

#[test]
fn a_pool_has_everything_it_names() {
    let (_dir, root) = dir();
    let target = root.join("it's a `pool` $(x)");
    let made = init_pool(&target, None).unwrap();
    assert_eq!(made.workspace_id, "it's a `pool` $(x)");
    assert_eq!(made.queue, target.join(".agent-lanes-queue"));
    assert_eq!(made.store, target.join(".agent-lanes-queue/state"));
    assert_eq!(
        files(&made.queue),
        ["README.md", "handoff.yaml", "state/.gitignore", "state/.gitkeep", "state/lock"]
    );
    let vendors: Vec<&str> = made.dispatchers.iter().map(|(vendor, _)| *vendor).collect();
    assert_eq!(vendors, ["claude", "codex"]);
    for (_, script) in &made.dispatchers {
        assert!(is_executable(script), "{script:?}");
    }
    let prompt = std::fs::read_to_string(&made.polling_prompt).unwrap();
    assert!(prompt.contains(r"'\''s a `pool` $(x)/.agent-lanes-queue/handoff.yaml'"), "{prompt}");
    let config = Config::load(&made.config, None).unwrap();
    assert_eq!((config.workspace_root, config.store_root), (target, made.store));
}

#[test]
fn scripts_work_from_hostile_directories() {
    let (_dir, root) = dir();
    let target = root.join("it's \"a\" $(touch pwned) `x`;&");
    let made = init(&target, id("w")).unwrap();
    let pool = init_pool(&target, Some("w")).unwrap();
    let handoff_yaml = made.handoff.join("handoff.yaml");
    let scripts = [
        (made.handoff.join("bin/handoff"), handoff_yaml.clone(), vec![]),
        (made.handoff.join("dispatcher.sh"), handoff_yaml, vec!["dispatch", "--vendor", "claude"]),
        (pool.dispatchers[1].1.clone(), pool.config, vec!["dispatch", "--vendor", "codex"]),
    ];
    for (script, config, fixed) in scripts {
        let output = std::process::Command::new("sh")
            .arg(&script)
            .args(["a b", "$(x)"])
            .env("LANES_BIN", "echo")
            .env_remove("VENDOR")
            .current_dir(&root)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let mut expected = vec!["--config", config.to_str().unwrap()];
        expected.extend(fixed);
        expected.extend(["a b", "$(x)"]);
        assert_eq!(printed, expected.join(" ") + "\n", "{script:?}");
    }
    assert!(!root.join("pwned").exists());
}
