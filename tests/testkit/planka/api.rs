//! The routes of Planka 2.1 that a bridge and its tests use, with their checks of rights and values.
//!
//! The behaviour was measured with Planka 2.1.1 and read in its source (github.com/plankanban/planka, server/api).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Received;

type Row = Map<String, Value>;
type Answer = (u16, Value);

/// The number of cards or comments on one page.
const PAGE: usize = 50;

/// What a server knows: rows of tables, in the order of their ids.
pub(super) struct Data {
    last_id: u64,
    /// Milliseconds since the beginning.
    time: u64,
    tables: BTreeMap<&'static str, Vec<Row>>,
    passwords: BTreeMap<String, String>,
    terms: BTreeSet<String>,
    pub(super) keys: BTreeMap<String, String>,
    pub(super) sessions: BTreeMap<String, String>,
}

impl Default for Data {
    fn default() -> Self {
        let mut data = Self {
            last_id: 1_918_347_002_118_000_000,
            time: 0,
            tables: BTreeMap::new(),
            passwords: BTreeMap::new(),
            terms: BTreeSet::new(),
            keys: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        let admin = json!({"email": super::ADMIN, "name": "Admin", "username": "admin", "role": "admin"});
        let admin = data.insert("users", admin);
        data.passwords.insert(super::ADMIN.to_string(), super::PASSWORD.to_string());
        data.terms.insert(text(&admin, "id"));
        data
    }
}

impl Data {
    pub(super) fn accept_terms(&mut self, email: &str) {
        let id = self.find("users", "email", email).map(|user| text(&user, "id")).unwrap();
        self.terms.insert(id);
    }

    fn rows(&self, table: &str) -> &[Row] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    fn find(&self, table: &str, field: &str, value: &str) -> Option<Value> {
        self.rows(table).iter().find(|row| row[field] == value).cloned().map(Value::Object)
    }

    fn by_id(&self, table: &str, id: &str) -> Option<Value> {
        self.find(table, "id", id)
    }

    fn all(&self, table: &str, field: &str, values: &[String]) -> Vec<Value> {
        let rows = self.rows(table).iter();
        let wanted = rows.filter(|row| values.iter().any(|value| row[field] == value.as_str()));
        wanted.cloned().map(Value::Object).collect()
    }

    fn insert(&mut self, table: &'static str, row: Value) -> Value {
        self.last_id += 1;
        let mut row = row;
        row["id"] = json!(self.last_id.to_string());
        let Value::Object(object) = row.clone() else { panic!("no row: {row}") };
        self.tables.entry(table).or_default().push(object);
        row
    }

    fn update(&mut self, table: &str, id: &str, values: &Value) -> Value {
        let rows = self.tables.get_mut(table).unwrap();
        let row = rows.iter_mut().find(|row| row["id"] == id).unwrap();
        for (name, value) in values.as_object().unwrap() {
            row.insert(name.clone(), value.clone());
        }
        Value::Object(row.clone())
    }

    fn remove(&mut self, table: &str, keep: impl Fn(&Row) -> bool) {
        self.tables.entry(Box::leak(table.to_string().into_boxed_str())).or_default().retain(keep);
    }

