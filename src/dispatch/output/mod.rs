//! Parses the output of an agent while it runs: progress notes for people, and at the end a [`RunReport`].
//!
//! Every format is read by the same rules: lines that are not JSON objects are counted and skipped, unknown fields
//! are ignored, and a line may arrive in any number of pieces. Nothing that an agent prints can make parsing fail;
//! [`super::run::classify`] decides what a missing part of the report means.

pub(crate) mod answer;
mod background;
mod claude;
mod codex;
mod gemini;
mod json;
pub(crate) mod line_splitter;
mod note;
mod opencode;
pub(crate) mod report;
mod tally;
pub(crate) mod usage;
mod usage_so_far;

use serde_json::Value;

pub(crate) use answer::{ClosingStatus, closing, json_value, verdict, without_closing_lines};
pub use note::Note;
pub(crate) use note::one_line;
pub(crate) use report::BackgroundWork;
pub(crate) use report::{AgentResult, ResultStatus};
pub use report::{Baseline, RunReport, Totals};
pub(crate) use usage::{Cost, CostSource, ModelUsage, ReportedUsage, RunUsage, UsageLowerBound, plus_cost};
pub use usage::{Tokens, Usage};
pub(crate) use usage_so_far::UsageSoFar;

use self::line_splitter::LineSplitter;
pub(crate) use json::status_in;

/// Maximum size of the answer of a program whose whole output is the answer, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Maximum size of a line about usage limits that is kept, in bytes.
const MAX_LIMIT_LINE_BYTES: usize = 16 * 1024;

/// The format of an agent's standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// claude `--output-format stream-json`.
    ClaudeStream,
    /// codex `exec --json`.
    CodexJsonl,
    /// gemini `-o stream-json`.
    GeminiStream,
    /// opencode `run --format json`.
    OpencodeJson,
    /// The output is the answer. There is no result object; the exit code decides about success.
    Text,
}

impl Format {
    const ALL: [Self; 5] =
        [Self::ClaudeStream, Self::CodexJsonl, Self::GeminiStream, Self::OpencodeJson, Self::Text];

    /// Returns the name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeStream => "claude-stream",
            Self::CodexJsonl => "codex-jsonl",
            Self::GeminiStream => "gemini-stream",
            Self::OpencodeJson => "opencode-json",
            Self::Text => "text",
        }
    }

    /// Returns the format called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Reads the name of a format from a configuration value.
    ///
    /// # Errors
    /// The list of known formats.
    pub fn from_yaml(value: &serde_yaml::Value) -> Result<Self, String> {
        let format = value.as_str().and_then(Self::parse);
        format.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }

    /// Returns whether a run is complete only after a result object.
    pub fn has_result_object(self) -> bool {
        self != Self::Text
    }

    /// Returns whether a run tells its usage while it runs, and not only at its end.
    pub fn tells_usage_as_it_goes(self) -> bool {
        matches!(self, Self::ClaudeStream | Self::OpencodeJson)
    }
}

/// Parses the output of one run.
#[derive(Debug)]
pub struct StreamParser {
    lines: LineSplitter,
    decoder: Decoder,
    report: RunReport,
    /// HTTP statuses with which the service refuses the account.
    refusing: Vec<u16>,
}

/// The state that a format keeps between lines.
#[derive(Debug)]
enum Decoder {
    Claude(Box<claude::Claude>),
    Codex(codex::Codex),
    Gemini(gemini::Gemini),
    Opencode(opencode::Opencode),
    Text(Vec<u8>),
}

impl StreamParser {
    /// Creates a parser for a run that starts.
    pub fn new(format: Format) -> Self {
        let decoder = match format {
            Format::ClaudeStream => Decoder::Claude(Box::default()),
            Format::CodexJsonl => Decoder::Codex(codex::Codex::default()),
            Format::GeminiStream => Decoder::Gemini(gemini::Gemini::default()),
            Format::OpencodeJson => Decoder::Opencode(opencode::Opencode::default()),
            Format::Text => Decoder::Text(Vec::new()),
        };
        Self { lines: LineSplitter::default(), decoder, report: RunReport::default(), refusing: Vec::new() }
    }

    /// Sets the HTTP statuses with which the service refuses an account.
    pub fn with_refusing_statuses(self, refusing: Vec<u16>) -> Self {
        Self { refusing, ..self }
    }

    /// Returns whether the service refuses the account while the agent keeps retrying.
    pub fn is_refused(&self) -> bool {
        let status = self.report.api_error_status;
        self.report.current_result().is_none() && status.is_some_and(|status| self.refusing.contains(&status))
    }

    /// Parses the next bytes, which may end anywhere, and passes progress to `note`.
    pub fn feed(&mut self, bytes: &[u8], note: &mut dyn FnMut(Note)) {
        let Self { lines, decoder, report, .. } = self;
        if let Decoder::Text(kept) = decoder {
            let room = MAX_TEXT_BYTES - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            report.is_text_truncated |= bytes.len() > room;
        }
        lines.feed(bytes, |line| read_line(decoder, report, line, note));
    }

