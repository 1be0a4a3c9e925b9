//! A bridge to a Planka server: the stand-in, or a real one (see tests/planka_real.sh).

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::desk::stderr;
use crate::testkit::command;
use crate::testkit::planka::KillTime;
use crate::testkit::planka::world::PlankaWorld;
use crate::testkit::pool::Pool;
use crate::testkit::wait::eventually;

/// A workspace with a bridge `team` to the board of a server.
pub struct PlankaDesk {
    pub pool: Pool,
    pub world: PlankaWorld,
}

impl PlankaDesk {
    pub fn new(world: PlankaWorld) -> Self {
        let (url, todo) = (&world.url, world.full_name("Todo"));
        let pool = Pool::new(&format!(
            "dispatch:\n  vendor: claude\n  grace: 0.5\n  retry_delay: 0\n  max_retries: 1\n  vendors:\n    claude: {{command: AGENT}}\n\
             bridges:\n  team:\n    adapter: planka\n    url: {url}\n    env_file: .env\n    poll_interval: 50ms\n    \
             take_assigned_after: 0\n    requests_per_second: 1000\n    queues:\n      \"{todo}\":\n        lane: work\n        \
             in_progress: Doing\n        done: Done\n"
        ));
        let desk = Self { pool, world };
        desk.set_key(&format!("PLANKA_API_KEY={}\n", desk.world.key));
        desk
    }

    fn set_key(&self, text: &str) {
        crate::testkit::server::write_secret(&self.pool.path(".env"), text);
    }

    /// Adds a card whose agent executes `script`; its id.
    pub fn add(&self, name: &str, position: u32, script: &str) -> String {
        let body = json!({"type": "project", "position": position, "name": name,
            "description": format!("DO: {script}")});
        self.world.make(&format!("/api/lists/{}/cards", self.world.lists[0]), body)
    }

    fn round(&self) -> String {
        self.pool.ok(&["bridge", "team", "--once"])
    }

