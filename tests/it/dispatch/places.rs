//! Where agents may be started, and whose settings they load there.

use std::path::Path;

use crate::testkit::command::git;
use crate::testkit::pool::Pool;

fn argv(pool: &Pool, id: &str) -> String {
    let run = std::fs::read_to_string(pool.path(&format!("state/tasks/{id}/attempts/1/run.json"))).unwrap();
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    run["argv"].as_array().unwrap().iter().filter_map(|arg| arg.as_str()).collect::<Vec<_>>().join(" ")
}

/// A task whose agent would say where it works, in `worktree`.
fn submit_in(pool: &Pool, worktree: &Path) -> String {
    pool.submit("result \"$(pwd)\"", &["--worktree-path", worktree.to_str().unwrap()])
}

#[test]
fn a_task_cannot_choose_a_directory_outside_the_workspace() {
    let pool = Pool::scripted("  max_retries: 3\n");
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().canonicalize().unwrap();
    let id = submit_in(&pool, &real);
    let gone = submit_in(&pool, &real.join("gone"));
    let preview = pool.json(&["dispatch", "--dry-run"]);
    assert!(preview["lanes"].to_string().contains("is outside the workspace"), "{preview}");
    pool.dispatch_once(&[]);
    for id in [&id, &gone] {
        let task = pool.task(id);
        assert_eq!((&task["failure_class"], &task["attempt"]), (&"permanent".into(), &1.into()), "{task}");
        let reason = task["failure_reason"].as_str().unwrap();
        assert!(reason.contains("is outside the workspace") && reason.contains("worktree_roots"), "{reason}");
        assert!(!pool.path(&format!("state/tasks/{id}/attempts/1/run.json")).exists(), "nothing was started");
    }
    // The operator's own setting.
    let flag = submit_in(&pool, &real);
    pool.dispatch_once(&["--worktree-root", real.to_str().unwrap()]);
    assert_eq!(pool.response(&flag)["body"], real.to_str().unwrap());
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    let roots = format!("dispatch:\n  worktree_roots: ['{}']\n", real.parent().unwrap().display());
    std::fs::write(pool.path("handoff.yaml"), file.replace("dispatch:\n", &roots)).unwrap();
    let named = submit_in(&pool, &real);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&named)["body"], real.to_str().unwrap());
}

#[test]
fn the_worktree_of_the_configuration_and_the_cwd_of_a_route_are_the_operators() {
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().canonicalize().unwrap();
    let pool = Pool::scripted("");
    let file = std::fs::read_to_string(pool.path("handoff.yaml")).unwrap();
    std::fs::write(pool.path("handoff.yaml"), format!("worktree_path: '{}'\n{file}", real.display()))
        .unwrap();
    let id = pool.submit("result \"$(pwd)\"", &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.response(&id)["body"], real.to_str().unwrap());
    let pool = Pool::scripted("");
    let id = pool.submit("result \"$(pwd)\"", &[]);
    pool.dispatch_once(&["--cwd", real.to_str().unwrap()]);
    assert_eq!(pool.response(&id)["body"], real.to_str().unwrap());
}

#[test]
fn claude_loads_the_settings_of_its_user_unless_a_route_allows_more() {
    let routes =
        "  routes:\n    next: {setting_sources: [user, project]}\n    plain: {setting_sources: null}\n";
    let pool = Pool::scripted(routes);
    let submit = |lane: &str, more: &[&str]| {
        pool.ok(&[&["submit", "--lane", lane, "--prompt", "DO: result fine"], more].concat())
    };
    let [fresh, resumed] = [submit("work", &[]), submit("work", &["--metadata", "session_id=talk"])];
    let [wide, plain] = [submit("next", &[]), submit("plain", &[])];
    pool.dispatch_once(&[]);
    for id in [&fresh, &resumed] {
        let argv = argv(&pool, id);
        assert!(argv.contains(" --setting-sources user --"), "{argv}");
    }
    assert!(argv(&pool, &wide).contains(" --setting-sources user,project "));
    assert!(!argv(&pool, &plain).contains("--setting-sources"));
    let empty = Pool::scripted("  setting_sources: []\n");
    assert!(empty.refused(&["dispatch"]).contains("dispatch.setting_sources: name at least one source"));
    // It limits what runs, so another vendor refuses it instead of ignoring it.
    let other = Pool::scripted("  setting_sources: [user]\n");
    let printed = other.refused(&["dispatch", "--command", "--", "cat"]);
    assert!(printed.contains("dispatch.setting_sources: is meant for claude"), "{printed}");
}

