//! The graph of tasks that depend on each other.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::context::{Call, HandlerResult};
use crate::http::transport::response::{members, ok};
use crate::model::task_graph::{GraphNode, TaskGraph};
use crate::model::{GroupName, Status, TaskId, TaskText};
use crate::store::Store;

/// `GET /graph`: what is connected with a task, or with the tasks of a group; without either, every task with an edge.
/// Tasks that cannot be read are left out: `GET /tasks` shows them.
pub(crate) fn show(call: &Call<'_>) -> HandlerResult {
    let store = &call.app.store;
    let of = match (call.query.text("task"), call.query.text("group")) {
        (Some(_), Some(_)) => return Err(Error::invalid("give either 'task' or 'group', not both").into()),
        (Some(id), None) => Some(vec![store.task(&TaskId::parse(&id)?)?.id]),
        (None, Some(group)) => Some(store.group_members(&GroupName::new(group)?, &|_| true, &mut |_| {})?),
        (None, None) => None,
    };
    let graph = read_graph(store)?;
    let graph = match &of {
        Some(of) => graph.connected(of),
        None => graph.with_edges(),
    };
    let nodes: Vec<Value> = graph.nodes().map(node_object).collect();
    let edges: Vec<Value> = graph.nodes().flat_map(edge_objects).collect();
    Ok(ok([("nodes", nodes.into()), ("edges", edges.into())]).into())
}

fn read_graph(store: &Store) -> Result<TaskGraph> {
    let (now, shown) = (store.now(), store.shown_states());
    let node = |task: &TaskText<'_>| GraphNode::of(task, task.title(), shown.status_of(task), &now);
    let mut nodes = Vec::new();
    store.scan_names(&store.task_names()?, node, &mut |_, node| {
        nodes.extend(node);
        ControlFlow::Continue(())
    });
    Ok(TaskGraph::new(nodes))
}

fn node_object(node: &GraphNode) -> Value {
    let class = match &node.status {
        Status::Failed { class, .. } => Some(class.as_str()),
        _ => None,
    };
    Value::Object(members([
        ("id", node.id.as_str().into()),
        ("title", node.title.as_str().into()),
        ("lane", node.lane.as_str().into()),
        ("state", node.status.as_str().into()),
        ("group", node.group.as_deref().into()),
        ("failure_class", class.into()),
    ]))
}

/// Returns the edges that lead to a task, from those that it depends on.
fn edge_objects(node: &GraphNode) -> impl Iterator<Item = Value> {
    node.after.iter().map(|dependency| {
        Value::Object(members([
            ("from", dependency.task.as_str().into()),
            ("to", node.id.as_str().into()),
            ("on", dependency.on.as_str().into()),
        ]))
    })
}
