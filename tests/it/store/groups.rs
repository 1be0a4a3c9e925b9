//! Groups without their index, and with a damaged one.

use std::fs;
use std::path::PathBuf;

use lanes::internals::store::Store;

use crate::testkit::store::{Fixture, check, group, ids, member, members, task_file};

/// The file of the index with the members of the only group.
fn listed(store: &Store) -> PathBuf {
    fs::read_dir(store.root().join("indexes/groups")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_group_is_whole_whatever_is_missing_of_the_index() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = member(&fixture, &store, "a");
    let ended = fixture.ended(&store, |new| new.spec.group = Some(group("a")));
    let expected = ids(&[&first, &ended]);
    for part in ["indexes", "indexes/groups", "indexes/state", "indexes/lanes"] {
        let path = store.root().join(part);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        assert_eq!(members(&store, "a"), expected, "{part}");
        store.settle(&first.id).unwrap();
        fixture.submit(&store, |_| ());
        assert_eq!(members(&store, "a"), expected, "{part}, built anew");
        check(&store);
    }
    fs::remove_file(listed(&store)).unwrap();
    assert_eq!(members(&store, "a"), expected, "without its file");
    fixture.submit(&store, |_| ());
    // A version that knows no groups in the index writes a state that says nothing of them.
    let path = store.root().join("indexes/state");
    let text = fs::read_to_string(&path).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words[..words.len() - 1].join(" ");
    fs::write(&path, format!("{line:<4095}\n")).unwrap();
    fs::remove_dir_all(store.root().join("indexes/groups")).unwrap();
    assert_eq!(members(&store, "a"), expected, "with the state of an older version");
    let third = member(&fixture, &store, "a");
    assert_eq!(members(&store, "a"), [expected, ids(&[&third])].concat());
    check(&store);
}

#[test]
fn fsck_finds_what_is_missing_in_a_group() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let first = member(&fixture, &store, "a");
    // In place, so that only reading it shows the damage.
    fs::write(listed(&store), "").unwrap();
    assert!(members(&store, "a").is_empty());
    let report = store.fsck(&mut |_, _| ()).unwrap();
    let message = &report.findings[0].message;
    assert_eq!(*message, format!("{} cannot be found through its group", first.id));
    store.repair(&mut |_, _| ()).unwrap();
    assert_eq!(members(&store, "a"), ids(&[&first]));
    check(&store);
}

#[test]
fn a_member_that_cannot_be_read_is_reported() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (first, second) = (member(&fixture, &store, "a"), member(&fixture, &store, "a"));
    fs::write(task_file(&store, &first.id, "task.json"), "{").unwrap();
    let mut errors = Vec::new();
    let found = store.group_members(&group("a"), &|_| true, &mut |error| errors.push(error.to_string()));
    assert_eq!(found.unwrap(), ids(&[&second]));
    assert!(matches!(&errors[..], [error] if error.contains(first.id.as_str())), "{errors:?}");
    // The rebuild cannot read it either.
    fs::remove_file(store.root().join("indexes/state")).unwrap();
    fixture.submit(&store, |_| ());
    let mut errors = 0;
    store.group_members(&group("a"), &|_| true, &mut |_| errors += 1).unwrap();
    assert_eq!(errors, 1);
}
