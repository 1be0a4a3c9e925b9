//! `lanes graph`: shows which tasks wait for which.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::list::state_label;
use super::text_format::shorten;
use crate::error::{Result, printable};
use crate::model::json::raw::RawString;
use crate::model::task::object;
use crate::model::task_graph::{GraphNode, TaskGraph};
use crate::model::{Now, TaskText};

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
    /// Only tasks connected with this task
    #[arg(value_name = "ID", conflicts_with = "group")]
    id: Option<String>,
    /// Only tasks connected with the tasks of this group
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
        let (now, shown) = (store.now(), store.shown_states());
        let node = |task: &TaskText<'_>| {
            let label = match task.spec.name.map(RawString::decode) {
                Some(name) => name,
                None if task.spec.prompt.is_empty() => task.spec.correlation_id.decode(),
                None => task.spec.prompt.decode(),
            };
            let title = printable(&shorten(&label, MAX_LABEL));
            Some(GraphNode::of(task, title, shown.status_of(task), &now))
        };
        let graph = TaskGraph::new(context.read_tasks(&store, &store.task_names()?, node));
        let graph = match &of {
            Some(of) => graph.connected(of),
            None => graph.with_edges(),
        };
        if graph.nodes().next().is_none() {
            context.out.note("lanes: no task depends on another one");
        }
        self.print(context, &graph, &now).map(|()| CommandExit::Done)
    }

    fn print(&self, context: &mut CommandContext, graph: &TaskGraph, now: &Now) -> Result<()> {
        let state = |node: &GraphNode| state_label(&node.status, now, || node.lease_is_live);
        if context.out.json {
            let task = |node: &GraphNode| {
                let after: Vec<&str> = node.after.iter().map(|dependency| dependency.task.as_str()).collect();
                Value::Object(object([
                    ("task_id", node.id.as_str().into()),
                    ("state", state(node).into()),
                    ("label", node.title.as_str().into()),
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
            GraphFormat::Dot => graph.to_dot(state),
            GraphFormat::Mermaid => graph.to_mermaid(state),
            GraphFormat::Text => {
                let mut text = String::new();
                graph.to_text(|prefix, node, is_full| {
                    let rest = if is_full { node.title.as_str() } else { "…" };
                    text.push_str(&format!("{prefix}{}  {}  {rest}\n", node.id, state(node)));
                });
                text
            }
        };
        text.lines().try_for_each(|line| context.out.line(line))
    }
}
