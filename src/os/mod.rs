//! What `lanes` asks of the operating system beyond POSIX and the standard library: the seams of a port.
//!
//! The functions are named after what their callers need, and they decide nothing. Today each has one implementation,
//! for Linux. The section "What depends on Linux" of ARCHITECTURE.md lists all seams, also those outside of this module,
//! and `tests/it/architecture.rs` keeps the calls in question inside their files.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "lanes runs on Linux only so far; a port is one file for each seam listed in ARCHITECTURE.md, \"What depends on Linux\""
);

pub(crate) mod directory;
pub(crate) mod file_locks;
pub(crate) mod file_system;
pub(crate) mod machine;
#[cfg(feature = "cli")]
pub(crate) mod own_process;
#[cfg(feature = "cli")]
pub(crate) mod process_family;
#[cfg(feature = "cli")]
pub(crate) mod process_handle;
pub(crate) mod process_table;
pub(crate) mod rename;
