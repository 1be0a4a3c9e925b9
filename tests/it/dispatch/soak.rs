//! Many tasks that know of each other, with dispatchers that are killed all the time: dependencies, groups, exclusive
//! keys, questions and failures at once.
//!
//! A short run; `LANES_TEST_SOAK=300` makes it so many tasks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::testkit::pool::{Dispatcher, Pool};
use crate::testkit::wait::SOON;

/// How many tasks there are, unless the environment says otherwise.
const TASKS: usize = 36;

/// Every so many ends of tasks, a dispatcher is killed.
const ENDS_BETWEEN_KILLS: usize = 4;

/// The files of the pool that the agents read and write, by a function of the shell: what must have ended before a task
/// starts, the locks of its keys, and what was violated.
const CHECK: &str = r#"for id in $(cat "after-$LANES_TASK_ID" 2>/dev/null); do
    [ -e "done-$id" ] || echo "$LANES_TASK_ID runs before $id" >>violations
done
for key in $(cat "keys-$LANES_TASK_ID" 2>/dev/null); do
    exec 8>>"lock-$key"
    flock -n 8 || echo "$LANES_TASK_ID has the key $key of another one" >>violations
done
echo "$LANES_TASK_ID" >>runs
"#;

/// An agent whose conversation has begun when it asks, so that it goes on with the answer.
const ASKS: &str = r#"printf '{"type":"assistant","message":{"id":"m1","model":"model-x","content":[{"type":"text","text":"half of it"}],"usage":{"input_tokens":5,"output_tokens":1}},"session_id":"%s"}\n' "$session"
result 'Which one?\n\nSTATUS: needs_input'"#;

#[expect(clippy::disallowed_methods, reason = "it says how much is tested")]
fn task_count() -> usize {
    let asked = std::env::var_os("LANES_TEST_SOAK");
    asked.map_or(TASKS, |number| number.to_str().unwrap().parse().expect("LANES_TEST_SOAK is a number"))
}

/// A fixed sequence of numbers, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A task of the graph.
struct Node {
    id: String,
    /// The positions of the tasks that it depends on.
    after: Vec<usize>,
    asks: bool,
}

fn submit_graph(pool: &Pool, count: usize) -> Vec<Node> {
    let mut numbers = Numbers(4711);
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..count {
        let after: BTreeSet<usize> =
            (0..numbers.below(3)).filter(|_| n > 0).map(|_| numbers.below(n)).collect();
        let key = (numbers.below(2) == 0).then(|| format!("k{}", numbers.below(3)));
        let kind = numbers.below(10);
        let work = match kind {
            0 => "failure broken 400",
            1 | 2 => ASKS,
            _ => "sleep 0.05; : >\"done-$LANES_TASK_ID\"; result ok",
        };
        let group = format!("g{}", n % 4);
        let ids: Vec<&str> = after.iter().map(|n| nodes[*n].id.as_str()).collect();
        let list = ids.join(",");
        let mut more = vec!["--group", &group];
        if !ids.is_empty() {
            more.extend(["--after", &list]);
        }
        if let Some(key) = &key {
            more.extend(["--exclusive", key]);
        }
        let id = pool.submit(&format!(". ./check\n{work}"), &more);
        std::fs::write(pool.path(&format!("after-{id}")), ids.join("\n")).unwrap();
        std::fs::write(pool.path(&format!("keys-{id}")), key.unwrap_or_default()).unwrap();
        nodes.push(Node { id, after: after.into_iter().collect(), asks: matches!(kind, 1 | 2) });
    }
    nodes
}

/// Answers the questions that are open.
fn answer_questions(pool: &Pool) {
    let inbox = pool.json(&["inbox"]);
    for item in inbox["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "question") {
        let (id, n) = (item["task_id"].as_str().unwrap(), item["n"].to_string());
        pool.ok(&["answer", id, "--question", &n, "--body", "The first one."]);
    }
}

