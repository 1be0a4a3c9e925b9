//! A board on the stand-in for a Planka server, which people change in their browsers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{PeoplesBoard, QUEUES};
use crate::bridge::board::{Board, Card, QueueRef};
use crate::bridge::planka::PlankaBoard;
use crate::bridge::planka::stand_in::world::PlankaWorld;
use crate::workspace::Secrets;

/// The server.
pub(super) struct BoardServer {
    world: PlankaWorld,
    /// The id of each list, by its name.
    lists: BTreeMap<&'static str, String>,
    /// The id of each card on the server, by its name in the test.
    cards: Mutex<BTreeMap<String, String>>,
}

impl BoardServer {
    pub(super) fn new() -> Self {
        let world = PlankaWorld::with_stand_in();
        let list = |name: &'static str| match name {
            "Todo" => world.lists[0].clone(),
            "Done" => world.lists[2].clone(),
            name => world.new_list(&world.board, name),
        };
        let lists = QUEUES.into_iter().map(|name| (name, list(name))).collect();
        Self { world, lists, cards: Mutex::default() }
    }

    fn path(&self, id: &str) -> String {
        format!("/api/cards/{}", self.id(id))
    }
}

impl PeoplesBoard for BoardServer {
    fn connect(&self) -> Box<dyn Board + '_> {
        let key = (OsString::from("PLANKA_API_KEY"), OsString::from(&self.world.key));
        let secrets = Secrets::read(None, vec![key]).unwrap();
        Box::new(PlankaBoard::connect(&self.world.url, &secrets, None, 10_000.0, &Arc::default()).unwrap())
    }

    fn source(&self, queue: &str) -> QueueRef {
        QueueRef::Name(self.world.full_name(queue))
    }

    fn add(&self, id: &str, queue: &str) {
        let mut cards = self.cards.lock().unwrap();
        let body = json!({"type": "project", "position": cards.len() + 1, "name": format!("Card {id}")});
        let made = self.world.make(&format!("/api/lists/{}/cards", self.lists[queue]), body);
        cards.insert(id.to_string(), made);
    }

    fn put(&self, id: &str, queue: &str) {
        let body = json!({"listId": self.lists[queue], "position": 1_000_000});
        self.world.ask("PATCH", &self.path(id), &body);
    }

    fn rename(&self, id: &str, name: &str) {
        self.world.ask("PATCH", &self.path(id), &json!({"name": name}));
    }

    fn remove(&self, id: &str) {
        self.world.ask("DELETE", &self.path(id), &Value::Null);
    }

    fn id(&self, id: &str) -> String {
        self.cards.lock().unwrap()[id].clone()
    }

    fn card(&self, id: &str) -> Card {
        let mut card = self.connect().get_task(&self.id(id)).unwrap();
        let name = self.lists.iter().find(|(_, list)| **list == card.queue).unwrap().0;
        card.queue = (*name).to_string();
        card
    }
}
