//! `lanes graph`: shows which tasks wait for which.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::context::CommandContext;
use super::exit::CommandExit;
use super::list::state_label;
use super::output::Output;
use super::table::print_row;
use super::text_format::{columns, digits_that_differ, end_of_id, shorten};
use crate::error::{Result, printable};
use crate::model::json::raw::RawString;
use crate::model::task::object;
use crate::model::task_graph::{GraphNode, TaskGraph};
use crate::model::{Now, TaskText};

/// The longest text about a task in a file or a pipe, in terminal columns.
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
        let is_tree = self.format == GraphFormat::Text && !context.out.json;
        let room = if is_tree { context.out.text_room(MAX_LABEL) } else { MAX_LABEL };
        let node = |task: &TaskText<'_>| {
            let label = match task.spec.name.map(RawString::decode) {
                Some(name) => name,
                None if task.spec.prompt.is_empty() => task.spec.correlation_id.decode(),
                None => task.spec.prompt.decode(),
            };
            let title = printable(&shorten(&label, room));
            Some(GraphNode::of(task, title, shown.status_of(task), &now))
        };
        let graph = TaskGraph::new(context.read_tasks(&store, &store.task_names()?, node)?);
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
            GraphFormat::Text => return print_tree(&mut context.out, graph, state),
        };
        text.lines().try_for_each(|line| context.out.line(line))
    }
}

/// Prints the graph as a tree; on a terminal, in rows that fit its width.
fn print_tree(out: &mut Output, graph: &TaskGraph, state: impl Fn(&GraphNode) -> String) -> Result<()> {
    let room = out.row_width();
    let digits = match room {
        Some(_) => digits_that_differ(&graph.nodes().map(|node| node.id.as_str()).collect()),
        None => usize::MAX,
    };
    let mut lines = Vec::new();
    graph.to_text(|prefix, node, is_full| {
        let rest = if is_full { node.title.as_str() } else { "…" };
        let (prefix, id) = (indentation(prefix, room), end_of_id(node.id.as_str(), digits));
        lines.push(format!("{prefix}{id}  {}  {rest}", state(node)));
    });
    lines.iter().try_for_each(|line| print_row(out, line))
}

/// Returns the indentation of a row, of which no more than half is taken by it: its end says where the row belongs.
fn indentation(prefix: &str, room: Option<usize>) -> String {
    match room.map(|room| columns(prefix).saturating_sub(room / 2)) {
        None | Some(0) => prefix.to_string(),
        Some(over) => format!("…{}", prefix.chars().skip(over + 1).collect::<String>()),
    }
}
