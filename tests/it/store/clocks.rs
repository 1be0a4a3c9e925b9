//! Leases when the wall clock is set, the machine restarted, or another implementation claims.

use std::path::Path;
use std::time::Duration;

use crate::testkit::clock::TestClock;
use crate::testkit::store::{in_lane, new_task, owner};
use lanes::internals::model::{Command, Task, Time, json};
use lanes::internals::store::Store;

const HOUR: i64 = 3_600_000_000;

struct World {
    _dir: tempfile::TempDir,
    clock: TestClock,
    store: Store,
}

impl World {
    /// A store with one task, claimed for an hour.
    fn new() -> (Self, Task) {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        clock.set_uptime(100 * HOUR);
        let store = Store::open(&dir.path().join("state"), clock.options()).unwrap();
        let world = Self { _dir: dir, clock, store };
        world.submit();
        let claimed = world.claim().unwrap();
        (world, claimed)
    }

    fn submit(&self) {
        self.pass(1);
        self.store.submit(new_task("l", Path::new("/"))).unwrap();
    }

    fn claim(&self) -> Option<Task> {
        self.claim_for(Duration::from_secs(3600))
    }

    fn claim_for(&self, lease: Duration) -> Option<Task> {
        self.store.claim_next(&in_lane("l"), &owner("a"), lease).unwrap()
    }

    fn pass(&self, micros: i64) {
        self.clock.pass(micros);
    }

    fn set_clock(&self, by: i64) {
        self.clock.set_forward(by);
    }

    /// Edits the task's file as another program would.
    fn edit(&self, task: &Task, change: impl FnOnce(&mut json::Object)) {
        let path = self.store.root().join("tasks").join(task.id.as_str()).join("task.json");
        let mut object = json::parse_object(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut object);
        std::fs::write(&path, json::to_text(&object)).unwrap();
    }

    /// The machine has been restarted: the uptime starts again at zero, and the index is rebuilt.
    fn restart(&self, task: &Task) {
        self.edit(task, |object| object["_lanes"]["lease"]["boot"] = "the boot before".into());
        self.clock.set_uptime(HOUR / 60);
        std::fs::remove_dir_all(self.store.root().join("indexes")).unwrap();
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

fn renew(task: &Task) -> Command {
    Command::Renew { token: task.status.claim().unwrap().token.clone(), lease: None }
}

#[test]
fn a_clock_set_back_does_not_stretch_a_lease() {
    let (world, first) = World::new();
    world.set_clock(-24 * HOUR);
    world.pass(HOUR - 1);
    assert!(world.claim().is_none(), "an hour is not over");
    world.pass(1);
    let second = world.claim().unwrap();
    assert_eq!((&second.id, second.fence), (&first.id, 2));
    assert!(world.store.apply(&first.id, &renew(&first)).is_err(), "the old token is void");
    world.store.apply(&second.id, &renew(&second)).unwrap();
}

#[test]
fn it_does_not_hide_a_task_behind_others_either() {
    let (world, first) = World::new();
    world.submit();
    world.submit();
    world.set_clock(-24 * HOUR);
    world.claim_for(Duration::from_secs(36_000)).unwrap();
    world.pass(HOUR);
    assert_eq!(world.claim().unwrap().id, first.id, "the older one goes first");
}

#[test]
fn a_clock_set_forward_does_not_end_a_lease() {
    let (world, first) = World::new();
    world.set_clock(24 * HOUR);
    assert!(world.claim().is_none());
    assert!(world.store.claim(&first.id, &owner("b"), Duration::from_secs(60)).is_err());
    world.store.apply(&first.id, &renew(&first)).unwrap();
    world.pass(HOUR);
    assert_eq!(world.claim().unwrap().fence, 2);
}

#[test]
fn after_a_restart_the_wall_clock_decides() {
    let (world, first) = World::new();
    world.restart(&first);
    world.set_clock(HOUR - 1);
    assert!(world.claim().is_none());
    world.set_clock(1);
    assert_eq!(world.claim().unwrap().fence, 2);
}

#[test]
fn after_a_restart_with_a_clock_set_back_a_lease_from_the_future_is_over() {
    let (world, first) = World::new();
    world.restart(&first);
    world.set_clock(-30_000_000);
    assert!(world.claim().is_none(), "half a minute may be a correction");
    world.set_clock(-HOUR);
    assert_eq!(world.claim().unwrap().fence, 2);
}

#[test]
fn a_renewed_lease_from_the_future_is_over_too() {
    let (world, first) = World::new();
    world.pass(HOUR / 2);
    world.store.apply(&first.id, &renew(&first)).unwrap();
    world.restart(&first);
    world.set_clock(-HOUR / 4);
    assert_eq!(world.claim().unwrap().fence, 2, "the claim is in the past, its renewal is not");
}

#[test]
fn another_implementations_lease_goes_by_the_wall_clock() {
    let (world, first) = World::new();
    world.pass(HOUR);
    let (then, end) = (world.now(), world.now().plus_seconds(7200.0));
    world.edit(&first, |object| {
        object.insert("claim_owner".into(), "them".into());
        object.insert("claim_token".into(), "0123".into());
        object.insert("claimed_at".into(), then.to_string().into());
        object.insert("lease_expires_at".into(), end.to_string().into());
        object.insert("updated_at".into(), then.plus_seconds(0.5).to_string().into());
    });
    world.pass(HOUR);
    assert!(world.claim().is_none(), "its lease is twice as long as ours was");
    let theirs = world.store.task(&first.id).unwrap();
    let (renewed, _) = world.store.apply(&first.id, &renew(&theirs)).unwrap();
    let claim = renewed.status.claim().unwrap();
    assert_eq!(
        claim.lease,
        Some(Duration::from_secs(7200).into()),
        "a renewal keeps the length of their claim, not of ours"
    );
    world.edit(&first, |object| {
        object.insert("lease_expires_at".into(), end.plus_seconds(1.0).to_string().into());
    });
    world.set_clock(-2 * HOUR);
    assert_eq!(world.claim().unwrap().id, first.id, "a claim from the future is over");
}
