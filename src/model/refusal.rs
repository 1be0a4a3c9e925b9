//! The reasons for which the rules of the queue refuse a command: one variant each, with the data of its message.

use std::fmt;

use super::claim_state::ClaimState;
use super::exclusive_key::ExclusiveKey;
use super::id::{ClaimToken, TaskId};
use super::lane::LaneName;
use super::owner::Owner;
use super::sha256::Sha256;
use super::task::{FailureClass, Status, Task};
use super::time::Time;
use crate::error::{printable, shell_word};

/// The reason why the queue refuses a command. Its `Display` text is the message of the resulting error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The given token is not the token of the current claim.
    NotHolder {
        /// The id of the task.
        id: TaskId,
        /// The command, as a verb: "renew".
        verb: &'static str,
        /// The owner of the claim.
        owner: Owner,
        /// The time of the claim.
        since: Time,
    },
    /// A token was given for a task that is not claimed.
    NotClaimed {
        /// The id of the task.
        id: TaskId,
        /// The command, as a verb.
        verb: &'static str,
        /// The task's state.
        state: String,
    },
    /// The answer belongs to a claim that was released or has expired.
    ClaimEnded {
        /// The id of the task.
        id: TaskId,
        /// The task's state.
        state: String,
    },
    /// The task has ended, or is in a state of a newer version of `lanes`.
    Ended {
        /// The id of the task.
        id: TaskId,
        /// The command, as a verb.
        verb: &'static str,
        /// The end of the task.
        end: TaskEnd,
        /// The state of the claim whose token the command gave; `None` for a command without a token.
        claim: Option<ClaimState>,
    },
    /// A claimed task was answered without its token.
    TokenMissing {
        /// The id of the task.
        id: TaskId,
        /// The owner of the claim.
        owner: Owner,
    },
    /// The task cannot be changed in this way while it is claimed.
    Claimed {
        /// The id of the task.
        id: TaskId,
        /// The command, as a verb.
        verb: &'static str,
        /// The owner of the claim.
        owner: Owner,
    },
    /// The task is claimed under a lease that has not ended.
    Leased {
        /// The id of the task.
        id: TaskId,
        /// The owner of the claim.
        owner: Owner,
        /// The end of the lease.
        until: Time,
    },
    /// The task is delayed.
    Scheduled {
        /// The id of the task.
        id: TaskId,
        /// The first time at which it can be claimed.
        until: Time,
    },
    /// The task waits for its dependencies.
    Blocked {
        /// The id of the task.
        id: TaskId,
        /// The number of its dependencies.
        dependencies: usize,
    },
    /// Another task holds one of its exclusive keys.
    KeyHeld {
        /// The id of the task.
        id: TaskId,
        /// The key.
        key: ExclusiveKey,
        /// The id of the task that holds it.
        holder: TaskId,
        /// The time of the claim of that task; `None` when it cannot be read, so that it may hold the key.
        since: Option<Time>,
    },
    /// The task waits for the answers to questions.
    InputRequired {
        /// The id of the task.
        id: TaskId,
        /// The numbers of the open questions.
        open: Vec<u32>,
    },
    /// The task has no question.
    NoQuestion {
        /// The id of the task.
        id: TaskId,
    },
    /// The task has no question with this number.
    NoSuchQuestion {
        /// The id of the task.
        id: TaskId,
        /// The number.
        number: u32,
    },
    /// An answer does not say which of the open questions it belongs to.
    SeveralQuestions {
        /// The id of the task.
        id: TaskId,
        /// The numbers of the open questions.
        open: Vec<u32>,
    },
    /// The question has another answer.
    QuestionAnswered {
        /// The id of the task.
        id: TaskId,
        /// The number of the question.
        number: u32,
        /// The name of the person or program that answered; `None` for the default.
        by: Option<String>,
        /// The time of the answer.
        at: Time,
    },
    /// The task was not started by its deadline.
    DeadlinePassed {
        /// The id of the task.
        id: TaskId,
        /// The deadline.
        deadline: Time,
    },
    /// All attempts of the task are spent.
    AttemptsSpent {
        /// The id of the task.
        id: TaskId,
        /// The number of attempts so far.
        attempt: u32,
        /// The number of attempts allowed.
        max_attempts: u32,
    },
    /// The task's lane is paused.
    LanePaused {
        /// The id of the task.
        id: TaskId,
        /// The lane.
        lane: LaneName,
        /// The time of the pause.
        since: Time,
    },
    /// The request file is missing, cannot be read, or has changed since the submit.
    RequestUnusable {
        /// The id of the task.
        id: TaskId,
        /// The path of the request file.
        path: String,
        /// The hash of the request as submitted.
        expected: Sha256,
        /// The problem with the file.
        fault: RequestFault,
    },
    /// The worker read a different request from the one submitted.
    OtherRequestRead {
        /// The id of the task.
        id: TaskId,
        /// The hash of the request as submitted.
        submitted: Sha256,
        /// The SHA-256 that the worker gave.
        read: String,
    },
    /// A message comes too late: the task has ended.
    MessageTooLate {
        /// The id of the task.
        id: TaskId,
        /// How it ended.
        end: TaskEnd,
    },
    /// The answer is not what the schema of the task asks for.
    AnswerInvalid {
        /// The id of the task.
        id: TaskId,
        /// The first thing that is wrong, with its place.
        problem: String,
    },
    /// The task cannot be retried, since it has not failed.
    NotFailed {
        /// The id of the task.
        id: TaskId,
        /// The task's state.
        state: String,
    },
    /// The task cannot be redriven, since its attempts are not spent.
    NotDead {
        /// The id of the task.
        id: TaskId,
        /// The task's state.
        state: String,
        /// The reason for the failure, if it failed.
        class: Option<FailureClass>,
    },
}

