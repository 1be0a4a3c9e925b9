//! Checks what must hold after every step, from the outside.

use std::path::Path;
use std::time::Duration;

use lanes::internals::model::{Claim, ClaimToken, Command, FailureClass, ResponseStatus, Status, Task, json};

use crate::Step;
use crate::model::{Mirror, Reply, State};
use crate::testkit::store::{lane_name, owner};
use crate::world::{GROUPS, LANES, World, answer, group_name, open, want};

impl World {
    pub fn check(&mut self, step: &Step) {
        for at in 0..self.model.tasks.len() {
            // A task of another implementation that no command has touched stays as it is.
            if !self.model.tasks[at].events.is_empty() {
                self.check_task(at, &format!("{step:?}, task {at}"));
            }
        }
        self.check_feed();
        self.check_groups(step);
        for lane in LANES {
            let open = |task: &&Mirror| task.lane == lane && !task.ended();
            let queued = |task: &&Mirror| open(task) && task.state == State::Queued;
            let count = |keep: &dyn Fn(&&Mirror) -> bool| self.model.tasks.iter().filter(keep).count() as u64;
            let depth = self.store.queue_depth(&lane_name(lane)).unwrap();
            assert!((count(&queued)..=count(&open)).contains(&depth), "{step:?}: {depth} in {lane}");
        }
    }

    /// A group has the tasks that were submitted to it, in order.
    fn check_groups(&self, step: &Step) {
        for group in GROUPS {
            let expected = self.model.members(group).into_iter().map(|at| self.id(at));
            let found =
                self.store.group_members(&group_name(group), &|_| true, &mut |error| panic!("{error}"));
            assert!(found.unwrap_or_default().into_iter().eq(expected), "{step:?}: group {group}");
        }
    }

    fn check_task(&mut self, at: usize, place: &str) {
        let id = self.id(at);
        let task = self.store.task(&id).unwrap();
        let mirror = &self.model.tasks[at];
        match (&mirror.state, &task.status) {
            (State::Queued, Status::Queued)
            | (State::Asking, Status::InputRequired)
            | (State::Done, Status::Completed { .. }) => {}
            (State::Blocked(until), Status::Blocked { until: found })
                if found.map(|found| found.micros()) == *until => {}
            (State::Later(until), Status::Scheduled { until: found }) if found.micros() == *until => {}
            (State::Held(hold), Status::Claimed(claim)) => {
                assert_eq!(claim.token.as_str(), hold.token, "{place}");
                assert_eq!(
                    claim.lease,
                    Some(Duration::from_micros(hold.length.unsigned_abs()).into()),
                    "{place}"
                );
                assert_eq!(task.lease_is_live(&self.store.now()), hold.ends > self.model.uptime, "{place}");
            }
            (State::Failed(class), Status::Failed { class: found, .. }) if found.as_str() == *class => {}
            (expected, found) => panic!("{place}: {found:?}, not {expected:?}"),
        }
        assert_eq!((task.spec.lane.as_str(), task.attempt), (mirror.lane, mirror.attempt), "{place}");
        assert_eq!(task.fence, mirror.tokens.len() as u64, "{place}: the fence counts claims");
        let answers =
            task.questions.iter().map(|question| question.answer.as_ref().map(|answer| answer.by.is_none()));
        let expected = mirror.questions.iter().map(|question| question.answer.map(|it| it == Reply::Default));
        assert!(answers.eq(expected), "{place}: {:?}", task.questions);
        let retried_as = mirror.retried_as.map(|new| self.model.tasks[new].id.clone());
        assert_eq!(task.retried_as, retried_as, "{place}");
        let read = task.messages.iter().map(|message| message.receipt.is_some());
        assert!(read.eq(mirror.messages.iter().map(Option::is_some)), "{place}: {:?}", task.messages);
        let directory = self.store.root().join("tasks").join(id.as_str());
        check_events(&directory, &mirror.events, place);
        self.check_answer(mirror, &task, &directory, place);
        if let Some(seen) = &self.seen[at] {
            check_move(seen, &task.status, place);
        }
        self.seen[at] = Some(task.status);
    }

    /// A task has an answer exactly when it has ended, and it stays the one that was accepted.
    fn check_answer(&self, mirror: &Mirror, task: &Task, directory: &Path, place: &str) {
        let response = self.store.response(task).unwrap();
        assert_eq!(response.is_some(), mirror.ended(), "{place}: an answer exactly when it has ended");
        assert_eq!(directory.join("response.json").exists(), mirror.ended(), "{place}");
        if let (Some(response), Some((_, success, body))) = (&response, &mirror.answer) {
            let found = (response.status == ResponseStatus::Completed, response.body.as_str());
            assert_eq!(found, (*success, body.as_str()), "{place}");
        }
    }

