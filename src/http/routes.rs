//! The route table of the HTTP server: the method, path, parameters, responses and handler of every route.
//!
//! Requests are checked against this table, and the OpenAPI document is made from it.

use std::sync::OnceLock;

use super::api::fields::*;
use super::api::openapi;
use super::api::operation::Operation;
use super::api::params::{Field, FieldKind, MAX_TEXT, optional, required};
use super::context::{Call, HandlerResult};
use super::handlers::{
    agents, automation, bulk, claims, dispatch_routes, events, graph, groups, lanes, listing, logs, messages,
    questions, responses, server, store_changes, store_reads, submit, tasks, vendors,
};
use super::log_follower::STREAMS;
use super::transport::response::HttpResponse;
use crate::model::json::Object;
use crate::model::limits::{MAX_PRIORITY, MAX_PROMPT_ONLY};

/// An operation with its handler.
pub(super) struct HttpRoute {
    /// What it takes and returns.
    pub operation: Operation,
    /// The handler.
    pub run: fn(&Call<'_>) -> HandlerResult,
}

/// Makes a route that reads.
const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    query: &'static [Field],
    responses: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> HandlerResult,
) -> HttpRoute {
    let operation = Operation {
        method: "GET",
        path,
        id,
        summary,
        query,
        body: None,
        warns_of_unknown_keys: false,
        responses,
        needs_management: false,
    };
    HttpRoute { operation, run }
}

/// Makes a route that changes something.
const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: &'static [Field],
    responses: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> HandlerResult,
) -> HttpRoute {
    let route = get(path, id, summary, NO_QUERY, responses, run);
    HttpRoute { operation: Operation { method: "POST", body: Some(body), ..route.operation }, run }
}

/// Returns the route with the method PATCH.
const fn patch(route: HttpRoute) -> HttpRoute {
    HttpRoute { operation: Operation { method: "PATCH", ..route.operation }, run: route.run }
}

/// Returns the route, which warns about keys of the body that it does not know: other boards and agent-lanes submit more
/// than it takes.
const fn lenient(route: HttpRoute) -> HttpRoute {
    HttpRoute { operation: Operation { warns_of_unknown_keys: true, ..route.operation }, run: route.run }
}

/// Returns the route, only for a server that allows changes of lanes and dispatch routes.
const fn managed(route: HttpRoute) -> HttpRoute {
    HttpRoute { operation: Operation { needs_management: true, ..route.operation }, run: route.run }
}