/// Runs two dispatchers until all tasks have ended, and kills one of them again and again.
fn work_off(pool: &Pool, count: usize) {
    let start = || pool.dispatcher(&["--max-concurrent", "2"]);
    let mut dispatchers: [Option<Dispatcher>; 2] = [Some(start()), Some(start())];
    let (mut kills, mut seen, mut since) = (0, Value::Null, Instant::now());
    loop {
        let summary = &pool.json(&["status"])["summary"];
        let number = |state: &str| usize::try_from(summary[state].as_u64().unwrap()).unwrap();
        let ended = number("completed") + number("failed");
        if ended == count {
            break;
        }
        if number("input_required") > 0 {
            answer_questions(pool);
        }
        if ended >= (kills + 1) * ENDS_BETWEEN_KILLS {
            let place = &mut dispatchers[kills % 2];
            place.take().unwrap().kill();
            *place = Some(start());
            kills += 1;
        }
        if &seen != summary {
            (seen, since) = (summary.clone(), Instant::now());
        }
        assert!(since.elapsed() < SOON, "nothing happens any more: {seen}\n{}", pool.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    for dispatcher in dispatchers.into_iter().flatten() {
        dispatcher.signal(rustix::process::Signal::TERM);
        assert!(dispatcher.wait().success(), "{}", pool.log());
    }
}

/// Checks what has become of a task, given the tasks before it.
fn check_end(node: &Node, nodes: &[Node], shown: &BTreeMap<&str, Value>) {
    let reply = &shown[node.id.as_str()];
    let (task, id) = (&reply["task"], &node.id);
    let events: Vec<&str> =
        reply["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let ends = ["response", "dead", "cancelled", "upstream_failed", "expired"];
    let ended = events.iter().filter(|kind| ends.contains(kind)).count();
    assert_eq!(ended, 1, "{id}: {events:?}");
    let has_failed = |n: &&usize| shown[nodes[**n].id.as_str()]["task"]["state"] == "failed";
    let was_claimed = events.contains(&"claimed");
    if node.after.iter().any(|n| has_failed(&n)) {
        assert_eq!(task["failure_class"], "upstream", "{id}: {task}");
        assert!(!was_claimed, "{id} ran although a task before it failed: {events:?}");
    } else {
        assert!(was_claimed && task["failure_class"] != "upstream", "{id}: {events:?}");
    }
    let questions = task["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(questions.iter().all(|question| !question["answer"].is_null()), "{id}: {task}");
    if node.asks && was_claimed && task["state"] == "completed" && questions.is_empty() {
        // A run that was cut short goes on in its conversation, where this agent does not ask.
        assert!(events.contains(&"released"), "{id} was completed without its question: {events:?}");
    }
}

#[test]
fn a_graph_of_tasks_is_worked_off_whatever_dispatcher_dies() {
    let pool = Pool::scripted("  max_retries: 50\n");
    std::fs::write(pool.path("check"), CHECK).unwrap();
    std::fs::write(pool.path("go-on"), ". ./check\n: >\"done-$LANES_TASK_ID\"\nresult went_on\n").unwrap();
    let count = task_count();
    let nodes = submit_graph(&pool, count);
    work_off(&pool, count);
    // What the last one that died has left to report.
    pool.dispatch_once(&[]);
    assert!(std::fs::read_dir(pool.path("state/outbox")).unwrap().next().is_none());

    let violations = std::fs::read_to_string(pool.path("violations")).unwrap_or_default();
    assert_eq!(violations, "", "{}", pool.log());
    let shown: BTreeMap<&str, Value> =
        nodes.iter().map(|node| (node.id.as_str(), pool.json(&["show", &node.id]))).collect();
    for node in &nodes {
        check_end(node, &nodes, &shown);
    }
    assert_eq!(pool.processes(), Vec::<String>::new());

    // A record that was written twice is counted once, and none is missing of a run that has told its cost.
    let usage = std::fs::read_to_string(pool.path("state/usage.jsonl")).unwrap();
    let records: Vec<Value> = usage.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let runs: HashSet<&str> = records.iter().map(|record| record["run"].as_str().unwrap()).collect();
    assert_eq!(pool.json(&["stats"])["stats"]["all"]["runs"], runs.len(), "{usage}");
    for (id, reply) in &shown {
        let own: Vec<&Value> = records.iter().filter(|record| record["task_id"] == **id).collect();
        let is_paid = own.iter().any(|record| record["cost_usd"].is_f64());
        assert!(reply["task"]["state"] != "completed" || is_paid, "{id} cost nothing: {own:?} {reply}");
    }
    pool.ok(&["fsck"]);
}
