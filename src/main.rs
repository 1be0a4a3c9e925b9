//! The `lanes` binary: see the library for everything it does.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the process was started without a standard output.
static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Checks standard output before the Rust runtime replaces a closed descriptor by /dev/null. After that every
/// write would succeed, and a claim whose token was never printed would be reported as done.
#[used]
#[expect(
    unsafe_code,
    reason = "there is no other way to run before the runtime; the function is harmless there"
)]
#[unsafe(link_section = ".init_array")]
static CHECK_STDOUT: extern "C" fn() = check_stdout;

extern "C" fn check_stdout() {
    let open = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_ok();
    STDOUT_IS_CLOSED.store(!open, Ordering::Relaxed);
}

fn main() -> ExitCode {
    lanes::run_command_line(STDOUT_IS_CLOSED.load(Ordering::Relaxed))
}
