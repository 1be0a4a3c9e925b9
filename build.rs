//! Compresses the files of the web interface for `http/ui.rs`, and links the release binary statically if this machine can: loading
//! shared libraries takes a third of the time of a short command, and every command is a process.
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
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The libraries that rustc links every program with.
const LIBRARIES: [&str; 6] = ["util", "rt", "pthread", "m", "dl", "c"];

/// The variable that, set to anything, disables static linking.
const DYNAMIC: &str = "LANES_DYNAMIC";

/// The directory of the files of the web interface, relative to this file.
const UI: &str = "src/http/ui";

/// The ends of the names of these files. Anything else there, such as the backup of an editor, is not served.
const UI_FILES: [&str; 4] = ["css", "html", "js", "svg"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={UI}");
    let ui = Path::new(&variable("CARGO_MANIFEST_DIR")).join(UI);
    let out = PathBuf::from(variable("OUT_DIR"));
    let table = ui_table(&ui, &out).expect("the files of the web interface can be compressed");
    std::fs::write(out.join("ui_files.rs"), table).expect("the table of these files can be written");
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

/// Returns the files of the web interface as a Rust expression: a sorted slice of their names and contents. All but the
/// page are compressed with gzip, whose header names neither file nor time, so that the same files make the same binary.
fn ui_table(ui: &Path, out: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    let mut dirs = vec![ui.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if is_hidden {
                continue;
            } else if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| UI_FILES.iter().any(|known| end == *known)) {
                names.push(path);
            }
        }
    }
    names.sort();
    let mut rows = String::new();
    for (number, path) in names.iter().enumerate() {
        let name = path.strip_prefix(ui).unwrap_or(path).to_string_lossy();
        let mut content = std::fs::read(path)?;
        if path.extension().is_some_and(|end| end != "html") {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            packed.write_all(&content)?;
            content = packed.finish()?;
        }
        let place = out.join(format!("ui_{number}"));
        std::fs::write(&place, content)?;
        rows.push_str(&format!("    ({name:?}, include_bytes!({place:?})),\n"));
    }
    Ok(format!("&[\n{rows}]\n"))
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
