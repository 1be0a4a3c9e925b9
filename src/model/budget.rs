//! The budget of a session: how much its runs may cost.

use crate::error::{Error, Result};

/// The maximum cost of the runs of a session, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CostBudget(f64);

/// What a session has cost, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SessionCosts {
    /// What its runs have cost, as far as that is known.
    pub spent: f64,
    /// The maximum cost of the runs of its open tasks, as far as their routes limit it.
    pub committed: f64,
}

impl CostBudget {
    /// Makes a budget.
    ///
    /// # Errors
    /// `Invalid` for an amount that is not above 0.
    pub(crate) fn new(dollars: f64) -> Result<Self> {
        if dollars.is_finite() && dollars > 0.0 {
            Ok(Self(dollars))
        } else {
            Err(Error::invalid("a budget must be more than 0 US dollars"))
        }
    }

    /// Returns the amount, in US dollars.
    pub(crate) fn dollars(self) -> f64 {
        self.0
    }

    /// Returns whether a session may delegate one more task: as long as part of the budget is neither spent nor
    /// committed to an open task. The last task may therefore cost more than what is left.
    pub(crate) fn allows_another(self, costs: SessionCosts) -> bool {
        costs.spent + costs.committed < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_task_is_allowed_until_everything_is_spent_or_committed() {
        let budget = CostBudget::new(2.0).unwrap();
        let allows = |spent, committed| budget.allows_another(SessionCosts { spent, committed });
        assert!(allows(0.0, 0.0) && allows(1.99, 0.0) && allows(0.5, 1.0));
        assert!(!allows(2.0, 0.0) && !allows(0.0, 2.0) && !allows(1.0, 1.0) && !allows(9.0, 0.0));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(CostBudget::new(wrong).is_err(), "{wrong}");
        }
    }
}
