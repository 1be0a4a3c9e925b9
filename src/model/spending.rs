//! Budgets of dispatchers: how much may be spent in a day or a week, and how much is.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::Object;
use super::lane::LaneName;
use super::task::object;
use super::time::Time;

/// The length of a part of the record of what was spent. Every local midnight is at the beginning of one.
const QUARTER_HOUR: i64 = 15 * 60 * 1_000_000;
/// How many of them are kept: those of a week, and of a day more.
const KEPT_QUARTERS: i64 = 8 * 24 * 4;
/// The number of runs of a lane from which its usual cost is taken.
const MAX_RECENT: usize = 50;
/// The number of runs that are remembered so that a line which was written twice counts once.
const MAX_COUNTED: usize = 500;
/// How long a reservation holds whose task is not claimed yet, in seconds.
const RESERVATION_GRACE: f64 = 60.0;
/// What a sum of dollars may differ from the limit by rounding.
const ROUNDING: f64 = 1e-9;

/// What a budget is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BudgetScope {
    /// All runs of the dispatchers of a store.
    Store,
    /// The runs of a vendor.
    Vendor(String),
    /// The runs for a lane.
    Lane(LaneName),
}

impl BudgetScope {
    /// Returns its name in the record: `store`, `vendor NAME`, `lane NAME`.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Store => "store".to_string(),
            Self::Vendor(name) => format!("vendor {name}"),
            Self::Lane(lane) => format!("lane {lane}"),
        }
    }

    /// Returns whether the runs of a lane by a vendor are in it.
    pub(crate) fn includes(&self, lane: &str, vendor: &str) -> bool {
        match self {
            Self::Store => true,
            Self::Vendor(name) => name == vendor,
            Self::Lane(own) => *own == *lane,
        }
    }
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store"),
            Self::Vendor(_) | Self::Lane(_) => f.write_str(&self.key()),
        }
    }
}

/// What a budget limits, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BudgetMeasure {
    /// US dollars in a day.
    UsdPerDay,
    /// US dollars in a week, which begins on Monday.
    UsdPerWeek,
    /// Tokens in a day.
    TokensPerDay,
    /// Runs in a day.
    RunsPerDay,
}

impl BudgetMeasure {
    /// All measures, by the key that sets each in handoff.yaml.
    pub(crate) const KEYS: [(&'static str, Self); 4] = [
        ("usd_per_day", Self::UsdPerDay),
        ("usd_per_week", Self::UsdPerWeek),
        ("tokens_per_day", Self::TokensPerDay),
        ("runs_per_day", Self::RunsPerDay),
    ];

    /// Returns its key.
    pub(crate) fn as_str(self) -> &'static str {
        Self::KEYS.into_iter().find(|(_, measure)| *measure == self).map_or("usd_per_day", |(key, _)| key)
    }

    /// Returns what is counted.
    pub(crate) fn unit(self) -> BudgetUnit {
        match self {
            Self::UsdPerDay | Self::UsdPerWeek => BudgetUnit::Usd,
            Self::TokensPerDay => BudgetUnit::Tokens,
            Self::RunsPerDay => BudgetUnit::Runs,
        }
    }

    fn period(self) -> &'static str {
        if self == Self::UsdPerWeek { "week" } else { "day" }
    }

    /// Returns the beginning and the end of the day or week of `now` in a time zone.
    pub(crate) fn window(self, now: Time, zone: &TimeZone) -> (Time, Time) {
        let bounds = || {
            let local = zone.to_datetime(Timestamp::from_microsecond(now.micros()).ok()?);
            let (first, days) = match self {
                Self::UsdPerWeek => {
                    let back = i64::from(local.date().weekday().since(Weekday::Monday));
                    (local.date().checked_sub(Span::new().days(back)).ok()?, 7)
                }
                _ => (local.date(), 1),
            };
            let last = first.checked_add(Span::new().days(days)).ok()?;
            let midnight = |date: jiff::civil::Date| {
                let zoned = zone.to_zoned_datetime(date.to_datetime(jiff::civil::Time::midnight())).ok()?;
                Some(Time::from_micros(zoned.timestamp().as_microsecond()))
            };
            Some((midnight(first)?, midnight(last)?))
        };
        // Only at the end of the calendar is there no next day.
        bounds().unwrap_or((now, now.plus_seconds(86_400.0)))
    }
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetUnit {
    /// US dollars.
    Usd,
    /// Tokens of all kinds.
    Tokens,
    /// Runs of agents.
    Runs,
}