    /// A time that no other call has returned.
    fn now(&mut self) -> String {
        self.time += 1;
        let (seconds, millis) = (self.time / 1000, self.time % 1000);
        format!(
            "2026-11-28T{:02}:{:02}:{:02}.{millis:03}Z",
            10 + seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, request: &Received) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("POST", ["access-tokens"]) => return self.log_in(&request.body),
            ("GET", ["bootstrap"]) => return (200, json!({"item": {"oidc": null, "version": "2.1.1"}})),
            _ => {}
        }
        let key = request.header("x-api-key").and_then(|key| self.keys.get(key));
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let user = match token {
            Some(token) => self.sessions.get(token),
            None => key,
        };
        let Some(user) = user.cloned() else {
            let message = "Access token is missing, invalid or expired";
            return (401, json!({"code": "E_UNAUTHORIZED", "message": message}));
        };
        if let Some(id) = parts.get(1)
            && *id != "me"
            && (id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return bad("Invalid id");
        }
        let result = match request.method.as_str() {
            "GET" => self.read(&user, &parts, &request.path),
            "POST" => self.create(&user, &parts, &request.body),
            "PATCH" => self.change(&user, &parts, &request.body),
            "DELETE" => self.delete(&user, &parts),
            _ => Err(not_found("Route")),
        };
        result.unwrap_or_else(|refusal| refusal)
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        let name = text(body, "emailOrUsername");
        let user = self.find("users", "email", &name).or_else(|| self.find("users", "username", &name));
        let Some(user) = user.filter(|user| {
            self.passwords.get(&text(user, "email")).is_some_and(|have| *have == text(body, "password"))
        }) else {
            return (401, json!({"code": "E_UNAUTHORIZED", "message": "Invalid credentials"}));
        };
        let id = text(&user, "id");
        if !self.terms.contains(&id) {
            let message = "Terms acceptance required";
            return (
                403,
                json!({"code": "E_FORBIDDEN", "pendingToken": "t", "message": message, "step": "accept-terms"}),
            );
        }
        self.last_id += 1;
        let token = format!("session-{}", self.last_id);
        self.sessions.insert(token.clone(), id);
        (200, json!({"item": token}))
    }

    fn is_admin(&self, user: &str) -> bool {
        self.by_id("users", user).is_some_and(|user| user["role"] == "admin")
    }

    fn manages(&self, user: &str, project: &str) -> bool {
        let rows = self.all("projectManagers", "projectId", &[project.to_string()]);
        rows.iter().any(|row| row["userId"] == user)
    }

    fn role(&self, user: &str, board: &str) -> Option<String> {
        let rows = self.all("boardMemberships", "boardId", &[board.to_string()]);
        rows.iter().find(|row| row["userId"] == user).map(|row| text(row, "role"))
    }

    /// Whether a user may see a board. Administrators see shared projects.
    fn sees(&self, user: &str, board: &str) -> bool {
        let Some(board) = self.by_id("boards", board) else { return false };
        let project = self.by_id("projects", &text(&board, "projectId")).unwrap();
        self.manages(user, &text(&project, "id"))
            || self.role(user, &text(&board, "id")).is_some()
            || (self.is_admin(user) && project["ownerProjectManagerId"].is_null())
    }

    /// The board of what may be changed by its editors alone; hides it from those who are no members.
    fn edited(&self, user: &str, board: &str, what: &str) -> Result<(), Answer> {
        match self.role(user, board).as_deref() {
            Some("editor") => Ok(()),
            Some(_) => Err((403, json!({"code": "E_FORBIDDEN", "message": "Not enough rights"}))),
            None => Err(not_found(what)),
        }
    }

    fn seen(&self, user: &str, table: &str, id: &str, what: &str) -> Result<Value, Answer> {
        let row = self.by_id(table, id).ok_or(not_found(what))?;
        let board = text(&row, if table == "boards" { "id" } else { "boardId" });
        if self.sees(user, &board) { Ok(row) } else { Err(not_found(what)) }
    }

    fn read(&mut self, user: &str, parts: &[&str], path: &str) -> Result<Answer, Answer> {
        let reply = match parts {
            ["users", "me"] => json!({"item": self.by_id("users", user), "included": {}}),
            ["projects"] => {
                let boards =
                    self.rows("boards").iter().filter(|row| self.sees(user, row["id"].as_str().unwrap()));
                let boards: Vec<Value> = boards.cloned().map(Value::Object).collect();
                let ids: Vec<String> = boards.iter().map(|board| text(board, "projectId")).collect();
                json!({"items": self.all("projects", "id", &ids), "included": {"boards": boards}})
            }
            ["boards", id] => self.show_board(&self.seen(user, "boards", id, "Board")?),
            ["lists", id] => {
                let list = self.seen(user, "lists", id, "List")?;
                if !is_finite(&list) {
                    return Err(not_found("List"));
                }
                let cards = sorted(self.all("cards", "listId", &[id.to_string()]));
                json!({"item": list, "included": self.included(cards)})
            }
            ["lists", id, "cards"] => {
                self.seen(user, "lists", id, "List")?;
                let mut cards = self.all("cards", "listId", &[id.to_string()]);
                cards.sort_by_key(|card| std::cmp::Reverse(text(card, "listChangedAt")));
                cards.truncate(PAGE);
                json!({"items": cards, "included": self.included(cards.clone())})
            }
            ["cards", id] => {
                let card = self.seen(user, "cards", id, "Card")?;
                let mut included = self.included(vec![card.clone()]);
                included.as_object_mut().unwrap().remove("cards");
                json!({"item": card, "included": included})
            }
            ["cards", id, "comments"] => {
                self.seen(user, "cards", id, "Card")?;
                let before = path.split_once("?beforeId=").map(|(_, id)| id.to_string());
                let mut rows = self.all("comments", "cardId", &[id.to_string()]);
                rows.reverse();
                rows.retain(|row| before.as_ref().is_none_or(|before| text(row, "id") < *before));
                rows.truncate(PAGE);
                let users: Vec<String> = rows.iter().map(|row| text(row, "userId")).collect();
                json!({"items": rows, "included": {"users": self.all("users", "id", &users)}})
            }
            _ => return Err(not_found("Route")),
        };
        Ok((200, reply))
    }

