//! What agents inherit from the environment in which their dispatcher was started.

use crate::testkit::command::git;
use crate::testkit::pool::Pool;

/// A repository with one commit.
fn repository(pool: &Pool, name: &str) {
    std::fs::create_dir(pool.path(name)).unwrap();
    git(&pool.path(name), &["init", "-q", "-b", "main"]);
    git(&pool.path(name), &["commit", "-q", "--allow-empty", "-m", "first"]);
}

const COMMIT: &str = "echo new > file\ngit add file\n\
    git -c user.name=a -c user.email=a@x commit -q -m agent || { failure 'no commit'; }\nresult done";

/// A run of the dispatcher as in the hook of a person's repository.
fn in_a_hook(pool: &Pool) {
    let mut command = pool.lanes(&["dispatch", "--once"]);
    let theirs = pool.path("theirs/.git");
    command.env("GIT_DIR", &theirs).env("GIT_INDEX_FILE", theirs.join("index")).env("GIT_PREFIX", "sub/");
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "user.name").env("GIT_CONFIG_VALUE_0", "x");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_dispatcher_in_a_hook_leaves_the_repository_of_the_hook_alone() {
    let pool = Pool::scripted("");
    repository(&pool, "theirs");
    repository(&pool, "tree");
    let id = pool.submit(COMMIT, &["--worktree-path", pool.path("tree").to_str().unwrap()]);
    in_a_hook(&pool);
    assert_eq!(pool.response(&id)["body"], "done", "{}", pool.task(&id));
    let subjects = |name: &str| git(&pool.path(name), &["log", "--format=%s"]);
    assert_eq!((subjects("theirs").as_str(), subjects("tree").as_str()), ("first", "agent\nfirst"));
}

#[test]
fn a_route_may_name_a_repository() {
    let pool = Pool::scripted("  env: {GIT_DIR: tree/.git, GIT_WORK_TREE: tree}\n");
    repository(&pool, "theirs");
    repository(&pool, "tree");
    let id = pool.submit("result \"$(git log -1 --format=%s)\"", &[]);
    in_a_hook(&pool);
    assert_eq!(pool.response(&id)["body"], "first", "{}", pool.task(&id));
}

#[test]
fn settings_stay_and_the_place_is_the_agents_own() {
    let pool = Pool::scripted("");
    let script = "env > env.txt\nresult fine";
    let id = pool.submit(script, &[]);
    let mut command = pool.lanes(&["dispatch", "--once"]);
    let set = [
        ("CODEX_CA_CERTIFICATE", "/ca"),
        ("CLAUDE_CODE_CERT_STORE", "system"),
        ("CLAUDE_CODE_OAUTH_REFRESH_TOKEN", "r"),
        ("LANES_LOCK_TIMEOUT", "7"),
        ("CLAUDE_CODE_SESSION_ID", "outer"),
        ("CODEX_THREAD_ID", "outer"),
        ("CDPATH", "/"),
        ("OLDPWD", "/"),
        ("PWD", "/elsewhere"),
    ];
    assert!(command.envs(set).output().unwrap().status.success());
    assert_eq!(pool.state(&id), "completed");
    let text = std::fs::read_to_string(pool.path("env.txt")).unwrap();
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_string)
    };
    for (name, expected) in &set[..4] {
        assert_eq!(value(name).as_deref(), Some(*expected), "{name}");
    }
    for (name, _) in &set[4..8] {
        assert_eq!(value(name), None, "{name}");
    }
    assert_eq!(value("PWD").as_deref(), pool.path("").canonicalize().unwrap().to_str());
}

#[test]
fn what_a_run_leaves_to_read_does_not_show_its_claim_token() {
    let pool = Pool::scripted("");
    let script = "echo \"$LANES_CLAIM_TOKEN\" > token\nsay \"token $LANES_CLAIM_TOKEN\"\n\
        echo \"$LANES_CLAIM_TOKEN\" >&2\nresult fine";
    let id = pool.submit(script, &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], "fine");
    let token = pool.until_file("token");
    assert!(token.len() > 20, "{token}");
    let mut seen = 0;
    for file in std::fs::read_dir(pool.path(&format!("state/tasks/{id}/attempts/1"))).unwrap() {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(&token), "{}: {text}", path.display());
        seen += usize::from(text.contains(&"*".repeat(token.len())));
    }
    assert!(seen >= 2, "standard output and standard error had it");
}