/// Makes a managed route that deletes something.
const fn delete(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    run: fn(&Call<'_>) -> HandlerResult,
) -> HttpRoute {
    let route = get(path, id, summary, NO_QUERY, &[(204, "")], run);
    managed(HttpRoute { operation: Operation { method: "DELETE", ..route.operation }, run })
}

/// `GET /openapi.json`; here instead of among the handlers, because it shows the table that contains them.
fn show_document(_call: &Call<'_>) -> HandlerResult {
    static RESPONSE: OnceLock<HttpResponse> = OnceLock::new();
    Ok(RESPONSE.get_or_init(|| HttpResponse::json(200, &document())).clone().into())
}

/// Returns the OpenAPI document.
pub fn document() -> Object {
    openapi::document(ROUTES.iter().map(|route| &route.operation))
}

/// All routes.
pub(super) const ROUTES: &[HttpRoute] = &[
    get(
        "/tasks",
        "listTasks",
        "Lists tasks, oldest first by default, a page at a time.",
        LIST,
        &[(200, "TaskPage")],
        listing::list,
    ),
    lenient(post(
        "/tasks",
        "submitTask",
        "Submits a task.",
        SUBMIT,
        &[(201, "Submitted"), (200, "Submitted")],
        submit::submit,
    )),
    post(
        "/tasks/batch",
        "submitTasks",
        "Submits many tasks; each is accepted or refused on its own.",
        &[required("tasks", FieldKind::Items, "The tasks, each as for `POST /tasks`.")],
        &[(200, "SubmittedBatch")],
        submit::submit_batch,
    ),
    post(
        "/tasks/bulk",
        "changeTasks",
        "Cancels, retries, redrives or moves all tasks of a selection, at most 1,000.",
        BULK,
        &[(200, "BulkChanged")],
        bulk::change,
    ),
    get(
        "/tasks/next",
        "nextTask",
        "Waits for a task that can be claimed, without claiming it.",
        &[
            required("lane", NAMES, "The lanes, in the order in which they are looked at."),
            optional("match", CONDITIONS, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
            WAIT_SECONDS,
        ],
        &[(200, "MaybeTask")],
        claims::next,
    ),
    post(
        "/tasks/claim",
        "claimNext",
        "Claims the next matching task, in one step; waits for one if requested.",
        &[
            optional("lanes", NAMES, "The lanes, in the order in which they are looked at."),
            optional("lane", LANE_NAME, "A single lane."),
            optional("match", TEXTS, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
            OWNER,
            LEASE_SECONDS,
            optional("wait_seconds", WAIT, "How long to wait for a task, in seconds; 0 by default."),
        ],
        &[(200, "MaybeClaimed")],
        claims::claim_next,
    ),
    get(
        "/tasks/wait",
        "waitForTasks",
        "Waits for the responses of several tasks.",
        &[
            optional("id", NAMES, "The tasks."),
            optional(
                "group",
                NAME_TEXT,
                "All tasks that are in this group now and were not retried, instead of ids.",
            ),
            optional(
                "mode",
                FieldKind::OneOf(&["all", "any"]),
                "Whether to wait for all of them (the default) or for any one.",
            ),
            WAIT_SECONDS,
        ],
        &[(200, "Answered")],
        responses::wait_several,
    ),
    get("/tasks/{id}", "showTask", "Shows a task.", &[FIELDS], &[(200, "ShownTask")], tasks::show),
    patch(post(
        "/tasks/{id}",
        "editTask",
        "Changes what a task says; prompt and priority only while it waits.",
        &[
            optional("prompt", FieldKind::Text(MAX_PROMPT_ONLY), "The prompt."),
            optional(
                "priority",
                FieldKind::Whole(-(MAX_PRIORITY as i64), MAX_PRIORITY as i64),
                "Higher goes first.",
            ),
            optional("name", NAME_TEXT, "The title."),
            optional("description", FieldKind::Text(MAX_TEXT), "The description."),
            optional("labels", TEXTS, "All labels."),
            optional("assignees", TEXTS, "All assignees."),
        ],
        &[(200, "BoardTask")],
        tasks::edit,
    )),
    post(
        "/tasks/{id}/claim",
        "claimTask",
        "Claims a task.",
        &[OWNER, LEASE_SECONDS],
        &[(200, "Claimed")],
        claims::claim,
    ),
    post(
        "/tasks/{id}/renew",
        "renewClaim",
        "Renews the lease of a claimed task.",
        RENEW,
        &[(200, "Claimed")],
        claims::renew,
    ),
    post(
        "/tasks/{id}/release",
        "releaseClaim",
        "Releases a claimed task.",
        RELEASE,
        &[(200, "OneTask")],
        claims::release,
    ),
    post(
        "/tasks/{id}/response",
        "respond",
        "Answers a task.",
        RESPOND,
        &[(200, "Responded")],
        responses::respond,
    ),
    get(
        "/tasks/{id}/response",
        "waitForResponse",
        "Waits for the response to a task.",
        &[WAIT_SECONDS],
        &[(200, "OneResponse")],
        responses::wait_one,
    ),
    post(
        "/tasks/{id}/events",
        "addEvent",
        "Adds an event to a task's history.",
        NOTE,
        &[(200, "Noted")],
        events::add,
    ),
    get(
        "/tasks/{id}/events",
        "followTask",
        "Streams a task's events as server-sent events; 204 when a client that has all of them reconnects.",
        &[SINCE],
        &[(200, "text/event-stream"), (204, "")],
        events::follow_task,
    ),
    post(
        "/tasks/{id}/comments",
        "addComment",
        "Adds a comment.",
        &[required("comment", MESSAGE_TEXT, "The text."), optional("author", SHORT_TEXT, "The author.")],
        &[(201, "Comments")],
        events::comment,
    ),
    post(
        "/tasks/{id}/move",
        "moveTask",
        "Moves a task to another lane, or the card of a task to another queue of its board.",
        &[
            optional("lane", LANE_NAME, "The lane."),
            optional(
                "target_queue",
                NAME_TEXT,
                "The queue of the board for a task that a bridge made from a card; otherwise the lane.",
            ),
        ],
        &[(200, "BoardTask")],
        tasks::move_to,
    ),
    post("/tasks/{id}/cancel", "cancelTask", "Cancels a task.", CANCEL, &[(200, "Changed")], tasks::cancel),
    post(
        "/tasks/{id}/retry",
        "retryTask",
        "Submits a failed task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        tasks::retry,
    ),
    post(
        "/tasks/{id}/retry-with-dependents",
        "retryTaskWithDependents",
        "Submits a failed task again, and with it the tasks that failed because of it.",
        &[BY],
        &[(200, "Redriven")],
        tasks::retry_with_dependents,
    ),
    post(
        "/tasks/{id}/redrive",
        "redriveTask",
        "Submits a dead task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        tasks::redrive,
    ),
    post(
        "/tasks/{id}/questions",
        "askQuestion",
        "Asks a question about a claimed task, which then waits for the answer.",
        ASK,
        &[(201, "Asked")],
        questions::ask,
    ),
    post(
        "/tasks/{id}/answer",
        "answerQuestion",
        "Answers a question of a worker.",
        ANSWER,
        &[(200, "Changed")],
        questions::answer,
    ),
    post(
        "/tasks/{id}/messages",
        "tellTask",
        "Sends a message to the worker of a task.",
        TELL,
        &[(201, "Told")],
        messages::tell,
    ),
    get(
        "/inbox",
        "listInbox",
        "Lists what waits for a person: open questions, and dead tasks that were not retried.",
        &[optional("lane", LANE_NAME, "Only tasks of this lane.")],
        &[(200, "Inbox")],
        questions::inbox,
    ),
    get(
        "/tasks/{id}/why",
        "explainTask",
        "Explains what a task is waiting for.",
        NO_QUERY,
        &[(200, "Reason")],
        tasks::why,
    ),
    get(
        "/tasks/{id}/history",
        "showHistory",
        "Shows a task with all of its events and its response.",
        NO_QUERY,
        &[(200, "History")],
        tasks::history,
    ),
    get(
        "/tasks/{id}/log",
        "showLog",
        "Shows or follows what a run of the task prints.",
        &[
            optional(
                "follow",
                FieldKind::Flag,
                "Continue until the task ends; with `all`, until the run ends.",
            ),
            optional(
                "stream",
                FieldKind::OneOf(&STREAMS),
                "Which output; `stdout` by default; `prompt` is the prompt of the agent; `all` is both outputs, as one JSON object a line.",
            ),
            optional(
                "attempt",
                FieldKind::Whole(1, 1_000_000),
                "The number of the run; the newest by default.",
            ),
            optional(
                "since",
                NAME_TEXT,
                "Continue there: after this many bytes, or with `all` after the line with this `pos`.",
            ),
            optional(
                "tail",
                FieldKind::Whole(1, 100_000),
                "Begin with the last lines: this many of each output.",
            ),
        ],
        &[(200, "text/plain; charset=utf-8"), (200, "application/x-ndjson")],
        logs::show,
    ),
    get(
        "/tasks/{id}/diff",
        "showDiff",
        "Shows what a run has changed in its worktree, as a patch.",
        &[optional(
            "attempt",
            FieldKind::Whole(1, 1_000_000),
            "The number of the run; the newest with a patch by default.",
        )],
        &[(200, "text/plain; charset=utf-8")],
        logs::diff,
    ),
    get(
        "/events",
        "followAll",
        "Streams all changes as server-sent events, with ids that order them.",
        &[SINCE, optional("lane", LANE_NAME, "Only changes of this lane.")],
        &[(200, "text/event-stream")],
        events::follow_all,
    ),
    get(
        "/graph",
        "showGraph",
        "Shows which tasks wait for which: what is connected with a task or a group, over any number of dependencies.",
        &[
            optional("task", NAME_TEXT, "What is connected with this task, by its full id."),
            optional("group", NAME_TEXT, "What is connected with the tasks of this group."),
        ],
        &[(200, "Graph")],
        graph::show,
    ),
    post(
        "/groups/{name}/cancel",
        "cancelGroup",
        "Cancels the open tasks of a group.",
        &[optional("reason", MESSAGE_TEXT, "Why."), BY],
        &[(200, "CancelledGroup")],
        groups::cancel,
    ),
    post(
        "/groups/{name}/retry",
        "retryGroup",
        "Submits the failed tasks of a group again that have not been retried.",
        &[BY],
        &[(200, "Redriven")],
        groups::retry,
    ),
    get("/lanes", "listLanes", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lanes::list),
    get("/lanes/{name}", "showLane", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lanes::show),
    managed(post(
        "/lanes",
        "createLane",
        "Creates a lane with a description.",
        CREATE_LANE,
        &[(201, "OneLane")],
        lanes::create,
    )),
    managed(patch(post(
        "/lanes/{name}",
        "editLane",
        "Changes a lane.",
        EDIT_LANE,
        &[(200, "OneLane")],
        lanes::edit,
    ))),
    managed(post(
        "/lanes/{name}/pause",
        "pauseLane",
        "Pauses a lane: none of its tasks can be claimed.",
        &[optional("reason", MESSAGE_TEXT, "Why.")],
        &[(200, "Paused")],
        lanes::pause,
    )),
    managed(post(
        "/lanes/{name}/resume",
        "resumeLane",
        "Resumes a paused lane.",
        &[],
        &[(200, "Paused")],
        lanes::resume,
    )),
    post(
        "/lanes/{name}/redrive",
        "redriveLane",
        "Submits all dead tasks of a lane again that have not been retried.",
        &[BY],
        &[(200, "Redriven")],
        tasks::redrive_lane,
    ),
    delete("/lanes/{name}", "deleteLane", "Deletes a lane without tasks.", lanes::delete),
    get(
        "/schedules",
        "listSchedules",
        "Lists the schedules of the workspace.",
        NO_QUERY,
        &[(200, "Schedules")],
        automation::schedules,
    ),
    get(
        "/stats",
        "showStats",
        "Shows the number, duration and cost of runs: by lane, vendor, model and day.",
        &[optional("days", FieldKind::Whole(1, 3650), "Only the last days; all by default.")],
        &[(200, "RunStats")],
        automation::stats,
    ),
    get(
        "/budget",
        "showBudgets",
        "Shows how much of each budget of the dispatchers is spent.",
        NO_QUERY,
        &[(200, "Budgets")],
        automation::budgets,
    ),
    managed(post(
        "/budget",
        "addToBudget",
        "Raises a budget until the end of its day or week.",
        ADD_TO_BUDGET,
        &[(200, "Budgets")],
        automation::add_to_budget,
    )),
    get(
        "/vendors",
        "listVendors",
        "Lists the vendors that have a cooldown or are paused.",
        NO_QUERY,
        &[(200, "Vendors")],
        vendors::list,
    ),
    managed(post(
        "/vendors/{name}/pause",
        "pauseVendor",
        "Pauses a vendor, or one of its models.",
        PAUSE_VENDOR,
        &[(200, "PausedVendor")],
        vendors::pause,
    )),
    managed(post(
        "/vendors/{name}/resume",
        "resumeVendor",
        "Ends all pauses and cooldowns of a vendor.",
        RESUME_VENDOR,
        &[(200, "PausedVendor")],
        vendors::resume,
    )),
    get("/queues", "listQueues", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lanes::list),
    get("/queues/{name}", "showQueue", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lanes::show),
    managed(post(
        "/queues",
        "createQueue",
        "Creates a lane with a description.",
        CREATE_LANE,
        &[(201, "OneLane")],
        lanes::create,
    )),
    managed(patch(post(
        "/queues/{name}",
        "editQueue",
        "Changes a lane.",
        EDIT_LANE,
        &[(200, "OneLane")],
        lanes::edit,
    ))),
    delete("/queues/{name}", "deleteQueue", "Deletes a lane without tasks.", lanes::delete),
    get(
        "/routes",
        "listRoutes",
        "Lists dispatch routes.",
        NO_QUERY,
        &[(200, "Routes")],
        dispatch_routes::list,
    ),
    get(
        "/routes/{lane}",
        "showRoute",
        "Shows a dispatch route.",
        NO_QUERY,
        &[(200, "OneRoute")],
        dispatch_routes::show,
    ),
    managed(post(
        "/routes",
        "createRoute",
        "Creates a dispatch route for a lane.",
        CREATE_ROUTE,
        &[(201, "OneRoute")],
        dispatch_routes::create,
    )),
    managed(patch(post(
        "/routes/{lane}",
        "editRoute",
        "Changes a dispatch route; keys that are not named stay.",
        EDIT_ROUTE,
        &[(200, "OneRoute")],
        dispatch_routes::edit,
    ))),
    delete(
        "/routes/{lane}",
        "deleteRoute",
        "Deletes a dispatch route that was created over HTTP.",
        dispatch_routes::delete,
    ),
    get(
        "/status",
        "showStatus",
        "Shows the status of the server, its dispatchers and its lanes.",
        NO_QUERY,
        &[(200, "ServerStatus")],
        agents::status,
    ),
    get("/agents", "listAgents", "Lists running agents.", NO_QUERY, &[(200, "Agents")], agents::list),
    get(
        "/agents/{id}",
        "showAgent",
        "Shows the agent that is working on a task.",
        NO_QUERY,
        &[(200, "OneAgent")],
        agents::show,
    ),
    get(
        "/healthz",
        "checkHealth",
        "Checks whether the server can use the queue.",
        NO_QUERY,
        &[(200, "Health")],
        server::health,
    ),
    get(
        "/metrics",
        "showMetrics",
        "Counters for Prometheus.",
        NO_QUERY,
        &[(200, "text/plain; version=0.0.4; charset=utf-8")],
        server::metrics,
    ),
    get(
        "/open",
        "openSession",
        "Logs a browser in: exchanges the code printed by `lanes serve --open`, once, for a cookie.",
        &[required("code", NAME_TEXT, "The code.")],
        &[(303, "text/plain; charset=utf-8")],
        server::open,
    ),
    get(
        "/store/v1",
        "describeStore",
        "For `lanes --store URL`: which store this is, its time, and the version of this protocol.",
        NO_QUERY,
        &[(200, "StoreReply")],
        store_reads::describe,
    ),
    get(
        "/store/v1/watch",
        "watchStore",
        "For `lanes --store URL`: waits for a change; returns the number of the newest one.",
        STORE_WATCH,
        &[(200, "StoreReply")],
        store_reads::watch,
    ),
    get(
        "/store/v1/{name}",
        "readStore",
        "For `lanes --store URL`: reads tasks as they are stored, or facts of lanes.",
        STORE_READ,
        &[(200, "StoreReply")],
        store_reads::read,
    ),
    post(
        "/store/v1/submit",
        "submitToStore",
        "For `lanes --store URL`: submits tasks; each is accepted or refused on its own.",
        STORE_SUBMISSION,
        &[(200, "StoreReply")],
        store_changes::submit,
    ),
    post(
        "/store/v1/claim",
        "claimInStore",
        "For `lanes --store URL`: claims a task with a token of the client.",
        STORE_CLAIM,
        &[(200, "StoreReply")],
        store_changes::claim,
    ),
    post(
        "/store/v1/change",
        "changeInStore",
        "For `lanes --store URL`: changes a task.",
        STORE_CHANGE,
        &[(200, "StoreReply")],
        store_changes::change,
    ),
    post(
        "/store/v1/retry",
        "retryInStore",
        "For `lanes --store URL`: submits a failed task again.",
        STORE_RETRY,
        &[(200, "StoreReply")],
        store_changes::retry,
    ),
    managed(post(
        "/store/v1/pause",
        "pauseInStore",
        "For `lanes --store URL`: pauses or resumes a lane or a vendor.",
        STORE_PAUSE,
        &[(200, "StoreReply")],
        store_changes::pause,
    )),
    get("/openapi.json", "showDocument", "This document.", NO_QUERY, &[(200, "Document")], show_document),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::parser::MAX_LINE;

    /// The longest name in a path, as the OpenAPI document says.
    const MAX_PATH_NAME: usize = 200;

    /// Returns how many characters the longest value of a field has, or the longest item of a list.
    fn longest(kind: FieldKind) -> usize {
        match kind {
            FieldKind::Text(most) | FieldKind::Texts(most) => most,
            FieldKind::OneOf(values) | FieldKind::SomeOf(values) => {
                values.iter().map(|value| value.len()).max().unwrap_or_default()
            }
            // Numbers, times and flags.
            _ => 40,
        }
    }

    #[test]
    fn a_request_line_has_room_for_the_longest_value_of_each_parameter() {
        for HttpRoute { operation, .. } in ROUTES {
            let query: usize =
                operation.query.iter().map(|field| field.name.len() + 2 + longest(field.kind)).sum();
            let line =
                operation.method.len() + operation.path.len() + MAX_PATH_NAME + query + " HTTP/1.1".len();
            assert!(line < MAX_LINE, "{} {}: {line}", operation.method, operation.path);
        }
    }
}