    fn show_board(&self, board: &Value) -> Value {
        let id = [text(board, "id")];
        let lists = sorted(self.all("lists", "boardId", &id));
        let finite: Vec<String> =
            lists.iter().filter(|list| is_finite(list)).map(|list| text(list, "id")).collect();
        let mut included = self.included(sorted(self.all("cards", "listId", &finite)));
        let memberships = self.all("boardMemberships", "boardId", &id);
        let users: Vec<String> = memberships.iter().map(|row| text(row, "userId")).collect();
        included["users"] = json!(self.all("users", "id", &users));
        included["boardMemberships"] = json!(memberships);
        included["lists"] = json!(lists);
        included["labels"] = json!(self.all("labels", "boardId", &id));
        included["projects"] = json!(self.all("projects", "id", &[text(board, "projectId")]));
        json!({"item": board, "included": included})
    }

    /// What an answer with cards has beside them. Of the users, only those who created a card.
    fn included(&self, cards: Vec<Value>) -> Value {
        let ids: Vec<String> = cards.iter().map(|card| text(card, "id")).collect();
        let creators: Vec<String> = cards.iter().map(|card| text(card, "creatorUserId")).collect();
        let task_lists = self.all("taskLists", "cardId", &ids);
        let list_ids: Vec<String> = task_lists.iter().map(|list| text(list, "id")).collect();
        json!({
            "cards": cards,
            "cardMemberships": self.all("cardMemberships", "cardId", &ids),
            "cardLabels": self.all("cardLabels", "cardId", &ids),
            "taskLists": task_lists,
            "tasks": self.all("tasks", "taskListId", &list_ids),
            "users": self.all("users", "id", &creators),
            "attachments": [],
        })
    }

