//! The `lanes` binary: see the library for everything it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    lanes::cli::run()
}
