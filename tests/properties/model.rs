//! A second, minimal implementation of the rules of the queue, without files.
//!
//! Written from the promises, not from the code: where the two differ, one of them is wrong.

use std::collections::BTreeMap;

/// What one step of priority is worth, in microseconds.
const HEAD_START: i64 = 3600 * 1_000_000;

/// Whether a command changed something, found nothing to do, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Changed,
    Unchanged,
    Refused,
}

/// A worker's hold on a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub token: String,
    /// The end of the lease by the uptime, in microseconds; the wall clock does not affect it.
    pub ends: i64,
    pub length: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Queued,
    /// Not before this wall-clock time.
    Later(i64),
    /// Waits for other tasks or for its keys; not before this wall-clock time.
    Blocked(Option<i64>),
    /// Waits for an answer to a question.
    Asking,
    Held(Hold),
    Done,
    /// The class of the failure.
    Failed(&'static str),
}

/// What a worker sees of a task.
pub type Content = (&'static str, Option<&'static str>, Vec<(usize, bool)>, Vec<&'static str>);

/// An answer: under which token, whether with success, and its body.
pub type Answer = (Option<String>, bool, String);

/// A question of a worker.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The wall-clock time from which its default applies.
    pub default: Option<i64>,
    pub answer: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Default,
    Given(&'static str),
}

impl Inquiry {
    fn is_due(&self, wall: i64) -> bool {
        self.answer.is_none() && self.default.is_some_and(|default| default <= wall)
    }

    fn is_open(&self, wall: i64) -> bool {
        self.answer.is_none() && !self.is_due(wall)
    }
}

/// What keeps a task from being claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Ended,
    Leased,
    Expired,
    Waits,
    Asks,
    Early,
    Spent,
    Open,
}

#[derive(Clone, Debug)]
pub struct Mirror {
    pub id: String,
    pub lane: &'static str,
    pub created: i64,
    pub priority: i32,
    pub vendor: Option<&'static str>,
    pub max: Option<u32>,
    pub key: Option<String>,
    /// What makes a second submit under the same key the same.
    pub content: Content,
    /// The tasks that it waits for; with `true`, until they have ended anyhow.
    pub after: Vec<(usize, bool)>,
    /// Whether those are satisfied.
    pub met: bool,
    pub exclusive: Vec<&'static str>,
    /// The wall-clock time by which it must be claimed for the first time.
    pub deadline: Option<i64>,
    pub group: Option<&'static str>,
    pub questions: Vec<Inquiry>,
    pub state: State,
    pub attempt: u32,
    /// Every token ever handed out, the current one last.
    pub tokens: Vec<String>,
    pub events: Vec<&'static str>,
    pub answer: Option<Answer>,
    pub retried_as: Option<usize>,
    /// For each message, by the number of which claim it was read first.
    pub messages: Vec<Option<usize>>,
}

impl Mirror {
    pub fn rank(&self) -> i64 {
        self.created - i64::from(self.priority) * HEAD_START
    }

