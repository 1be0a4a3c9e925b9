//! Tasks that follow the end of others: by outcome, verdict and failure, and not without end.

use serde_json::Value;

use crate::testkit::pool::Pool;

fn pool(routes: &str) -> Pool {
    Pool::scripted(&format!("  routes: {{{routes}}}\n"))
}

/// The tasks of lane `next`.
fn next(pool: &Pool) -> Vec<Value> {
    pool.json(&["list", "--lane", "next"])["tasks"].as_array().unwrap().clone()
}

#[test]
fn outcomes_and_verdicts_choose_the_lane_and_the_prompt() {
    let routes = "work: {on_success: {move_to: plain}, on_outcome: {partial: {move_to: next, prompt: Do the rest.}}, \
                  on_verdict: {needs-revision: {move_to: next, prompt: Fix it.}}}";
    for (answer, follows) in [
        ("half\\nSTATUS: partial", Some("Do the rest.")),
        ("bad\\nVERDICT: needs-revision", Some("Fix it.")),
        ("fine\\nVERDICT: accept", None),
        ("stuck\\nSTATUS: blocked", None),
    ] {
        let pool = pool(routes);
        let id = pool.submit(&format!("result '{answer}'"), &[]);
        pool.dispatch_once(&["--lane", "work"]);
        let tasks = next(&pool);
        assert_eq!(tasks.len(), usize::from(follows.is_some()), "{answer}");
        let plain = pool.json(&["list", "--lane", "plain"])["count"].as_u64();
        assert_eq!(plain, Some(u64::from(answer.starts_with("fine"))), "{answer}");
        let (Some(task), Some(prompt)) = (tasks.first(), follows) else { continue };
        let text = task["prompt"].as_str().unwrap();
        assert!(
            text.starts_with(prompt) && text.contains("beginning of this thread:\n\nDO: result"),
            "{text}"
        );
        assert_eq!(
            (
                &task["metadata"]["parent_task_id"],
                &task["metadata"]["thread_id"],
                &task["metadata"]["follow_up_depth"]
            ),
            (&id.as_str().into(), &id.as_str().into(), &1.into())
        );
    }
}

#[test]
fn a_failure_is_followed_by_its_rule_and_not_by_a_dead_letter() {
    let pool = pool(
        "work: {verify: ['echo what is wrong; exit 1'], verify_rounds: 0, dead_letter_lane: attic, \
         on_failure: {move_to: next, prompt: Repair it.}}, next: {}",
    );
    let id = pool.submit("result 'all is well'", &[]);
    pool.dispatch_once(&["--lane", "work"]);
    assert_eq!(pool.json(&["list", "--lane", "attic"])["count"], 0);
    let task = next(&pool).remove(0);
    assert_eq!(task["metadata"]["failure_class"], "unverified", "{task}");
    let followed = task["id"].as_str().unwrap().to_string();
    pool.dispatch_once(&["--lane", "next"]);
    let prompt =
        std::fs::read_to_string(pool.path(&format!("state/tasks/{followed}/attempts/1/prompt.md"))).unwrap();
    assert!(prompt.starts_with("Repair it."), "{prompt}");
    assert!(prompt.contains(&format!("to task {id}:")) && prompt.contains("what is wrong"), "{prompt}");
}

