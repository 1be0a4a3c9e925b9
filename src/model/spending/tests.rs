use super::*;

fn at(text: &str) -> Time {
    Time::parse(text).expect("a time")
}

/// Noon of a Wednesday.
fn noon() -> Time {
    at("2026-11-25T12:00:00Z")
}

fn lane(name: &str) -> LaneName {
    LaneName::stored(name)
}

fn limit(scope: BudgetScope, measure: BudgetMeasure, amount: f64) -> BudgetLimit {
    BudgetLimit { scope, measure, amount }
}

fn budgets(limits: Vec<BudgetLimit>, cap: Option<f64>) -> Budgets {
    Budgets { limits, default_cap: cap, ..Budgets::default() }
}

fn run(id: &str, ended: Time, usd: Option<f64>) -> CountedRun {
    CountedRun {
        run: Some(id.to_string()),
        lane: lane("work"),
        vendor: "claude".to_string(),
        ended,
        usd,
        tokens: Some(100),
        was_started: true,
    }
}

fn reserve(record: &mut SpendingRecord, budgets: &Budgets, run: &str) -> Option<LaneOverBudget> {
    record.reserve(budgets, (&lane("work"), "claude"), (run, "t"), noon())
}

#[test]
fn days_and_weeks_are_those_of_the_time_zone() {
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
    let window = |measure: BudgetMeasure, now: &str| {
        let (since, until) = measure.window(at(now), &berlin);
        [since, until].map(|time| time.to_string().replace(":00.000000Z", "Z"))
    };
    let day = |now| window(BudgetMeasure::UsdPerDay, now);
    assert_eq!(day("2026-11-25T22:59:59Z"), ["2026-11-24T23:00Z", "2026-11-25T23:00Z"]);
    assert_eq!(day("2026-11-25T23:00:00Z"), ["2026-11-25T23:00Z", "2026-11-26T23:00Z"]);
    assert_eq!(day("2026-03-29T12:00:00Z"), ["2026-03-28T23:00Z", "2026-03-29T22:00Z"], "of 23 hours");
    let week = window(BudgetMeasure::UsdPerWeek, "2026-11-25T12:00:00Z");
    assert_eq!(week, ["2026-11-22T23:00Z", "2026-11-29T23:00Z"]);
}

#[test]
fn what_running_tasks_may_spend_counts_before_it_is_spent() {
    let budgets = budgets(vec![limit(BudgetScope::Store, BudgetMeasure::UsdPerDay, 1.0)], Some(0.4));
    let mut record = SpendingRecord::default();
    assert_eq!(reserve(&mut record, &budgets, "a"), None);
    assert_eq!(reserve(&mut record, &budgets, "b"), None);
    let over = reserve(&mut record, &budgets, "c").expect("a third may cost 0.4 of the 0.2 that are left");
    assert_eq!(
        (over.spent, over.running, over.limit, over.until),
        (0.0, 0.8, 1.0, at("2026-11-26T00:00:00Z"))
    );
    assert_eq!(
        over.message,
        "the store has spent $0.00 of $1.00 for this day, and running tasks may spend $0.80"
    );
    assert!(!over.is_spent && record.over.contains_key("work"), "the running ones may be cheaper");
    record.count(&run("a", noon(), Some(0.1)));
    assert_eq!(reserve(&mut record, &budgets, "c"), None, "the first one was cheaper");
    assert!(record.over.is_empty());
    record.count(&run("b", noon(), Some(0.4)));
    record.count(&run("c", noon(), Some(0.4)));
    record.count(&run("c", noon(), Some(0.4)));
    let over = reserve(&mut record, &budgets, "d").expect("spent");
    assert!(over.is_spent);
    assert!(
        (over.spent - 0.9).abs() < 1e-9 && over.running == 0.0,
        "a line that is there twice counts once: {over:?}"
    );
    let tomorrow = at("2026-11-26T00:00:01Z");
    assert_eq!(
        record.over_budget(&budgets, (&lane("work"), "claude"), tomorrow),
        None,
        "the window has rolled"
    );
}

#[test]
fn an_unknown_cost_counts_as_the_cap_and_without_one_as_usual_or_as_everything() {
    let limits = vec![limit(BudgetScope::Lane(lane("work")), BudgetMeasure::UsdPerDay, 10.0)];
    let used =
        |record: &SpendingRecord, cap| record.uses(&budgets(limits.clone(), cap), None, noon())[0].spent;
    let mut record = SpendingRecord::default();
    record.count(&run("a", noon(), None));
    assert_eq!((used(&record, Some(3.0)), used(&record, None)), (3.0, 10.0));
    let words = record.uses(&budgets(limits.clone(), None), None, noon())[0].to_string();
    assert_eq!(
        words,
        "lane work has spent $10.00 of $10.00 for this day, of which $10.00 stands for 1 run of unknown cost \
         (`prices` defines it, `max_budget_usd` limits it)"
    );
    for n in 0..10 {
        record.count(&run(&format!("b{n}"), noon().plus_seconds(-86_400.0), Some(f64::from(n))));
    }
    assert_eq!(used(&record, None), 8.0, "what nine of ten runs do not exceed");
    record.count(&run("c", noon(), Some(f64::NAN)));
    assert_eq!(used(&record, Some(3.0)), 6.0);
    record.count(&CountedRun { was_started: false, ..run("d", noon(), None) });
    assert_eq!(used(&record, Some(3.0)), 6.0, "no agent was started");
}

