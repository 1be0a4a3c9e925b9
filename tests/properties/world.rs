//! A real store and the model side by side.

use std::path::Path;
use std::time::Duration;

use lanes::NewQuestion;
use lanes::internals::model::{
    Answer, AnswerOutcome, ClaimToken, Command, DependencyCondition, DependencyRef, DependencyTarget, Effect,
    ExclusiveKey, FailureClass, Filter, GroupName, Status, Task, TaskId, json,
};
use lanes::internals::store::{Entropy, Store, StoreOptions, SubmittedTask};

use crate::checks::kinds;
use crate::model::{Mirror, Model, Outcome, State, Want};
use crate::testkit::clock::{START, TestClock};
use crate::testkit::store::{answer_with, idempotency_key, lane_name, new_task, owner};
use crate::{After, Proof, Step};

pub const LANES: [&str; 2] = ["left", "right hand"];
pub const GROUPS: [&str; 2] = ["first", "second"];
const VENDORS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];
const KEYS: [&str; 2] = ["database", "port 80"];
const REPLIES: [&str; 2] = ["yes", "no"];

pub struct World {
    dir: tempfile::TempDir,
    clock: TestClock,
    pub options: StoreOptions,
    pub store: Store,
    pub model: Model,
    /// Per task: the number of its newest event in the feed.
    pub fed: Vec<u64>,
    /// Per task: its state at the last check.
    pub seen: Vec<Option<Status>>,
    pub last_seq: u64,
    /// Whether the next number of the feed may leave a gap, as after the loss of the index.
    pub gap: bool,
}

fn seconds(count: i64) -> i64 {
    count * 1_000_000
}

pub fn group_name(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn lanes(choice: usize) -> Vec<&'static str> {
    match choice {
        0 => vec![LANES[0]],
        1 => vec![LANES[1]],
        2 => vec![LANES[0], LANES[1]],
        _ => vec![LANES[1], LANES[0]],
    }
}

pub fn want(choice: usize, vendor: usize) -> (Want, lanes::internals::store::LaneQuery) {
    let ours = Want { lanes: lanes(choice), vendor: VENDORS[vendor] };
    let conditions: Vec<String> = ours.vendor.iter().map(|vendor| format!("vendor={vendor},any")).collect();
    let filter = Filter::parse(&conditions).unwrap();
    let theirs = lanes::internals::store::LaneQuery {
        lanes: ours.lanes.iter().map(|lane| lane_name(lane)).collect(),
        filter,
    };
    (ours, theirs)
}

pub fn open(root: &Path, options: &StoreOptions) -> Store {
    Store::open(root, options.clone()).unwrap()
}

impl World {
    /// A store with `waiting` tasks that another implementation left in the first lane.
    pub fn new(waiting: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        clock.set_uptime(seconds(1_000_000));
        // One entropy for all stores of this world; otherwise ids would repeat.
        let options = StoreOptions { entropy: Entropy::seeded(7), ..clock.options() };
        let store = open(&dir.path().join("state"), &options);
        let mut world = Self {
            dir,
            clock,
            options,
            store,
            model: Model::default(),
            fed: Vec::new(),
            seen: Vec::new(),
            last_seq: 0,
            gap: true,
        };
        std::fs::write(world.dir.path().join("request"), "do it").unwrap();
        for number in 0..waiting {
            world.leave(number);
        }
        world.follow_clocks();
        world
    }