#[test]
fn a_loop_ends_when_the_review_accepts_and_keeps_the_first_task() {
    let pool = pool(
        "work: {on_success: {move_to: review, prompt: 'DO: n=$(cat n 2>/dev/null); [ \"$n\" = 2 ] && result \"ok\\nVERDICT: accept\" || result \"no\\nVERDICT: needs-revision\"'}}, \
         review: {on_verdict: {needs-revision: {move_to: work, prompt: 'DO: echo 2 > n'}}}",
    );
    pool.submit("[ \"$LANES_LANE\" = review ] || result made", &[]);
    pool.dispatch_once(&[]);
    let tasks = pool.json(&["list"])["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.len(), 4, "work, review, work, review: {tasks:?}");
    assert!(tasks.iter().all(|task| task["state"] == "completed"), "{tasks:?}");
    for task in &tasks {
        let text = task["prompt"].as_str().unwrap();
        assert!(text.matches("|| result made").count() == 1, "{text}");
    }
}

#[test]
fn a_thread_stops_with_a_dead_letter_that_says_so_and_can_be_continued() {
    let pool = pool("work: {max_hops: 2, on_outcome: {partial: {move_to: work}}}");
    pool.submit("result 'more\\nSTATUS: partial'", &[]);
    pool.dispatch_once(&[]);
    let tasks = pool.json(&["list"])["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.len(), 4, "the first, two hops and a dead letter");
    let dead: Vec<&Value> = tasks.iter().filter(|task| task["failure_class"] == "dead").collect();
    assert_eq!(dead.len(), 1, "{tasks:?}");
    let id = dead[0]["id"].as_str().unwrap();
    let body = pool.response(id)["body"].as_str().unwrap().to_string();
    assert!(body.starts_with("2 tasks have followed one another, as many as max_hops allows"), "{body}");
    assert!(pool.ok(&["inbox"]).contains(id), "{}", pool.ok(&["inbox"]));
    pool.ok(&["redrive", id]);
    pool.dispatch_once(&[]);
    assert_eq!(pool.json(&["list"])["count"], 8, "redriven, two hops and a dead letter more");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for (rule, expected) in [
        ("on_verdict: {fine: {move_to: a}}", "on_verdict.fine: unknown key"),
        ("on_outcome: {partial: {prompt: x}}", "partial: needs `move_to`"),
        ("on_failure: {move_to: a, run: b}", "on_failure.run: unknown key"),
        ("on_success: {move_to: work}", "cannot pass its tasks on to itself"),
        ("max_hops: many", "expected a whole number"),
    ] {
        let refused = pool(&format!("work: {{{rule}}}")).refused(&["dispatch", "--once"]);
        assert!(refused.contains(expected), "{rule}: {refused}");
    }
}

#[test]
fn the_example_verifies_reviews_and_repairs_until_the_review_accepts() {
    let pool = Pool::new("");
    for name in ["handoff.yaml", "agent.sh", "check.sh", "fan-out.sh"] {
        let file = format!("{}/examples/workflow/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(file, pool.path(name)).unwrap();
    }
    let id = pool.ok(&["submit", "--lane", "work", "--prompt", "Write hello.sh, which says hello."]);
    pool.dispatch_once(&[]);
    let first = pool.response(&id)["metadata"].clone();
    assert_eq!((&first["verified"], &first["verify_rounds"]), (&true.into(), &2.into()), "{first}");
    let lanes = |lane: &str| pool.json(&["list", "--lane", lane])["tasks"].as_array().unwrap().clone();
    assert_eq!((lanes("work").len(), lanes("review").len(), lanes("people").len()), (2, 2, 0));
    let last =
        lanes("review").iter().map(|task| task["id"].as_str().unwrap().to_string()).collect::<Vec<_>>();
    let verdicts: Vec<String> =
        last.iter().map(|id| pool.response(id)["verdict"].as_str().unwrap().to_string()).collect();
    assert_eq!(verdicts, ["needs-revision", "accept"]);
    // The fan-out: any worker answers the parts, and the join gets all answers.
    let output = std::process::Command::new(pool.path("fan-out.sh"))
        .arg("parts")
        .current_dir(pool.path(""))
        .env("LANES_CONFIG", pool.path("handoff.yaml"))
        .env("PATH", pool.lanes(&[]).get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let join = String::from_utf8(output.stdout).unwrap().trim().to_string();
    assert_eq!(pool.state(&join), "blocked");
    pool.dispatch_once(&["--lane", "parts"]);
    let prompt =
        std::fs::read_to_string(pool.path(&format!("state/tasks/{join}/attempts/1/prompt.md"))).unwrap();
    assert_eq!(prompt.matches(" is done.\n").count(), 3, "{prompt}");
}
