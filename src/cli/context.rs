//! The context of a command: the global flags, the workspace, the store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::seconds;
use super::colour::ColourChoice;
use super::env;
use super::output::{Output, OutputOptions, ProgressLine};
use crate::error::{Error, Result};
use crate::http::read_token;
use crate::model::{Event, GroupName, LaneName, Task, TaskId, TaskText};
use crate::store::{RemoteAccess, Store, StoreOptions, StoreToken, is_address, needs_the_store_itself};
use crate::workspace::{BaseDir, Config, LocateOptions, locate, misspelt_lane, store_place, visible_config};

/// The heading of the global flags in the help of a command.
const GLOBAL_HEADING: &str = "Global options";

/// What the help of a command says about the global flags, which `lanes help` describes.
const GLOBAL_SUMMARY: &str = "Global options, see `lanes help`: --json, --compact, --quiet, --wide, --color, --config, --store, \
     --store-token-file, --insecure-http, --lock-timeout, --inside-run";

/// Makes the help of each command describe its own flags, and only name the global ones.
pub(super) fn with_short_help(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|inner| {
        let globals = GlobalArgs::augment_args(clap::Command::new("global"));
        let hidden = globals.get_arguments().map(|arg| arg.clone().hide(true));
        let after = inner.get_after_help().map(|text| format!("{}\n\n", text.ansi())).unwrap_or_default();
        with_short_help(inner.args(hidden).after_help(format!("{after}{GLOBAL_SUMMARY}")))
    })
}

/// The flags that every command takes, before or after its name.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct GlobalArgs {
    /// The workspace's handoff.yaml [env: LANES_CONFIG] [default: handoff/handoff.yaml or
    /// .agent-lanes-queue/handoff.yaml, here or above]
    #[arg(long, global = true, help_heading = GLOBAL_HEADING, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The state directory, instead of the one named by the configuration, or the address of a
    /// server: https://host [env: LANES_STORE]
    #[arg(long, global = true, help_heading = GLOBAL_HEADING, value_name = "DIR|URL")]
    pub store: Option<PathBuf>,
    /// Read the token for the server of --store from this file, which only its owner can read
    /// [env: LANES_TOKEN, the token itself]
    #[arg(long, global = true, help_heading = GLOBAL_HEADING, value_name = "FILE")]
    pub store_token_file: Option<PathBuf>,
    /// Let --store send the token unencrypted to another machine
    #[arg(long, global = true, help_heading = GLOBAL_HEADING)]
    pub insecure_http: bool,
    /// How long to wait for a locked store: seconds, or 5m
    /// [env: LANES_LOCK_TIMEOUT] [default: 10s]
    #[arg(long, global = true, help_heading = GLOBAL_HEADING, value_name = "SPAN", value_parser = seconds, allow_negative_numbers = true)]
    pub lock_timeout: Option<f64>,
    /// Let an agent of a dispatcher run a command that decides what runs
    #[arg(long, global = true, help_heading = GLOBAL_HEADING)]
    pub inside_run: bool,
    /// Print JSON
    #[arg(long, global = true, help_heading = GLOBAL_HEADING)]
    pub json: bool,
    /// Print JSON on one line, as `jq -c` does
    #[arg(long, global = true, help_heading = GLOBAL_HEADING)]
    pub compact: bool,
    /// Show whole ids and whole texts; a pipe always gets whole ids
    #[arg(long, global = true, help_heading = GLOBAL_HEADING)]
    pub wide: bool,
    /// Whether output has colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = GLOBAL_HEADING)]
    pub color: ColourChoice,
    /// Print no hints and no heartbeats to standard error
    #[arg(long, short, global = true, help_heading = GLOBAL_HEADING)]
    pub quiet: bool,
}

impl GlobalArgs {
    /// Returns how the command prints.
    pub(super) fn output_options(&self) -> OutputOptions {
        OutputOptions {
            json: self.json || self.compact,
            compact: self.compact,
            quiet: self.quiet,
            wide: self.wide,
            colour: self.color,
        }
    }
}

/// The context of a command.
pub(super) struct CommandContext {
    /// The global flags.
    pub global: GlobalArgs,
    /// Its standard output and standard error.
    pub out: Output,
    /// The current directory, against which relative paths are resolved.
    pub base: BaseDir,
    /// Whether the command can work on the store of a server.
    pub reaches_servers: bool,
}

