//! The usage and cost of runs: as reported, computed from prices, or the lower bound of a run that was cut short.

use crate::testkit::pool::{Pool, stand_in};
use serde_json::Value;

/// What an agent's stream shows of one message.
fn message(id: &str, input: u64) -> String {
    format!(
        r#"printf '{{"type":"assistant","message":{{"id":"{id}","model":"model-x","content":[{{"type":"text","text":"working"}}],"usage":{{"input_tokens":{input},"output_tokens":1}}}},"session_id":"%s"}}\n' "$session""#
    )
}

/// Returns the lines of the usage log.
fn usage_log(pool: &Pool) -> Vec<Value> {
    let text = std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const PRICE: &str = "  prices: {model-x: {input: 1000000, output: 0}}\n";

#[test]
fn a_run_that_was_timed_out_counts_with_the_least_that_it_shows() {
    let pool = Pool::scripted(&format!("  timeout: 4\n{PRICE}"));
    let id = pool.submit(
        &format!("{}\n{}\n{}\nsleep 1000", message("m1", 3), message("m1", 3), message("m2", 4)),
        &[],
    );
    pool.dispatch_once(&[]);
    assert_eq!(pool.task(&id)["failure_class"], "timeout");
    let line = &usage_log(&pool)[0];
    assert_eq!(line["at_least_tokens"]["input"], 7, "{line}");
    assert_eq!(line["at_least_cost_usd"], 7.0, "{line}");
    assert_eq!(line["at_least_model_usage"]["model-x"]["input"], 7, "{line}");
    assert!(line.get("cost_usd").is_none() && line.get("tokens").is_none(), "{line}");
    let about = pool.response(&id)["metadata"].clone();
    assert_eq!((&about["at_least_cost_usd"], &about["at_least_tokens"]["input"]), (&7.0.into(), &7.into()));
    let all = pool.json(&["stats"])["stats"]["all"].clone();
    assert_eq!(
        (&all["cost_usd"], &all["at_least_cost_usd"], &all["runs_at_least"]),
        (&Value::Null, &7.0.into(), &1.into())
    );
    let words = pool.ok(&["stats"]);
    assert!(words.contains("at least $7.00"), "{words}");
    assert!(
        words.ends_with("1 run ended before reporting a total; the minimum shown in the output is counted"),
        "{words}"
    );
}

#[test]
fn runs_that_were_cancelled_or_lost_count_too_and_silent_ones_are_reported() {
    let pool = Pool::scripted("");
    let work = format!("{}\ntouch ready\nsleep 1000", message("m1", 5));
    let cancelled = pool.submit(&work, &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the agent works", || pool.path("ready").exists());
    pool.ok(&["cancel", &cancelled]);
    pool.until("the cancelled run is counted", || usage_log(&pool).len() == 1);
    std::fs::remove_file(pool.path("ready")).unwrap();
    let lost = pool.submit(&work, &[]);
    pool.until("the agent works", || pool.path("ready").exists());
    dispatcher.kill();
    pool.ok(&["pause", "work"]);
    pool.dispatch_once(&["--lane", "next"]);
    let lines = usage_log(&pool);
    let of = |id: &str| lines.iter().find(|line| line["task_id"] == id).unwrap();
    for (id, outcome) in [(&cancelled, "withheld"), (&lost, "lost")] {
        let line = of(id);
        assert_eq!(
            (&line["outcome"], &line["at_least_tokens"]["input"]),
            (&outcome.into(), &5.into()),
            "{line}"
        );
        // Without a price for its model the least is a matter of tokens alone.
        assert!(line.get("at_least_cost_usd").is_none(), "{line}");
    }
    pool.ok(&["cancel", &lost]);
    pool.ok(&["resume", "work"]);
    pool.submit("exit 3", &[]);
    pool.dispatch_once(&[]);
    let all = pool.json(&["stats"])["stats"]["all"].clone();
    assert_eq!((&all["runs_at_least"], &all["runs_untold"]), (&2.into(), &1.into()), "{all}");
    assert!(pool.ok(&["stats"]).contains("1 run reported no usage"));
}

#[test]
fn sub_agents_are_counted_by_model() {
    let pool = Pool::scripted("");
    let id = pool.submit(
        r#"printf '{"type":"result","subtype":"success","is_error":false,"result":"x","session_id":"%s","total_cost_usd":0.5,"usage":{"input_tokens":10,"output_tokens":2},"modelUsage":{"model-x":{"inputTokens":70,"outputTokens":7,"cacheReadInputTokens":0,"cacheCreationInputTokens":0,"costUSD":0.375},"small":{"inputTokens":1,"outputTokens":1,"costUSD":0.125}}}\n' "$session""#,
        &[],
    );
    pool.dispatch_once(&[]);
    let about = pool.response(&id)["metadata"].clone();
    assert_eq!((&about["tokens"]["input"], &about["tokens"]["output"]), (&71.into(), &8.into()), "{about}");
    assert_eq!((&about["cost_usd"], &about["cost_source"]), (&0.5.into(), &"reported".into()), "{about}");
    assert_eq!(about["model_usage"]["small"]["cost_usd"], 0.125, "{about}");
    let models = pool.json(&["stats"])["stats"]["models"].clone();
    assert_eq!(
        (&models["model-x"]["cost_usd"], &models["small"]["tokens"]["input"]),
        (&0.375.into(), &1.into())
    );
}

#[test]
fn half_a_line_in_the_usage_log_costs_no_other_line() {
    let pool = Pool::scripted("");
    pool.submit("result one", &[]);
    pool.dispatch_once(&[]);
    let path = pool.path("state/usage.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    for answer in ["two", "three"] {
        pool.submit(&format!("result {answer}"), &[]);
        pool.dispatch_once(&[]);
    }
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["completed"], 3);
}

/// Returns a pool whose codex is a script that reports 15 fresh, 5 cached and 3 written tokens and neither model
/// nor cost.
fn codex(more: &str) -> Pool {
    Pool::new(&format!(
        "dispatch:\n  vendor: codex\n{more}  vendors:\n    codex: {{command: {}}}\n",
        stand_in("polyglot.sh")
    ))
}

#[test]
fn a_vendor_that_reports_no_cost_is_priced_by_the_configuration() {
    let prices = "  prices: {gpt-x: {input: 10000, output: 100000, cache_read: 20000}}\n";
    for (more, model, cost) in [
        (format!("  model: gpt-x\n{prices}"), Value::from("gpt-x"), Value::from(0.55)),
        (format!("  model: gpt-y\n{prices}"), Value::from("gpt-y"), Value::Null),
        (prices.to_string(), Value::Null, Value::Null),
    ] {
        let pool = codex(&more);
        let id = pool.ok(&["submit", "--lane", "work", "--prompt", "SAY fine"]);
        pool.dispatch_once(&[]);
        let about = pool.response(&id)["metadata"].clone();
        let reported = |key: &str| about.get(key).cloned().unwrap_or_default();
        assert_eq!((reported("model"), reported("cost_usd")), (model.clone(), cost.clone()), "{about}");
        assert_eq!(reported("cost_source"), if cost.is_null() { Value::Null } else { "computed".into() });
        let line = &usage_log(&pool)[0];
        assert_eq!(line.get("model").cloned().unwrap_or_default(), model, "{line}");
        assert_eq!(line.get("cost_usd").cloned().unwrap_or_default(), cost, "{line}");
        let words = pool.ok(&["stats"]);
        assert_eq!(words.contains("reported tokens but no cost"), cost.is_null(), "{words}");
    }
}

/// A result whose figures count from the start of the conversation.
fn total(dollars: f64, input: u64) -> String {
    format!(
        r#"printf '{{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"%s","total_cost_usd":{dollars},"usage":{{"input_tokens":1,"output_tokens":1}},"modelUsage":{{"model-x":{{"inputTokens":{input},"outputTokens":10,"costUSD":{dollars}}}}}}}\n' "$session""#
    )
}

#[test]
fn the_runs_of_a_conversation_add_up_to_its_total_though_one_was_cut_short() {
    for (prices, least, rest) in
        [("", Value::Null, 0.25), ("  prices: {model-x: {input: 15625, output: 0}}\n", 0.0625.into(), 0.1875)]
    {
        let pool =
            Pool::scripted(&format!("  timeout: 4\n  max_retries: 1\n  resume_on: [timeout]\n{prices}"));
        std::fs::write(pool.path("go-on"), total(0.25, 20)).unwrap();
        let id = pool.submit(&format!("{}\nsleep 1000", message("m1", 4)), &[]);
        pool.dispatch_once(&[]);
        let [cut, reported] = &usage_log(&pool)[..] else { panic!("two runs") };
        assert_eq!(cut["begins_session"], true, "{cut}");
        assert_eq!(cut.get("at_least_cost_usd").cloned().unwrap_or_default(), least, "{cut}");
        assert_eq!(
            (&reported["cost_usd"], &reported["cost_source"]),
            (&rest.into(), &"reported".into()),
            "{reported}"
        );
        assert_eq!(
            (&reported["session_cost_usd"], reported.get("begins_session")),
            (&0.25.into(), None),
            "{reported}"
        );
        assert_eq!(reported["tokens"]["input"], 16, "{reported}");
        assert_eq!(reported["model_usage"]["model-x"]["cost_usd"], rest, "{reported}");
        let about = pool.response(&id)["metadata"].clone();
        assert_eq!(
            (&about["cost_usd"], &about["cost_source"]),
            (&rest.into(), &"reported".into()),
            "{about}"
        );
        let all = pool.json(&["stats"])["stats"]["all"].clone();
        assert_eq!((&all["at_least_cost_usd"], &all["cost_usd"]), (&least, &rest.into()), "{all}");
        assert_eq!(all["runs_unpriced"], 0, "{all}");
        assert!(pool.ok(&["stats"]).contains("$0.25"));

        // The next run of the conversation pays for itself alone.
        let session = format!("session_id={}", reported["session_id"].as_str().unwrap());
        pool.submit(&total(0.375, 30), &["--metadata", &session]);
        pool.dispatch_once(&[]);
        let next = usage_log(&pool).pop().unwrap();
        assert_eq!((&next["cost_usd"], &next["tokens"]["input"]), (&0.125.into(), &10.into()), "{next}");
    }
}

#[test]
fn a_conversation_goes_on_after_its_dispatcher_died_at_its_whole_cost() {
    let pool = Pool::scripted("  max_retries: 1\n  resume_on: [lost]\n");
    std::fs::write(pool.path("go-on"), total(0.25, 20)).unwrap();
    pool.submit(&format!("{}\ntouch ready\nsleep 1000", message("m1", 4)), &[]);
    let dispatcher = pool.dispatcher(&[]);
    pool.until("the agent works", || pool.path("ready").exists());
    dispatcher.kill();
    pool.dispatch_once(&[]);
    let lines = usage_log(&pool);
    assert_eq!((lines.len(), &lines[0]["outcome"]), (2, &"lost".into()), "{lines:?}");
    assert_eq!(
        (&lines[1]["cost_usd"], &lines[1]["tokens"]["input"]),
        (&0.25.into(), &16.into()),
        "{lines:?}"
    );
}

#[test]
fn a_conversation_that_no_run_began_costs_nothing_known_at_first() {
    let pool = Pool::scripted("  max_retries: 1\n  timeout: 4\n  resume_on: [timeout]\n");
    // The first run that continues it is cut short, the second reports the total.
    std::fs::write(pool.path("go-on"), total(0.25, 20)).unwrap();
    let script = format!("{}\nsleep 1000", message("m1", 4));
    let id = pool.submit(&script, &["--metadata", "session_id=of-a-person"]);
    pool.dispatch_once(&[]);
    let lines = usage_log(&pool);
    assert_eq!((lines.len(), &lines[1]["session_cost_usd"]), (2, &0.25.into()), "{lines:?}");
    assert!(lines.iter().all(|line| line.get("begins_session").is_none()), "{lines:?}");
    assert!(lines[1].get("cost_usd").is_none() && pool.response(&id)["metadata"].get("cost_usd").is_none());
}

#[test]
fn a_budget_for_a_program_of_unknown_cost_is_warned_of_before_it_stops_the_queue() {
    let says = |settings: &str| {
        let pool = Pool::new(&format!("dispatch:\n{settings}"));
        let told = |args: &[&str]| {
            let output = pool.output(args);
            let all = [output.stdout, output.stderr].concat();
            String::from_utf8(all).unwrap().contains("does not tell what a run costs")
        };
        let commands =
            [&["config", "check"][..], &["dispatch", "--dry-run"], &["dispatch", "--once"], &["doctor"]];
        let told: Vec<bool> = commands.iter().map(|args| told(args)).collect();
        assert!(told.iter().all(|one| *one == told[0]), "{settings}: {told:?}");
        told[0]
    };
    assert!(says("  command: cat\n  budget: {usd_per_day: 10}\n"));
    assert!(!says("  command: cat\n  budget: {runs_per_day: 10}\n"));
    assert!(!says("  command: cat\n  budget: {lanes: {elsewhere: {usd_per_day: 10}}}\n"));
    assert!(!says("  command: cat\n"));
}
