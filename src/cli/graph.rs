//! `lanes graph`: shows which tasks wait for which.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::list::state_label;
use super::table::shorten;
use crate::error::{Result, printable};
use crate::model::TaskText;
use crate::model::json::raw::RawString;
use crate::model::task::object;
use crate::model::task_graph::{GraphNode, TaskGraph};

/// The longest text about a task, in terminal columns.
const MAX_LABEL: usize = 40;

/// The languages in which a graph can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// A tree for people
    Text,
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid
    Mermaid,
}

/// Show which tasks wait for which, with their states.
///
/// Without an id or a group: all tasks that depend on another one, or on which another one depends.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  lanes graph\n  lanes graph d64cf2\n  lanes graph --group night --format dot | dot -Tsvg > night.svg"
)]
pub(super) struct GraphCommand {
    /// Only what is connected with this task
    #[arg(value_name = "ID", conflicts_with = "group")]
    id: Option<String>,
    /// Only what is connected with the tasks of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Language of the graph
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    format: GraphFormat,
}

impl GraphCommand {
    pub(super) fn run(&self, context: &mut CommandContext) -> Result<CommandExit> {
        let store = context.store()?;
        let of = match (&self.id, &self.group) {
            (Some(id), _) => Some(vec![store.resolve(id)?]),
            (None, Some(group)) => Some(context.group_members(&store, group, &|_| true)?),
            (None, None) => None,
        };
        let now = store.now();
        let node = |task: &TaskText<'_>| {
            let status = task.status();
            let label = match task.spec.name.map(RawString::decode) {
                Some(name) => name,
                None if task.spec.prompt.is_empty() => task.spec.correlation_id.decode(),
                None => task.spec.prompt.decode(),
            };
            Some(GraphNode {
                id: task.id.clone(),
                state: state_label(&status, &now, || task.to_task().lease_is_live(&now)),
                label: printable(&shorten(&label, MAX_LABEL)),
                after: task.spec.dependencies().into_iter().map(|dependency| dependency.task).collect(),
            })
        };
        let graph = TaskGraph::new(context.read_tasks(&store, &store.task_names()?, node));
        let graph = match &of {
            Some(of) => graph.connected(of),
            None => graph.with_edges(),
        };
        if graph.nodes().next().is_none() {
            context.out.note("lanes: no task depends on another one");
        }
        self.print(context, &graph).map(|()| CommandExit::Done)
    }

    fn print(&self, context: &mut CommandContext, graph: &TaskGraph) -> Result<()> {
        if context.out.json {
            let task = |node: &GraphNode| {
                let after: Vec<&str> = node.after.iter().map(|id| id.as_str()).collect();
                Value::Object(object([
                    ("task_id", node.id.as_str().into()),
                    ("state", node.state.as_str().into()),
                    ("label", node.label.as_str().into()),
                    ("after", after.into()),
                ]))
            };
            let tasks: Vec<Value> = graph.nodes().map(task).collect();
            return context.out.object(&object([
                ("status", "ok".into()),
                ("count", tasks.len().into()),
                ("tasks", tasks.into()),
            ]));
        }
        let text = match self.format {
            GraphFormat::Dot => graph.to_dot(),
            GraphFormat::Mermaid => graph.to_mermaid(),
            GraphFormat::Text => {
                let mut text = String::new();
                graph.to_text(|prefix, node, is_full| {
                    let rest = if is_full { node.label.as_str() } else { "…" };
                    text.push_str(&format!("{prefix}{}  {}  {rest}\n", node.id, node.state));
                });
                text
            }
        };
        text.lines().try_for_each(|line| context.out.line(line))
    }
}
