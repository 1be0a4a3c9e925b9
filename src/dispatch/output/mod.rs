//! What an agent prints, read as it comes: progress for people, and at the end a [`RunReport`].
//!
//! Every format is read by the same rules: lines that are no JSON objects are counted and skipped,
//! unknown fields are normal, a line may arrive in any number of pieces. Nothing an agent prints can
//! make reading fail; what is missing from the report is judged in [`super::run::classify`].

mod background;
mod claude;
mod codex;
mod gemini;
mod json;
pub(crate) mod line_splitter;
mod opencode;
mod report;
mod tally;
mod usage;

use serde_json::Value;

pub use report::{Baseline, CutShort, Denial, Ending, Note, RunReport, Totals, one_line};
pub use usage::{AtLeast, CostSource, ModelUsage, Tokens, Usage, plus_cost};

use self::line_splitter::Lines;
pub use json::status_in;

/// Longest answer that is kept from a program whose whole output is the answer.
pub const LONGEST_TEXT: usize = 16 * 1024 * 1024;

/// Longest line about an account's limits that is kept, in bytes.
const LONGEST_LIMIT_LINE: usize = 16 * 1024;

/// How an agent's standard output is to be read.
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
    /// The output is the answer; there is no result object, the exit code decides.
    Text,
}

impl Format {
    const ALL: [Self; 5] =
        [Self::ClaudeStream, Self::CodexJsonl, Self::GeminiStream, Self::OpencodeJson, Self::Text];

    /// The name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeStream => "claude-stream",
            Self::CodexJsonl => "codex-jsonl",
            Self::GeminiStream => "gemini-stream",
            Self::OpencodeJson => "opencode-json",
            Self::Text => "text",
        }
    }

    /// The format called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Reads a format's name from a configuration value.
    pub fn from_yaml(value: &serde_yaml::Value) -> Result<Self, String> {
        let format = value.as_str().and_then(Self::parse);
        format.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }

    /// Whether a run counts as finished only once a result object was seen.
    pub fn has_result_object(self) -> bool {
        self != Self::Text
    }
}

/// Reads one run's output.
#[derive(Debug)]
pub struct StreamParser {
    lines: Lines,
    decoder: Decoder,
    report: RunReport,
    /// HTTP statuses with which the service refuses the account.
    refusing: Vec<u16>,
}

/// What a format remembers between two lines.
#[derive(Debug)]
enum Decoder {
    Claude(Box<claude::Claude>),
    Codex(codex::Codex),
    Gemini(gemini::Gemini),
    Opencode(opencode::Opencode),
    Text(Vec<u8>),
}

impl StreamParser {
    /// A parser at the start of a run.
    pub fn new(format: Format) -> Self {
        let decoder = match format {
            Format::ClaudeStream => Decoder::Claude(Box::default()),
            Format::CodexJsonl => Decoder::Codex(codex::Codex::default()),
            Format::GeminiStream => Decoder::Gemini(gemini::Gemini::default()),
            Format::OpencodeJson => Decoder::Opencode(opencode::Opencode::default()),
            Format::Text => Decoder::Text(Vec::new()),
        };
        Self { lines: Lines::default(), decoder, report: RunReport::default(), refusing: Vec::new() }
    }

    /// The same parser, for a service that refuses accounts with these HTTP statuses.
    pub fn refused_by(self, refusing: Vec<u16>) -> Self {
        Self { refusing, ..self }
    }

    /// Whether the service refuses the account, and the agent only tries again and again.
    pub fn is_refused(&self) -> bool {
        let status = self.report.api_error_status;
        !self.report.complete && status.is_some_and(|status| self.refusing.contains(&status))
    }

    /// Takes the next bytes, whatever their boundaries; gives progress to `note`.
    pub fn feed(&mut self, bytes: &[u8], note: &mut dyn FnMut(Note)) {
        let Self { lines, decoder, report, .. } = self;
        if let Decoder::Text(kept) = decoder {
            let room = LONGEST_TEXT - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            report.text_cut |= bytes.len() > room;
        }
        lines.feed(bytes, |line| read_line(decoder, report, line, note));
    }

    /// The conversation's id, as soon as the agent has said it.
    pub fn session_id(&self) -> Option<&str> {
        self.report.session_id.as_deref()
    }

    /// Whether the agent has reported its last result: from then on only clean-up is outstanding.
    pub fn has_result(&self) -> bool {
        self.report.complete && !self.report.is_interim
    }

    /// The report, when no more output will come. `baseline` says what is known about earlier runs
    /// of the same conversation, because some figures count from the conversation's start.
    pub fn finish(mut self, baseline: &Baseline) -> RunReport {
        let Self { lines, decoder, report, .. } = &mut self;
        lines.finish(|line| read_line(decoder, report, line, &mut |_| {}));
        report.skipped_lines += lines.overlong();
        report.begins_session = *baseline == Baseline::Fresh;
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
    if is_about_limits && line.len() <= LONGEST_LIMIT_LINE {
        report.add_limit(&value);
    }
    let progress = match decoder {
        Decoder::Claude(claude) => claude.line(&value, report),
        Decoder::Codex(codex) => codex.line(&value, report),
        Decoder::Gemini(gemini) => gemini.line(&value, report),
        Decoder::Opencode(opencode) => opencode.line(&value, report),
        Decoder::Text(_) => None,
    };
    if let Some(progress) = progress.as_deref().and_then(Note::new) {
        note(progress);
    }
}

/// A short description of a tool call: its name and the part of the input that says most.
fn tool_call(name: &str, input: &Value) -> String {
    const TELLING: [&str; 8] =
        ["command", "file_path", "path", "filePath", "pattern", "query", "url", "description"];
    let detail = TELLING.iter().find_map(|key| input.get(key).and_then(Value::as_str));
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
    fn text_is_kept_whole_and_reported_line_by_line() {
        let mut parser = StreamParser::new(Format::Text);
        let mut notes = Vec::new();
        for piece in [&b"one\ntw"[..], b"o\n\xff", b"\n"] {
            parser.feed(piece, &mut |note| notes.push(note.text));
        }
        assert!(!parser.has_result());
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
            assert!(!report.complete, "{format:?}");
            if format.has_result_object() {
                assert_eq!(report.skipped_lines, 8, "{format:?}");
            }
        }
    }

    #[test]
    fn text_beyond_the_limit_is_cut_and_said_so() {
        let mut parser = StreamParser::new(Format::Text);
        let block = vec![b'x'; LONGEST_TEXT / 2 + 1];
        parser.feed(&block, &mut |_| {});
        parser.feed(&block, &mut |_| {});
        let report = parser.finish(&Baseline::Fresh);
        assert_eq!(report.text.len(), LONGEST_TEXT);
        assert!(report.text_cut);
    }
}
