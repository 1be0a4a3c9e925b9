//! What a store keeps in addition to tasks: pauses, descriptions of lanes, vendors, schedules, workers.

use lanes::internals::model::{LaneName, Time, json};
use lanes::internals::store::{ScheduleRecord, Store, WorkerInfo, WorkerKind};

use crate::testkit::store::{Fixture, lane_name, owner};

pub fn pauses_have_a_time_and_a_reason(fixture: &Fixture) {
    let store = fixture.store();
    assert!(store.paused().unwrap().is_empty());
    let since = store.now().wall;
    assert!(store.pause(&lane_name("a"), Some("maintenance")).unwrap());
    fixture.pass(10.0);
    assert!(!store.pause(&lane_name("a"), Some("another reason")).unwrap());
    assert!(store.pause(&lane_name("b"), None).unwrap());
    let paused = fixture.store().paused().unwrap();
    let a = &paused[&lane_name("a")];
    assert_eq!((a.since, a.reason.as_deref()), (since, Some("maintenance")), "the first one counts");
    assert_eq!(paused.len(), 2);
    assert!(store.resume(&lane_name("a")).unwrap());
    assert!(!store.resume(&lane_name("a")).unwrap());
    assert_eq!(store.paused().unwrap().keys().collect::<Vec<_>>(), [&lane_name("b")]);
}

pub fn changes_of_lane_descriptions_do_not_get_lost(fixture: &Fixture) {
    let describe = |store: &Store, lane: &LaneName| {
        store
            .change_lane_descriptions(|lanes| {
                lanes.insert(lane.to_string(), json::Object::new().into());
                Ok(())
            })
            .unwrap();
    };
    let store = fixture.store();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                let store = fixture.store();
                (0..5).for_each(|n| describe(&store, &lane_name(&format!("{worker}-{n}"))));
            });
        }
    });
    assert_eq!(store.lane_descriptions().unwrap().len(), 20);
    let before = store.lane_descriptions().unwrap();
    let refused = store.change_lane_descriptions(|lanes| {
        lanes.clear();
        store.resolve("no-such-task").map(drop)
    });
    assert!(refused.is_err());
    assert_eq!(store.lane_descriptions().unwrap(), before, "a refused change writes nothing");
}

pub fn a_vendor_is_paused_until_its_time_or_its_resumption(fixture: &Fixture) {
    let store = fixture.store();
    let until = store.now().wall.plus_seconds(100.0);
    store.pause_vendor("claude", None, until, Some("too dear")).unwrap();
    store.pause_vendor("codex", Some("small"), until.plus_seconds(100.0), None).unwrap();
    assert_eq!(fixture.store().active_cooldowns().unwrap().len(), 2);
    fixture.pass(101.0);
    let active = store.active_cooldowns().unwrap();
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!(store.resume_vendor("codex", None).unwrap().len(), 1);
    assert!(store.resume_vendor("codex", None).unwrap().is_empty());
    assert!(store.active_cooldowns().unwrap().is_empty());
}

pub fn a_schedule_never_goes_back(fixture: &Fixture) {
    let store = fixture.store();
    assert!(store.schedule_records().unwrap().is_empty());
    let at = |text: &str| Time::parse(text).unwrap();
    let early = ScheduleRecord { rule: "@daily UTC".into(), until: at("2026-01-01T00:00:00Z"), last: None };
    let late = ScheduleRecord {
        until: at("2026-01-02T00:00:00Z"),
        last: Some((at("2026-01-02T00:00:00Z"), "t-1".into())),
        ..early.clone()
    };
    store.record_schedule("w", "nightly", &late).unwrap();
    store.record_schedule("w", "nightly", &early).unwrap();
    store.record_schedule("other", "nightly", &early).unwrap();
    let of = |workspace: &str| {
        fixture.store().schedule_records().unwrap()[&(workspace.to_string(), "nightly".to_string())].clone()
    };
    assert_eq!((of("w"), of("other")), (late, early.clone()));
    let anew = ScheduleRecord { rule: "@hourly UTC".into(), ..early };
    store.record_schedule("w", "nightly", &anew).unwrap();
    assert_eq!(of("w"), anew, "another rule begins anew");
}

pub fn a_worker_is_known_as_long_as_it_is_registered(fixture: &Fixture) {
    let store = fixture.store();
    let mut worker = WorkerInfo {
        kind: WorkerKind::ClaimWait,
        owner: owner("me"),
        pid: std::process::id(),
        lanes: vec![lane_name("l")],
        filter: String::new(),
        since: store.now().wall,
        data: json::Object::new(),
    };
    let other = fixture.store();
    assert!(!other.lane_is_attended(&lane_name("l")).unwrap());
    let registration = store.register(&worker).unwrap();
    assert_eq!(other.live_workers().unwrap(), [worker.clone()]);
    assert!(other.lane_is_attended(&lane_name("l")).unwrap());
    worker.lanes.push(lane_name("m"));
    registration.update(&worker).unwrap();
    assert_eq!(other.live_workers().unwrap(), [worker]);
    drop(registration);
    assert!(other.live_workers().unwrap().is_empty());
    assert!(other.dead_workers(&WorkerKind::ClaimWait).unwrap().is_empty());
}
