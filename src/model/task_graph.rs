//! The graph of tasks that depend on each other: which of them belong together, and how it is drawn as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::dependency::Dependency;
use super::id::TaskId;
use super::json::raw::RawString;
use super::task::Status;
use super::task_text::TaskText;
use super::time::Now;

/// A task in the graph.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GraphNode {
    /// Its id.
    pub id: TaskId,
    /// What it is about, in one line.
    pub title: String,
    /// Its lane.
    pub lane: String,
    /// Its group.
    pub group: Option<String>,
    /// The state in which it is shown.
    pub status: Status,
    /// Whether it is claimed under a lease that has not ended.
    pub lease_is_live: bool,
    /// The tasks that it depends on, and how.
    pub after: Vec<Dependency>,
}

impl GraphNode {
    /// Makes the node of a task that is shown in the state `status`.
    pub(crate) fn of(task: &TaskText<'_>, title: String, status: Status, now: &Now) -> Self {
        let lease_is_live = matches!(status, Status::Claimed(_)) && task.to_task().lease_is_live(now);
        Self {
            id: task.id.clone(),
            title,
            lane: task.spec.lane.decode().into_owned(),
            group: task.spec.group.map(RawString::decode).map(|name| name.into_owned()),
            status,
            lease_is_live,
            after: task.spec.dependencies(),
        }
    }
}

/// Tasks and the edges between them, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskGraph {
    nodes: BTreeMap<TaskId, GraphNode>,
    dependents: BTreeMap<TaskId, Vec<TaskId>>,
}

impl TaskGraph {
    /// Makes the graph of these tasks. Edges to other tasks are left out.
    pub(crate) fn new(nodes: impl IntoIterator<Item = GraphNode>) -> Self {
        let nodes: BTreeMap<TaskId, GraphNode> =
            nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        let mut graph = Self { nodes, dependents: BTreeMap::new() };
        let all: BTreeSet<TaskId> = graph.nodes.keys().cloned().collect();
        for node in graph.nodes.values_mut() {
            node.after.retain(|dependency| all.contains(&dependency.task));
            for dependency in &node.after {
                graph.dependents.entry(dependency.task.clone()).or_default().push(node.id.clone());
            }
        }
        graph
    }

    /// Returns the tasks.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &GraphNode> {
        self.nodes.values()
    }

    /// Keeps what is connected with one of the tasks `of`, over any number of edges.
    pub(crate) fn connected(self, of: &[TaskId]) -> Self {
        let mut wanted: Vec<&TaskId> = of.iter().collect();
        let mut kept = BTreeSet::new();
        while let Some(id) = wanted.pop() {
            let Some(node) = self.nodes.get(id) else { continue };
            if kept.insert(id.clone()) {
                wanted.extend(node.after.iter().map(|dependency| &dependency.task));
                wanted.extend(self.dependents.get(id).into_iter().flatten());
            }
        }
        Self::new(self.nodes.into_values().filter(|node| kept.contains(&node.id)))
    }

    /// Keeps the tasks with at least one edge.
    pub(crate) fn with_edges(self) -> Self {
        let Self { nodes, dependents } = self;
        Self::new(
            nodes.into_values().filter(|node| !node.after.is_empty() || dependents.contains_key(&node.id)),
        )
    }

    /// Draws it as a tree: below each task the ones that depend on it. A task with several dependencies stands below
    /// the last of them; the others only name it.
    pub(crate) fn to_text(&self, mut line: impl FnMut(&str, &GraphNode, bool)) {
        let mut stack: Vec<(&GraphNode, String, String)> = Vec::new();
        let roots = self.nodes.values().filter(|node| node.after.is_empty()).rev();
        stack.extend(roots.map(|node| (node, String::new(), String::new())));
        let mut left: BTreeMap<&TaskId, usize> =
            self.nodes.iter().map(|(id, node)| (id, node.after.len())).collect();
        while let Some((node, prefix, below)) = stack.pop() {
            let waits = left.get_mut(&node.id);
            let is_full = waits.is_none_or(|waits| {
                *waits = waits.saturating_sub(1);
                *waits == 0
            });
            line(&prefix, node, is_full);
            if !is_full {
                continue;
            }
            let dependents = self.dependents.get(&node.id).into_iter().flatten();
            let children: Vec<&GraphNode> = dependents.filter_map(|id| self.nodes.get(id)).collect();
            let last = children.len().saturating_sub(1);
            for (n, child) in children.into_iter().enumerate().rev() {
                let (branch, rest) = if n == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                stack.push((child, format!("{below}{branch}"), format!("{below}{rest}")));
            }
        }
    }

    /// Returns it in the language of Graphviz; `state` describes the state of a task.
    pub(crate) fn to_dot(&self, state: impl Fn(&GraphNode) -> String) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut out = "digraph lanes {\n  node [shape=box];\n".to_string();
        for node in self.nodes.values() {
            let label = format!("{}\\n{}", escape_dot(&node.title), escape_dot(&state(node)));
            let _ = writeln!(out, "  {} [label=\"{label}\"];", quoted(node.id.as_str()));
        }
        for node in self.nodes.values() {
            for dependency in &node.after {
                let _ =
                    writeln!(out, "  {} -> {};", quoted(dependency.task.as_str()), quoted(node.id.as_str()));
            }
        }
        out + "}\n"
    }

    /// Returns it in the language of Mermaid; `state` describes the state of a task.
    pub(crate) fn to_mermaid(&self, state: impl Fn(&GraphNode) -> String) -> String {
        let numbers: BTreeMap<&TaskId, usize> =
            self.nodes.keys().enumerate().map(|(number, id)| (id, number)).collect();
        let mut out = "flowchart TD\n".to_string();
        for (number, node) in self.nodes.values().enumerate() {
            let label = format!("{} ({})", node.title, state(node));
            let label = label.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
            let _ = writeln!(out, "  t{number}[\"{label}\"]");
        }
        for (number, node) in self.nodes.values().enumerate() {
            for dependency in node.after.iter().filter_map(|dependency| numbers.get(&dependency.task)) {
                let _ = writeln!(out, "  t{dependency} --> t{number}");
            }
        }
        out
    }
}