#[test]
fn an_agent_is_handed_its_own_task_and_no_other() {
    let pool = Pool::scripted("");
    let other = pool.submit("result other", &[]);
    let id = pool.submit(
        "lanes event \"$LANES_TASK_ID\" --claim-token \"$LANES_CLAIM_TOKEN\" --type note --message hi\n\
         lanes submit --lane later --prompt more > follow\n\
         lanes respond \"$LANES_TASK_ID\" --claim-token \"$LANES_CLAIM_TOKEN\" --body by-myself\nresult late",
        &[],
    );
    pool.dispatch_once(&["--lane", "work"]);
    let (argv, state) = (argv(&pool, &id), pool.path("state").canonicalize().unwrap());
    let own = format!(" --add-dir {} {}/tasks/{id}", state.parent().unwrap().display(), state.display());
    assert!(argv.contains(&own), "{argv}");
    assert!(!argv.contains(&format!("{} ", state.display())) && !argv.contains(&other), "{argv}");
    // Its commands run with rights of their own.
    assert_eq!(pool.response(&id)["body"], "by-myself");
    assert!(pool.events(&id).contains(&"note".to_string()));
    assert_eq!(pool.state(&pool.until_file("follow")), "queued");
}

#[test]
fn an_agent_cannot_start_a_dispatcher() {
    let pool = Pool::scripted("");
    let id =
        pool.submit("result \"$(lanes dispatch --once --command -- touch made 2>&1 | tr -d '\"')\"", &[]);
    pool.dispatch_once(&["--lane", "work"]);
    let printed = pool.response(&id)["body"].as_str().unwrap().to_string();
    assert!(printed.contains("dispatch is not for agents"), "{printed}");
    assert!(!pool.path("made").exists());
}

#[test]
fn codex_may_write_what_a_commit_writes_unless_a_route_forbids_it() {
    let pool = Pool::new(
        "dispatch:\n  vendor: codex\n  vendors: {codex: {command: AGENT}}\n  routes: {next: {git_writable: false}}\n",
    );
    let git = |words: &[&str]| git(&pool.path(""), words);
    git(&["init", "-q", "."]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&["worktree", "add", "-q", "tree"]);
    let submit = |lane: &str, tree: &str| {
        let tree = pool.path(tree);
        let tree = tree.to_str().unwrap().trim_end_matches('/');
        pool.ok(&["submit", "--lane", lane, "--prompt", "DO: result x", "--worktree-path", tree])
    };
    let [main, tree, closed] = [submit("work", ""), submit("work", "tree"), submit("next", "tree")];
    pool.output(&["dispatch", "--once"]);
    let common = pool.path(".git").canonicalize().unwrap().display().to_string();
    assert!(argv(&pool, &main).contains(&format!(" --add-dir {common} ")), "{}", argv(&pool, &main));
    let both = format!(" --add-dir {common} --add-dir {common}/worktrees/tree ");
    assert!(argv(&pool, &tree).contains(&both), "{}", argv(&pool, &tree));
    assert!(!argv(&pool, &closed).contains("--add-dir"), "{}", argv(&pool, &closed));
}

#[test]
fn only_ids_continue_a_conversation() {
    let pool = Pool::scripted("");
    let named = |session: &str| pool.submit("result fine", &["--metadata", &format!("session_id={session}")]);
    let bad = ["/home/you/private.jsonl", "the one about taxes", "latest", "3", ".."].map(named);
    let good = named("ses_0198-ab.c:d");
    pool.dispatch_once(&[]);
    for id in &bad {
        let task = pool.task(id);
        assert_eq!(task["failure_class"], "permanent", "{task}");
        assert!(
            task["failure_reason"].as_str().unwrap().contains("is not the id of a conversation"),
            "{task}"
        );
    }
    assert_eq!(pool.state(&good), "completed");
}