    fn create(&mut self, user: &str, parts: &[&str], body: &Value) -> Result<Answer, Answer> {
        let id = parts.get(1).map(|id| id.to_string()).unwrap_or_default();
        let row = match parts {
            ["users"] if self.is_admin(user) => {
                self.passwords.insert(text(body, "email"), text(body, "password"));
                let mut row = body.clone();
                row.as_object_mut().unwrap().remove("password");
                self.insert("users", row)
            }
            ["users", _, "api-key"] if self.is_admin(user) => {
                self.last_id += 1;
                let key = format!("key-{}", self.last_id);
                self.keys.retain(|_, owner| *owner != id);
                self.keys.insert(key.clone(), id.clone());
                return Ok((200, json!({"item": self.by_id("users", &id), "included": {"apiKey": key}})));
            }
            ["projects"] => {
                let row = json!({"name": body["name"], "ownerProjectManagerId": null});
                let row = self.insert("projects", row);
                let manager = self.insert("projectManagers", json!({"projectId": row["id"], "userId": user}));
                if body["type"] == "private" {
                    let owner = json!({"ownerProjectManagerId": manager["id"]});
                    return Ok((200, json!({"item": self.update("projects", &text(&row, "id"), &owner)})));
                }
                row
            }
            ["projects", _, "boards"] => {
                if !self.manages(user, &id) {
                    return Err(not_found("Project"));
                }
                let board = self.insert("boards", json!({"projectId": id, "name": body["name"]}));
                for kind in ["archive", "trash"] {
                    let list = json!({"boardId": board["id"], "type": kind, "name": null, "position": null});
                    self.insert("lists", list);
                }
                let member = json!({"boardId": board["id"], "userId": user, "role": "editor"});
                self.insert("boardMemberships", member);
                board
            }
            ["boards", _, "board-memberships"] => {
                let row = json!({"boardId": id, "userId": body["userId"], "role": body["role"]});
                self.insert("boardMemberships", row)
            }
            ["boards", _, "lists" | "labels"] => {
                self.edited(user, &id, "Board")?;
                if body["position"].is_null() || text(body, "name").chars().count() > 128 {
                    return Err(bad("Invalid position or name"));
                }
                let table = if parts[2] == "lists" { "lists" } else { "labels" };
                let mut row = body.clone();
                row["boardId"] = json!(id);
                self.insert(table, row)
            }
            ["lists", _, "cards"] => self.create_card(user, &id, body)?,
            ["cards", _, "comments"] => {
                let card = self.by_id("cards", &id).ok_or(not_found("Card"))?;
                self.edited(user, &text(&card, "boardId"), "Card")?;
                let length = text(body, "text").chars().count();
                if length == 0 || length > 1_048_575 {
                    return Err(bad("Invalid text"));
                }
                let total = json!({"commentsTotal": card["commentsTotal"].as_u64().unwrap_or(0) + 1});
                self.update("cards", &id, &total);
                self.insert("comments", json!({"cardId": id, "userId": user, "text": body["text"]}))
            }
            ["cards", _, "card-memberships"] => {
                self.add_to_card(user, &id, "cardMemberships", "userId", body)?
            }
            ["cards", _, "card-labels"] => self.add_to_card(user, &id, "cardLabels", "labelId", body)?,
            ["cards", _, "task-lists"] => {
                let row = json!({"cardId": id, "name": body["name"], "position": body["position"]});
                self.insert("taskLists", row)
            }
            ["task-lists", _, "tasks"] => {
                let is_completed = body["isCompleted"] == true;
                let row = json!({"taskListId": id, "name": body["name"], "position": body["position"],
                    "isCompleted": is_completed});
                self.insert("tasks", row)
            }
            _ => return Err(not_found("Route")),
        };
        Ok((200, json!({"item": row, "included": {}})))
    }

    fn create_card(&mut self, user: &str, list: &str, body: &Value) -> Result<Value, Answer> {
        let list = self.by_id("lists", list).ok_or(not_found("List"))?;
        self.edited(user, &text(&list, "boardId"), "List")?;
        if body["position"].is_null() {
            return Err(unprocessable("Position must be present"));
        }
        if text(body, "name").is_empty() || body["type"].is_null() || body["description"] == "" {
            return Err(bad("Invalid name, type or description"));
        }
        let now = self.now();
        let row = json!({
            "boardId": list["boardId"], "listId": list["id"], "name": body["name"],
            "description": body["description"], "position": body["position"], "type": body["type"],
            "creatorUserId": user, "listChangedAt": now, "commentsTotal": 0, "prevListId": null,
        });
        Ok(self.insert("cards", row))
    }

    fn add_to_card(
        &mut self,
        user: &str,
        card: &str,
        table: &'static str,
        field: &str,
        body: &Value,
    ) -> Result<Value, Answer> {
        let row = self.by_id("cards", card).ok_or(not_found("Card"))?;
        let board = text(&row, "boardId");
        self.edited(user, &board, "Card")?;
        if table == "cardMemberships" && self.role(&text(body, field), &board).is_none() {
            return Err(not_found("User"));
        }
        let rows = self.all(table, "cardId", &[card.to_string()]);
        if rows.iter().any(|row| row[field] == body[field]) {
            return Err((409, json!({"code": "E_CONFLICT", "message": "User already card member"})));
        }
        Ok(self.insert(table, json!({"cardId": card, (field): body[field]})))
    }

