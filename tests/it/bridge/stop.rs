//! A bridge ends soon after it was asked to, whatever it waits for.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::testkit::pool::{Dispatcher, Pool};
use crate::testkit::wait::eventually;

/// An adapter that answers `initialize` and nothing else.
const SILENT: &str = r#"#!/bin/sh
read line
echo '{"id":1,"result":{"name":"silent","version":"1"}}'
read line
echo $$ > asked
exec sleep 1000
"#;

#[test]
fn a_request_without_an_answer_is_not_waited_for() {
    let pool = Pool::new(
        "bridges:\n  team:\n    adapter: [./silent.sh]\n    call_timeout: 10m\n    queues: {Todo: {lane: work}}\n",
    );
    std::fs::write(pool.path("silent.sh"), SILENT).unwrap();
    std::fs::set_permissions(pool.path("silent.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let bridge = Dispatcher::of(&mut pool.lanes(&["bridge", "team"]));
    let asked = || std::fs::read_to_string(pool.path("asked")).unwrap_or_default();
    eventually("the adapter is asked", || asked().ends_with('\n'));
    bridge.signal(Signal::TERM);
    assert!(bridge.wait().success(), "it does not wait for ten minutes");
    let adapter = format!("/proc/{}", asked().trim());
    eventually("the adapter is ended", || !std::path::Path::new(&adapter).exists());
}
