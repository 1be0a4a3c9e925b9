//! `lanes bridge check`: checks whether a bridge can work.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::bridge_settings::{configured_bridges, named_bridge};
use super::context::CommandContext;
use super::env;
use super::exit::CommandExit;
use super::inside_run;
use super::output::print_error_line;
use crate::bridge::adapter::AdapterLog;
use crate::bridge::check::{BoardFinding, check_bridge};
use crate::bridge::engine::BridgeContext;
use crate::bridge::event::{BridgeEvent, BridgeEventKind};
use crate::bridge::settings::BridgeSettings;
use crate::bridge::stop::StopFlag;
use crate::error::{Result, printable};
use crate::model::task::object;
use crate::store::Store;
use crate::workspace::Config;

/// Check whether a bridge can work: its key or password, its queues and its rights. Changes nothing on the board.
///
/// Exits with code 1 when something is wrong.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes bridge check team")]
pub(super) struct BridgeCheckCommand {
    /// The bridge
    #[arg(value_name = "NAME")]
    name: String,
}

impl BridgeCheckCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        inside_run::refuse(context, "bridge check")?;
        let (workspace, bridges) = configured_bridges(context)?;
        let bridge = named_bridge(&workspace, bridges, &self.name)?;
        let findings = BoardCheck::new(context, &workspace, &bridge)?.run(&Arc::default());
        let is_ok = findings.iter().all(|finding| finding.is_ok);
        if context.out.json {
            let status = if is_ok { "ok" } else { "problems" };
            let checks: Vec<Value> = findings.iter().map(finding_object).collect();
            context.out.object(&object([
                ("status", status.into()),
                ("bridge", bridge.name.into()),
                ("checks", checks.into()),
            ]))?;
        } else {
            for finding in &findings {
                let level = if finding.is_ok { "ok" } else { "FAILED" };
                context.out.line(&format!("{level:<7} {}", printable(&finding.message)))?;
            }
        }
        Ok(if is_ok { CommandExit::Done } else { CommandExit::Problems })
    }
}

/// A check of the board of one bridge, which may be made in another thread.
pub(super) struct BoardCheck {
    config: Config,
    bridge: BridgeSettings,
    store: Store,
    environment: Vec<(OsString, OsString)>,
}

impl BoardCheck {
    /// Prepares the check of a bridge.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn new(context: &CommandContext, config: &Config, bridge: &BridgeSettings) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            bridge: bridge.clone(),
            store: Store::open_to_read(&config.store_root, context.store_options()?)?,
            environment: env::all_variables(),
        })
    }

    /// Connects to the board and checks it, until `stop` is set.
    pub(super) fn run(&self, stop: &Arc<StopFlag>) -> Vec<BoardFinding> {
        let warn = |event: BridgeEvent| {
            if event.kind == BridgeEventKind::Warning {
                print_error_line(&format!("lanes: warning: {}", event.message));
            }
        };
        let adapter_log: AdapterLog = Arc::new(|line: &str| print_error_line(&format!("adapter: {line}")));
        check_bridge(&BridgeContext {
            settings: &self.bridge,
            store: &self.store,
            config: &self.config,
            environment: &self.environment,
            adapter_log: &adapter_log,
            stop,
            observe: &warn,
            dry_run: true,
        })
    }
}

fn finding_object(finding: &BoardFinding) -> Value {
    let level = if finding.is_ok { "ok" } else { "failed" };
    Value::Object(object([("level", level.into()), ("message", finding.message.clone().into())]))
}
