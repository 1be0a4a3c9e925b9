//! A store on another machine, behind `lanes serve`: what a command asks of it is a request, and its words, its rules and
//! its times are those of the store itself.
//!
//! | what | where |
//! |---|---|
//! | may a token be sent there? | `address.rs` |
//! | what is repeated, for how long, and what an answer means | `client.rs` |
//! | tasks: reads, and changes with an id that makes them happen once | `tasks.rs`; as JSON: `encode.rs` |
//! | lanes, workers, the feed | `facts.rs` |
//! | sleeps | `watch.rs` |
//! | what this machine keeps: where an answer goes, copies of requests and answers | `kept.rs` |
//!
//! What the two sides say is written and read in `store/wire.rs`; the other side is `http/handlers/store_*.rs`.

mod address;
mod client;
mod encode;
mod facts;
mod kept;
mod tasks;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use self::address::StoreAddress;
use self::client::StoreClient;
use self::kept::KeptFiles;
use super::settings_file::FileVersion;
use super::spool::Spool;
use super::{Blobs, FORMAT_VERSION, FileStore, StoreOptions, wire};
use crate::error::{Error, ErrorKind, Result};
use crate::model::json::Object;
use crate::model::{LaneName, Now, Time};
use crate::sha256::sha256_bytes;

/// A store that a server keeps.
#[derive(Debug)]
pub(super) struct RemoteStore {
    client: StoreClient,
    /// The address, in the place of a path.
    place: PathBuf,
    options: StoreOptions,
    /// What this machine keeps for it, laid out as a store.
    local: FileStore,
    kept: KeptFiles,
    /// The version of the store's format.
    version: u64,
    /// The lanes that the server describes.
    lanes: BTreeMap<LaneName, String>,
    /// A moment of the server's clocks, and when it was.
    told: (Now, Instant),
    /// Whether this process waits for work as a worker.
    is_working: Arc<AtomicBool>,
}

impl RemoteStore {
    /// Opens the store at an address.
    ///
    /// # Errors
    /// `Invalid` for an address that cannot be one or must not be used; `Config` when it is no server of this protocol, or
    /// does not accept the token; `Unavailable`.
    pub(super) fn open(address: &Path, options: StoreOptions) -> Result<Self> {
        let Some(access) = &options.remote else {
            return Err(super::remote_access::needs_the_store_itself());
        };
        let text = address.to_string_lossy();
        let parsed = StoreAddress::parse(&text, access.allows_plain_http)?;
        let name = sha256_bytes(parsed.as_str().as_bytes());
        let spool = access.spool.join(&name.as_str()[..16]);
        let client = StoreClient::new(parsed, access.token.clone(), access.ca_file.as_deref())?;
        let asked = Instant::now();
        let described = client.describe()?;
        // The server took its time about halfway between the request and its answer.
        let told_at = asked + asked.elapsed() / 2;
        let now = wire::read_now(described.get("now").unwrap_or(&Value::Null))?;
        let local =
            FileStore::open_to_read(&spool, StoreOptions { allow_network_fs: true, ..options.clone() })?;
        Ok(Self {
            place: PathBuf::from(client.address().as_str()),
            client,
            options,
            local,
            kept: KeptFiles::at(spool),
            version: described.get("format").and_then(Value::as_u64).unwrap_or(FORMAT_VERSION),
            lanes: described.get("lanes").and_then(Value::as_object).map(read_lanes).unwrap_or_default(),
            told: (now, told_at),
            is_working: Arc::default(),
        })
    }

    pub(super) fn format_version(&self) -> u64 {
        self.version
    }

    pub(super) fn is_writable_version(&self) -> bool {
        self.version <= FORMAT_VERSION
    }

    pub(super) fn is_in_place(&self) -> bool {
        true
    }

    pub(super) fn root(&self) -> &Path {
        self.kept.directory()
    }

    pub(super) fn address(&self) -> &Path {
        &self.place
    }

    pub(super) fn contains(&self, path: &Path) -> Result<bool> {
        Ok(path.starts_with(self.kept.directory()))
    }

    /// The server refuses requests itself when its store is gone.
    pub(super) fn check_in_place(&self) -> Result<()> {
        Ok(())
    }

    /// The server checks it with every change.
    pub(super) fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn now(&self) -> Now {
        // Only tests set the clock, of both sides.
        if let Some(now) = self.options.clock.by_hand() {
            return now;
        }
        let (now, at) = &self.told;
        let passed = i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX);
        Now {
            wall: Time::from_micros(now.wall.micros().saturating_add(passed)),
            uptime: now.uptime.saturating_add(passed),
            boot: now.boot.clone(),
        }
    }

    #[cfg(feature = "cli")]
    pub(super) fn server_lanes(&self) -> BTreeMap<LaneName, String> {
        self.lanes.clone()
    }

    pub(super) fn random(&self) -> u128 {
        self.options.entropy.next(self.now().wall)
    }

    /// Returns the id of a new request: as random as a token, so that no two requests have the same.
    fn request_id(&self) -> String {
        format!("{:032x}", self.random())
    }

    pub(super) fn blobs(&self) -> Blobs<'_> {
        Blobs::remote(self)
    }

    pub(super) fn spool(&self) -> Spool<'_> {
        Spool(&self.local)
    }

    /// Which agents and routes there are is known to the machine that runs them.
    pub(super) fn agents_text(&self) -> Result<Option<(PathBuf, String)>> {
        Ok(None)
    }

    pub(super) fn agents(&self) -> Result<Object> {
        Ok(Object::new())
    }

    pub(super) fn routes_text(&self) -> Result<Option<(PathBuf, String)>> {
        Ok(None)
    }

    pub(super) fn routes(&self) -> Result<Object> {
        Ok(Object::new())
    }

    pub(super) fn agents_path(&self) -> PathBuf {
        self.local.agents_path()
    }

    pub(super) fn agents_version(&self) -> Option<FileVersion> {
        None
    }

    pub(super) fn routes_path(&self) -> PathBuf {
        self.local.routes_path()
    }

    pub(super) fn routes_version(&self) -> Option<FileVersion> {
        None
    }

    /// Returns whether this process waits for work as a worker.
    fn is_working(&self) -> bool {
        self.is_working.load(Ordering::SeqCst)
    }
}

/// Reads the descriptions of lanes by their names.
fn read_lanes(lanes: &Object) -> BTreeMap<LaneName, String> {
    let read = |(name, text): (&String, &Value)| {
        Some((LaneName::new(name).ok()?, text.as_str().unwrap_or_default().to_string()))
    };
    lanes.iter().filter_map(read).collect()
}

/// Returns what a read gives where a failure counts as not knowing.
fn or_unknown<T: Default>(read: Result<T>) -> T {
    read.unwrap_or_default()
}

/// Makes the error about an answer of the wrong kind.
fn wrong_reply<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Corrupt, wire::unusable(what).message().to_string()))
}
