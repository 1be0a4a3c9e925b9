//! handoff.yaml and task files: a configuration, or an error in one line.

use std::cell::OnceCell;
use std::path::PathBuf;

use lanes::internals::dispatch::config::DispatchConfig;
use lanes::internals::model::Time;
use lanes::internals::workspace::SourceText;
use lanes::internals::workspace::{
    BaseDir, Config, SubmitContext, SubmitRequest, check_nesting, check_submit,
};

use crate::noise::Noise;
use crate::run::Target;

const GOOD: [&[u8]; 4] = [
    include_bytes!("../../examples/pool/handoff.yaml"),
    include_bytes!("../../templates/handoff.yaml"),
    b"workspace_id: w\nworkspace_root: .\nqueue_root: state\nlanes: {work: '', 'a b': text}\ndispatch:\n  vendor: claude\n  timeout: 5m\n  routes:\n    work: {command: [x, -y], env: {A: 1, B: null}}\n",
    b"lane: review\nmetadata: {model_class: opus, n: 1}\nprompt: |\n  Look at\n   this [\nresponse_to: out.md\npriority: -3\nnot_before: 2026-01-31T09:00:00Z\nmax_attempts: 4\nkey: k\nname: N\nlabels: [x, 7]\ntimeout: 1h30m\n",
];

const WORDS: [&str; 52] = [
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    ": ",
    ":",
    "? ",
    "# ",
    "|",
    ">",
    "|-\n",
    ">2\n",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    "\"",
    "\\",
    "&a ",
    "*a",
    "*a, *a, *a",
    "<<: *a\n",
    "<<: [*a, *a]\n",
    "!tag ",
    "!!str ",
    "!!binary ",
    "%YAML 1.2\n---\n",
    "---\n",
    "...\n",
    "null",
    "~",
    "true",
    "yes",
    "0x1F",
    "0o17",
    "1_000",
    "1e999",
    ".inf",
    ".nan",
    "-.inf",
    "1:30",
    "2026-01-01",
    "\t",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "dispatch:\n",
    "routes: {",
    "vendors:\n    x: {like: x}\n",
    "lanes: ",
];

#[test]
fn yaml() {
    let target = Target { name: "yaml", found: &[], make, check };
    target.run(1_000);
}

fn make(noise: &mut Noise) -> Vec<u8> {
    match noise.below(5) {
        0 => brackets(noise).into_bytes(),
        1 => node(noise, 0, 5).into_bytes(),
        2 => {
            let good = node(noise, 0, 4).into_bytes();
            noise.changed(&[&good], &WORDS)
        }
        _ => noise.changed(&GOOD, &WORDS),
    }
}

/// A mapping that can be read, with many brackets: some nested, most of them text.
fn brackets(noise: &mut Noise) -> String {
    let mut text = String::new();
    for n in 0..=noise.size(6) {
        let most = if noise.one_in(10) { 140 } else { 30 };
        let levels = noise.size(most);
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let value = match noise.below(9) {
            0 => format!("{open}{close}"),
            1 => format!("{}x{}", "{a: ".repeat(levels), "}".repeat(levels)),
            2 => format!("|\n  {open}\n\n   {open}"),
            3 => format!(">-\n  a {open} # b"),
            4 => format!("'it''s {open}\n  {open}'"),
            5 => format!("\"\\\"{open}\\\\\""),
            6 => format!("word {open}: # {open}").replace(": #", " #"),
            7 => format!("# {open}\n  - {open}{close}\n  - a"),
            _ => format!("{{a: '{open}', \"{open}\": [x, {open}{close}]}}"),
        };
        text.push_str(&format!("k{n}: {value}\n"));
    }
    text
}

/// A mapping in block style whose values have any style.
fn node(noise: &mut Noise, indent: usize, depth: usize) -> String {
    const KEYS: [&str; 14] = [
        "workspace_id",
        "workspace_root",
        "queue_root",
        "lanes",
        "dispatch",
        "routes",
        "vendors",
        "lane",
        "prompt",
        "metadata",
        "'quoted key'",
        "1",
        "~",
        "? complex\n",
    ];
    let pad = " ".repeat(indent);
    let mut text = String::new();
    for _ in 0..=noise.size(5) {
        let key = noise.pick(&KEYS);
        let value = match noise.below(7) {
            0 if depth > 0 => {
                let further = indent + 1 + noise.size(3);
                format!("\n{}", node(noise, further, depth - 1))
            }
            1 => format!(
                "|\n{pad}  {}\n",
                noise.text(&["a", "[", "b: c", "\n"]).replace('\n', &format!("\n{pad}  "))
            ),
            2 => format!("{:?}\n", noise.text(&["a", "[", "b: c"])),
            3 => format!("[{}, {}]\n", noise.number(), flow(noise, 3)),
            4 => format!("{}\n", flow(noise, 4)),
            5 if noise.one_in(20) => {
                let levels = noise.size(140);
                format!("{}x{}\n", "[".repeat(levels), "]".repeat(levels))
            }
            _ => format!("{}\n", noise.pick(&WORDS[31..44])),
        };
        text.push_str(&format!("{pad}{key}: {value}"));
    }
    text
}

fn flow(noise: &mut Noise, depth: usize) -> String {
    match noise.below(if depth == 0 { 3 } else { 6 }) {
        0 => noise.number(),
        1 => noise.pick(&["word", "'it''s'", "\"a\\\"b\"", "a b", "null", "*a", "&a x"]).to_string(),
        2 => format!("'{}'", noise.text(&["a", "]", "}", "#"]).replace('\'', "''")),
        3 => format!("[{}, {}]", flow(noise, depth - 1), flow(noise, depth - 1)),
        _ => format!("{{k: {}, {}: {}}}", flow(noise, depth - 1), noise.number(), flow(noise, depth - 1)),
    }
}

thread_local! {
    static PLACE: OnceCell<(tempfile::TempDir, PathBuf, Config)> = const { OnceCell::new() };
}

fn check(bytes: &[u8]) {
    PLACE.with(|place| {
        let (_, path, workspace) = place.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("handoff.yaml");
            std::fs::write(&path, GOOD[2]).unwrap();
            let workspace = Config::load(&path, None).unwrap();
            let path = dir.path().join("strange.yaml");
            (dir, path, workspace)
        });
        std::fs::write(path, bytes).unwrap();
        if let Ok(text) = std::str::from_utf8(bytes) {
            nesting(text);
            configuration(path, text);
        }
        let request = SubmitRequest { task_file: Some(path.clone()), ..SubmitRequest::default() };
        let base = BaseDir::at(path.parent().unwrap());
        if let Err(error) = check_submit(&SubmitContext::new(workspace, &base, Time::from_micros(0)), request)
        {
            one_line(&error);
        }
    });
}

fn configuration(path: &std::path::Path, text: &str) {
    let config = match Config::load(path, None) {
        Ok(config) => config,
        Err(error) => return one_line(&error),
    };
    for warning in &config.warnings {
        assert!(!warning.contains(char::is_control), "{warning:?}");
    }
    let source = SourceText { file: "handoff.yaml", text };
    if let Err(error) = DispatchConfig::of_file(&config, source) {
        one_line(&error);
        assert!(error.message().starts_with("handoff.yaml"), "{error}");
    }
}

fn one_line(error: &lanes::Error) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "a message of {} bytes: {text}", text.len());
}

/// Checks that text which the parser accepts is not refused for its nesting.
fn nesting(text: &str) {
    if check_nesting(text).is_err() {
        let read = serde_yaml::from_str::<serde_yaml::Value>(text);
        assert!(read.is_err(), "refused for its nesting, and can be read");
    }
}
