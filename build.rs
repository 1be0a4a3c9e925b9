//! Links the release binary without shared libraries, where this machine can: to find and bind them is
//! a third of what a short command takes, and every command is a process.
//!
//! rustc's own switch for this (`-C target-feature=+crt-static`) cannot be set for one binary. Unless a
//! target is named on the command line, it reaches the procedural macros too, and those must be shared
//! libraries. So the linker is told. Where that does not work, which a program of one line tries out,
//! the binary is linked as any other.

#![expect(clippy::disallowed_methods, reason = "Cargo tells a build script everything by its environment")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What rustc links every program with: the linker looks for these.
const LIBRARIES: [&str; 6] = ["util", "rt", "pthread", "m", "dl", "c"];

/// Anything in this variable has the binary linked as any other.
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

/// A debug build is spared, so that its tests can put another clock or a checker under it, and so is
/// whoever brings a linker along, which may belong to another C library than is found here.
fn is_wanted() -> bool {
    variable(DYNAMIC).is_empty()
        && !rust_flags().iter().any(|flag| flag.contains("linker="))
        && variable("PROFILE") == "release"
        && variable("TARGET") == variable("HOST")
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ENV") == "gnu"
}

/// The arguments for the linker, if they lead to a program that runs.
fn static_linking(out: &Path) -> Option<Vec<String>> {
    // rustc asks for shared libraries by name; where only static ones are found first, those serve.
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
    // There is no static libgcc_s: what it holds is in libgcc_eh. This is an archive of nothing.
    std::fs::write(libraries.join("libgcc_s.a"), "!<arch>\n").ok()?;
    let args = [&format!("-L{}", libraries.to_str()?), "-static", "-no-pie", "-lgcc_eh", "-lc"];
    let args: Vec<String> = args.into_iter().map(str::to_string).collect();
    works(out, &args).then_some(args)
}

/// What RUSTFLAGS and the configuration of Cargo give to rustc.
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

/// Where the linker has a library; when it has none it repeats the name.
fn place_of(file: &str) -> Option<PathBuf> {
    let output = Command::new(linker()).arg(format!("-print-file-name={file}")).output().ok()?;
    let place = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    place.is_absolute().then_some(place)
}

/// Whether a program that is linked so starts, unwinds and joins a thread.
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
