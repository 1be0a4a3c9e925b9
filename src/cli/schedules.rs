//! `lanes schedules`: lists the schedules of a workspace.

use clap::Args;
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::table::Table;
use super::text_format::relative;
use crate::error::Result;
use crate::model::task::object;
use crate::workspace::schedule_reports;

/// List the schedules of the workspace.
///
/// Shows when each is due, and how its last task ended.
///
/// Schedules are defined under `schedules:` in handoff.yaml. Every dispatcher and server of the queue runs them; each
/// time becomes one task.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  lanes schedules")]
pub(super) struct SchedulesCommand {}

impl SchedulesCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let (config, store) = context.workspace_to_read()?;
        let reports = schedule_reports(&store, &config)?;
        if context.out.json {
            let list: Vec<Value> = reports.iter().map(|report| report.to_object().into()).collect();
            context.out.object(&object([
                ("status", "ok".into()),
                ("count", reports.len().into()),
                ("schedules", list.into()),
            ]))?;
            return Ok(CommandExit::Done);
        }
        if reports.is_empty() {
            context.out.note("lanes: no schedules; `schedules:` in handoff.yaml defines them");
            return Ok(CommandExit::Done);
        }
        let now = store.now();
        let mut table = Table::new(&["NAME", "LANE", "CRON", "NEXT", "LAST", "STATE", "TASK"]);
        for report in reports {
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
            let rule = &report.schedule.rule;
            let zone = rule.zone_name().map(|zone| format!(" {zone}")).unwrap_or_default();
            table.row(vec![
                report.schedule.name.clone(),
                report.schedule.lane.to_string(),
                format!("{}{zone}", rule.text()),
                text(report.next.map(|time| relative(time, &now))),
                text(report.last.map(|time| relative(time, &now))),
                text(report.last_state),
                text(report.last_task),
            ]);
        }
        table.print(&mut context.out)?;
        Ok(CommandExit::Done)
    }
}
