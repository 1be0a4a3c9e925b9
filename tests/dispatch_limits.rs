//! Vendors that refuse: how long they are left alone, and what becomes of their tasks.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod pool;

use lanes::model::Time;
use pool::Pool;

/// How many seconds from now the pause called `key` lasts.
fn pause(pool: &Pool, key: &str) -> f64 {
    let parked = pool.json(&["workers"])["parked"].clone();
    let until = parked[key]["until"].as_str().unwrap_or_else(|| panic!("{key} in {parked}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::parse(until).unwrap().seconds_since(Time::from_micros(now.as_micros() as i64))
}

#[test]
fn a_clock_time_that_has_just_passed_is_a_short_pause() {
    let pool = Pool::scripted("");
    // As both programs print it: cut to the minute, without a date.
    let script = "at=$(date -u -d '-1 minute' '+%I:%M%p')\nfailure \"You've hit your session limit · resets $at (UTC)\" 429";
    let id = pool.submit(script, &[]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.task(&id)["attempt"], 0);
    let seconds = pause(&pool, "claude");
    assert!((1.0..91.0).contains(&seconds), "{seconds}");
}

#[test]
fn the_event_for_programs_names_the_second() {
    let pool = Pool::scripted("");
    let script = "at=$(($(date +%s) + 7261))\nlimit five_hour $at \"You've hit your session limit · resets $(date -u -d @$at '+%I:%M%p') (UTC)\"";
    pool.submit(script, &[]);
    pool.dispatch_once(&[]);
    let seconds = pause(&pool, "claude");
    assert!((7200.0..=7266.0).contains(&seconds), "{seconds}");
    let text = std::fs::read_to_string(pool.path("state/vendors.json")).unwrap();
    assert!(text.contains("\"exact\": true"), "{text}");
}