/// The problem with a request file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// It is missing.
    Missing,
    /// It cannot be read, with the reason.
    Unreadable(String),
    /// Its content has changed and now has this SHA-256.
    Changed(Sha256),
}

/// The end of a task, as a refusal reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// A state that needs no explanation.
    State(String),
    /// It was cancelled, with the reason and the name of the person or program.
    Cancelled(String),
    /// Its attempts are spent, with the end of the last one.
    Dead(String),
}

impl TaskEnd {
    pub(super) fn of(status: &Status) -> Self {
        match status {
            Status::Failed { class: FailureClass::Cancelled, reason, .. } => Self::Cancelled(reason.clone()),
            Status::Failed { class: FailureClass::Dead, reason, .. } => Self::Dead(reason.clone()),
            status => Self::State(status.as_str().to_string()),
        }
    }
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "task is {}", printable(state)),
            Self::Cancelled(reason) => write!(f, "it was {}", printable(reason)),
            Self::Dead(reason) => write!(f, "task is failed: {}", printable(reason)),
        }
    }
}

impl Refusal {
    /// Returns the refusal of `verb` on a task that has ended; `token` is the one given with the command.
    pub(super) fn ended(task: &Task, verb: &'static str, token: Option<&ClaimToken>) -> Self {
        Self::Ended {
            id: task.id.clone(),
            verb,
            end: TaskEnd::of(&task.status),
            claim: token.map(|token| task.claim_state(token)),
        }
    }

    /// Returns the state of the claim whose token the command gave; `None` if the refusal has another reason.
    pub fn claim_state(&self) -> Option<ClaimState> {
        match self {
            Self::NotHolder { .. } | Self::NotClaimed { .. } | Self::ClaimEnded { .. } => {
                Some(ClaimState::Lost)
            }
            Self::Ended { claim, .. } => *claim,
            Self::TokenMissing { .. }
            | Self::Claimed { .. }
            | Self::Leased { .. }
            | Self::Scheduled { .. }
            | Self::Blocked { .. }
            | Self::KeyHeld { .. }
            | Self::InputRequired { .. }
            | Self::NoQuestion { .. }
            | Self::NoSuchQuestion { .. }
            | Self::SeveralQuestions { .. }
            | Self::QuestionAnswered { .. }
            | Self::DeadlinePassed { .. }
            | Self::AttemptsSpent { .. }
            | Self::LanePaused { .. }
            | Self::RequestUnusable { .. }
            | Self::OtherRequestRead { .. }
            | Self::MessageTooLate { .. }
            | Self::AnswerInvalid { .. }
            | Self::NotFailed { .. }
            | Self::NotDead { .. } => None,
        }
    }