    /// A task as another implementation writes it: without any of our keys.
    fn leave(&mut self, number: usize) {
        // Two of a kind have the same rank, and all are spread over several chunks of the index.
        let created = START - seconds(100_000 - number as i64 / 2);
        let id = format!("20261120T000000000000Z-{number:04}-0123456789ab");
        let request = self.dir.path().join("request");
        let text = serde_json::json!({
            "id": id, "workspace_id": "w", "correlation_id": "c", "source_agent": "o", "lane": LANES[0],
            "workspace_root": self.dir.path(), "worktree_path": null, "expected_branch": null,
            "request_path": request, "request_sha256": lanes::internals::sha256::sha256_file(&request).unwrap(),
            "supporting_paths": [], "response_path": self.dir.path().join("out"), "prompt": "",
            "metadata": {"padding": "x".repeat(60)}, "state": "queued",
            "created_at": lanes::internals::model::Time::from_micros(created).to_string(),
            "updated_at": lanes::internals::model::Time::from_micros(created).to_string(), "claim_owner": null,
            "claim_token": null, "lease_expires_at": null, "claimed_at": null, "completed_at": null,
            "failed_at": null, "failure_reason": null
        });
        let dir = self.store.root().join("tasks").join(&id);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("task.json"), text.to_string()).unwrap();
        self.model.tasks.push(Mirror {
            id,
            lane: LANES[0],
            created,
            priority: 0,
            vendor: None,
            max: None,
            key: None,
            content: (LANES[0], None, Vec::new(), Vec::new()),
            after: Vec::new(),
            met: false,
            exclusive: Vec::new(),
            deadline: None,
            group: None,
            questions: Vec::new(),
            state: State::Queued,
            attempt: 0,
            tokens: Vec::new(),
            events: Vec::new(),
            answer: None,
            retried_as: None,
            messages: Vec::new(),
        });
        self.fed.push(0);
        self.seen.push(None);
    }

    fn follow_clocks(&mut self) {
        self.model.wall = self.clock.micros();
        self.model.uptime = self.clock.uptime();
    }

    pub fn id(&self, at: usize) -> TaskId {
        TaskId::parse(&self.model.tasks[at].id).unwrap()
    }

    /// The task that a step names; counted from the newest, where there are many.
    fn pick(&self, task: usize) -> Option<usize> {
        let count = self.model.tasks.len();
        (count > 0).then(|| count - 1 - task % count)
    }

    fn token(&self, at: usize, proof: Proof) -> String {
        let tokens = &self.model.tasks[at].tokens;
        let known = match proof {
            Proof::Current => tokens.last(),
            Proof::Earlier(back) => tokens.iter().rev().nth(1 + back),
            Proof::Foreign => None,
        };
        known.cloned().unwrap_or_else(|| "f".repeat(32))
    }

    pub fn play(&mut self, step: &Step) {
        self.play_unchecked(step);
        self.check(step);
    }

    pub fn play_unchecked(&mut self, step: &Step) {
        match step {
            Step::Pass { seconds: count } => {
                self.clock.pass(seconds(*count));
            }
            Step::Jump { seconds: count } => {
                self.clock.set_forward(seconds(*count));
            }
            Step::LoseIndex => {
                let _ = std::fs::remove_dir_all(self.store.root().join("indexes"));
                self.store = open(self.store.root(), &self.options);
                self.gap = true;
            }
            Step::DrainCopy { lanes, vendor } => self.drain_copy(*lanes, *vendor, 4),
            Step::Pause { lane } => {
                let new = self.model.paused.insert(LANES[*lane], ()).is_none();
                assert_eq!(self.store.pause(&lane_name(LANES[*lane]), None).unwrap(), new);
            }
            Step::Resume { lane } => {
                let was = self.model.paused.remove(LANES[*lane]).is_some();
                assert_eq!(self.store.resume(&lane_name(LANES[*lane])).unwrap(), was);
            }
            Step::Submit { .. } => self.submit(step),
            Step::Next { lanes, vendor, length } => {
                let (ours, theirs) = want(*lanes, *vendor);
                let given = self
                    .store
                    .claim_next(&theirs, &owner("worker"), Duration::from_secs(length.unsigned_abs()))
                    .unwrap();
                self.follow(None);
                let expected = self.model.next(&ours, seconds(*length));
                self.compare_given(expected, given.as_ref(), step);
                if let (Some(at), Some(task)) = (expected, given) {
                    self.note_token(at, &task);
                }
            }
            Step::Peek { lanes, vendor } => {
                let (ours, theirs) = want(*lanes, *vendor);
                let given = self.store.peek_next(&theirs).unwrap();
                self.follow(None);
                let expected = self.model.peek(&ours);
                self.compare_given(expected, given.as_ref(), step);
            }
            _ => self.change_one(step),
        }
        self.model.release_dependents();
        self.follow_clocks();
    }

    /// Applies to the model what a command has made of other tasks than its own.
    fn follow(&mut self, own: Option<usize>) {
        for at in (0..self.model.tasks.len()).filter(|at| Some(*at) != own) {
            let mirror = &self.model.tasks[at];
            if mirror.is_settled_by_others() && !mirror.id.is_empty() {
                let file = self.store.root().join("tasks").join(&mirror.id).join("events.jsonl");
                let news: Vec<String> = kinds(&file).into_iter().skip(mirror.events.len()).collect();
                self.model.follow(at, &news);
            }
        }
    }

    fn compare_given(&self, expected: Option<usize>, given: Option<&Task>, step: &Step) {
        let expected = expected.map(|at| self.model.tasks[at].id.as_str());
        assert_eq!(given.map(|task| task.id.as_str()), expected, "{step:?}");
    }

    fn note_token(&mut self, at: usize, task: &Task) {
        let token = task.status.claim().unwrap().token.as_str().to_string();
        let mirror = &mut self.model.tasks[at];
        assert!(!mirror.tokens.contains(&token), "a token was handed out twice");
        mirror.tokens.push(token.clone());
        if let State::Held(hold) = &mut mirror.state {
            hold.token = token;
        }
    }

    fn submit(&mut self, step: &Step) {
        let Step::Submit { lane, priority, delay, max, vendor, key, after, exclusive, deadline, group } =
            step
        else {
            return;
        };
        let (wall, lane, vendor) = (self.model.wall, LANES[*lane], VENDORS[*vendor]);
        let mut metadata = json::Object::new();
        metadata.extend(vendor.map(|vendor| ("vendor".to_string(), vendor.into())));
        let key = key.map(|key| format!("key {key}"));
        let mut new = new_task(lane, self.dir.path());
        new.not_before =
            (*delay > 0).then(|| lanes::internals::model::Time::from_micros(wall + seconds(*delay)));
        new.spec.metadata = metadata;
        new.spec.priority = *priority;
        new.spec.max_attempts = *max;
        new.spec.key = key.clone().and_then(idempotency_key);
        let exclusive: Vec<&str> =
            (0..KEYS.len()).filter(|bit| exclusive >> bit & 1 == 1).map(|bit| KEYS[bit]).collect();
        new.spec.exclusive = exclusive.iter().map(|key| ExclusiveKey::new(*key).unwrap()).collect();
        let deadline = deadline.map(|after| wall + seconds(after));
        new.spec.deadline = deadline.map(lanes::internals::model::Time::from_micros);
        let group = GROUPS.get(*group).copied();
        new.spec.group = group.map(group_name);
        let after = match after {
            After::Nothing => Some(Vec::new()),
            After::Task(task, anyhow) => Some(self.pick(*task).map(|at| (at, *anyhow)).into_iter().collect()),
            After::Group(group) => {
                let on = DependencyCondition::Completed;
                let target = DependencyTarget::Group(group_name(GROUPS[*group]));
                new.after.push(DependencyRef { target, on });
                let members: Vec<_> =
                    self.model.members(GROUPS[*group]).into_iter().map(|at| (at, false)).collect();
                (!members.is_empty()).then_some(members)
            }
        };
        if new.after.is_empty() {
            for (at, anyhow) in after.iter().flatten() {
                let on = if *anyhow { DependencyCondition::Ended } else { DependencyCondition::Completed };
                new.after
                    .push(DependencyRef { target: DependencyTarget::Task(self.id(*at).to_string()), on });
            }
        }
        let submitted = self.store.submit(new);
        let Some(after) = after else {
            assert_eq!(submitted.unwrap_err().kind(), lanes::ErrorKind::NotFound, "{step:?}");
            return;
        };
        let state = if *delay > 0 { State::Later(wall + seconds(*delay)) } else { State::Queued };
        let (outcome, at) = self.model.submit(Mirror {
            id: String::new(),
            lane,
            created: wall,
            priority: *priority,
            vendor,
            max: *max,
            key,
            content: (lane, vendor, after.clone(), exclusive.clone()),
            after,
            met: false,
            exclusive,
            deadline,
            group,
            questions: Vec::new(),
            state,
            attempt: 0,
            tokens: Vec::new(),
            events: vec!["created"],
            answer: None,
            retried_as: None,
            messages: Vec::new(),
        });
        self.compare_submitted(submitted, outcome, at.unwrap(), step);
    }

    fn compare_submitted(
        &mut self,
        real: lanes::Result<SubmittedTask>,
        outcome: Outcome,
        at: usize,
        step: &Step,
    ) {
        let found = match &real {
            Ok(submitted) if submitted.existing => Outcome::Unchanged,
            Ok(_) => Outcome::Changed,
            Err(_) => Outcome::Refused,
        };
        assert_eq!(found, outcome, "{step:?}: {real:?}");
        let Ok(submitted) = real else { return };
        if outcome == Outcome::Changed {
            self.model.tasks[at].id = submitted.task.id.to_string();
            self.fed.push(0);
            self.seen.push(None);
        }
        assert_eq!(submitted.task.id.as_str(), self.model.tasks[at].id, "{step:?}");
    }

    /// A command on one task.
    fn change_one(&mut self, step: &Step) {
        let task = match step {
            Step::Claim { task, .. }
            | Step::Renew { task, .. }
            | Step::Release { task, .. }
            | Step::Respond { task, .. }
            | Step::Note { task, .. }
            | Step::Tell { task }
            | Step::Read { task, .. }
            | Step::Ask { task, .. }
            | Step::Answer { task, .. }
            | Step::Cancel { task }
            | Step::Move { task, .. }
            | Step::Retry { task }
            | Step::Settle { task } => *task,
            _ => return,
        };
        let Some(at) = self.pick(task) else { return };
        let id = self.id(at);
        let file = self.store.root().join("tasks").join(id.as_str()).join("task.json");
        let before = std::fs::read(&file).unwrap();
        let (real, expected) = match step {
            Step::Retry { .. } => {
                let real = self.store.retry(&id, "me");
                // What time alone has ended is shown as failed, and can be retried.
                self.model.settle(at);
                let (outcome, new) = self.model.retry(at);
                return self.compare_submitted(real, outcome, new, step);
            }
            Step::Claim { length, .. } => {
                let real =
                    self.store.claim(&id, &owner("worker"), Duration::from_secs(length.unsigned_abs()));
                self.follow(Some(at));
                let expected = self.model.claim(at, seconds(*length));
                if let Ok(task) = &real {
                    self.note_token(at, task);
                }
                (real.map(|task| (task, Effect::Changed)), expected)
            }
            Step::Settle { .. } => {
                let was = self.store.task(&id).unwrap();
                let real = self.store.settle(&id);
                let effect = |task: &Task| if *task == was { Effect::Unchanged } else { Effect::Changed };
                (real.map(|task| (task.clone(), effect(&task))), self.model.settle(at))
            }
            _ => {
                let (command, expected) = self.command(at, step);
                let real = self.store.apply(&id, &command);
                self.follow(Some(at));
                (real, expected)
            }
        };
        let found = match &real {
            Ok((_, Effect::Changed)) => Outcome::Changed,
            Ok((_, Effect::Unchanged)) => Outcome::Unchanged,
            Err(error) => {
                assert!(error.message().contains(id.as_str()), "{error}");
                Outcome::Refused
            }
        };
        assert_eq!(found, expected, "{step:?}: {real:?}");
        let untouched = std::fs::read(&file).unwrap() == before;
        assert_eq!(untouched, found != Outcome::Changed, "{step:?}");
    }

    fn command(&mut self, at: usize, step: &Step) -> (Command, Outcome) {
        let token = |proof: &Proof| ClaimToken::from_text(self.token(at, *proof));
        match step {
            Step::Renew { proof, length, .. } => {
                let token = token(proof);
                let outcome = self.model.renew(at, token.as_str(), length.map(seconds));
                (
                    Command::Renew {
                        token,
                        lease: length.map(|length| Duration::from_secs(length.unsigned_abs())),
                    },
                    outcome,
                )
            }
            Step::Release { proof, delay, spent, .. } => {
                let token = token(proof);
                let outcome = self.model.release(at, token.as_str(), seconds(*delay), *spent);
                let spent = spent.then_some(FailureClass::Lost);
                let delay = (*delay > 0).then_some(Duration::from_secs(delay.unsigned_abs()));
                (Command::Release { token, reason: None, delay, spent }, outcome)
            }
            Step::Respond { proof, success, body, .. } => {
                let (token, body) = (proof.as_ref().map(token), ["one", "two"][*body].to_string());
                let outcome = self.model.respond(at, token.as_ref().map(ClaimToken::as_str), *success, &body);
                (Command::Respond(answer(token, *success, body)), outcome)
            }
            Step::Note { proof, .. } => {
                let token = proof.as_ref().map(token);
                let outcome = self.model.note(at, token.as_ref().map(ClaimToken::as_str));
                let (kind, message) = ("progress".to_string(), "half way".to_string());
                (Command::Note { kind, message, data: json::Object::new(), token }, outcome)
            }
            Step::Tell { .. } => {
                (Command::Tell { text: "Use the new one.".into(), by: "me".into() }, self.model.tell(at))
            }
            Step::Read { proof, through, .. } => {
                let token = token(proof);
                let outcome = self.model.read(at, token.as_str(), *through);
                (Command::ReadMessages { token, through: u32::try_from(*through).unwrap() }, outcome)
            }
            Step::Ask { proof, default, keeps_claim, .. } => {
                let token = token(proof);
                let outcome = self.model.ask(at, token.as_str(), default.map(seconds), *keeps_claim);
                let default =
                    default.map(|after| ("so".to_string(), Duration::from_secs(after.unsigned_abs())));
                let text = "Which one?".to_string();
                let question =
                    NewQuestion { text, default, keeps_claim: *keeps_claim, ..NewQuestion::default() };
                (Command::Ask { token, question }, outcome)
            }
            Step::Answer { number, text, .. } => {
                let text = REPLIES[*text];
                let outcome = self.model.reply(at, *number, text);
                let number = number.map(|number| u32::try_from(number).unwrap());
                let command =
                    Command::AnswerQuestion { number, text: text.into(), is_choice: false, by: "me".into() };
                (command, outcome)
            }
            Step::Cancel { .. } => (Command::Cancel { reason: None, by: "me".into() }, self.model.cancel(at)),
            Step::Move { lane, .. } => {
                (Command::Move { lane: lane_name(LANES[*lane]) }, self.model.move_to(at, LANES[*lane]))
            }
            other => panic!("{other:?} is no command on a task"),
        }
    }
}

pub fn answer(token: Option<ClaimToken>, success: bool, body: String) -> Answer {
    let outcome = if success { AnswerOutcome::Completed } else { AnswerOutcome::Failed(FailureClass::Error) };
    Answer { outcome, ..answer_with(token, &body) }
}
