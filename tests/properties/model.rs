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
    Held(Hold),
    Done,
    /// The class of the failure.
    Failed(&'static str),
}

/// An answer: under which token, whether with success, and its body.
pub type Answer = (Option<String>, bool, String);

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
    pub content: (&'static str, Option<&'static str>),
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
    /// Whether the time allows a claim, apart from the attempts.
    fn open(&self, task: &Mirror) -> bool {
        match &task.state {
            State::Queued => true,
            State::Later(until) => *until <= self.wall,
            State::Held(hold) => hold.ends <= self.uptime,
            State::Done | State::Failed(_) => false,
        }
    }

    /// What becomes of a submit: the task that is there already, a refusal, or a new one.
    pub fn submit(&mut self, new: Mirror) -> (Outcome, Option<usize>) {
        if let Some(holder) = new.key.as_ref().and_then(|key| self.keys.get(key)) {
            let same = self.tasks[*holder].content == new.content;
            return (if same { Outcome::Unchanged } else { Outcome::Refused }, Some(*holder));
        }
        (Outcome::Changed, Some(self.add(new)))
    }

    fn add(&mut self, new: Mirror) -> usize {
        if let Some(key) = &new.key {
            self.keys.insert(key.clone(), self.tasks.len());
        }
        self.tasks.push(new);
        self.tasks.len() - 1
    }

    pub fn claim(&mut self, at: usize, length: i64) -> Outcome {
        let task = &self.tasks[at];
        if self.paused.contains_key(task.lane) || !self.open(task) || task.spent() {
            return Outcome::Refused;
        }
        self.take(at, length);
        Outcome::Changed
    }

    fn take(&mut self, at: usize, length: i64) {
        let ends = self.uptime + length;
        let task = &mut self.tasks[at];
        task.attempt += 1;
        task.events.push("claimed");
        // The token is filled in by the caller, who sees the real one.
        task.state = State::Held(Hold { token: String::new(), ends, length });
    }

    /// Every task that a worker could be given, in order.
    pub fn candidates(&self, want: &Want) -> Vec<usize> {
        let mut all = Vec::new();
        for lane in want.lanes.iter().filter(|lane| !self.paused.contains_key(*lane)) {
            let fits = |task: &Mirror| {
                task.lane == *lane
                    && self.open(task)
                    && (want.vendor.is_none() || task.vendor.is_none() || task.vendor == want.vendor)
            };
            let mut found: Vec<usize> = (0..self.tasks.len()).filter(|at| fits(&self.tasks[*at])).collect();
            found.sort_by_key(|at| (self.tasks[*at].rank(), self.tasks[*at].id.clone()));
            all.extend(found.into_iter().filter(|at| !all.contains(at)).collect::<Vec<_>>());
        }
        all
    }

    /// The first task that a worker can have. Those that turn out to be spent on the way die.
    fn first(&mut self, want: &Want) -> Option<usize> {
        for at in self.candidates(want) {
            if !self.tasks[at].spent() {
                return Some(at);
            }
            self.tasks[at].fail("dead", "dead");
        }
        None
    }

    pub fn next(&mut self, want: &Want, length: i64) -> Option<usize> {
        let at = self.first(want)?;
        self.take(at, length);
        Some(at)
    }

    pub fn peek(&mut self, want: &Want) -> Option<usize> {
        let at = self.first(want)?;
        if matches!(self.tasks[at].state, State::Later(_)) {
            self.settle(at);
        }
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
        task.state = if delay > 0 { State::Later(wall + delay) } else { State::Queued };
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
            (State::Queued | State::Later(_), proof) => proof.is_none(),
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
        if !matches!(task.state, State::Queued | State::Later(_)) {
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
        let new = Mirror {
            id: String::new(),
            created: self.wall,
            key: Some(old.key.clone().unwrap_or_else(|| format!("retry-of:{}", old.id))),
            content: (old.lane, old.vendor),
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
        let open = self.open(&self.tasks[at]);
        let task = &mut self.tasks[at];
        if open && task.spent() {
            task.fail("dead", "dead");
        } else if open && matches!(task.state, State::Later(_)) {
            task.events.push("due");
            task.state = State::Queued;
        } else {
            return Outcome::Unchanged;
        }
        Outcome::Changed
    }
}
