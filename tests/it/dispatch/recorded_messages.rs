//! The recorded output of vendors: `src/dispatch/vendor/recorded/`, a file for each wording.
//!
//! Each names its `vendor` (`command` for a program without one), the `exit` code, what was printed on
//! `stdout` and `stderr`, and what to `expect`: the `class`, and for a limit `exact` or `clock` (when it
//! ends), `passed: true`, or none of them, and the `model` if it is about one. `now` is when it was read.

use std::path::Path;

use jiff::tz::TimeZone;
use lanes::internals::dispatch::outcome::ResetTime;
use lanes::internals::dispatch::outcome::{AgentExit, RunOutcome};
use lanes::internals::dispatch::output::{Baseline, Format, StreamParser};
use lanes::internals::dispatch::run::classify::classify;
use lanes::internals::dispatch::run::evidence::RunEvidence;
use lanes::internals::dispatch::vendor::Vendors;
use lanes::internals::model::Time;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    vendor: String,
    #[serde(default)]
    now: Option<String>,
    exit: i32,
    expect: Expected,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Expected {
    class: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    exact: Option<String>,
    #[serde(default)]
    clock: Option<String>,
    #[serde(default)]
    passed: bool,
}

fn judged(recorded: &Recorded, vendors: &Vendors) -> Expected {
    let (format, vendor_messages) = match recorded.vendor.as_str() {
        "command" => (Format::Text, vendors.common_messages()),
        name => (vendors.get(name).unwrap().format, vendors.get(name).unwrap().messages.clone()),
    };
    let mut parser = StreamParser::new(format);
    parser.feed(recorded.stdout.as_bytes(), &mut |_| {});
    let report = parser.finish(&Baseline::Fresh);
    let run = RunEvidence {
        report: &report,
        format,
        exit: AgentExit::Code(recorded.exit),
        stopped: None,
        stderr: &recorded.stderr,
        resumed: None,
        timeout: None,
        silence_timeout: None,
        now: Time::parse(recorded.now.as_deref().unwrap_or("2026-11-21T12:00:00Z")).unwrap(),
        vendor_messages: &vendor_messages,
        zone: &TimeZone::UTC,
    };
    let failure = match classify(&run, false) {
        RunOutcome::Failed(failure) => failure,
        RunOutcome::Completed(_) => return Expected { class: "answer".to_string(), ..Expected::default() },
        other => panic!("{other:?}"),
    };
    let Some(vendor_refusal) = failure.vendor_refusal else {
        return Expected { class: failure.class.as_str().to_string(), ..Expected::default() };
    };
    let mut found = Expected {
        class: vendor_refusal.cause.as_str().to_string(),
        model: vendor_refusal.model,
        ..Expected::default()
    };
    let text = |time: Time| Some(format!("{}Z", &time.to_string()[..19]));
    match vendor_refusal.reset {
        Some(ResetTime::Exact(time)) => found.exact = text(time),
        Some(ResetTime::Clock(time)) => found.clock = text(time),
        Some(ResetTime::Past) => found.passed = true,
        None => {}
    }
    found
}

#[test]
fn every_recorded_output_has_the_meaning_in_its_file() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dispatch/vendor/recorded");
    let vendors = Vendors::built_in().unwrap();
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let recorded: Recorded = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = judged(&recorded, &vendors);
        if found != recorded.expect {
            wrong.push(format!("{name}: expected {:?}, found {found:?}", recorded.expect));
        }
        seen.insert(recorded.vendor);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for vendor in vendors.names().chain(["command"]) {
        assert!(seen.contains(vendor), "nothing is recorded of {vendor}");
    }
}