impl BudgetUnit {
    /// All units, by name.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("usd", Self::Usd), ("tokens", Self::Tokens), ("runs", Self::Runs)];

    /// Returns the unit with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, unit)| unit)
    }

    /// Returns its name.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, unit)| *unit == self).map_or("usd", |(name, _)| name)
    }

    /// Formats an amount for people.
    pub(crate) fn format(self, amount: f64) -> String {
        match self {
            Self::Usd => format!("${amount:.2}"),
            Self::Tokens => format!("{amount:.0} tokens"),
            Self::Runs if amount == 1.0 => "1 run".to_string(),
            Self::Runs => format!("{amount:.0} runs"),
        }
    }
}

/// One limit: for what, of what, how much.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BudgetLimit {
    /// What it is for.
    pub scope: BudgetScope,
    /// What it limits.
    pub measure: BudgetMeasure,
    /// How much may be spent.
    pub amount: f64,
}

/// All budgets of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    /// The time zone of days and weeks.
    pub zone: TimeZone,
    /// The limits.
    pub limits: Vec<BudgetLimit>,
    /// The most that one run of a lane may cost, in US dollars, where the settings say it.
    pub caps: BTreeMap<LaneName, f64>,
    /// The same for all other lanes.
    pub default_cap: Option<f64>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, limits: Vec::new(), caps: BTreeMap::new(), default_cap: None }
    }
}

impl Budgets {
    /// Returns the most that one run of a lane may cost, in US dollars.
    fn cap(&self, lane: &str) -> Option<f64> {
        let own = self.caps.iter().find(|(own, _)| **own == *lane).map(|(_, cap)| *cap);
        own.or(self.default_cap)
    }

    /// Returns whether runs of a lane by a vendor are limited.
    pub(crate) fn concern(&self, lane: &LaneName, vendor: &str) -> bool {
        self.limits.iter().any(|limit| limit.scope.includes(lane.as_str(), vendor))
    }
}

/// A run as the usage log has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CountedRun {
    /// The id of the run, if the log has it.
    pub run: Option<String>,
    /// The lane of its task.
    pub lane: LaneName,
    /// The vendor.
    pub vendor: String,
    /// When it ended.
    pub ended: Time,
    /// What it cost in US dollars, if that is known.
    pub usd: Option<f64>,
    /// The tokens that it used, if they are known.
    pub tokens: Option<u64>,
    /// Whether an agent was started.
    pub was_started: bool,
}

/// What runs have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpentPart {
    runs: u64,
    usd: f64,
    tokens: u64,
    /// Runs whose cost, or whose tokens, are not known.
    unknown_usd: u64,
    unknown_tokens: u64,
}

/// What a run in progress may still spend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReservedRun {
    /// The task.
    pub task_id: String,
    /// Its lane.
    lane: String,
    /// The vendor.
    vendor: String,
    /// When it was made.
    #[serde(with = "time_text")]
    at: Time,
}

/// An amount that a person has added to a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Addition {
    scope: String,
    unit: String,
    amount: f64,
    #[serde(with = "time_text")]
    at: Time,
}

/// A lane from which nothing is claimed because of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LaneOverBudget {
    /// The budget: `store`, `vendor NAME`, `lane NAME`.
    pub scope: String,
    /// What it limits, such as `usd_per_day`.
    pub measure: String,
    /// How much was spent when the lane was last looked at.
    pub spent: f64,
    /// How much the runs in progress might still spend.
    pub running: f64,
    /// The limit.
    pub limit: f64,
    /// Whether it is spent until then; otherwise the lane waits for runs in progress.
    pub is_spent: bool,
    /// The end of the day or week.
    #[serde(with = "time_text")]
    pub until: Time,
    /// What happened, for people.
    pub message: String,
}

