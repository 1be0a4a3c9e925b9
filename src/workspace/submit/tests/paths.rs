use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn unusable_prompt_files_are_refused() {
    let bench = Bench::new();
    bench.write("latin.md", b"\xe9");
    bench.write("long.md", vec![b'x'; MAX_PROMPT + 1]);
    for (path, expected) in [
        ("latin.md", "is not UTF-8"),
        ("long.md", "is too large"),
        ("none.md", "does not exist"),
        ("sub", "is a directory"),
        ("../out.md", "prompt_file is outside workspace_root"),
        ("/etc/passwd", "prompt_file is outside workspace_root: /etc/passwd"),
        ("/etc/hostname", "; pass the text of another file with `--prompt-file - < FILE`"),
    ] {
        let refusal = bench.refusal(SubmitRequest { prompt_file: Some(path.into()), ..request() });
        assert!(refusal.contains(expected), "{path}: {refusal}");
    }
    // A prompt without a request file may be longer.
    let alone = SubmitRequest { prompt_file: Some("long.md".into()), request_from: None, ..request() };
    assert!(bench.check(alone).is_ok());
}

#[test]
fn requests_are_regular_files_of_the_workspace() {
    let bench = Bench::new();
    symlink("../out.md", bench.root.join("leak.md")).unwrap();
    symlink("..", bench.root.join("up")).unwrap();
    symlink("r.md", bench.root.join("alias.md")).unwrap();
    for (path, expected) in [
        ("../out.md", "request_from is outside workspace_root"),
        ("sub/../../out.md", "request_from is outside workspace_root"),
        ("/etc/passwd", "request_from is outside workspace_root: /etc/passwd"),
        ("leak.md", "request_from is outside workspace_root"),
        ("up/out.md", "request_from is outside workspace_root"),
        ("none.md", "request_from does not exist"),
        ("sub", "request_from is not a regular file"),
        (".", "request_from is not a regular file"),
        ("", "request_from is empty"),
        ("r.md/x", "Not a directory"),
        ("a\0b", "NUL byte"),
        ("~nobody-here/x", "cannot expand"),
    ] {
        let refusal = bench.refusal(SubmitRequest { request_from: Some(path.into()), ..request() });
        assert!(refusal.contains(expected), "{path}: {refusal}");
    }
    let alias = SubmitRequest { request_from: Some("alias.md".into()), ..request() };
    assert!(matches!(bench.task(alias).request, NewRequest::File { path, .. } if path == bench.path("r.md")));
}

#[test]
fn responses_may_be_new_but_not_elsewhere() {
    let bench = Bench::new();
    symlink("../new.md", bench.root.join("dangling.md")).unwrap();
    symlink("../out.md", bench.root.join("leak.md")).unwrap();
    symlink("..", bench.root.join("up")).unwrap();
    for (path, expected) in [
        ("../new.md", "response_to is outside workspace_root"),
        ("dangling.md", "response_to is outside workspace_root"),
        ("leak.md", "response_to is outside workspace_root"),
        ("up/new/deep.md", "response_to is outside workspace_root"),
        ("new/../../x.md", "response_to is outside workspace_root"),
        ("sub", "response_to is not a regular file"),
        (".", "response_to is not a regular file"),
        ("", "response_to is empty"),
        ("handoff/state/tasks/x/task.json", "response_to is inside the state directory"),
        ("handoff/state", "response_to is inside the state directory"),
    ] {
        let refusal = bench.refusal(SubmitRequest { response_to: Some(path.into()), ..request() });
        assert!(refusal.contains(expected), "{path}: {refusal}");
    }
    let same = bench.check(SubmitRequest { response_to: Some("sub/../r.md".into()), ..request() }).unwrap();
    assert!(same.warnings[0].contains("the same file"), "{:?}", same.warnings);
}

#[test]
fn files_of_the_store_and_the_configuration_are_not_read_through_a_task() {
    let bench = Bench::new();
    let task = bench.root.join("handoff/state/tasks/20261121T070000000000Z-l-f0ba2131f057-d64cf2");
    std::fs::create_dir_all(task.join("attempts/1")).unwrap();
    std::fs::write(task.join("task.json"), "token").unwrap();
    std::fs::write(task.join("attempts/1/prompt.md"), "token").unwrap();
    symlink(task.join("task.json"), bench.root.join("soft.md")).unwrap();
    symlink(&task, bench.root.join("dir")).unwrap();
    std::fs::hard_link(task.join("attempts/1/prompt.md"), bench.root.join("hard.md")).unwrap();
    std::fs::hard_link(bench.root.join("handoff/handoff.yaml"), bench.root.join("config.md")).unwrap();
    bench.write("twin.md", "harmless");
    std::fs::hard_link(bench.root.join("twin.md"), bench.root.join("twin2.md")).unwrap();
    let direct = task.join("task.json");
    for (path, expected) in [
        (direct.to_str().unwrap(), "is inside the state directory"),
        ("handoff/state/routes.json", "is inside the state directory"),
        ("soft.md", "is inside the state directory"),
        ("dir/task.json", "is inside the state directory"),
        ("hard.md", "is a hard link into the state directory"),
        ("handoff/handoff.yaml", "is the workspace's configuration"),
        ("config.md", "is the workspace's configuration"),
    ] {
        for (field, asked) in [
            ("request_from", SubmitRequest { request_from: Some(path.into()), ..request() }),
            ("supporting_paths[0]", SubmitRequest { supporting_paths: vec![path.into()], ..request() }),
            ("prompt_file", SubmitRequest { prompt_file: Some(path.into()), ..request() }),
        ] {
            let refusal = bench.refusal(asked);
            assert!(refusal.starts_with(&format!("{field} {expected}")), "{path}: {refusal}");
        }
    }
    let refusal = bench.refusal(SubmitRequest { worktree_path: Some("dir".into()), ..request() });
    assert!(refusal.starts_with("worktree_path is inside the state directory"), "{refusal}");
    let twin = SubmitRequest { request_from: Some("twin2.md".into()), ..request() };
    assert!(bench.check(twin.clone()).is_ok());
    // Over HTTP the store is not searched for it.
    let refusal = bench.refusal_of_client(twin);
    assert!(refusal.starts_with("request_from is a hard link"), "{refusal}");
}

