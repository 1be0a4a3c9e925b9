//! The output of agents: any output leads to a report with plausible figures and to an outcome.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use lanes::internals::dispatch::outcome::AgentExit;
use lanes::internals::dispatch::output::{
    Baseline, Format, MAX_TEXT_BYTES, Note, RunReport, StreamParser, Tokens, Totals, Usage,
};
use lanes::internals::dispatch::run::classify::classify;
use lanes::internals::dispatch::run::evidence::RunEvidence;
use lanes::internals::dispatch::vendor::{VendorMessages, Vendors};
use lanes::internals::model::Time;

use crate::noise::Noise;
use crate::run::Target;

/// The vendor messages common to all vendors.
static MESSAGES: LazyLock<Arc<VendorMessages>> =
    LazyLock::new(|| Vendors::built_in().expect("built-in profiles").common_messages());

/// Recorded output of the real programs with scripted models.
macro_rules! recorded {
    ($($name:literal),*) => {
        [$(include_bytes!(concat!("recorded/", $name, ".jsonl"))),*]
    };
}

const CLAUDE: [&[u8]; 3] = recorded!("claude-tools", "claude-background", "claude-limit");
const CODEX: [&[u8]; 2] = recorded!("codex-tools", "codex-limit");
const GEMINI: [&[u8]; 2] = recorded!("gemini-tools", "gemini-error");
const OPENCODE: [&[u8]; 2] = recorded!("opencode-tools", "opencode-error");

const WORDS: [&str; 40] = [
    "\n",
    "\r\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "\"type\":",
    "\"type\":\"result\"",
    "\"type\":\"error\"",
    "\"type\":\"system\"",
    "\"usage\":{",
    "\"input_tokens\":",
    "\"modelUsage\":{\"m\":{",
    "\"costUSD\":-1,",
    "\"total_cost_usd\":1e308,",
    "\"is_error\":true,",
    "\"result\":\"x\",",
    "\"errors\":[1],",
    "\"message\":",
    "\"content\":[",
    "\"permission_denials\":[{",
    "\"session_id\":",
    "\"thread_id\":",
    "\"resetsAt\":99999999999999,",
    "\"status\":\"rejected\",",
    "\u{1b}[31m",
    "\u{202e}",
];

#[test]
fn claude() {
    let target = Target {
        name: "claude",
        found: &[],
        make: |noise| lines(noise, &CLAUDE),
        check: |bytes| check(bytes, Format::ClaudeStream),
    };
    target.run(1_000);
}

#[test]
fn codex() {
    let target = Target {
        name: "codex",
        found: &[],
        make: |noise| lines(noise, &CODEX),
        check: |bytes| check(bytes, Format::CodexJsonl),
    };
    target.run(3_000);
}

#[test]
fn gemini() {
    let target = Target {
        name: "gemini",
        found: &[],
        make: |noise| lines(noise, &GEMINI),
        check: |bytes| check(bytes, Format::GeminiStream),
    };
    target.run(3_000);
}

#[test]
fn opencode() {
    let target = Target {
        name: "opencode",
        found: &[],
        make: |noise| lines(noise, &OPENCODE),
        check: |bytes| check(bytes, Format::OpencodeJson),
    };
    target.run(3_000);
}

/// Lines of a recording: some changed, some missing, some repeated, some in another order.
fn lines(noise: &mut Noise, recorded: &[&[u8]]) -> Vec<u8> {
    if noise.one_in(4) {
        return noise.changed(recorded, &WORDS);
    }
    let all: Vec<&[u8]> = noise.pick(recorded).split_inclusive(|byte| *byte == b'\n').collect();
    let mut bytes = Vec::new();
    for line in &all {
        let line = if noise.one_in(10) { all[noise.below(all.len())] } else { line };
        match noise.below(6) {
            0 => bytes.extend(noise.changed(&[line], &WORDS)),
            1 => bytes.extend(other_values(noise, line)),
            2 => {}
            3 if noise.one_in(3) => bytes.extend_from_slice(&[line, line].concat()),
            _ => bytes.extend_from_slice(line),
        }
    }
    bytes
}

/// A line that stays valid JSON, with some values changed.
fn other_values(noise: &mut Noise, line: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice(line) else { return line.to_vec() };
    for _ in 0..=noise.size(3) {
        replace(noise, &mut value);
    }
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}

fn replace(noise: &mut Noise, value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Object(object) if !object.is_empty() && !noise.one_in(8) => {
            let at = noise.below(object.len());
            object.values_mut().nth(at).into_iter().for_each(|inner| replace(noise, inner));
        }
        Value::Array(items) if !items.is_empty() && !noise.one_in(8) => {
            let at = noise.below(items.len());
            replace(noise, &mut items[at]);
        }
        _ => {
            // A number usually stays a number.
            let is_figure = value.is_number() && !noise.one_in(4);
            let text = if is_figure { noise.number() } else { crate::json::value(noise, 2, false) };
            *value = serde_json::from_str(&text).unwrap_or_default();
        }
    }
}

fn report<'b>(format: Format, pieces: impl IntoIterator<Item = &'b [u8]>, baseline: &Baseline) -> RunReport {
    let mut parser = StreamParser::new(format);
    for piece in pieces {
        parser.feed(piece, &mut |Note { text }| {
            assert!(text.chars().count() <= 300 && !text.contains(char::is_control), "{text:?}");
        });
    }
    parser.finish(baseline)
}

fn check(bytes: &[u8], format: Format) {
    let mut noise = Noise::new(bytes.len() as u64);
    let whole = report(format, [bytes], &Baseline::Fresh);
    let pieces = report(format, noise.pieces(bytes), &Baseline::Fresh);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "it matters in which pieces bytes arrive");
    let tokens = Tokens { input: 100, output: u64::MAX, cache_read: 0, cache_write: 1 };
    let mut usage = Usage::default();
    usage.add("model-x", tokens, Some(f64::MAX));
    let earlier = Totals { cost_usd: Some(0.5), tokens: Some(tokens), usage: Some(usage) };
    let resumed = report(format, [bytes], &Baseline::Resumed(earlier));
    for report in [whole, resumed] {
        let least = report.usage.lower_bound().and_then(|least| least.cost_usd);
        for cost in [report.cost_usd(), report.totals.cost_usd, least].into_iter().flatten() {
            assert!(cost.is_finite() && cost >= 0.0, "it cost {cost}");
        }
        assert!(report.text.len() <= MAX_TEXT_BYTES);
        for exit in [AgentExit::Code(0), AgentExit::Code(1), AgentExit::Signal(15)] {
            let now = Time::from_micros(1_795_000_000_000_000);
            let run = RunEvidence {
                report: &report,
                format,
                exit,
                stopped: None,
                stderr: "",
                resumed: None,
                timeout: Some(Duration::from_secs(60)),
                silence_timeout: None,
                now,
                vendor_messages: &MESSAGES,
                zone: &TimeZone::UTC,
            };
            let _ = classify(&run, noise.one_in(2));
        }
    }
}
