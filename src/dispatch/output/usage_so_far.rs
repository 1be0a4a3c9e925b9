//! The usage of a run that goes on.

use super::usage::{Tokens, Usage};

/// The usage of a run so far, as far as its output tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UsageSoFar {
    /// The cost that the vendor has reported, in US dollars.
    pub reported_usd: f64,
    /// The usage whose cost it has not reported, of models that are known.
    pub by_model: Usage,
    /// Such usage of a model that the output does not name.
    pub of_unnamed_model: Tokens,
}

impl UsageSoFar {
    /// Returns the usage whose cost is not reported; what the output does not attribute is that of `model`.
    pub(crate) fn unpriced(&self, model: Option<&str>) -> Usage {
        let mut usage = self.by_model.clone();
        if self.of_unnamed_model.total() > 0 {
            usage.add(model.unwrap_or("unknown"), self.of_unnamed_model, None);
        }
        usage
    }
}