#[test]
fn each_budget_counts_what_is_its_own() {
    let vendor = |name: &str| BudgetScope::Vendor(name.to_string());
    let all = vec![
        limit(BudgetScope::Store, BudgetMeasure::RunsPerDay, 3.0),
        limit(vendor("codex"), BudgetMeasure::TokensPerDay, 150.0),
        limit(BudgetScope::Lane(lane("other")), BudgetMeasure::UsdPerWeek, 5.0),
    ];
    let budgets = budgets(all, None);
    let mut record = SpendingRecord::default();
    record.count(&run("a", noon(), Some(1.0)));
    record.count(&CountedRun { vendor: "codex".to_string(), ..run("b", noon(), Some(1.0)) });
    let monday = at("2026-11-23T01:00:00Z");
    record.count(&CountedRun { lane: lane("other"), ..run("c", monday, Some(4.0)) });
    record.count(&CountedRun { lane: lane("other"), ..run("d", at("2026-11-22T23:00:00Z"), Some(4.0)) });
    let spent: Vec<f64> = record.uses(&budgets, None, noon()).iter().map(|used| used.spent).collect();
    assert_eq!(spent, [2.0, 100.0, 4.0]);
    let over = |of: &str, vendor: &str| {
        record.over_budget(&budgets, (&lane(of), vendor), noon()).map(|over| over.scope)
    };
    assert_eq!([over("work", "claude"), over("other", "claude"), over("work", "codex")], [None, None, None]);
    record.count(&CountedRun { vendor: "codex".to_string(), ..run("e", noon(), Some(1.5)) });
    let over = |of: &str, vendor: &str| {
        record.over_budget(&budgets, (&lane(of), vendor), noon()).map(|over| over.scope)
    };
    assert_eq!(over("work", "claude").as_deref(), Some("store"), "three runs");
    let message = record.over_budget(&budgets, (&lane("work"), "claude"), noon()).expect("over").message;
    assert_eq!(message, "the store has spent 3 runs of 3 runs for this day");
    assert!(budgets.concern(&lane("x"), "y"));
}

#[test]
fn what_a_person_adds_counts_until_the_window_ends() {
    let budgets =
        budgets(vec![limit(BudgetScope::Lane(lane("work")), BudgetMeasure::UsdPerDay, 1.0)], Some(0.5));
    let mut record = SpendingRecord::default();
    record.count(&run("a", noon(), Some(1.0)));
    assert!(reserve(&mut record, &budgets, "b").is_some());
    record.add(&BudgetScope::Store, BudgetUnit::Usd, 5.0, noon());
    assert!(reserve(&mut record, &budgets, "b").is_some(), "another budget");
    record.add(&BudgetScope::Lane(lane("work")), BudgetUnit::Usd, 0.5, noon());
    assert!(record.over.is_empty());
    assert_eq!(reserve(&mut record, &budgets, "b"), None);
    let tomorrow = noon().plus_seconds(86_400.0);
    assert_eq!(record.uses(&budgets, None, tomorrow)[0].total, 1.0);
}

#[test]
fn reservations_of_runs_that_are_gone_end() {
    let budgets = budgets(vec![limit(BudgetScope::Store, BudgetMeasure::RunsPerDay, 2.0)], None);
    let mut record = SpendingRecord::default();
    assert_eq!(reserve(&mut record, &budgets, "a"), None);
    assert_eq!(reserve(&mut record, &budgets, "b"), None);
    assert!(reserve(&mut record, &budgets, "c").is_some());
    record.prune(noon().plus_seconds(30.0), |_| true);
    assert!(reserve(&mut record, &budgets, "c").is_some(), "their claims may still come");
    record.prune(noon().plus_seconds(90.0), |run| run != "b");
    assert_eq!(reserve(&mut record, &budgets, "c"), None);
    record.prune(noon().plus_seconds(90.0), |_| true);
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(serde_json::from_str::<SpendingRecord>(&text).expect("a record"), record);
    record.count(&run("z", noon(), Some(1.0)));
    record.prune(noon().plus_seconds(9.0 * 86_400.0), |_| true);
    assert!(record.spent.is_empty() && record.reserved.is_empty() && record.over.is_empty());
    record.reset();
    assert!(record.counted.is_empty());
}