fn escape_dot(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::dependency::DependencyCondition;
    use super::*;

    fn id(name: &str) -> TaskId {
        TaskId::parse(name).unwrap()
    }

    fn node(name: &str, after: &[&str]) -> GraphNode {
        GraphNode {
            id: id(name),
            title: format!("do \"{name}\""),
            lane: "work".to_string(),
            group: None,
            status: Status::Queued,
            lease_is_live: false,
            after: after
                .iter()
                .map(|name| Dependency { task: id(name), on: DependencyCondition::Completed })
                .collect(),
        }
    }

    fn drawn(graph: &TaskGraph) -> Vec<String> {
        let mut lines = Vec::new();
        graph.to_text(|prefix, node, is_full| {
            lines.push(format!("{prefix}{}{}", node.id, if is_full { "" } else { " …" }));
        });
        lines
    }

    #[test]
    fn a_join_stands_below_the_last_of_its_dependencies() {
        let graph = TaskGraph::new([
            node("a", &[]),
            node("b", &["a"]),
            node("c", &["a"]),
            node("d", &["b", "c", "gone"]),
            node("e", &["d"]),
            node("x", &[]),
        ]);
        assert_eq!(drawn(&graph), ["a", "├─ b", "│  └─ d …", "└─ c", "   └─ d", "      └─ e", "x"]);
        assert_eq!(drawn(&graph.clone().with_edges()).len(), 6);
        assert_eq!(drawn(&graph.clone().connected(&[id("x")])), ["x"]);
        assert_eq!(graph.connected(&[id("e")]).nodes().count(), 5);
    }

    #[test]
    fn a_long_chain_is_no_recursion() {
        let name = |n: usize| format!("t{n:05}");
        let chain = (0..20_000).map(|n| match n {
            0 => node(&name(0), &[]),
            n => node(&name(n), &[&name(n - 1)]),
        });
        let graph = TaskGraph::new(chain);
        let mut count = 0;
        // The indentation of such a chain is long, so only its beginning is drawn here.
        let part = graph.connected(&[id("t00000")]);
        assert_eq!(part.nodes().count(), 20_000);
        TaskGraph::new(part.nodes().take(100).cloned()).to_text(|_, _, _| count += 1);
        assert_eq!(count, 100);
    }

    #[test]
    fn other_programs_can_draw_it() {
        let graph = TaskGraph::new([node("a", &[]), node("b", &["a"])]);
        assert_eq!(
            graph.to_dot(|node| node.status.as_str().to_string()),
            "digraph lanes {\n  node [shape=box];\n  \"a\" [label=\"do \\\"a\\\"\\nqueued\"];\n  \"b\" \
             [label=\"do \\\"b\\\"\\nqueued\"];\n  \"a\" -> \"b\";\n}\n"
        );
        assert_eq!(
            graph.to_mermaid(|node| node.status.as_str().to_string()),
            "flowchart TD\n  t0[\"do &quot;a&quot; (queued)\"]\n  t1[\"do &quot;b&quot; (queued)\"]\n  t0 --> t1\n"
        );
    }
}