    /// Makes rounds until nothing changes any more.
    fn rounds_until_quiet(&self) {
        for _ in 0..10 {
            let places = || [0, 1, 2].map(|list| self.world.cards(list));
            let before = (places(), self.tasks().len());
            self.round();
            if before == (places(), self.tasks().len()) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn tasks(&self) -> Vec<Value> {
        self.pool.json(&["list"])["tasks"].as_array().unwrap().clone()
    }

    /// The first lines of the comments of a card that tell of its task.
    pub fn told(&self, card: &str) -> Vec<String> {
        let lines = self.world.comments(card).into_iter();
        lines.map(|text| text.lines().next().unwrap().to_string()).filter(|line| line != "Taken.").collect()
    }

    /// The one line with which a round fails.
    #[track_caller]
    fn refused(&self) -> String {
        let output: Output = self.pool.output(&["bridge", "team", "--once"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let lines = stderr(&output);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        lines
    }

    /// Starts the bridge.
    fn running(&self) -> RunningBridge {
        let mut bridge = self.pool.lanes(&["bridge", "team"]);
        let log = std::fs::File::create(self.pool.path("bridge.log")).unwrap();
        RunningBridge(bridge.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.pool.path("bridge.log")).unwrap_or_default()
    }
}

/// A bridge that ends with this value.
struct RunningBridge(Child);

impl Drop for RunningBridge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cards_become_tasks_and_get_their_answers_once() {
    let desk = PlankaDesk::new(PlankaWorld::new());
    // More than Planka sends on one page.
    let cards: Vec<String> = (1..=55).map(|n| desk.add(&format!("card {n}"), n * 16, "result Yes")).collect();
    desk.round();
    assert_eq!(desk.tasks().len(), 55);
    assert_eq!(desk.world.cards(0), [""; 0]);
    let names: Vec<String> = (1..=55).map(|n| format!("card {n}")).collect();
    assert_eq!(desk.world.cards(1), names);
    let ids: Vec<String> =
        desk.tasks().iter().map(|task| task["metadata"]["card"].as_str().unwrap().to_string()).collect();
    assert!(cards.iter().all(|card| card.len() == 19 && ids.contains(card)), "{ids:?}");
    desk.pool.dispatch_once(&["--max-concurrent", "4"]);
    desk.round();
    assert_eq!((desk.world.cards(1).len(), desk.world.cards(2).len()), (0, 55));
    desk.round();
    assert_eq!(desk.tasks().len(), 55);
    for card in &cards {
        assert_eq!(desk.told(card), ["Yes"]);
    }
}

/// The processes that this test has begun, and those that they have: the pool is in their environment or arguments.
fn processes_of(desk: &PlankaDesk) -> Vec<(String, String)> {
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let texts = pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).map(|pid| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let text = [read("cmdline"), vec![0], read("environ")].concat();
        (pid, String::from_utf8_lossy(&text).replace('\0', "\n"))
    });
    let pool = desk.pool.path("");
    texts.filter(|(_, text)| text.contains(pool.to_str().unwrap())).collect()
}

#[test]
fn a_key_is_found_nowhere_but_in_its_file() {
    let desk = PlankaDesk::new(PlankaWorld::with_stand_in());
    desk.add("card", 1, "env > seen; touch begun; until [ -e go ]; do sleep 0.01; done; result Yes");
    let _bridge = desk.running();
    let _dispatcher = desk.pool.dispatcher(&[]);
    desk.pool.until("the agent runs", || desk.pool.path("begun").exists());
    let processes = processes_of(&desk);
    // The bridge, the dispatcher, its guard and the agent.
    assert!(processes.len() >= 4, "{processes:?}");
    for (pid, text) in &processes {
        assert!(!text.contains(&desk.world.key), "{pid}: {text}");
    }
    std::fs::write(desk.pool.path("go"), "").unwrap();
    eventually("the card is done", || desk.world.cards(2) == ["card"]);
    let id = desk.tasks()[0]["id"].as_str().unwrap().to_string();
    let told: Vec<String> = [vec!["show", &id], vec!["events", &id], vec!["workers"], vec!["doctor"]]
        .iter()
        .map(|words| format!("{:?}", desk.pool.output(&[&words[..], &["--json"]].concat())))
        .chain(desk.world.comments(&desk.world.card_ids(2)[0]))
        .collect();
    assert!(told.iter().all(|text| !text.contains(&desk.world.key)), "{told:?}");
    let search = format!("grep -rl --exclude=.env -e {} . ; true", desk.world.key);
    let mut shell = command::clean_with_path("/bin/sh");
    let found = command::ok(shell.args(["-c", &search]).current_dir(desk.pool.path("")));
    assert_eq!(found, "");
}

#[test]
fn a_bridge_that_cannot_log_in_says_what_to_do() {
    let desk = PlankaDesk::new(PlankaWorld::new());
    desk.set_key("PLANKA_API_KEY=hunter2hunter2\n");
    let line = desk.refused();
    assert!(line.contains("does not accept PLANKA_API_KEY: check it") && !line.contains("hunter2"), "{line}");
    desk.set_key("# nothing\n");
    assert!(desk.refused().contains("no key for Planka: put PLANKA_API_KEY"));
    desk.set_key("hunter2\n");
    let line = desk.refused();
    assert!(line.contains(".env line 1: has no `=`") && !line.contains("hunter2"), "{line}");
}

#[test]
fn who_is_no_editor_is_told_to_become_one() {
    let desk = PlankaDesk::new(PlankaWorld::with_stand_in());
    desk.add("card", 1, "result Yes");
    let board = desk.world.new_board("Other");
    desk.world.add_bot(&board, "viewer");
    let list = desk.world.new_list(&board, "Todo");
    let config = desk.pool.path("handoff.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let todo = format!("\"{}\":", desk.world.full_name("Todo"));
    std::fs::write(&config, text.replace(&todo, &format!("\"id:{list}\":"))).unwrap();
    let line = desk.refused();
    assert!(line.contains(&format!("as editor of board {}.Other in Planka", desk.world.name)), "{line}");
    assert!(desk.tasks().is_empty());
}

#[test]
fn a_key_that_is_revoked_makes_no_storm_and_tasks_go_on() {
    let desk = PlankaDesk::new(PlankaWorld::with_stand_in());
    desk.add("card", 1, "result Yes");
    let _bridge = desk.running();
    eventually("the card is taken", || desk.world.cards(1) == ["card"]);
    desk.world.server().revoke(&desk.world.key);
    eventually("the bridge says so", || desk.log().contains("does not accept PLANKA_API_KEY"));
    desk.world.server().take_received();
    desk.pool.dispatch_once(&[]);
    assert_eq!(desk.tasks()[0]["state"], "completed");
    let requests = desk.world.server().take_received().len();
    assert!(requests <= 1, "{requests}");
    let lines = desk.log().lines().filter(|line| line.contains("does not accept")).count();
    assert_eq!(lines, 1, "{}", desk.log());
}

#[test]
fn a_server_that_is_away_for_a_while_gets_everything_afterwards() {
    let desk = PlankaDesk::new(PlankaWorld::with_stand_in());
    let card = desk.add("card", 1, "result Yes");
    let _bridge = desk.running();
    eventually("the card is taken", || desk.world.cards(1) == ["card"]);
    desk.world.server().set_off(true);
    eventually("the bridge says so", || desk.log().contains("cannot reach Planka"));
    desk.pool.dispatch_once(&[]);
    assert_eq!(desk.tasks()[0]["state"], "completed");
    desk.world.server().set_off(false);
    eventually("the card is done", || desk.world.cards(2) == ["card"]);
    assert_eq!(desk.told(&card), ["Yes"]);
    assert_eq!(desk.tasks().len(), 1);
}

/// Makes a round that is killed at its `number`-th side effect. Returns whether it was.
pub fn killed_round(desk: &PlankaDesk, number: usize, when: KillTime) -> bool {
    let lanes = desk.pool.lanes(&["bridge", "team", "--once"]);
    // It waits until the server knows whom to kill.
    let mut waiting: Command = command::clean("/bin/sh");
    waiting.args(["-c", "read go && exec \"$0\" \"$@\""]).arg(lanes.get_program()).args(lanes.get_args());
    command::with_variables_of(&mut waiting, &lanes);
    waiting.current_dir(desk.pool.path("")).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = waiting.spawn().unwrap();
    desk.world.server().kill_at(number, when, child.id());
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child.wait().unwrap();
    !desk.world.server().take_kill()
}

#[expect(clippy::disallowed_methods, reason = "it says how much is tested")]
fn tries_every_point() -> bool {
    std::env::var_os("LANES_TEST_EVERY_POINT").is_some()
}

#[test]
fn a_bridge_that_is_killed_at_a_side_effect_loses_and_doubles_nothing() {
    let step = if tries_every_point() { 1 } else { 3 };
    let mut kills = 0;
    for (stage, when) in
        [(0, KillTime::After), (0, KillTime::Before), (1, KillTime::After), (1, KillTime::Before)]
    {
        for number in (1..).step_by(step) {
            let what = format!("round {stage}, {when:?} side effect {number}");
            let desk = PlankaDesk::new(PlankaWorld::with_stand_in());
            let cards = [desk.add("good", 1, "result Yes"), desk.add("bad", 2, "failure boom")];
            let mut was_killed = false;
            for round in 0..2 {
                was_killed |= round == stage && killed_round(&desk, number, when);
                desk.rounds_until_quiet();
                assert_eq!(desk.tasks().len(), 2, "{what}");
                if round == 0 {
                    desk.pool.dispatch_once(&[]);
                }
            }
            assert_eq!(
                (desk.world.cards(2), desk.told(&cards[0])),
                (vec!["good".to_string()], vec!["Yes".to_string()]),
                "{what}"
            );
            let told = desk.told(&cards[1]);
            assert_eq!(told.len(), 2, "{what}: {told:?}");
            if !was_killed {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 4, "only {kills}");
}

#[test]
fn a_list_that_is_deleted_and_made_again_is_watched_again() {
    let desk = PlankaDesk::new(PlankaWorld::new());
    let first = desk.add("first", 1, "result Yes");
    let _bridge = desk.running();
    eventually("the first card is taken", || desk.world.cards(1) == ["first"]);
    desk.world.ask("DELETE", &format!("/api/lists/{}", desk.world.lists[0]), &Value::Null);
    eventually("it is reported", || desk.log().contains("lanes: warning: "));
    let again = desk.world.new_list(&desk.world.board, "Todo");
    let body = json!({"type": "project", "position": 1, "name": "second", "description": "DO: result Yes"});
    desk.world.make(&format!("/api/lists/{again}/cards"), body);
    eventually("the second card is taken", || desk.world.cards(1).contains(&"second".to_string()));
    desk.pool.dispatch_once(&[]);
    eventually("both are done", || desk.world.cards(2).len() == 2);
    assert_eq!(desk.told(&first), ["Yes"]);
    assert_eq!(desk.tasks().len(), 2);
    assert!(desk.log().contains("was created again, and is watched from now on"), "{}", desk.log());
}