impl LaneOverBudget {
    /// Returns it as JSON, without the message.
    pub(crate) fn to_object(&self) -> Object {
        object([
            ("scope", self.scope.clone().into()),
            ("measure", self.measure.clone().into()),
            ("spent", self.spent.into()),
            ("running", self.running.into()),
            ("limit", self.limit.into()),
            ("is_spent", self.is_spent.into()),
            ("until", self.until.to_string().into()),
        ])
    }
}

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BudgetUse {
    /// The limit.
    pub limit: BudgetLimit,
    /// The limit with what a person has added.
    pub total: f64,
    /// What was spent since `since`, with what stands for runs of unknown cost.
    pub spent: f64,
    /// How many runs since then have told no cost, or no tokens, and what of `spent` stands for them.
    pub unknown: (u64, f64),
    /// What the runs in progress may still spend.
    pub running: f64,
    /// The beginning of the day or week.
    pub since: Time,
    /// Its end.
    pub until: Time,
}

impl BudgetUse {
    /// Returns whether no further run may start: what is spent, what runs may spend, and `next` for a run that names it,
    /// reach the limit.
    fn is_over(&self, next: Option<f64>) -> bool {
        self.reaches(self.spent + self.running, next)
    }

    fn reaches(&self, used: f64, next: Option<f64>) -> bool {
        match next {
            Some(next) => used + next > self.total + ROUNDING,
            None => used >= self.total - ROUNDING,
        }
    }

    /// Returns it as JSON.
    pub(crate) fn to_object(&self) -> Object {
        object([
            ("scope", self.limit.scope.key().into()),
            ("measure", self.limit.measure.as_str().into()),
            ("limit", self.total.into()),
            ("added", (self.total - self.limit.amount).into()),
            ("spent", self.spent.into()),
            ("unknown_runs", self.unknown.0.into()),
            ("unknown", self.unknown.1.into()),
            ("running", self.running.into()),
            ("since", self.since.to_string().into()),
            ("until", self.until.to_string().into()),
        ])
    }

    fn over(&self, next: Option<f64>) -> LaneOverBudget {
        LaneOverBudget {
            scope: self.limit.scope.key(),
            measure: self.limit.measure.as_str().to_string(),
            spent: self.spent,
            running: self.running,
            limit: self.total,
            is_spent: self.reaches(self.spent, next),
            until: self.until,
            message: self.to_string(),
        }
    }
}

impl fmt::Display for BudgetUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measure = self.limit.measure;
        let unit = measure.unit();
        let scope = &self.limit.scope;
        write!(
            f,
            "{scope} has spent {} of {} for this {}",
            unit.format(self.spent),
            unit.format(self.total),
            measure.period()
        )?;
        let (runs, amount) = self.unknown;
        if runs > 0 {
            let (amount, runs) = (unit.format(amount), BudgetUnit::Runs.format(runs as f64));
            match unit {
                BudgetUnit::Usd => write!(
                    f,
                    ", of which {amount} stands for {runs} of unknown cost (`prices` defines it, `max_budget_usd` limits it)"
                )?,
                _ => write!(f, ", of which {amount} stands for {runs} that reported none")?,
            }
        }
        if self.running > 0.0 {
            write!(f, ", and running tasks may spend {}", unit.format(self.running))?;
        }
        Ok(())
    }
}

/// The position in the usage log up to which runs are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPosition {
    /// The file, by its inode.
    pub file: u64,
    /// The number of bytes that are counted.
    pub bytes: u64,
    /// A hash of the last of these bytes: another file may have got the inode of one that was removed. 0 if it is not known.
    #[serde(default)]
    pub mark: u64,
}

/// What dispatchers of a store have spent in the last days, and what their running tasks may still spend. Derived from
/// the usage log, except for `reserved`, `added` and `over`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SpendingRecord {
    /// Up to where the usage log is counted.
    pub position: LogPosition,
    /// What was spent, by quarter of an hour, lane and vendor.
    spent: BTreeMap<i64, BTreeMap<String, BTreeMap<String, SpentPart>>>,
    /// The cost and the tokens of the last runs of each lane, where they are known.
    recent_usd: BTreeMap<String, Vec<f64>>,
    recent_tokens: BTreeMap<String, Vec<u64>>,
    /// The last runs that were counted.
    counted: Vec<String>,
    /// The runs in progress, by id.
    reserved: BTreeMap<String, ReservedRun>,
    added: Vec<Addition>,
    /// The lanes from which nothing is claimed because of a budget.
    pub over: BTreeMap<String, LaneOverBudget>,
}

