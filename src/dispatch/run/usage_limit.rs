//! Whose fault a failed run is: the task's, or that of the account and the service behind it.
//!
//! A vendor that refuses is a pause, not a failure of the task. What counts as its word, in this order:
//! its own words, meant for programs, for how the run ended and what was refused, the words of its notice, the HTTP status, an event about limits,
//! and, where nothing else was said, the exit code. What they mean is data ([`Notices`]).
//!
//! [`Notices`]: crate::dispatch::vendor::Notices

use super::evidence::Run;
use super::reset_time::{Setting, instant_in, reset_in};
use crate::dispatch::outcome::{Exit, Halt, Reset};
use crate::dispatch::output::status_in;
use crate::dispatch::vendor::{NoticeMatch, NoticeMeaning, NoticeSource, RefusedCall};
use crate::model::Obstacle;

/// A longer text is no notice: it has something else to say.
const LONGEST_NOTICE: usize = 1000;

/// What is known about why a run failed.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// What it means.
    pub cause: NoticeMeaning,
    /// What keeps the vendor from working, if that is the cause.
    pub halt: Option<Halt>,
}

/// Judges a run that failed, by `words`, said by `speaker`, and by everything else that is known.
pub fn diagnose(run: &Run<'_>, words: &str, speaker: NoticeSource) -> Diagnosis {
    let notices = run.notices;
    let reasons = run.report.terminal_reason.iter().chain(&run.report.error_words);
    if let Some(cause) = reasons.into_iter().find_map(|reason| notices.reason(reason)) {
        return Diagnosis { cause, halt: halt(run, heard_as(cause), None, words) };
    }
    let words = if words.len() <= LONGEST_NOTICE { words } else { "" };
    let status = run.report.api_error_status;
    let status = status.or_else(|| status_in(words).filter(|_| speaker == NoticeSource::Service));
    let refusal = refusal(run);
    let by_status = || status.and_then(|status| notices.status(status)).map(heard_as);
    let heard = notices.find(words, speaker).or_else(by_status);
    let heard = heard.or_else(|| refusal.as_ref().map(|refusal| refusal.notice.clone()));
    let heard = heard.or_else(|| exit_cause(run).map(heard_as)).unwrap_or(heard_as(NoticeMeaning::Error));
    Diagnosis { cause: heard.meaning, halt: halt(run, heard, refusal, words) }
}

/// The account's limit, if an event says that the last call was refused, and the text of an answer is
/// nothing but the notice of it.
pub fn refused_answer(run: &Run<'_>, words: &str) -> Option<Diagnosis> {
    let refusal = refusal(run)?;
    let heard = run.notices.find(words, NoticeSource::Anyone).filter(|_| words.len() <= LONGEST_NOTICE);
    let heard = heard.filter(|heard| heard.meaning == NoticeMeaning::Limit)?;
    Some(Diagnosis { cause: heard.meaning, halt: halt(run, heard, Some(refusal), words) })
}

/// A limit that a program asks for by its exit code.
pub fn asked_pause(run: &Run<'_>, words: &str) -> Diagnosis {
    let heard =
        run.notices.find(words, NoticeSource::Anyone).filter(|heard| heard.meaning == NoticeMeaning::Limit);
    let heard = heard.unwrap_or(heard_as(NoticeMeaning::Limit));
    Diagnosis { cause: NoticeMeaning::Limit, halt: halt(run, heard, None, words) }
}

/// The vendor's last word about limits, unless what it refused is possible again by now.
fn refusal(run: &Run<'_>) -> Option<RefusedCall> {
    let refusal = run.notices.refusal(&run.report.limits)?;
    let time = refusal.reset.as_deref().and_then(instant_in);
    // A time that has only just passed may well be that of this refusal.
    let is_over = time.is_some_and(|time| run.now.seconds_since(time) > 600.0);
    (!is_over).then_some(refusal)
}

fn heard_as(cause: NoticeMeaning) -> NoticeMatch {
    NoticeMatch { meaning: cause, model: None, within: None }
}

fn exit_cause(run: &Run<'_>) -> Option<NoticeMeaning> {
    match run.exit {
        Exit::Code(code) if !run.report.complete => run.notices.exit(code),
        _ => None,
    }
}

fn halt(run: &Run<'_>, heard: NoticeMatch, refusal: Option<RefusedCall>, words: &str) -> Option<Halt> {
    let obstacle = match heard.meaning {
        NoticeMeaning::Limit => Obstacle::Limit,
        NoticeMeaning::Overloaded => Obstacle::Overloaded,
        NoticeMeaning::Account => Obstacle::Account,
        NoticeMeaning::Permanent | NoticeMeaning::Error => return None,
    };
    let event = refusal.filter(|_| obstacle == Obstacle::Limit);
    let event_heard = event.as_ref().map(|refusal| refusal.notice.clone());
    let within = event_heard.as_ref().and_then(|heard| heard.within).or(heard.within);
    let model = event_heard.and_then(|heard| heard.model).or(heard.model);
    let setting = Setting { now: run.now, zone: run.zone, within, resets: run.notices.resets() };
    let told = event.and_then(|refusal| setting.exact(instant_in(&refusal.reset?)?));
    let reset: Option<Reset> = told.or_else(|| reset_in(words, setting));
    Some(Halt { obstacle, reset, model })
}