    /// Returns what to do next, if there is a remedy.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotHolder { .. } => "stop working on it and report nothing",
            Self::NotClaimed { state, .. } | Self::ClaimEnded { state, .. } if state == "input_required" => {
                "once its question is answered, it can be claimed again"
            }
            Self::NotClaimed { .. } => "claim it first",
            Self::InputRequired { id, .. } => return Some(format!("`lanes answer {id}` answers it")),
            Self::NoQuestion { .. } => "only a worker that holds the task can ask one",
            Self::NoSuchQuestion { id, .. } => return Some(format!("`lanes show {id}` lists its questions")),
            Self::SeveralQuestions { .. } => "name one with --question",
            Self::QuestionAnswered { id, .. } => return Some(format!("`lanes show {id}` shows the answer")),
            Self::ClaimEnded { .. } => "claim it again, or answer a queued task without --claim-token",
            Self::Claimed { .. } => "release or cancel it first",
            Self::LanePaused { lane, .. } => {
                return Some(format!("run `lanes resume {}` to reopen it", shell_word(lane.as_str())));
            }
            Self::RequestUnusable { fault, .. } => match fault {
                RequestFault::Missing => "restore the file, or cancel the task",
                RequestFault::Unreadable(_) => "fix that, or cancel the task",
                RequestFault::Changed(_) => "restore the file, or cancel the task and submit it again",
            },
            Self::Blocked { id, .. } => return Some(format!("`lanes why {id}` shows which are open")),
            Self::KeyHeld { since: Some(_), .. } => "it can be claimed when that task is released or ends",
            Self::KeyHeld { since: None, .. } => "`lanes fsck` shows what can be done",
            Self::OtherRequestRead { .. } => "review the file that request_path names, then respond again",
            Self::MessageTooLate { id, .. } => {
                return Some(format!(
                    "submit a task for it, which gets this one's answer with `lanes submit --after-ended {id}`"
                ));
            }
            Self::AnswerInvalid { id, .. } => {
                return Some(format!("correct the answer; `lanes show {id} --json` prints the schema"));
            }
            Self::NotFailed { .. } => "only failed, cancelled and dead tasks can be retried",
            Self::NotDead { id, class: Some(_), .. } => {
                return Some(format!("`lanes retry {id}` submits it again"));
            }
            Self::NotDead { class: None, .. }
            | Self::Ended { .. }
            | Self::TokenMissing { .. }
            | Self::Leased { .. }
            | Self::Scheduled { .. }
            | Self::DeadlinePassed { .. }
            | Self::AttemptsSpent { .. } => return None,
        };
        Some(hint.to_string())
    }
}