impl SpendingRecord {
    /// Forgets what is derived from the usage log, which is then counted from its beginning.
    pub(crate) fn reset(&mut self) {
        let Self { reserved, added, over, .. } = std::mem::take(self);
        *self = Self { reserved, added, over, ..Self::default() };
    }

    /// Counts a run that has ended.
    pub(crate) fn count(&mut self, run: &CountedRun) {
        if let Some(id) = &run.run {
            self.reserved.remove(id);
            if self.counted.contains(id) {
                return;
            }
            self.counted.push(id.clone());
            let extra = self.counted.len().saturating_sub(MAX_COUNTED);
            self.counted.drain(..extra);
        }
        if !run.was_started {
            return;
        }
        let quarter = run.ended.micros() / QUARTER_HOUR;
        let lane = run.lane.to_string();
        let part = self.spent.entry(quarter).or_default().entry(lane.clone()).or_default();
        let part = part.entry(run.vendor.clone()).or_default();
        part.runs += 1;
        let usd = run.usd.filter(|usd| usd.is_finite() && *usd >= 0.0);
        part.usd += usd.unwrap_or_default();
        part.unknown_usd += u64::from(usd.is_none());
        part.tokens = part.tokens.saturating_add(run.tokens.unwrap_or_default());
        part.unknown_tokens += u64::from(run.tokens.is_none());
        if let Some(usd) = usd {
            push_recent(self.recent_usd.entry(lane.clone()).or_default(), usd);
        }
        if let Some(tokens) = run.tokens {
            push_recent(self.recent_tokens.entry(lane).or_default(), tokens);
        }
    }

