//! What the sources themselves must keep to: layers, sizes, nothing left open.

use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The layers, lowest first. A module may use what stands before it, never what stands behind.
const LAYERS: [&str; 4] = ["model", "store", "workspace", "doors"];

/// The doors, which all stand on the same level and do not know each other, but for the command
/// line, which starts the others.
const DOORS: [&str; 3] = ["cli", "http", "dispatch"];

fn layer(module: &str) -> Option<usize> {
    let name = if DOORS.contains(&module) { "doors" } else { module };
    LAYERS.iter().position(|layer| *layer == name)
}

#[test]
fn no_module_imports_upward() {
    let mut checked = 0;
    for file in sources(&root()) {
        let inside = file.strip_prefix(root()).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let Some(own_layer) = layer(own) else { continue };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let module: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(used_layer) = layer(&module) else { continue };
                let fine = match (own, module.as_str()) {
                    (own, module) if own == module => true,
                    ("cli", _) => true,
                    _ => used_layer < own_layer,
                };
                assert!(fine, "{}:{}: {own} uses {module}", file.display(), number + 1);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were seen");
}

#[test]
fn no_file_is_left_unfinished() {
    for file in sources(&root()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for left_open in ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore"] {
            assert!(!text.contains(left_open), "{} contains {left_open}", file.display());
        }
    }
}
