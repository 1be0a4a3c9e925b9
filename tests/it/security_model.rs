//! SECURITY.md names a test for each line; this makes sure that each of them exists.

use std::path::Path;

/// The `file::test` names in backquotes in the last column of the tables of `text`.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|name| name.split_once("::"))
        .map(|(file, test)| (file.to_string(), test.to_string()))
        .collect()
}

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let tests = named_tests(&text);
    assert!(tests.len() > 30, "only {} tests are named", tests.len());
    for (file, test) in tests {
        let source = std::fs::read_to_string(root.join(&file))
            .unwrap_or_else(|error| panic!("SECURITY.md names {file}: {error}"));
        let is_there = match file.ends_with(".rs") {
            true => source.contains(&format!("fn {test}(")),
            false => source.contains(&test),
        };
        assert!(is_there, "SECURITY.md names {file}::{test}, which does not exist");
    }
}

#[test]
fn every_row_of_protection_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut in_table = false;
    for line in text.lines() {
        if line.starts_with("| threat") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !line.starts_with("|---") {
            assert!(!named_tests(line).is_empty(), "this line of SECURITY.md names no test: {line}");
        }
    }
}
