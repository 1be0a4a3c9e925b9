//! Directories that other users can change: a configuration found there is refused.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::testkit::command::lanes_in_shell;
use crate::testkit::sandbox::{Outcome, Sandbox};
use crate::testkit::skip::is_root;

/// A user that these tests are not run as.
const STRANGER: u32 = 65_534;

/// A sandbox whose current directory and those above it have no other configuration.
fn sandbox() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let file = sandbox.path("handoff/handoff.yaml");
    (sandbox, file)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a path to another user, which only root can.
#[track_caller]
fn give_away(path: &Path) -> bool {
    let can = is_root();
    if can {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }
    can
}

/// Returns the output of the commands that only read, and of the one that runs programs; it must be the same.
#[track_caller]
fn printed(sandbox: &Sandbox) -> Outcome {
    let dispatched = sandbox.run(&["dispatch", "--once", "--lane", "l", "--command", "--", "touch", "ran"]);
    let listed = sandbox.run(&["list"]);
    assert_eq!((dispatched.code, &dispatched.stderr), (listed.code, &listed.stderr));
    assert!(!sandbox.path("ran").exists());
    listed
}

#[test]
fn every_part_of_a_place_that_was_found_must_be_ones_own() {
    for part in ["handoff/handoff.yaml", "handoff", ".", "handoff/state"] {
        let (sandbox, file) = sandbox();
        sandbox.submit("l", &[]);
        let path = sandbox.path(part).canonicalize().unwrap();
        if !give_away(&path) {
            return;
        }
        let shown = path.to_str().unwrap().replace(sandbox.root().to_str().unwrap(), "$DIR/project");
        let outcome = printed(&sandbox);
        outcome.refused(1, &format!("but {shown} belongs to another user (uid {STRANGER})"));
        outcome.refused(1, "if you trust it, name it: --config $DIR/project/handoff/handoff.yaml");
        // Below the place it is the same, and the ways out work.
        sandbox.write("below/file", "");
        let below = sandbox.command(&["list"]).current_dir(sandbox.path("below")).output().unwrap();
        sandbox.outcome(below).refused(1, "belongs to another user");
        sandbox.ok(&["list", "--config", file.to_str().unwrap()]);
        let named = sandbox.command(&["list"]).env("LANES_CONFIG", &file).output().unwrap();
        assert_eq!(sandbox.outcome(named).code, 0);
        if part == "handoff/state" {
            sandbox.ok(&["list", "--store", path.to_str().unwrap()]);
        }
        // Root acting for the user who called sudo may use that user's files.
        let sudo = sandbox.command(&["list"]).env("SUDO_UID", STRANGER.to_string()).output().unwrap();
        assert_eq!(sandbox.outcome(sudo).code, 0, "{part}");
        let other = sandbox.command(&["list"]).env("SUDO_UID", "65533").output().unwrap();
        sandbox.outcome(other).refused(1, "belongs to another user");
    }
}

#[test]
fn a_strangers_configuration_above_is_refused_too() {
    let sandbox = Sandbox::empty();
    let above = sandbox.root().parent().unwrap().join(".agent-lanes-queue");
    std::fs::create_dir(&above).unwrap();
    std::fs::write(above.join("handoff.yaml"), "workspace_id: w\n").unwrap();
    if give_away(&above) {
        sandbox.run(&["list"]).refused(1, "found $DIR/.agent-lanes-queue/handoff.yaml, but");
        assert!(!above.join("state").exists(), "nothing is made there");
    }
}

#[test]
fn nobody_else_may_be_able_to_write_there() {
    for (part, mode, expected) in [
        (
            "handoff/handoff.yaml",
            0o666,
            "everybody may write to $DIR/project/handoff/handoff.yaml (mode 0666)",
        ),
        ("handoff", 0o777, "`chmod o-w $DIR/project/handoff`, or name the file: --config"),
        ("handoff", 0o1777, "everybody may write to $DIR/project/handoff (mode 1777)"),
        (".", 0o777, "everybody may write to $DIR/project (mode 0777)"),
        ("handoff/state", 0o707, "its queue_root $DIR/project/handoff/state, but everybody may write to"),
    ] {
        let (sandbox, file) = sandbox();
        set_mode(&sandbox.path(part), mode);
        printed(&sandbox).refused(1, expected);
        sandbox.ok(&["list", "--config", file.to_str().unwrap()]);
        set_mode(&sandbox.path(part), 0o700);
        sandbox.ok(&["list"]);
    }
}

#[test]
fn a_sticky_directory_may_hold_a_queue() {
    let (sandbox, _) = sandbox();
    set_mode(&sandbox.root(), 0o1777);
    sandbox.ok(&["list"]);
}

#[test]
fn a_group_may_write_when_it_is_the_owners_own() {
    let (sandbox, _) = sandbox();
    for part in [".", "handoff", "handoff/handoff.yaml"] {
        let path = sandbox.path(part);
        if rustix::process::geteuid().is_root() {
            chown(&path, None, Some(4_100_000)).unwrap();
            set_mode(&path, 0o775);
            printed(&sandbox).refused(1, "but its group may write to");
            printed(&sandbox).refused(1, "`chmod g-w ");
            chown(&path, None, Some(0)).unwrap();
            sandbox.ok(&["list"]);
        }
    }
}

#[test]
fn links_are_checked_at_both_ends() {
    let sandbox = Sandbox::empty();
    let root = sandbox.root();
    let elsewhere = root.parent().unwrap().join("elsewhere");
    sandbox.ok(&["init", "../elsewhere"]);
    symlink("../elsewhere/handoff", root.join("handoff")).unwrap();
    sandbox.ok(&["list"]);
    set_mode(&elsewhere.join("handoff"), 0o777);
    sandbox.run(&["list"]).refused(1, "everybody may write to $DIR/elsewhere/handoff (mode 0777)");
    set_mode(&elsewhere.join("handoff"), 0o700);
    set_mode(&root, 0o777);
    sandbox.run(&["list"]).refused(1, "everybody may write to $DIR/project (mode 0777)");
    set_mode(&root, 0o1777);
    sandbox.ok(&["list"]);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(root.join("handoff"), Some(STRANGER), None).unwrap();
        sandbox.run(&["list"]).refused(1, "but $DIR/project/handoff belongs to another user");
    }
}

#[test]
fn what_init_writes_is_not_open_to_everybody_whatever_the_umask() {
    let sandbox = Sandbox::empty();
    for args in [vec!["init", "one"], vec!["init-pool", "two"]] {
        let mut shell = lanes_in_shell("umask 0; exec \"$0\" \"$@\"");
        let output = shell.args(&args).current_dir(sandbox.root()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let listed = sandbox.command(&["list"]).current_dir(sandbox.path(args[1])).output().unwrap();
        assert_eq!(sandbox.outcome(listed).code, 0);
    }
}
