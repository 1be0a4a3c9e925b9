//! Agents reach the card of their task over HTTP.

use serde_json::{Value, json};

use crate::testkit::server::{Server, ask, program};

const BRIDGES: &str = "bridges:
  team:
    adapter: json
    path: ../board.json
    queues: {Todo: {lane: work, in_progress: Doing, done: Done}}
";

/// A server whose workspace has a bridge to a board with one card.
struct Office {
    server: Server,
}

impl Office {
    fn new() -> Self {
        let office = Self { server: Server::configured(BRIDGES, &[]) };
        let board = json!({"queues": {
            "Todo": [{"id": 7, "name": "Paint", "description": "the fence"}], "Doing": [], "Review": [], "Done": [],
        }});
        std::fs::write(office.server.dir.path().join("board.json"), board.to_string()).unwrap();
        office
    }

    /// Lets the bridge make one round.
    fn round(&self) {
        let output = program(self.server.dir.path(), &["bridge", "team", "--once"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The cards in a queue.
    fn cards(&self, queue: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.server.dir.path().join("board.json")).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        board["queues"][queue].as_array().unwrap().clone()
    }

    /// Returns whether a comment of the card contains a text.
    fn has_comment(card: &Value, text: &str) -> bool {
        card["comments"].as_array().unwrap().iter().any(|comment| comment.to_string().contains(text))
    }
}

#[test]
fn comments_moves_and_changes_of_an_agent_reach_the_card() {
    let office = Office::new();
    office.round();
    assert_eq!(office.cards("Doing").len(), 1);
    let server = &office.server;
    let id = server.get("/tasks").text_at("/tasks/0/id");
    let token = server.claim(&id);
    let task = format!("/tasks/{id}");
    assert_eq!(server.get(&task).at("/retry_count"), json!(0));
    let comment = json!({"comment": "Which red?", "author": "painter"});
    assert_eq!(server.post(&format!("{task}/comments"), &comment).status, 201);
    let change = json!({"name": "Paint it", "labels": ["home"]});
    assert_eq!(ask(server, "PATCH", &task, Some(change)).status, 200);
    let moved = server.post(&format!("{task}/move"), &json!({"target_queue": "Review"}));
    assert_eq!((moved.status, moved.text_at("/queue").as_str()), (200, "work"), "{}", moved.text);
    office.round();
    let card = office.cards("Review").pop().expect("the agent has moved it");
    assert_eq!(
        (&card["id"], &card["name"], &card["labels"]),
        (&json!(7), &json!("Paint it"), &json!(["home"]))
    );
    assert!(Office::has_comment(&card, "Which red?"), "{card}");

    let answer = json!({"claim_token": token, "body": "All of it is red."});
    assert_eq!(server.post(&format!("{task}/response"), &answer).status, 200);
    office.round();
    office.round();
    let card = office.cards("Review").pop().expect("where the agent has put it");
    assert!(Office::has_comment(&card, "All of it is red."), "{card}");
    let times = card["comments"].to_string().matches("Which red?").count();
    assert_eq!(times, 1, "{card}");
    assert_eq!(server.get("/tasks").at("/count"), json!(1));
}
