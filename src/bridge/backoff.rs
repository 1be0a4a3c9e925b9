//! How long a bridge waits after a failure of its board.

use std::time::Duration;

use super::board::{BoardError, BoardErrorCode};

/// The wait after the first time that a board could not be reached.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait for a board that cannot be reached.
const LONGEST: Duration = Duration::from_secs(300);
/// The wait after a failure that a person has to remove.
const FOR_A_PERSON: Duration = Duration::from_secs(60);

/// Returns how long to wait after `error`, the `failures`-th in a row. `random` spreads the waits of several bridges.
pub(crate) fn wait_after(error: &BoardError, failures: u32, random: u64) -> Duration {
    match error.code {
        BoardErrorCode::Unavailable => {
            let doublings = failures.saturating_sub(1).min(16);
            let longest = FIRST.saturating_mul(1 << doublings).min(LONGEST);
            let spread = 0.5 + random as f64 / u64::MAX as f64 / 2.0;
            longest.mul_f64(spread).max(error.retry_after.unwrap_or_default())
        }
        BoardErrorCode::RateLimited => error.retry_after.unwrap_or(FOR_A_PERSON),
        BoardErrorCode::NotFound
        | BoardErrorCode::Conflict
        | BoardErrorCode::Auth
        | BoardErrorCode::Forbidden
        | BoardErrorCode::Invalid
        | BoardErrorCode::Unsupported => FOR_A_PERSON,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_five_minutes_and_are_spread() {
        let error = |code| BoardError::new(code, "x");
        let away = error(BoardErrorCode::Unavailable);
        let longest = |failures| wait_after(&away, failures, u64::MAX).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 1000].map(longest), [1, 2, 4, 256, 300, 300]);
        assert_eq!(wait_after(&away, 3, 0), Duration::from_secs(2));
        assert_eq!(wait_after(&error(BoardErrorCode::Auth), 1, 0), Duration::from_secs(60));
        let told =
            BoardError { retry_after: Some(Duration::from_secs(7)), ..error(BoardErrorCode::RateLimited) };
        assert_eq!(wait_after(&told, 4, 0), Duration::from_secs(7));
    }
}
