//! What doors see of a store, whatever keeps it: the only face of this module to the rest of the crate.
//!
//! | part | what it is | where |
//! |---|---|---|
//! | queue | tasks and what is changed with them, in transactions | the methods of [`Store`] |
//! | blobs | what belongs to tasks and is too large for the queue | [`Store::blobs`] |
//! | watches | sleeps that end when something may have changed; they may end for nothing, and end after two seconds even if every signal is lost | `feed.rs` |
//! | spool | what a process keeps on its own machine | [`Store::spool`] |
//!
//! An engine keeps a store: files on this machine, or the server of another one. Another engine is another variant of [`Engine`], with the methods that
//! `engine!` calls: a method that it lacks does not compile. What a method promises is documented here, once, and tested
//! in `tests/store_suite/`; how an engine keeps the promise is documented there.

use std::path::Path;

#[cfg(feature = "remote")]
use super::remote::RemoteStore;
use super::{FileStore, StoreOptions, is_address};
#[cfg(not(feature = "remote"))]
use crate::error::Error;
use crate::error::Result;

/// Calls a method of the engine that keeps a store.
macro_rules! engine {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match &$store.0 {
            Engine::Files(files) => files.$method($($argument),*),
            #[cfg(feature = "remote")]
            Engine::Remote(remote) => remote.$method($($argument),*),
        }
    };
}

/// Calls a method of a store of files; for another one, it is refused.
macro_rules! files {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match &$store.0 {
            Engine::Files(files) => files.$method($($argument),*),
            #[cfg(feature = "remote")]
            Engine::Remote(_) => Err($crate::store::needs_the_store_itself()),
        }
    };
}

mod care;
mod facts;
mod feed;
mod journal;
mod parts;
mod settings;
mod tasks;
mod workers;

/// What keeps a store.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a store of files is reached without a detour")]
enum Engine {
    /// A directory of files on this machine.
    Files(FileStore),
    /// A server on another machine.
    #[cfg(feature = "remote")]
    Remote(Box<RemoteStore>),
}

/// A store of tasks.
#[derive(Debug)]
pub struct Store(Engine);

impl Store {
    /// Opens the store at `root` and creates its missing parts. If `root` is the address of a server, and the options say
    /// how that is reached, its store is opened, which the server has created.
    ///
    /// # Errors
    /// `Config` when `root` is not a directory or is on a network file system; `Io` when it cannot be opened
    /// or made. For an address: `Invalid` when it cannot be one, `Config` when no store is there or the token is wrong,
    /// `Unavailable`.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self> {
        if let Some(server) = Self::of_server(root, &options) {
            return server;
        }
        FileStore::open(root, options).map(Self::of_files)
    }

    /// Opens the store at `root` if there is one; makes nothing.
    ///
    /// # Errors
    /// `NotFound` when there is no store; otherwise as [`Store::open`].
    pub fn open_existing(root: &Path, options: StoreOptions) -> Result<Self> {
        if let Some(server) = Self::of_server(root, &options) {
            return server;
        }
        FileStore::open_existing(root, options).map(Self::of_files)
    }

    /// Opens the store at `root` for reading; makes nothing. While there is none, it reads as an empty store
    /// that cannot be written.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_read(root: &Path, options: StoreOptions) -> Result<Self> {
        if let Some(server) = Self::of_server(root, &options) {
            return server;
        }
        FileStore::open_to_read(root, options).map(Self::of_files)
    }

    /// Returns whether there is a store at `root`, as far as can be seen.
    pub fn exists(root: &Path) -> bool {
        is_address(root) || FileStore::exists(root)
    }

    /// Opens the store of a server, if `root` is the address of one.
    #[cfg(feature = "remote")]
    fn of_server(root: &Path, options: &StoreOptions) -> Option<Result<Self>> {
        let open =
            || RemoteStore::open(root, options.clone()).map(|store| Self(Engine::Remote(Box::new(store))));
        is_address(root).then(open)
    }

    /// Refuses the address of a server.
    #[cfg(not(feature = "remote"))]
    fn of_server(root: &Path, _options: &StoreOptions) -> Option<Result<Self>> {
        let refused =
            || Error::config("this lanes was built without remote, and so without stores of servers");
        is_address(root).then(|| Err(refused()))
    }

    fn of_files(files: FileStore) -> Self {
        Self(Engine::Files(files))
    }
}