    /// Returns the id of the conversation once the agent has reported it.
    pub fn session_id(&self) -> Option<&str> {
        self.report.session_id.as_deref()
    }

    /// Returns the usage of the run so far; `None` if its format tells it only at the end.
    pub(crate) fn usage_so_far(&self) -> Option<UsageSoFar> {
        match &self.decoder {
            Decoder::Claude(claude) => Some(claude.usage_so_far()),
            Decoder::Opencode(opencode) => Some(opencode.usage_so_far()),
            Decoder::Codex(_) | Decoder::Gemini(_) | Decoder::Text(_) => None,
        }
    }

    /// Returns whether the agent has reported its last result, after which only clean-up remains.
    pub fn has_final_result(&self) -> bool {
        self.report.has_final_result()
    }

    /// Returns the report after the end of the output. `baseline` holds the totals of earlier runs of the same
    /// conversation, because some figures count from its start.
    pub fn finish(mut self, baseline: &Baseline) -> RunReport {
        let Self { lines, decoder, report, .. } = &mut self;
        lines.finish(|line| read_line(decoder, report, line, &mut |_| {}));
        report.skipped_lines += lines.overlong();
        report.continues_session = *baseline != Baseline::Fresh;
        match self.decoder {
            Decoder::Claude(claude) => claude.finish(&mut self.report, baseline),
            Decoder::Codex(codex) => codex.finish(&mut self.report, baseline),
            Decoder::Gemini(gemini) => gemini.finish(&mut self.report),
            Decoder::Opencode(opencode) => opencode.finish(&mut self.report),
            Decoder::Text(kept) => {
                self.report.text = String::from_utf8_lossy(&kept).into_owned();
            }
        }
        self.report
    }
}

fn read_line(decoder: &mut Decoder, report: &mut RunReport, line: &[u8], note: &mut dyn FnMut(Note)) {
    if let Decoder::Text(_) = decoder {
        if let Some(progress) = Note::new(&String::from_utf8_lossy(line)) {
            note(progress);
        }
        return;
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    let Some(value) = json::object(line) else {
        report.skipped_lines += 1;
        return;
    };
    let is_about_limits =
        value.get("type").and_then(Value::as_str).is_some_and(|name| name.contains("limit"));
    if is_about_limits && line.len() <= MAX_LIMIT_LINE_BYTES {
        report.add_limit(&value);
    }
    let progress = match decoder {
        Decoder::Claude(claude) => claude.read_line(&value, report),
        Decoder::Codex(codex) => codex.read_line(&value, report),
        Decoder::Gemini(gemini) => gemini.read_line(&value, report),
        Decoder::Opencode(opencode) => opencode.read_line(&value, report),
        Decoder::Text(_) => None,
    };
    if let Some(progress) = progress.as_deref().and_then(Note::new) {
        note(progress);
    }
}

/// Describes a tool call briefly: its name and the most informative part of the input.
fn tool_call(name: &str, input: &Value) -> String {
    const INFORMATIVE: [&str; 8] =
        ["command", "file_path", "path", "filePath", "pattern", "query", "url", "description"];
    let detail = INFORMATIVE.iter().find_map(|key| input.get(key).and_then(Value::as_str));
    match detail {
        Some(detail) => format!("{name}: {detail}"),
        None => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        for format in Format::ALL {
            assert_eq!(Format::parse(format.name()), Some(format));
        }
        assert_eq!(Format::parse("xml"), None);
    }

    #[test]
    fn text_is_kept_in_full_and_reported_line_by_line() {
        let mut parser = StreamParser::new(Format::Text);
        let mut notes = Vec::new();
        for piece in [&b"one\ntw"[..], b"o\n\xff", b"\n"] {
            parser.feed(piece, &mut |note| notes.push(note.text));
        }
        assert!(!parser.has_final_result());
        let report = parser.finish(&Baseline::Fresh);
        assert_eq!(report.text, "one\ntwo\n\u{fffd}\n");
        assert_eq!(notes, ["one", "two", "\u{fffd}"]);
    }

    #[test]
    fn garbage_is_counted_and_skipped_in_every_format() {
        let garbage = b"not json\n\xff\xfe\n[1,2]\n\"text\"\n{\"type\":\n{}\n\n{\"type\":5}\n";
        for format in Format::ALL {
            let mut parser = StreamParser::new(format);
            parser.feed(garbage, &mut |_| {});
            parser.feed(b"{\"type\":\"resu", &mut |_| {});
            let report = parser.finish(&Baseline::Fresh);
            assert_eq!(report.result, None, "{format:?}");
            if format.has_result_object() {
                assert_eq!(report.skipped_lines, 8, "{format:?}");
            }
        }
    }

    #[test]
    fn text_beyond_the_limit_is_cut_and_marked() {
        let mut parser = StreamParser::new(Format::Text);
        let block = vec![b'x'; MAX_TEXT_BYTES / 2 + 1];
        parser.feed(&block, &mut |_| {});
        parser.feed(&block, &mut |_| {});
        let report = parser.finish(&Baseline::Fresh);
        assert_eq!(report.text.len(), MAX_TEXT_BYTES);
        assert!(report.is_text_truncated);
    }
}
