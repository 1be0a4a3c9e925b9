//! `on_success`, `on_failure`, `on_outcome`, `on_verdict` and `max_hops` of a route: which task follows the end of another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use crate::Result;
use crate::dispatch::output::ClosingStatus;
use crate::dispatch::stored_lane;
use crate::model::{LaneName, Verdict};
use crate::workspace::{Override, Section};

/// The keys of a route whose value is one rule.
pub(super) const RULE_KEYS: [&str; 2] = ["on_success", "on_failure"];
/// The keys of a route whose value has a rule for each outcome or verdict.
pub(super) const RULES_KEYS: [&str; 2] = ["on_outcome", "on_verdict"];
/// The key of a rule with the lane, which chooses nothing that runs.
pub(super) const MOVE_TO: &str = "move_to";

const OUTCOMES: [ClosingStatus; 4] =
    [ClosingStatus::Done, ClosingStatus::Partial, ClosingStatus::Blocked, ClosingStatus::NeedsInput];
const VERDICTS: [Verdict; 3] = [Verdict::Accept, Verdict::AcceptWithFollowUps, Verdict::NeedsRevision];

/// The task that follows the end of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowUpRule {
    /// The lane that it is submitted to.
    #[serde(deserialize_with = "stored_lane::deserialize")]
    pub lane: LaneName,
    /// What its worker is to do; without it, the same as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Which tasks follow the tasks of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FollowUpRules {
    /// After an answer that is done.
    pub on_success: Option<FollowUpRule>,
    /// After the last failed attempt, in place of a dead letter.
    pub on_failure: Option<FollowUpRule>,
    /// After an answer with one of these outcomes.
    pub on_outcome: BTreeMap<String, FollowUpRule>,
    /// After an answer that is done, with one of these verdicts.
    pub on_verdict: BTreeMap<String, FollowUpRule>,
    /// The most tasks that follow one another.
    pub max_hops: u32,
}

impl Default for FollowUpRules {
    fn default() -> Self {
        Self {
            on_success: None,
            on_failure: None,
            on_outcome: BTreeMap::new(),
            on_verdict: BTreeMap::new(),
            max_hops: 10,
        }
    }
}

impl FollowUpRules {
    /// Returns the rule for an answer. A verdict counts only if the answer is done; what is said of the outcome counts before
    /// what is said of every success. `is_verified` is false if its work should have been verified and was not.
    pub(crate) fn after_answer(
        &self,
        closing: Option<ClosingStatus>,
        verdict: Option<Verdict>,
        is_verified: bool,
    ) -> Option<&FollowUpRule> {
        let of_outcome = || self.on_outcome.get(closing?.as_str());
        if !ClosingStatus::is_success(closing) {
            return of_outcome();
        }
        if !is_verified {
            return None;
        }
        let of_verdict = verdict.and_then(|verdict| self.on_verdict.get(verdict.as_str()));
        of_verdict.or_else(of_outcome).or(self.on_success.as_ref())
    }

    /// Returns the lanes that tasks may follow in.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &LaneName> {
        let single = [&self.on_success, &self.on_failure].into_iter().flatten();
        single.chain(self.on_outcome.values()).chain(self.on_verdict.values()).map(|rule| &rule.lane)
    }

    /// Returns the same rules for `lane`, without those that a default has for the lane itself.
    pub(super) fn without(self, lane: &LaneName) -> Self {
        let other = |rule: &FollowUpRule| rule.lane != *lane;
        let others = |rules: BTreeMap<String, FollowUpRule>| {
            rules.into_iter().filter(|(_, rule)| other(rule)).collect()
        };
        Self {
            on_success: self.on_success.filter(other),
            on_failure: self.on_failure.filter(other),
            on_outcome: others(self.on_outcome),
            on_verdict: others(self.on_verdict),
            max_hops: self.max_hops,
        }
    }
}