    fn change(&mut self, user: &str, parts: &[&str], body: &Value) -> Result<Answer, Answer> {
        let row = match parts {
            ["cards", id] => {
                let card = self.by_id("cards", id).ok_or(not_found("Card"))?;
                self.edited(user, &text(&card, "boardId"), "Card")?;
                self.change_card(&card, body)?
            }
            ["lists", id] => {
                let list = self.by_id("lists", id).ok_or(not_found("List"))?;
                self.edited(user, &text(&list, "boardId"), "List")?;
                self.update("lists", id, body)
            }
            ["projects" | "boards", id] => self.update(parts[0], id, body),
            _ => return Err(not_found("Route")),
        };
        Ok((200, json!({"item": row, "included": {}})))
    }

    fn change_card(&mut self, card: &Value, body: &Value) -> Result<Value, Answer> {
        let (id, mut values) = (text(card, "id"), body.clone());
        if values["name"] == "" || values["description"] == "" {
            return Err(bad("Invalid name or description"));
        }
        values.as_object_mut().unwrap().retain(|_, value| !value.is_null() || body["description"].is_null());
        if let Some(list) = body["listId"].as_str() {
            let board = body["boardId"].as_str().map_or_else(|| text(card, "boardId"), str::to_string);
            let list = self.by_id("lists", list).filter(|list| list["boardId"] == board.as_str());
            let list = list.ok_or(not_found("List"))?;
            if is_finite(&list) && body["position"].is_null() {
                return Err(unprocessable("Position must be present"));
            }
            if list["id"] != card["listId"] {
                values["listChangedAt"] = json!(self.now());
                values["prevListId"] = if is_finite(&list) { Value::Null } else { card["listId"].clone() };
            }
        }
        Ok(self.update("cards", &id, &values))
    }

    fn delete(&mut self, user: &str, parts: &[&str]) -> Result<Answer, Answer> {
        match parts {
            ["lists", id] => {
                let list = self.by_id("lists", id).ok_or(not_found("List"))?;
                let board = text(&list, "boardId");
                self.edited(user, &board, "List")?;
                let lists = self.all("lists", "boardId", &[board]);
                let trash = lists.iter().find(|list| list["type"] == "trash").unwrap();
                for card in self.all("cards", "listId", &[id.to_string()]) {
                    let moved = json!({"listId": trash["id"], "position": null, "listChangedAt": self.now()});
                    self.update("cards", &text(&card, "id"), &moved);
                }
                self.remove("lists", |row| row["id"] != *id);
            }
            ["cards", id] => {
                let card = self.by_id("cards", id).ok_or(not_found("Card"))?;
                self.edited(user, &text(&card, "boardId"), "Card")?;
                self.remove("cards", |row| row["id"] != *id);
            }
            ["cards", id, part @ ("card-memberships" | "card-labels"), removed] => {
                let card = self.by_id("cards", id).ok_or(not_found("Card"))?;
                self.edited(user, &text(&card, "boardId"), "Card")?;
                let table = if *part == "card-labels" { "cardLabels" } else { "cardMemberships" };
                let (field, value) = removed.split_once(':').unwrap();
                let rows = self.all(table, "cardId", &[id.to_string()]);
                if !rows.iter().any(|row| row[field] == value) {
                    return Err(not_found("Member"));
                }
                self.remove(table, |row| row["cardId"] != *id || row[field] != value);
            }
            ["boards" | "projects", id] => {
                let lists = if parts[0] == "boards" { "boardId" } else { "projectId" };
                self.remove(parts[0], |row| row["id"] != *id);
                self.remove("lists", |row| row.get(lists).is_none_or(|value| value != *id));
            }
            _ => return Err(not_found("Route")),
        }
        Ok((200, json!({"item": {}})))
    }
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_string()
}

fn is_finite(list: &Value) -> bool {
    list["type"] == "active" || list["type"] == "closed"
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by(|a, b| {
        let position = |row: &Value| row["position"].as_f64().unwrap_or(f64::MAX);
        position(a).total_cmp(&position(b))
    });
    rows
}

fn not_found(what: &str) -> Answer {
    (404, json!({"code": "E_NOT_FOUND", "message": format!("{what} not found")}))
}

fn unprocessable(message: &str) -> Answer {
    (422, json!({"code": "E_UNPROCESSABLE_ENTITY", "message": message}))
}

fn bad(problem: &str) -> Answer {
    (400, json!({"code": "E_MISSING_OR_INVALID_PARAMS", "problems": [problem]}))
}
