//! Planka as a board: its lists are queues, and its cards are cards. Planka 2 is needed.
//!
//! - [`address`] and [`credentials`] say where requests go and as whom.
//! - [`client`] makes them; [`records`] is what comes back.
//! - [`queues`] and [`cards`] are the operations.

mod address;
mod cards;
mod client;
mod credentials;
mod queues;
mod records;
#[cfg(test)]
#[path = "../../../tests/testkit/planka/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the integration tests use it, too")]
pub(in crate::bridge) mod stand_in;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use self::address::ServerAddress;
use self::client::{PlankaClient, RequestLimits};
use self::credentials::Credentials;
use self::queues::{BoardContext, QueuePlace};
use self::records::{OneRecord, UserRecord};
use super::board::{
    Board, BoardAbilities, BoardError, BoardErrorCode, BoardIdentity, BoardQueue, BoardResult, BoardUser,
    Card, CardChange, NewCard, QueueRef,
};
use super::stop::StopFlag;
use crate::workspace::Secrets;

/// A Planka server, as one of its users sees it.
pub(crate) struct PlankaBoard {
    client: PlankaClient,
    user: UserRecord,
    stop: Arc<StopFlag>,
    identity: BoardIdentity,
    /// The boards that were read, by id.
    boards: HashMap<String, BoardContext>,
    /// The queues that were found.
    places: HashMap<QueueRef, QueuePlace>,
}

impl PlankaBoard {
    /// Connects to a server and finds out who the user is. `ca_file` has certificates that are trusted in place of the
    /// public ones. Once `stop` is set, no request is made any more.
    ///
    /// # Errors
    /// `Auth` if there is no key, or the server does not accept it; `Invalid` if an address or a file cannot be used;
    /// `Unavailable`.
    pub(crate) fn connect(
        url: &str,
        secrets: &Secrets,
        ca_file: Option<&Path>,
        requests_per_second: f64,
        stop: &Arc<StopFlag>,
    ) -> BoardResult<Self> {
        Self::connect_within(url, secrets, ca_file, RequestLimits::at_rate(requests_per_second), stop)
    }

    fn connect_within(
        url: &str,
        secrets: &Secrets,
        ca_file: Option<&Path>,
        limits: RequestLimits,
        stop: &Arc<StopFlag>,
    ) -> BoardResult<Self> {
        let address = ServerAddress::parse(url)?;
        if !address.is_private() && secrets.get("PLANKA_ALLOW_HTTP").is_none() {
            let message = format!(
                "url {address} would send the key unencrypted: use https, or put PLANKA_ALLOW_HTTP=1 into {}",
                secrets.place()
            );
            return Err(BoardError::new(BoardErrorCode::Invalid, message));
        }
        let credentials = Credentials::choose(secrets)?;
        let mut client = PlankaClient::new(address, credentials, ca_file, limits, Arc::clone(stop))?;
        let user: OneRecord<UserRecord> = client.get("/api/users/me")?;
        let version = version(&mut client)?;
        let user = user.item;
        let identity = BoardIdentity {
            name: "planka".to_string(),
            version,
            user: Some(BoardUser { id: user.id.clone(), name: user.shown().to_string() }),
            can: BoardAbilities {
                generation: true,
                assign_once: true,
                watch: false,
                queues: true,
                labels: true,
            },
        };
        let stop = Arc::clone(stop);
        Ok(Self { client, user, stop, identity, boards: HashMap::new(), places: HashMap::new() })
    }
}

/// Returns the version of the server.
fn version(client: &mut PlankaClient) -> BoardResult<String> {
    let reply: BoardResult<OneRecord<Value>> = client.get("/api/bootstrap");
    let reply = match reply {
        Err(error) if error.code == BoardErrorCode::NotFound => Value::Null,
        reply => reply?.item,
    };
    match reply["version"].as_str() {
        Some(version) if !version.starts_with("1.") => Ok(version.to_string()),
        _ => Err(client.error(
            BoardErrorCode::Unsupported,
            format!("{} is not Planka 2: update the server", client.address()),
        )),
    }
}

impl Board for PlankaBoard {
    fn identity(&self) -> &BoardIdentity {
        &self.identity
    }

    fn get_ready_tasks(&mut self, queue: &QueueRef, limit: usize) -> BoardResult<Vec<Card>> {
        self.cards_of(queue, limit)
    }

    fn get_task(&mut self, id: &str) -> BoardResult<Card> {
        self.card_by_id(id)
    }

    fn move_task(&mut self, id: &str, queue: &QueueRef, expected: Option<&QueueRef>) -> BoardResult<()> {
        self.move_card(id, queue, expected)
    }

    fn add_comment(&mut self, id: &str, text: &str, marker: &str) -> BoardResult<()> {
        self.comment(id, text, marker)
    }

    fn update_task(&mut self, id: &str, change: &CardChange) -> BoardResult<()> {
        self.update(id, change)
    }

    fn assign_task(&mut self, id: &str) -> BoardResult<bool> {
        self.assign(id)
    }

    fn create_task(&mut self, card: &NewCard) -> BoardResult<Card> {
        self.create(card)
    }

    fn list_queues(&mut self) -> BoardResult<Vec<BoardQueue>> {
        self.all_queues()
    }

    fn get_queue(&mut self, queue: &QueueRef) -> BoardResult<BoardQueue> {
        self.queue(queue)
    }

    fn create_queue(&mut self, name: &str) -> BoardResult<BoardQueue> {
        self.new_queue(name)
    }

    fn update_queue(&mut self, queue: &QueueRef, new_name: &str) -> BoardResult<BoardQueue> {
        self.rename_queue(queue, new_name)
    }

    fn delete_queue(&mut self, queue: &QueueRef) -> BoardResult<()> {
        self.remove_queue(queue)
    }

    /// Planka tells nothing: this sleeps.
    fn wait_for_change(&mut self, timeout: Duration) -> BoardResult<bool> {
        self.stop.sleep(timeout);
        Ok(false)
    }
}