    pub fn ended(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    fn spent(&self) -> bool {
        self.max.is_some_and(|max| self.attempt >= max)
    }

    /// Whether other commands may apply to it what time or other tasks have made due.
    pub fn is_settled_by_others(&self) -> bool {
        !(self.after.is_empty() && self.exclusive.is_empty() && self.questions.is_empty())
            || self.deadline.is_some()
    }

    fn waits(&self) -> bool {
        !self.after.is_empty() && !self.met && !self.ended()
    }

    /// Where it waits for a claim.
    fn waiting(&self, until: Option<i64>, wall: i64) -> State {
        let until = until.filter(|until| *until > wall);
        if self.questions.iter().any(|question| question.answer.is_none()) {
            State::Asking
        } else if self.waits() || !self.exclusive.is_empty() {
            State::Blocked(until)
        } else {
            until.map_or(State::Queued, State::Later)
        }
    }

    fn gate(&self, wall: i64, uptime: i64) -> Gate {
        let asks = self.questions.iter().any(|question| question.is_open(wall));
        let open = if self.spent() { Gate::Spent } else { Gate::Open };
        match &self.state {
            State::Done | State::Failed(_) => Gate::Ended,
            State::Held(hold) if hold.ends > uptime => Gate::Leased,
            _ if self.is_late(wall) => Gate::Expired,
            _ if self.waits() => Gate::Waits,
            State::Held(_) if asks && open == Gate::Open => Gate::Asks,
            State::Queued | State::Asking | State::Blocked(_) if asks => Gate::Asks,
            State::Later(until) | State::Blocked(Some(until)) if wall < *until => Gate::Early,
            _ => open,
        }
    }

    fn is_late(&self, wall: i64) -> bool {
        self.tokens.is_empty() && self.deadline.is_some_and(|deadline| deadline <= wall)
    }

    /// Gives the questions whose time is over their defaults.
    fn take_defaults(&mut self, wall: i64) -> bool {
        let mut found = false;
        for question in self.questions.iter_mut().filter(|question| question.is_due(wall)) {
            question.answer = Some(Reply::Default);
            self.events.push("answered");
            found = true;
        }
        if found {
            self.go_on_if_answered(wall);
        }
        found
    }

    fn go_on_if_answered(&mut self, wall: i64) {
        if self.state == State::Asking {
            self.state = self.waiting(None, wall);
        }
    }

    /// Applies what is due. Returns whether anything was.
    fn settle(&mut self, wall: i64, uptime: i64) -> bool {
        let defaulted = self.take_defaults(wall);
        match (self.gate(wall, uptime), &self.state) {
            (Gate::Asks, State::Held(_)) => {
                self.events.push("input_required");
                self.state = State::Asking;
            }
            (Gate::Spent, _) => self.fail("dead", "dead"),
            (Gate::Expired, _) => self.fail("expired", "expired"),
            (Gate::Waits | Gate::Open | Gate::Early, State::Blocked(_)) => return defaulted,
            (Gate::Open | Gate::Early, _) if !self.exclusive.is_empty() => {
                self.events.push("blocked");
                self.state = State::Blocked(None);
            }
            (Gate::Open, State::Later(_)) => {
                self.events.push("due");
                self.state = State::Queued;
            }
            _ => return defaulted,
        }
        true
    }

    fn fail(&mut self, event: &'static str, class: &'static str) {
        self.events.push(event);
        self.answer = None;
        self.state = State::Failed(class);
    }
}

/// The tasks that a worker takes: those for the vendor and those for any vendor.
#[derive(Clone, Debug)]
pub struct Want {
    pub lanes: Vec<&'static str>,
    pub vendor: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub tasks: Vec<Mirror>,
    pub paused: BTreeMap<&'static str, ()>,
    pub keys: BTreeMap<String, usize>,
    pub wall: i64,
    pub uptime: i64,
}

impl Model {
    fn gate(&self, at: usize) -> Gate {
        self.tasks[at].gate(self.wall, self.uptime)
    }

    /// Whether no other worker has one of the keys of a task.
    fn keys_are_free(&self, at: usize) -> bool {
        let keys = &self.tasks[at].exclusive;
        let holds = |other: usize| {
            other != at
                && self.gate(other) == Gate::Leased
                && self.tasks[other].exclusive.iter().any(|key| keys.contains(key))
        };
        keys.is_empty() || !(0..self.tasks.len()).any(holds)
    }

    /// Whether a search for a task to claim looks at this one.
    fn is_looked_at(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        match &task.state {
            State::Queued => true,
            State::Later(until) => *until <= self.wall,
            State::Blocked(_) if task.waits() => false,
            State::Blocked(_) if task.is_late(self.wall) => true,
            State::Blocked(until) => until.is_none_or(|until| until <= self.wall) && self.keys_are_free(at),
            State::Held(hold) => hold.ends <= self.uptime && self.keys_are_free(at),
            State::Asking => self.gate(at) != Gate::Asks,
            State::Done | State::Failed(_) => false,
        }
    }

    /// Releases or fails the tasks whose dependencies have ended, and so on.
    pub fn release_dependents(&mut self) {
        while let Some((at, fails)) = (0..self.tasks.len()).find_map(|at| Some((at, self.outcome(at)?))) {
            let wall = self.wall;
            let task = &mut self.tasks[at];
            if fails {
                task.fail("upstream_failed", "upstream");
                continue;
            }
            task.met = true;
            task.events.push("unblocked");
            if task.is_late(wall) {
                task.fail("expired", "expired");
            } else if let State::Blocked(until) = task.state {
                task.state = task.waiting(until, wall);
            }
        }
    }

