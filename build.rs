//! Links the release binary statically if this machine can: loading shared libraries takes a third of the time of
//! a short command, and every command is a process.
//!
//! rustc's own option for this (`-C target-feature=+crt-static`) cannot be set for one binary: unless a target is
//! named on the command line, it also applies to procedural macros, which must be shared libraries. The options
//! are therefore passed to the linker. If a one-line test program does not link or run with them, the binary is
//! linked as usual.

#![expect(
    clippy::disallowed_methods,
    reason = "Cargo passes its settings to a build script in the environment"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries that rustc links every program with.
const LIBRARIES: [&str; 6] = ["util", "rt", "pthread", "m", "dl", "c"];

/// The variable that, set to anything, disables static linking.
const DYNAMIC: &str = "LANES_DYNAMIC";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={DYNAMIC}");
    if is_wanted() {
        for arg in static_linking(&PathBuf::from(variable("OUT_DIR"))).unwrap_or_default() {
            println!("cargo:rustc-link-arg-bins={arg}");
        }
    }
}

fn variable(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

/// Returns whether to link statically. A debug build is linked as usual, so that tests can preload libraries such
/// as libfaketime; so is a build with a linker of its own, which may belong to another C library.
fn is_wanted() -> bool {
    variable(DYNAMIC).is_empty()
        && !rust_flags().iter().any(|flag| flag.contains("linker="))
        && variable("PROFILE") == "release"
        && variable("TARGET") == variable("HOST")
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
}

/// Returns the arguments for the linker, if a program linked with them runs.
fn static_linking(out: &Path) -> Option<Vec<String>> {
    // rustc requests libraries by name; the linker uses the static ones if they are found first.
    let libraries = out.join("static");
    match std::fs::remove_dir_all(&libraries) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return None,
        _ => std::fs::create_dir(&libraries).ok()?,
    }
    for name in LIBRARIES {
        let file = format!("lib{name}.a");
        let place = place_of(&file)?;
        println!("cargo:rerun-if-changed={}", place.display());
        std::os::unix::fs::symlink(place, libraries.join(file)).ok()?;
    }
    // There is no static libgcc_s, whose content is in libgcc_eh. This is an empty archive.
    std::fs::write(libraries.join("libgcc_s.a"), "!<arch>\n").ok()?;
    let args = [&format!("-L{}", libraries.to_str()?), "-static", "-no-pie", "-lgcc_eh", "-lc"];
    let args: Vec<String> = args.into_iter().map(str::to_string).collect();
    works(out, &args).then_some(args)
}

/// Returns the flags for rustc from RUSTFLAGS and the configuration of Cargo.
fn rust_flags() -> Vec<String> {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS").to_string_lossy().into_owned();
    flags.split('\x1f').filter(|flag| !flag.is_empty()).map(str::to_string).collect()
}

fn linker() -> OsString {
    match variable("RUSTC_LINKER") {
        linker if linker.is_empty() => "cc".into(),
        linker => linker,
    }
}

/// Returns the path of a library of the linker; the linker repeats the name if it has none.
fn place_of(file: &str) -> Option<PathBuf> {
    let output = Command::new(linker()).arg(format!("-print-file-name={file}")).output().ok()?;
    let place = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    place.is_absolute().then_some(place)
}

/// Returns whether a program linked with `args` starts, unwinds and joins a thread.
fn works(out: &Path, args: &[String]) -> bool {
    let (source, program) = (out.join("probe.rs"), out.join("probe"));
    let text = "fn main() { assert!(std::thread::spawn(|| std::panic::resume_unwind(Box::new(()))).join().is_err()) }";
    let built = std::fs::write(&source, text).is_ok()
        && Command::new(variable("RUSTC"))
            .args(rust_flags())
            .arg(format!("-Clinker={}", linker().to_string_lossy()))
            .args(args.iter().map(|arg| format!("-Clink-arg={arg}")))
            .args(["--edition=2024", "-o"])
            .args([&program, &source])
            .output()
            .is_ok_and(|output| output.status.success());
    built && Command::new(&program).status().is_ok_and(|status| status.success())
}
