//! The `lanes` binary: see [`lanes`] for everything it does.

fn main() {}