    /// Returns the runs in progress: their ids and their tasks.
    pub(crate) fn reserved_runs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reserved.iter().map(|(run, reservation)| (run.as_str(), reservation.task_id.as_str()))
    }

    /// Removes what no budget looks at any more, and the reservations of runs that are over. One that was made just now is
    /// kept in any case: its task is about to be claimed.
    pub(crate) fn prune(&mut self, now: Time, is_over: impl Fn(&str) -> bool) {
        let oldest = now.micros() / QUARTER_HOUR - KEPT_QUARTERS;
        self.spent.retain(|quarter, _| *quarter >= oldest);
        self.added.retain(|added| added.at.micros() / QUARTER_HOUR >= oldest);
        self.over.retain(|_, over| over.until > now);
        self.reserved.retain(|run, reservation| {
            // The clock may have been set back since then.
            now.seconds_since(reservation.at).abs() < RESERVATION_GRACE || !is_over(run)
        });
    }

    /// Returns how much of each limit is used that concerns a lane and its vendor; all of them without a lane.
    pub(crate) fn uses(&self, budgets: &Budgets, of: Option<(&LaneName, &str)>, now: Time) -> Vec<BudgetUse> {
        let concerns = |limit: &&BudgetLimit| {
            of.is_none_or(|(lane, vendor)| limit.scope.includes(lane.as_str(), vendor))
        };
        budgets.limits.iter().filter(concerns).map(|limit| self.usage_of(budgets, limit, now)).collect()
    }

    fn usage_of(&self, budgets: &Budgets, limit: &BudgetLimit, now: Time) -> BudgetUse {
        let (since, until) = limit.measure.window(now, &budgets.zone);
        let unit = limit.measure.unit();
        let key = limit.scope.key();
        let is_added =
            |added: &&Addition| added.scope == key && added.unit == unit.as_str() && added.at >= since;
        let total = limit.amount + self.added.iter().filter(is_added).map(|added| added.amount).sum::<f64>();
        // What nobody knows counts as much as there is, so that it cannot be exceeded: as long as it runs with what a person
        // has added, and then without, or the addition would change nothing.
        let estimate = |lane: &str, unknown: f64| self.estimate(budgets, lane, unit).unwrap_or(unknown);
        let (mut spent, mut unknown) = (0.0, (0, 0.0));
        let quarters = since.micros() / QUARTER_HOUR..until.micros() / QUARTER_HOUR;
        for lanes in self.spent.range(quarters).map(|(_, lanes)| lanes) {
            for (lane, vendors) in lanes {
                for (_, part) in vendors.iter().filter(|(vendor, _)| limit.scope.includes(lane, vendor)) {
                    let (known, silent) = match unit {
                        BudgetUnit::Usd => (part.usd, part.unknown_usd),
                        BudgetUnit::Tokens => (part.tokens as f64, part.unknown_tokens),
                        BudgetUnit::Runs => (part.runs as f64, 0),
                    };
                    let stands = if silent == 0 { 0.0 } else { silent as f64 * estimate(lane, limit.amount) };
                    spent += known + stands;
                    unknown = (unknown.0 + silent, unknown.1 + stands);
                }
            }
        }
        let reserved = self.reserved.values();
        let reserved = reserved.filter(|run| limit.scope.includes(&run.lane, &run.vendor));
        let running = reserved.fold(0.0, |sum, run| {
            sum + if unit == BudgetUnit::Runs { 1.0 } else { estimate(&run.lane, total) }
        });
        BudgetUse { limit: limit.clone(), total, spent, unknown, running, since, until }
    }

    /// Returns what one run of a lane may use: its cap, else what nine of ten runs do not exceed.
    fn estimate(&self, budgets: &Budgets, lane: &str, unit: BudgetUnit) -> Option<f64> {
        match unit {
            BudgetUnit::Usd => {
                let cap = budgets.cap(lane);
                cap.or_else(|| ninth_decile(self.recent_usd.get(lane)?, f64::total_cmp))
            }
            BudgetUnit::Tokens => Some(ninth_decile(self.recent_tokens.get(lane)?, u64::cmp)? as f64),
            BudgetUnit::Runs => Some(1.0),
        }
    }

    /// Returns the budget that keeps a task of a lane from starting, if one does.
    pub(crate) fn over_budget(
        &self,
        budgets: &Budgets,
        (lane, vendor): (&LaneName, &str),
        now: Time,
    ) -> Option<LaneOverBudget> {
        let next = |used: &BudgetUse| match used.limit.measure.unit() {
            // A run that is ended at its cap cannot exceed the budget; any other may, once.
            BudgetUnit::Usd => budgets.cap(lane.as_str()),
            BudgetUnit::Tokens => None,
            BudgetUnit::Runs => Some(1.0),
        };
        let uses = self.uses(budgets, Some((lane, vendor)), now).into_iter();
        let over = uses.filter(|used| used.is_over(next(used))).map(|used| used.over(next(&used)));
        over.max_by_key(|over| (over.is_spent, over.until))
    }

    /// Reserves what a run may spend, unless a budget keeps it from starting, which is recorded for its lane.
    pub(crate) fn reserve(
        &mut self,
        budgets: &Budgets,
        (lane, vendor): (&LaneName, &str),
        (run, task_id): (&str, &str),
        now: Time,
    ) -> Option<LaneOverBudget> {
        // A task that could not be claimed after all leaves its reservation to the next one.
        self.reserved.remove(run);
        if let Some(over) = self.over_budget(budgets, (lane, vendor), now) {
            self.over.insert(lane.to_string(), over.clone());
            return Some(over);
        }
        self.over.remove(lane.as_str());
        let (lane, vendor, task_id) = (lane.to_string(), vendor.to_string(), task_id.to_string());
        self.reserved.insert(run.to_string(), ReservedRun { task_id, lane, vendor, at: now });
        None
    }

    /// Adds an amount to the budgets of a scope, until the end of the present day or week.
    pub(crate) fn add(&mut self, scope: &BudgetScope, unit: BudgetUnit, amount: f64, now: Time) {
        self.added.push(Addition { scope: scope.key(), unit: unit.as_str().to_string(), amount, at: now });
        self.over.clear();
    }
}

fn push_recent<T>(recent: &mut Vec<T>, value: T) {
    recent.push(value);
    let extra = recent.len().saturating_sub(MAX_RECENT);
    recent.drain(..extra);
}

/// Returns the smallest of some values that nine of ten do not exceed.
fn ninth_decile<T: Copy>(values: &[T], order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(order);
    sorted.get((sorted.len() * 9).div_ceil(10).checked_sub(1)?).copied()
}

/// Times as text, as in all files of a store.
mod time_text {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Time};

    pub(super) fn serialize<S: Serializer>(time: &Time, out: S) -> Result<S::Ok, S::Error> {
        time.to_string().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Time, D::Error> {
        let text = String::deserialize(input)?;
        Time::parse(&text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests;