    /// Whether the dependencies of a task that waits for them have failed; `None` while that is open.
    fn outcome(&self, at: usize) -> Option<bool> {
        let task = &self.tasks[at];
        if !task.waits() {
            return None;
        }
        let (mut is_open, mut fails) = (false, false);
        for (other, anyhow) in &task.after {
            match self.tasks[*other].state {
                State::Done => {}
                State::Failed(_) => fails |= !anyhow,
                _ => is_open = true,
            }
        }
        (fails || !is_open).then_some(fails)
    }

    /// Applies to a task what another command has made of it, given the further events that it has: what is due.
    pub fn follow(&mut self, at: usize, news: &[String]) {
        let mut due = self.tasks[at].clone();
        let before = due.events.len();
        if due.settle(self.wall, self.uptime)
            && news.starts_with(
                &due.events[before..].iter().map(|event| (*event).to_string()).collect::<Vec<_>>(),
            )
        {
            self.tasks[at] = due;
        }
    }

    /// The members of a group, in the order in which they were submitted.
    pub fn members(&self, group: &str) -> Vec<usize> {
        let mut found: Vec<usize> =
            (0..self.tasks.len()).filter(|at| self.tasks[*at].group == Some(group)).collect();
        found.sort_by_key(|at| (self.tasks[*at].created, self.tasks[*at].id.clone()));
        found
    }

    /// What becomes of a submit: the task that is there already, a refusal, or a new one.
    pub fn submit(&mut self, new: Mirror) -> (Outcome, Option<usize>) {
        if let Some(holder) = new.key.as_ref().and_then(|key| self.keys.get(key)) {
            let same = self.tasks[*holder].content == new.content;
            return (if same { Outcome::Unchanged } else { Outcome::Refused }, Some(*holder));
        }
        (Outcome::Changed, Some(self.add(new)))
    }

    fn add(&mut self, mut new: Mirror) -> usize {
        let until = match new.state {
            State::Later(until) => Some(until),
            _ => None,
        };
        new.met = !new.after.is_empty()
            && new.after.iter().all(|(other, anyhow)| match self.tasks[*other].state {
                State::Done => true,
                State::Failed(_) => *anyhow,
                _ => false,
            });
        new.state = new.waiting(until, self.wall);
        if let Some(key) = &new.key {
            self.keys.insert(key.clone(), self.tasks.len());
        }
        self.tasks.push(new);
        self.tasks.len() - 1
    }

    pub fn claim(&mut self, at: usize, length: i64) -> Outcome {
        let is_paused = self.paused.contains_key(self.tasks[at].lane);
        if is_paused || self.gate(at) != Gate::Open || !self.keys_are_free(at) {
            return Outcome::Refused;
        }
        self.take(at, length);
        Outcome::Changed
    }

    fn take(&mut self, at: usize, length: i64) {
        let (ends, wall) = (self.uptime + length, self.wall);
        let task = &mut self.tasks[at];
        task.take_defaults(wall);
        task.attempt += 1;
        task.events.push("claimed");
        // The token is filled in by the caller, who sees the real one.
        task.state = State::Held(Hold { token: String::new(), ends, length });
    }

    /// The tasks of a lane that a search looks at, in order.
    fn looked_at(&self, lane: &str, want: &Want) -> Vec<usize> {
        let fits = |at: &usize| {
            let task = &self.tasks[*at];
            task.lane == lane
                && (want.vendor.is_none() || task.vendor.is_none() || task.vendor == want.vendor)
                && self.is_looked_at(*at)
        };
        let mut found: Vec<usize> = (0..self.tasks.len()).filter(fits).collect();
        found.sort_by_key(|at| (self.tasks[*at].rank(), self.tasks[*at].id.clone()));
        found
    }