/// Reads the rules of the route of `lane`.
///
/// # Errors
/// `Config`, with file, line and key.
pub(super) fn read_follow_ups(
    section: &Section<'_>,
    inherited: FollowUpRules,
    (lane, is_own): (&LaneName, bool),
) -> Result<FollowUpRules> {
    let inherited = inherited.without(lane);
    let on_success = read_rule(section, "on_success", inherited.on_success)?;
    // A success in circles has no end but the limit.
    if section.has("on_success") && is_own && on_success.as_ref().is_some_and(|rule| rule.lane == *lane) {
        return Err(section.error("on_success", "a lane cannot pass its tasks on to itself"));
    }
    Ok(FollowUpRules {
        on_success: on_success.filter(|rule| rule.lane != *lane),
        on_failure: read_rule(section, "on_failure", inherited.on_failure)?,
        on_outcome: read_rules(
            section,
            "on_outcome",
            inherited.on_outcome,
            OUTCOMES.map(ClosingStatus::as_str),
        )?,
        on_verdict: read_rules(section, "on_verdict", inherited.on_verdict, VERDICTS.map(Verdict::as_str))?,
        max_hops: section.count("max_hops")?.or(inherited.max_hops),
    })
}

/// Reads the rules at `key`, one for each of some names; those that are not given are inherited.
fn read_rules<const N: usize>(
    section: &Section<'_>,
    key: &str,
    inherited: BTreeMap<String, FollowUpRule>,
    names: [&'static str; N],
) -> Result<BTreeMap<String, FollowUpRule>> {
    if section.mapping().get(key) == Some(&Value::Null) {
        return Ok(BTreeMap::new());
    }
    let section = section.section(key)?;
    section.refuse_unknown_keys(&names)?;
    let mut rules = BTreeMap::new();
    for name in names {
        if let Some(rule) = read_rule(&section, name, inherited.get(name).cloned())? {
            rules.insert(name.to_string(), rule);
        }
    }
    Ok(rules)
}

fn read_rule(
    section: &Section<'_>,
    key: &str,
    inherited: Option<FollowUpRule>,
) -> Result<Option<FollowUpRule>> {
    if section.mapping().get(key) == Some(&Value::Null) {
        return Ok(None);
    }
    let rule = section.section(key)?;
    rule.refuse_unknown_keys(&[MOVE_TO, "prompt"])?;
    let (own_lane, own_prompt) = (rule.text(MOVE_TO)?, rule.text("prompt")?);
    let lane = match own_lane {
        Override::Value(name) => {
            Some(LaneName::new(name).map_err(|error| rule.error(MOVE_TO, error.message()))?)
        }
        Override::Off => None,
        Override::Inherit => inherited.as_ref().map(|rule| rule.lane.clone()),
    };
    let prompt = own_prompt.or_inherit(inherited.and_then(|rule| rule.prompt));
    match (lane, prompt) {
        (Some(lane), prompt) => Ok(Some(FollowUpRule { lane, prompt })),
        (None, Some(_)) => Err(section.error(key, "needs `move_to`, the lane of the task that follows")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lane: &str) -> FollowUpRule {
        FollowUpRule { lane: LaneName::stored(lane), prompt: None }
    }

    #[test]
    fn the_most_specific_rule_counts_and_a_verdict_only_when_the_work_is_done() {
        let named = |name: &str, lane: &str| BTreeMap::from([(name.to_string(), rule(lane))]);
        let rules = FollowUpRules {
            on_success: Some(rule("next")),
            on_failure: Some(rule("repair")),
            on_outcome: BTreeMap::from([
                ("partial".to_string(), rule("rest")),
                ("done".to_string(), rule("done")),
            ]),
            on_verdict: named("needs-revision", "fix"),
            ..FollowUpRules::default()
        };
        let after = |closing, verdict, verified| {
            rules.after_answer(closing, verdict, verified).map(|rule| rule.lane.to_string())
        };
        let (done, partial) = (Some(ClosingStatus::Done), Some(ClosingStatus::Partial));
        let revise = Some(Verdict::NeedsRevision);
        for (closing, verdict, verified, expected) in [
            (None, None, true, Some("next")),
            (done, None, true, Some("done")),
            (done, revise, true, Some("fix")),
            (None, Some(Verdict::Accept), true, Some("next")),
            (partial, revise, true, Some("rest")),
            (Some(ClosingStatus::Blocked), None, true, None),
            (done, revise, false, None),
            (partial, None, false, Some("rest")),
        ] {
            assert_eq!(
                after(closing, verdict, verified).as_deref(),
                expected,
                "{closing:?} {verdict:?} {verified}"
            );
        }
    }
}