    /// The feed has every event of every task once, in order, under numbers that only grow.
    fn check_feed(&mut self) {
        for entry in self.store.feed_since(self.last_seq, usize::MAX).unwrap() {
            assert!(entry.seq > self.last_seq, "{} after {}", entry.seq, self.last_seq);
            assert!(self.gap || entry.seq == self.last_seq + 1, "{} after {}", entry.seq, self.last_seq);
            (self.last_seq, self.gap) = (entry.seq, false);
            let at = self.model.tasks.iter().position(|task| task.id == entry.task_id.as_str()).unwrap();
            self.fed[at] += 1;
            assert_eq!(entry.event.n, Some(self.fed[at]), "task {at} in the feed");
            let expected = self.model.tasks[at].events.get(self.fed[at] as usize - 1);
            assert_eq!(Some(&entry.event.kind.as_str()), expected, "task {at} in the feed");
        }
        for (at, task) in self.model.tasks.iter().enumerate() {
            assert_eq!(self.fed[at], task.events.len() as u64, "task {at} in the feed");
        }
    }

    /// A copy of the store without an index hands its tasks out in the same order as the model, from the tasks
    /// alone.
    pub fn drain_copy(&self, lanes: usize, vendor: usize, at_most: usize) {
        let (ours, theirs) = want(lanes, vendor);
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&self.store.root().join("tasks"), &copy.path().join("tasks"));
        for name in ["feed.jsonl", "format.json", "lanes.json"] {
            let _ = std::fs::copy(self.store.root().join(name), copy.path().join(name));
        }
        let store = open(copy.path(), &self.options);
        let mut model = self.model.clone();
        for _ in 0..at_most {
            let id = |at: usize| self.model.tasks[at].id.clone();
            let seen = store.peek_next(&theirs).unwrap().map(|task| task.id.to_string());
            assert_eq!(seen, model.peek(&ours).map(id));
            let given = store
                .claim_next(&theirs, &owner("worker"), Duration::from_secs(9000))
                .unwrap()
                .map(|task| task.id.to_string());
            assert_eq!(given, model.next(&ours, 9_000_000_000).map(id));
            if given.is_none() {
                break;
            }
        }
    }

    /// Claims everything that is left, and tries every old token once more.
    pub fn finish(&mut self) {
        for lane in LANES {
            self.play(&Step::Resume { lane: LANES.iter().position(|name| *name == lane).unwrap() });
        }
        self.play(&Step::Pass { seconds: 5000 });
        self.drain_copy(3, 0, 40);
        let open = self.model.tasks.iter().filter(|task| !task.ended()).count();
        for _ in 0..=open {
            self.play_unchecked(&Step::Next { lanes: 3, vendor: 0, length: 4000 });
        }
        self.check(&Step::Next { lanes: 3, vendor: 0, length: 4000 });
        for at in 0..self.model.tasks.len() {
            let tokens = self.model.tasks[at].tokens.clone();
            let current = matches!(self.model.tasks[at].state, State::Held(_));
            let old = tokens.len() - usize::from(current);
            for token in &tokens[..old] {
                self.refuse(at, ClaimToken::from_text(token.as_str()));
            }
        }
    }

    /// The token of a claim that is over proves nothing.
    fn refuse(&self, at: usize, token: ClaimToken) {
        let id = self.id(at);
        let release = Command::Release {
            token: token.clone(),
            reason: None,
            delay: None,
            spent: Some(FailureClass::Error),
        };
        let renew = Command::Renew { token: token.clone(), lease: Some(Duration::from_secs(1)) };
        let respond = Command::Respond(answer(Some(token), true, "too late".to_string()));
        for command in [renew, release, respond] {
            let error = self.store.apply(&id, &command).unwrap_err();
            assert_eq!(error.kind(), lanes::ErrorKind::Refused, "task {at}: {error}");
        }
    }
}

/// The types of the events in a history.
pub fn kinds(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let kind =
        |line: &str| json::parse_object(line.as_bytes()).unwrap()["type"].as_str().unwrap().to_string();
    text.lines().map(kind).collect()
}

/// events.jsonl has one whole line for each event, numbered from 1.
fn check_events(directory: &Path, expected: &[&str], place: &str) {
    let text = std::fs::read_to_string(directory.join("events.jsonl")).unwrap();
    assert!(text.is_ascii() && text.ends_with('\n'), "{place}: {text:?}");
    let lines: Vec<json::Object> =
        text.lines().map(|line| json::parse_object(line.as_bytes()).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, expected, "{place}");
    let numbers: Vec<u64> = lines.iter().map(|line| line["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=kinds.len() as u64).collect::<Vec<_>>(), "{place}");
}

/// Between two checks a task makes only transitions that exist.
fn check_move(from: &Status, to: &Status, place: &str) {
    let allowed = match (from, to) {
        (Status::Completed { .. } | Status::Failed { .. }, to) => from == to,
        (Status::Claimed(Claim { token: old, claimed_at: then, .. }), Status::Claimed(claim)) => {
            (*old == claim.token) == (*then == claim.claimed_at) || *old != claim.token
        }
        (Status::Queued, Status::Scheduled { .. } | Status::Blocked { .. } | Status::InputRequired) => false,
        (Status::Scheduled { until: from }, Status::Scheduled { until: to }) => from == to,
        (Status::Unknown(_), _) | (_, Status::Unknown(_)) => false,
        _ => true,
    };
    assert!(allowed, "{place}: from {from:?} to {to:?}");
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