    /// The first task that a worker can have. What is due of those on the way is applied; if it frees others, they are
    /// looked for when there is nothing else, and by a mere look at once.
    fn first(&mut self, want: &Want, only_looks: bool) -> Option<usize> {
        loop {
            let mut changed = false;
            for lane in
                want.lanes.iter().filter(|lane| !self.paused.contains_key(*lane)).copied().collect::<Vec<_>>()
            {
                for at in self.looked_at(lane, want) {
                    match self.gate(at) {
                        // A question may get its default while another task has a key.
                        Gate::Open if self.tasks[at].state != State::Asking || self.keys_are_free(at) => {
                            return Some(at);
                        }
                        _ => changed |= self.tasks[at].settle(self.wall, self.uptime),
                    }
                }
                if only_looks {
                    self.release_dependents();
                }
            }
            if !changed && (0..self.tasks.len()).all(|at| self.outcome(at).is_none()) {
                return None;
            }
            self.release_dependents();
        }
    }

    pub fn next(&mut self, want: &Want, length: i64) -> Option<usize> {
        let at = self.first(want, false);
        if let Some(at) = at {
            self.take(at, length);
        }
        self.release_dependents();
        at
    }

    pub fn peek(&mut self, want: &Want) -> Option<usize> {
        let at = self.first(want, true)?;
        if matches!(self.tasks[at].state, State::Later(_) | State::Asking) {
            self.settle(at);
        }
        self.release_dependents();
        Some(at)
    }

    /// The hold of a task, if `proof` is its current token.
    fn held(&self, at: usize, proof: &str) -> Option<Hold> {
        match &self.tasks[at].state {
            State::Held(hold) if hold.token == proof => Some(hold.clone()),
            _ => None,
        }
    }

    pub fn renew(&mut self, at: usize, proof: &str, length: Option<i64>) -> Outcome {
        let Some(hold) = self.held(at, proof) else { return Outcome::Refused };
        let length = length.unwrap_or(hold.length);
        let ends = self.uptime + length;
        self.tasks[at].state = State::Held(Hold { ends, length, ..hold });
        self.tasks[at].events.push("renewed");
        Outcome::Changed
    }

    pub fn release(&mut self, at: usize, proof: &str, delay: i64, spent: bool) -> Outcome {
        if self.held(at, proof).is_none() {
            return Outcome::Refused;
        }
        let wall = self.wall;
        let task = &mut self.tasks[at];
        task.events.push("released");
        task.attempt -= u32::from(!spent);
        task.state = task.waiting((delay > 0).then_some(wall + delay), wall);
        if spent && task.spent() {
            task.fail("dead", "dead");
        }
        Outcome::Changed
    }

    pub fn respond(&mut self, at: usize, proof: Option<&str>, success: bool, body: &str) -> Outcome {
        let answer: Answer = (proof.map(str::to_string), success, body.to_string());
        let task = &mut self.tasks[at];
        let allowed = match (&task.state, proof) {
            (State::Done | State::Failed(_), _) => {
                let same = task.answer.as_ref() == Some(&answer);
                return if same { Outcome::Unchanged } else { Outcome::Refused };
            }
            (State::Held(hold), Some(proof)) => hold.token == proof,
            (State::Held(_), None) => false,
            (_, proof) => proof.is_none(),
        };
        if !allowed {
            return Outcome::Refused;
        }
        task.state = if success { State::Done } else { State::Failed("error") };
        task.events.push("response");
        task.answer = Some(answer);
        Outcome::Changed
    }

    pub fn note(&mut self, at: usize, proof: Option<&str>) -> Outcome {
        if proof.is_some_and(|proof| self.held(at, proof).is_none()) {
            return Outcome::Refused;
        }
        self.tasks[at].events.push("progress");
        Outcome::Changed
    }

    pub fn tell(&mut self, at: usize) -> Outcome {
        let task = &mut self.tasks[at];
        if task.ended() {
            return Outcome::Refused;
        }
        task.messages.push(None);
        task.events.push("told");
        Outcome::Changed
    }

    pub fn read(&mut self, at: usize, proof: &str, through: usize) -> Outcome {
        if self.held(at, proof).is_none() {
            return Outcome::Refused;
        }
        let task = &mut self.tasks[at];
        let claim = task.tokens.len();
        let unread = task.messages.iter_mut().take(through).filter(|reader| reader.is_none());
        if unread.map(|reader| *reader = Some(claim)).count() == 0 {
            return Outcome::Unchanged;
        }
        task.events.push("read");
        Outcome::Changed
    }