#[test]
fn a_client_names_no_file_that_holds_credentials() {
    let bench = Bench::new();
    std::fs::create_dir(bench.root.join(".ssh")).unwrap();
    for path in [".env", ".env.local", ".ssh/config", "server.pem"] {
        bench.write(path, "secret");
        let asked = SubmitRequest { request_from: Some(path.into()), ..request() };
        assert!(bench.check(asked.clone()).is_ok(), "who can read it may name it: {path}");
        let refusal = bench.refusal_of_client(asked);
        assert!(refusal.starts_with("request_from is of a kind that holds credentials"), "{refusal}");
        let refusal =
            bench.refusal_of_client(SubmitRequest { supporting_paths: vec![path.into()], ..request() });
        assert!(refusal.contains("holds credentials"), "{refusal}");
    }
    // The error does not reveal whether it exists either.
    let none = SubmitRequest { request_from: Some(".netrc".into()), ..request() };
    assert!(bench.refusal_of_client(none).contains("holds credentials"));
    assert!(bench.check_of_client(request()).is_ok());
}

#[test]
fn answers_replace_nothing_that_programs_execute_or_read_as_configuration() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    std::fs::create_dir(bench.root.join(".git")).unwrap();
    symlink(".git", bench.root.join("vcs")).unwrap();
    bench.write("tool.md", "x");
    for path in ["run", "run.md"] {
        let file = bench.write(path, "x");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let respond_to = |path: &str| SubmitRequest { response_to: Some(path.into()), ..request() };
    for path in [
        ".git/hooks/pre-commit",
        "vcs/config",
        "sub/.claude/settings.json",
        ".envrc",
        "handoff/bin/handoff",
        "handoff/bin/notes.md",
        "handoff/dispatcher.sh",
        "handoff/other.yaml",
        "run",
        "Makefile",
    ] {
        let refusal = bench.refusal(respond_to(path));
        assert!(refusal.contains("that programs execute or read as configuration"), "{path}: {refusal}");
    }
    for path in [
        "plan.review.md",
        "docs/new/answer.md",
        "handoff/responses/1.md",
        "handoff/1.md",
        "run.md",
        "src/x.rs",
    ] {
        assert!(bench.check(respond_to(path)).is_ok(), "{path}");
    }
}

#[test]
fn supporting_files_count_from_the_workspace_root() {
    let bench = Bench::new();
    bench.write("sub/s.md", "s");
    bench.write("t.md", "t");
    let from_sub = |supporting_paths: &[&str]| {
        let asked = SubmitRequest {
            request_from: Some("../r.md".into()),
            supporting_paths: supporting_paths.iter().map(PathBuf::from).collect(),
            ..request()
        };
        let base = BaseDir::at(bench.root.join("sub"));
        check_submit(&SubmitContext::new(&bench.config, &base, now()), asked)
    };
    let task = from_sub(&["sub/s.md", "t.md"]).unwrap().task;
    let pinned = |name: &str, text: &str| SupportingPath {
        path: bench.path(name),
        sha256: sha256_bytes(text.as_bytes()),
    };
    assert_eq!(task.spec.supporting_paths, [pinned("sub/s.md", "s"), pinned("t.md", "t")]);
    for (path, expected) in [
        ("s.md", "supporting_paths[1] does not exist"),
        ("sub", "supporting_paths[1] is not a regular file"),
        ("../out.md", "supporting_paths[1] is outside workspace_root"),
    ] {
        let error = from_sub(&["t.md", path]).unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}

#[test]
fn paths_that_are_no_text_are_refused() {
    let bench = Bench::new();
    let name = OsStr::from_bytes(b"\xff.md");
    std::fs::write(bench.root.join(name), "x").unwrap();
    for asked in [
        SubmitRequest { request_from: Some(name.into()), ..request() },
        SubmitRequest { response_to: Some(name.into()), ..request() },
        SubmitRequest { supporting_paths: vec![name.into()], ..request() },
        SubmitRequest { worktree_path: Some(name.into()), ..request() },
    ] {
        let refusal = bench.refusal(asked);
        assert!(refusal.contains("is not valid UTF-8"), "{refusal}");
    }
}

#[test]
fn a_workspace_behind_a_link_is_resolved() {
    let bench = Bench::new();
    let link = bench.root.join("../link");
    symlink(&bench.root, &link).unwrap();
    let config = Config { workspace_root: link.clone(), ..bench.config.clone() };
    let task = check_submit(&SubmitContext::new(&config, &BaseDir::at(link), now()), request()).unwrap().task;
    assert_eq!(task.spec.workspace_root, bench.root.to_str().unwrap());
}