/// Returns numbers as people list them: `1, 2 and 3`.
fn numbers(all: &[u32]) -> String {
    let words: Vec<String> = all.iter().map(u32::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHolder { id, verb, owner, since } => write!(
                f,
                "cannot {verb} {id}; the claim token is not the current one, {} has held the task since {since}",
                printable(owner.as_str())
            ),
            Self::NotClaimed { id, verb, state } => write!(f, "cannot {verb} {id}; task is {state}"),
            Self::ClaimEnded { id, state } => {
                write!(f, "cannot respond to {id}; this claim is over and the task is {state}")
            }
            Self::Ended { id, verb, end, .. } => write!(f, "cannot {verb} {id}; {end}"),
            Self::TokenMissing { id, owner } => {
                write!(
                    f,
                    "cannot respond to {id} without its claim token; {} holds it",
                    printable(owner.as_str())
                )
            }
            Self::Claimed { id, verb, owner } => {
                write!(f, "cannot {verb} {id}; {} holds it", printable(owner.as_str()))
            }
            Self::Leased { id, owner, until } => {
                write!(
                    f,
                    "cannot claim {id}; active lease held by {} until {until}",
                    printable(owner.as_str())
                )
            }
            Self::DeadlinePassed { id, deadline } => {
                write!(f, "cannot claim {id}; it was not started by its deadline, {deadline}")
            }
            Self::Blocked { id, dependencies } => {
                let its = if *dependencies == 1 { "its dependency" } else { "its dependencies" };
                write!(f, "cannot claim {id}; it waits for {its}")
            }
            Self::KeyHeld { id, key, holder, since: Some(since) } => {
                let key = printable(key.as_str());
                write!(f, "cannot claim {id}; {holder} has held its key '{key}' since {since}")
            }
            Self::KeyHeld { id, key, holder, since: None } => {
                let key = printable(key.as_str());
                write!(f, "cannot claim {id}; {holder} may hold its key '{key}', but cannot be read")
            }
            Self::Scheduled { id, until } => write!(f, "cannot claim {id}; it is scheduled for {until}"),
            Self::InputRequired { id, open } => match open[..] {
                [number] => write!(f, "cannot claim {id}; its question {number} waits for an answer"),
                _ => write!(f, "cannot claim {id}; its questions {} wait for answers", numbers(open)),
            },
            Self::NoQuestion { id } => write!(f, "cannot answer a question of {id}; it has none"),
            Self::NoSuchQuestion { id, number } => {
                write!(f, "cannot answer question {number} of {id}; there is none with this number")
            }
            Self::SeveralQuestions { id, open } => {
                write!(f, "cannot answer a question of {id}; questions {} are open", numbers(open))
            }
            Self::QuestionAnswered { id, number, by: Some(by), at } => {
                write!(f, "cannot answer question {number} of {id}; {} answered it at {at}", printable(by))
            }
            Self::QuestionAnswered { id, number, by: None, at } => {
                write!(f, "cannot answer question {number} of {id}; its default has counted since {at}")
            }
            Self::AttemptsSpent { id, attempt, max_attempts } => {
                write!(f, "cannot claim {id}; {attempt} of {max_attempts} attempts are spent")
            }
            Self::LanePaused { id, lane, since } => {
                write!(
                    f,
                    "cannot claim {id}; lane {} has been paused since {since}",
                    printable(lane.as_str())
                )
            }
            Self::RequestUnusable { id, path, expected, fault } => {
                write!(f, "the request of {id} ")?;
                match fault {
                    RequestFault::Missing => f.write_str("is missing")?,
                    RequestFault::Unreadable(why) => write!(f, "cannot be read: {why}")?,
                    RequestFault::Changed(sha256) => write!(
                        f,
                        "has changed since submit: request hash mismatch, expected {expected}, got {sha256}"
                    )?,
                }
                write!(f, " ({})", printable(path))
            }
            Self::OtherRequestRead { id, submitted, read } => {
                write!(f, "the request of {id} has sha256 {submitted}, not {}", printable(read))
            }
            Self::MessageTooLate { id, end } => write!(f, "cannot send a message to {id}; {end}"),
            Self::AnswerInvalid { id, problem } => {
                write!(f, "the answer to {id} is not valid against its schema: {problem}")
            }
            Self::NotFailed { id, state } => write!(f, "cannot retry {id}; task is {state}"),
            Self::NotDead { id, class: Some(class), .. } => {
                write!(f, "{id} is not dead: it has failed, with class {}", printable(class.as_str()))
            }
            Self::NotDead { id, state, class: None } => write!(f, "{id} is not dead but {state}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::transition::TransitionContext;
    use crate::model::{Answer, AnswerOutcome, Command, Now, RequestCheck, json};

    fn task() -> Task {
        let text = br#"{"id": "t-1", "workspace_id": "w", "correlation_id": "c", "lane": "l",
            "workspace_root": "/w", "request_path": "/w/r", "request_sha256": "ab12", "response_path": "/w/o",
            "state": "queued", "created_at": "2026-11-21T06:50:00Z", "updated_at": "2026-11-21T06:50:00Z"}"#;
        let object = json::parse_object(text).expect("JSON");
        Task::from_object(object).expect("a task")
    }

    fn now() -> Now {
        Now { wall: Time::from_micros(1_795_244_400_000_000), uptime: 5_000_000, boot: "b1".to_string() }
    }

    fn apply(task: &mut Task, command: &Command) -> crate::Result<()> {
        let (now, request) = (now(), RequestCheck::Same);
        let context = TransitionContext { now: &now, request: &request, previous: None, new_request: None };
        command.apply(task, &context).map(drop)
    }

    fn answer(token: &str, outcome: AnswerOutcome) -> Command {
        Command::Respond(Answer {
            token: Some(ClaimToken::from_text(token)),
            outcome,
            ..Answer::completed("ann", "done")
        })
    }

    /// Calls every command that gives a token, in every state of a task.
    #[test]
    fn a_refusal_carries_the_claim_state_that_the_task_would_show() {
        let claim = |token: &str| Command::Claim {
            owner: Owner::stored("ann"),
            token: ClaimToken::from_text(token),
            lease: Duration::from_secs(60),
        };
        let release = |token: &str| Command::Release {
            token: ClaimToken::from_text(token),
            reason: None,
            delay: None,
            spent: None,
        };
        let cancel = Command::Cancel { reason: None, by: "eve".to_string() };
        let states: [&[Command]; 6] = [
            &[],
            &[claim("mine")],
            &[claim("mine"), release("mine"), claim("other")],
            &[claim("mine"), answer("mine", AnswerOutcome::Completed)],
            &[claim("mine"), answer("mine", AnswerOutcome::Failed(FailureClass::Error))],
            &[claim("mine"), cancel],
        ];
        let mut refused = 0;
        for (number, before) in states.into_iter().enumerate() {
            let mut task = task();
            for command in before {
                apply(&mut task, command).expect("allowed");
            }
            for token in ["mine", "wrong"] {
                let (text, token) = (token, ClaimToken::from_text(token));
                let renew = Command::Renew { token: token.clone(), lease: None };
                for command in
                    [renew, release(text), answer(text, AnswerOutcome::Failed(FailureClass::Error))]
                {
                    let Err(error) = apply(&mut task.clone(), &command) else { continue };
                    let refusal = error.refusal().expect("a refusal by the rules");
                    assert_eq!(
                        refusal.claim_state(),
                        Some(task.claim_state(&token)),
                        "state {number}, {command:?}"
                    );
                    assert_eq!(refusal.to_string(), error.message());
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 33);
    }
}