    pub fn ask(&mut self, at: usize, proof: &str, default: Option<i64>, keeps_claim: bool) -> Outcome {
        if self.held(at, proof).is_none() {
            return Outcome::Refused;
        }
        let wall = self.wall;
        let task = &mut self.tasks[at];
        task.take_defaults(wall);
        task.events.push("asked");
        task.questions.push(Inquiry { default: default.map(|after| wall + after), answer: None });
        if !keeps_claim {
            task.attempt -= 1;
            task.state = State::Asking;
        }
        Outcome::Changed
    }

    /// Answers the question with this number from 1, or the only open one, or repeats the last answer.
    pub fn reply(&mut self, at: usize, number: Option<usize>, text: &'static str) -> Outcome {
        let wall = self.wall;
        let task = &mut self.tasks[at];
        if task.ended() {
            return Outcome::Refused;
        }
        let open: Vec<usize> =
            (0..task.questions.len()).filter(|n| task.questions[*n].is_open(wall)).collect();
        let place = match (number, &open[..]) {
            (Some(number), _) => number.checked_sub(1),
            (None, [place]) => Some(*place),
            (None, []) => task.questions.len().checked_sub(1),
            (None, _) => None,
        };
        let Some(question) = place.and_then(|place| task.questions.get_mut(place)) else {
            return Outcome::Refused;
        };
        match question.answer {
            Some(Reply::Given(given)) if given == text => return Outcome::Unchanged,
            None if question.is_open(wall) => question.answer = Some(Reply::Given(text)),
            _ => return Outcome::Refused,
        }
        task.events.push("answered");
        task.take_defaults(wall);
        task.go_on_if_answered(wall);
        Outcome::Changed
    }

    pub fn cancel(&mut self, at: usize) -> Outcome {
        let task = &mut self.tasks[at];
        if task.state == State::Failed("cancelled") {
            return Outcome::Unchanged;
        }
        if task.ended() {
            return Outcome::Refused;
        }
        task.fail("cancelled", "cancelled");
        Outcome::Changed
    }

    pub fn move_to(&mut self, at: usize, lane: &'static str) -> Outcome {
        let task = &mut self.tasks[at];
        if task.lane == lane {
            return Outcome::Unchanged;
        }
        if task.ended() || matches!(task.state, State::Held(_)) {
            return Outcome::Refused;
        }
        task.lane = lane;
        task.events.push("moved");
        Outcome::Changed
    }

    /// Retries a failed task as a new one, which takes over its key. The id is filled in by the caller, who sees the
    /// real one.
    pub fn retry(&mut self, at: usize) -> (Outcome, usize) {
        let old = self.tasks[at].clone();
        if !matches!(old.state, State::Failed(_)) {
            return (Outcome::Refused, at);
        }
        if let Some(already) = old.retried_as {
            return (Outcome::Unchanged, already);
        }
        let mut after = old.after.clone();
        for (other, anyhow) in &mut after {
            while let Some(newer) = self.tasks[*other].retried_as {
                *other = newer;
            }
            if !*anyhow && matches!(self.tasks[*other].state, State::Failed(_)) {
                return (Outcome::Refused, at);
            }
        }
        let new = Mirror {
            id: String::new(),
            created: self.wall,
            key: Some(old.key.clone().unwrap_or_else(|| format!("retry-of:{}", old.id))),
            content: (old.lane, old.vendor, after.clone(), old.exclusive.clone()),
            after,
            deadline: None,
            questions: Vec::new(),
            state: State::Queued,
            attempt: 0,
            tokens: Vec::new(),
            events: vec!["created"],
            answer: None,
            retried_as: None,
            messages: Vec::new(),
            ..old
        };
        let new = self.add(new);
        self.tasks[at].retried_as = Some(new);
        self.tasks[at].events.push("retried");
        (Outcome::Changed, new)
    }

    pub fn settle(&mut self, at: usize) -> Outcome {
        if self.tasks[at].settle(self.wall, self.uptime) { Outcome::Changed } else { Outcome::Unchanged }
    }
}
