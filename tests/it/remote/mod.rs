//! Stores on other machines: `lanes --store http://…` against `lanes serve`.

mod access;
mod broken_link;
mod files;
mod same_words;
mod tls;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::testkit::command;
use crate::testkit::server::Server;

/// A machine without a store: a directory to work in and a home, which reach a server at an address.
pub struct Laptop {
    dir: tempfile::TempDir,
    address: String,
    token: Option<String>,
}

impl Laptop {
    /// A machine that reaches the server of a test.
    pub fn of(server: &Server) -> Self {
        Self::at(format!("http://{}", server.address), server.token.clone())
    }

    /// A machine that reaches another address.
    pub fn at(address: String, token: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir, address, token }
    }

    /// The directory in which commands run.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The directory of what is kept for the user.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// A command, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command::lanes();
        command.args(args).current_dir(self.work());
        command.env("HOME", self.home()).env("LANES_STORE", &self.address);
        if let Some(token) = &self.token {
            command.env("LANES_TOKEN", token);
        }
        command
    }

    /// What a command prints and how it ends.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command prints, without the last newline; it must succeed.
    #[track_caller]
    pub fn lanes(&self, args: &[&str]) -> String {
        command::ok(&mut self.command(args))
    }
}

/// The standard error of a command.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The standard output of a command.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
