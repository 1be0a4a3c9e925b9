//! Checks which `lanes` is running, and which one a shell would start.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::paths::show;
use super::{DiagnosisList, DoctorOptions};
use crate::error::printable;

/// How long another `lanes` may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

const VERSION: &str = concat!("lanes ", env!("CARGO_PKG_VERSION"));

pub(super) fn check(diagnoses: &mut DiagnosisList, settings: &DoctorOptions<'_>) {
    let program = settings.program.as_deref();
    let place = program.map_or_else(String::new, |path| format!(" at {}", show(path)));
    diagnoses.ok("version", format!("{VERSION}{place}"));
    let Some(program) = program.and_then(identity) else { return };
    let found = programs_on_path(settings);
    match found.first() {
        None => diagnoses.warn(
            "path",
            "`lanes` is not on PATH, so shells do not find it",
            "add its directory to PATH, since agents and scripts call it by name",
        ),
        Some(first) if identity(first) == Some(program) => {
            diagnoses.ok("path", format!("shells run {}", show(first)));
        }
        Some(first) => diagnoses.warn(
            "path",
            format!("shells run another lanes: {}", show(first)),
            "remove it, or put the directory of this one first in PATH",
        ),
    }
    for other in found.iter().filter(|path| identity(path) != Some(program)) {
        let version = version_of(other).unwrap_or_else(|| "reports no version".to_string());
        if version != VERSION {
            diagnoses.warn(
                "path-version",
                format!("{} is on PATH too and is {}", show(other), printable(&version)),
                "remove the one that you do not need",
            );
        }
    }
}

/// Returns the identity of a file, to compare two paths.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns every program called `lanes` that a shell could start, in the order of `PATH`.
fn programs_on_path(settings: &DoctorOptions<'_>) -> Vec<PathBuf> {
    let Some(path) = &settings.search_path else { return Vec::new() };
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in std::env::split_paths(path) {
        let Ok(candidate) = settings.locate.base.absolute(&directory.join("lanes")) else { continue };
        let runs = std::fs::metadata(&candidate)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if runs && !found.iter().any(|known| identity(known) == identity(&candidate)) {
            found.push(candidate);
        }
    }
    found
}

/// Returns what a program prints for `--version`, if it does so in time.
fn version_of(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + VERSION_TIMEOUT;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    let mut text = String::new();
    child.stdout.take()?.take(1000).read_to_string(&mut text).ok()?;
    text.lines().next().map(|line| line.trim().to_string()).filter(|line| !line.is_empty())
}