impl CommandContext {
    /// Refuses `--json` for a command whose answer is no JSON; `hint` says where there is some.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn refuse_json(&self, command: &str, hint: &str) -> Result<()> {
        match self.out.json {
            true => Err(Error::invalid(format!("{command} prints no JSON")).with_hint(hint)),
            false => Ok(()),
        }
    }

    /// Refuses the flags that name a queue for a command that uses none; `hint` says what it uses.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn refuse_queue(&self, command: &str, hint: &str) -> Result<()> {
        let flags = [("--config", &self.global.config), ("--store", &self.global.store)];
        match flags.iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) => {
                Err(Error::invalid(format!("{flag} has no effect on {command}")).with_hint(hint))
            }
            None => Ok(()),
        }
    }

    /// Finds and reads the configuration. Flags take precedence over the environment, and with `--config` the
    /// store that the environment names is ignored.
    pub(super) fn config(&self) -> Result<Config> {
        let (config, store) = self.explicit_paths();
        locate(&LocateOptions {
            config: config.as_deref(),
            store: store.as_deref(),
            fallback_store: None,
            base: &self.base,
            identity: env::identity(),
        })
    }

    /// Returns the configuration file that a search finds, if it is not named; it is not read.
    pub(super) fn found_config(&self) -> Option<PathBuf> {
        let directory = self.base.directory().ok()?;
        visible_config(directory).filter(|_| self.explicit_paths().0.is_none())
    }

    /// Returns the configuration and the store given by flags or environment.
    pub(super) fn explicit_paths(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        let store = self.global.store.clone().or_else(|| match self.global.config {
            Some(_) => None,
            None => env::store(),
        });
        (self.global.config.clone().or_else(env::config), store)
    }

    /// Returns whether the store is given by flag or environment, and is that of a server.
    pub(super) fn names_server(&self) -> bool {
        self.explicit_paths().1.is_some_and(|store| is_address(&store))
    }

    /// Returns the options for opening the store.
    pub(super) fn store_options(&self) -> Result<StoreOptions> {
        let options = env::store_options(self.global.lock_timeout)?;
        Ok(StoreOptions { progress: ProgressLine::for_store(&self.out, "lanes"), ..options })
    }

    /// Returns the options for opening the store at `root`. For the address of a server, they say how that is reached.
    ///
    /// # Errors
    /// `Invalid` for an address where the command needs the store itself.
    fn options_for(&self, root: &Path) -> Result<StoreOptions> {
        let options = self.store_options()?;
        if !is_address(root) {
            return Ok(options);
        }
        if !self.reaches_servers {
            return Err(needs_the_store_itself());
        }
        let token = match &self.global.store_token_file {
            Some(file) => Some(read_token(&self.base.absolute(file)?)?),
            None => env::store_token(),
        };
        let spool = env::remote_spool().ok_or_else(|| {
            Error::config("neither XDG_STATE_HOME nor HOME is set")
                .with_hint("set HOME to your own directory")
        })?;
        let access = RemoteAccess {
            token: token.map(StoreToken::new),
            allows_plain_http: self.global.insecure_http,
            ca_file: env::certificates(),
            spool,
        };
        Ok(StoreOptions { remote: Some(access), ..options })
    }

    /// Opens the store without creating it. A store given explicitly must exist, since a typing error must not
    /// look like an empty queue; a configuration's store that does not exist yet reads as empty.
    pub(super) fn store(&self) -> Result<Store> {
        let root = self.store_root()?;
        let options = self.options_for(&root)?;
        match self.explicit_paths().1 {
            Some(_) => Store::open_existing(&root, options),
            None => Store::open_to_read(&root, options),
        }
    }

    /// Opens the store to change settings of the queue, or to follow it. Creates a configuration's store if it does not exist yet;
    /// a store given explicitly must exist.
    pub(super) fn store_for_settings(&self) -> Result<Store> {
        match self.explicit_paths().1 {
            Some(_) => self.store(),
            None => self.store_or_new(),
        }
    }

    /// Opens the store, and creates it if it does not exist: for commands that submit tasks or wait for them.
    pub(super) fn store_or_new(&self) -> Result<Store> {
        let root = self.store_root()?;
        Store::open(&root, self.options_for(&root)?)
    }

    /// Returns the path of the store, or the address of its server. Reads no configuration if the store is given explicitly, so that an agent
    /// can answer even when the configuration is invalid or missing.
    pub(super) fn store_root(&self) -> Result<PathBuf> {
        match self.explicit_paths().1 {
            Some(store) => store_place(&store, &self.base),
            None => Ok(self.config()?.store_root),
        }
    }

    /// Returns the root of the workspace whose configuration names the store; `None` for a store given explicitly,
    /// which may belong to any workspace.
    pub(super) fn workspace_root(&self) -> Option<PathBuf> {
        let is_named = self.explicit_paths().1.is_some();
        let config = self.config().ok().filter(|config| !is_named && config.path().is_some())?;
        config.workspace_root.canonicalize().ok()
    }

    /// Opens the store, creating it if it does not exist, and returns it with its configuration.
    pub(super) fn workspace(&self) -> Result<(Config, Store)> {
        let config = self.config()?;
        let store = Store::open(&config.store_root, self.options_for(&config.store_root)?)?;
        Ok((with_lanes_of(&store, config), store))
    }

    /// Says which of the lanes that a command is about to wait for are probably misspelt.
    pub(super) fn note_misspelt_lanes(&self, store: &Store, lanes: &[LaneName]) {
        for lane in lanes {
            self.note_misspelt_lane(store, Some(lane.as_str()));
        }
    }

    /// Opens the store as [`Self::store`] does, and returns it with its configuration.
    pub(super) fn workspace_to_read(&self) -> Result<(Config, Store)> {
        let (config, store) = (self.config()?, self.store()?);
        Ok((with_lanes_of(&store, config), store))
    }

    /// Returns what to say about a lane that is probably misspelt.
    pub(super) fn misspelt_lane(&self, store: &Store, lane: &LaneName) -> Option<String> {
        misspelt_lane(&with_lanes_of(store, self.config().ok()?), store, lane)
    }

    /// Says that the lane by which a command has selected nothing is probably misspelt.
    pub(super) fn note_misspelt_lane(&self, store: &Store, lane: Option<&str>) {
        let said = lane.and_then(|lane| self.misspelt_lane(store, &LaneName::stored(lane)));
        if let Some(said) = said {
            self.out.note(&format!("lanes: {said}"));
        }
    }

    /// Returns the newest event of a task; prints a warning if the history cannot be read.
    pub(super) fn last_event(&self, store: &Store, task: &Task) -> Option<Event> {
        store.last_event(task).unwrap_or_else(|error| {
            self.out.warn(&error.to_string());
            None
        })
    }

    /// Applies `extract` to the named tasks, and returns its results in the order of the names, without `None`.
    /// Prints a warning for each task that cannot be read.
    ///
    /// # Errors
    /// `Unavailable` or `Config` when the store is not reached any more: a part of the tasks is not all of them.
    pub(super) fn read_tasks<T: Send>(
        &self,
        store: &Store,
        names: &[String],
        extract: impl Fn(&TaskText<'_>) -> Option<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut progress = ProgressLine::new(&self.out, "lanes");
        let (mut found, mut done) = (Vec::new(), 0);
        let mut result = Ok(());
        store.scan_names(names, extract, &mut |_, seen| {
            done += 1;
            progress.update_count(done, names.len() as u64);
            match seen {
                Ok(seen) => found.extend(seen),
                Err(error) if error.is_of_whole_store() => {
                    result = Err(error);
                    return ControlFlow::Break(());
                }
                Err(error) => self.out.warn(&error.to_string()),
            }
            ControlFlow::Continue(())
        });
        result.map(|()| found)
    }

    /// Returns the tasks of a group that `keep` accepts, in the order in which they were submitted. Prints a warning
    /// for each task that cannot be read.
    ///
    /// # Errors
    /// `Invalid` for a name that no group can have; `NotFound` when the group has no task.
    pub(super) fn group_members(
        &self,
        store: &Store,
        group: &str,
        keep: &(dyn Fn(&TaskText<'_>) -> bool + Sync),
    ) -> Result<Vec<TaskId>> {
        let group = GroupName::new(group)?;
        store.group_members(&group, keep, &mut |error| self.out.warn(&error.to_string()))
    }

    /// Returns the tasks of a group that count for its end, in the order in which they were submitted. Prints a warning
    /// for each task that cannot be read.
    ///
    /// # Errors
    /// `Invalid` for a name that no group can have; `NotFound` when the group has no task.
    pub(super) fn counted_members(&self, store: &Store, group: &str) -> Result<Vec<TaskId>> {
        let group = GroupName::new(group)?;
        store.counted_members(&group, &mut |error| self.out.warn(&error.to_string()))
    }
}

/// Resolves several task ids, or unique beginnings or ends of them.
///
/// # Errors
/// `NotFound` or `Invalid` for the first that names no task or several.
pub(super) fn resolve_all(store: &Store, words: &[String]) -> Result<Vec<TaskId>> {
    words.iter().map(|word| store.resolve(word)).collect()
}

/// Adds the lanes that the server of the store describes to a configuration.
fn with_lanes_of(store: &Store, mut config: Config) -> Config {
    config.lanes.extend(store.server_lanes());
    config
}
