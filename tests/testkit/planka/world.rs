//! A board for tests on a server: the stand-in, or a real one that LANES_TEST_PLANKA_URL names (see
//! tests/planka_real.sh).

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{ADMIN, PASSWORD, PlankaServer, request};

/// A board on a server: project "Demo.App", board "Work", lists Todo, Doing and Done, and a user who edits it.
pub struct PlankaWorld {
    stand_in: Option<PlankaServer>,
    pub url: String,
    /// The header that shows the administrator.
    admin: String,
    project: String,
    /// The name of the project.
    pub name: String,
    pub board: String,
    pub lists: [String; 3],
    /// The user of the bridge.
    pub bot: String,
    /// The API key of that user.
    pub key: String,
}

fn variable(name: &str) -> Option<String> {
    std::env::vars().find_map(|(have, value)| (have == name && !value.is_empty()).then_some(value))
}

impl PlankaWorld {
    pub fn new() -> Self {
        match (variable("LANES_TEST_PLANKA_URL"), variable("LANES_TEST_PLANKA_KEY")) {
            (Some(url), Some(key)) => Self::on(None, url, format!("X-Api-Key: {key}")),
            _ => Self::with_stand_in(),
        }
    }

    pub fn with_stand_in() -> Self {
        let server = PlankaServer::new();
        let url = server.url();
        let body = json!({"emailOrUsername": ADMIN, "password": PASSWORD});
        let (_, login) = request(&url, "", "POST", "/api/access-tokens", &body);
        let identity = format!("Authorization: Bearer {}", login["item"].as_str().unwrap());
        Self::on(Some(server), url, identity)
    }

    fn on(stand_in: Option<PlankaServer>, url: String, admin: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nonce = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = match &stand_in {
            Some(_) => "Demo.App".to_string(),
            None => format!("Demo.App {}-{nonce}", std::process::id()),
        };
        let unnamed = String::new();
        let mut world = Self {
            stand_in,
            url,
            admin,
            project: unnamed.clone(),
            name,
            board: unnamed.clone(),
            lists: [unnamed.clone(), unnamed.clone(), unnamed.clone()],
            bot: unnamed.clone(),
            key: unnamed,
        };
        let bot = format!("bot{}x{nonce}", std::process::id());
        let user = json!({"email": format!("{bot}@x.example"), "password": "correct-horse-battery",
            "role": "boardUser", "name": "Bot", "username": bot});
        world.bot = world.make("/api/users", user);
        let reply = world.ask("POST", &format!("/api/users/{}/api-key", world.bot), &json!({}));
        world.key = reply["included"]["apiKey"].as_str().unwrap().to_string();
        world.project = world.make("/api/projects", json!({"type": "shared", "name": world.name}));
        world.board = world.new_board("Work");
        world.add_bot(&world.board, "editor");
        for (at, list) in ["Todo", "Doing", "Done"].into_iter().enumerate() {
            world.lists[at] = world.new_list(&world.board, list);
        }
        world
    }

    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, reply) = request(&self.url, &self.admin, method, path, body);
        assert_eq!(status, 200, "{method} {path}: {reply}");
        reply
    }

    #[track_caller]
    pub fn make(&self, path: &str, body: Value) -> String {
        self.ask("POST", path, &body)["item"]["id"].as_str().unwrap().to_string()
    }

    pub fn new_board(&self, name: &str) -> String {
        self.make(&format!("/api/projects/{}/boards", self.project), json!({"position": 1, "name": name}))
    }

    pub fn add_bot(&self, board: &str, role: &str) {
        let body = json!({"userId": self.bot, "role": role});
        self.make(&format!("/api/boards/{board}/board-memberships"), body);
    }

    pub fn new_list(&self, board: &str, name: &str) -> String {
        let body = json!({"type": "active", "position": 65536, "name": name});
        self.make(&format!("/api/boards/{board}/lists"), body)
    }

    pub fn new_card(&self, list: usize, name: &str, position: f64) -> String {
        let body = json!({"type": "project", "position": position, "name": name});
        self.make(&format!("/api/lists/{}/cards", self.lists[list]), body)
    }

    /// The full name of a list of the board "Work".
    pub fn full_name(&self, list: &str) -> String {
        format!("{}.Work.{list}", self.name)
    }

    /// The names of the cards in a list, in the order of the board.
    pub fn cards(&self, list: usize) -> Vec<String> {
        let reply = self.ask("GET", &format!("/api/lists/{}", self.lists[list]), &Value::Null);
        let cards = reply["included"]["cards"].as_array().unwrap();
        cards.iter().map(|card| card["name"].as_str().unwrap().to_string()).collect()
    }

    /// The ids of the cards in a list, in the order of the board.
    pub fn card_ids(&self, list: usize) -> Vec<String> {
        let reply = self.ask("GET", &format!("/api/lists/{}", self.lists[list]), &Value::Null);
        let cards = reply["included"]["cards"].as_array().unwrap();
        cards.iter().map(|card| card["id"].as_str().unwrap().to_string()).collect()
    }

    /// The texts of the comments of a card, oldest first.
    pub fn comments(&self, card: &str) -> Vec<String> {
        let reply = self.ask("GET", &format!("/api/cards/{card}/comments"), &Value::Null);
        let items = reply["items"].as_array().unwrap();
        items.iter().rev().map(|item| item["text"].as_str().unwrap().to_string()).collect()
    }

    pub fn server(&self) -> &PlankaServer {
        self.stand_in.as_ref().unwrap()
    }
}

impl Drop for PlankaWorld {
    fn drop(&mut self) {
        if self.stand_in.is_none() {
            request(&self.url, &self.admin, "DELETE", &format!("/api/boards/{}", self.board), &Value::Null);
            request(
                &self.url,
                &self.admin,
                "DELETE",
                &format!("/api/projects/{}", self.project),
                &Value::Null,
            );
            request(&self.url, &self.admin, "DELETE", &format!("/api/users/{}", self.bot), &Value::Null);
        }
    }
}
