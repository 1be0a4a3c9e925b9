//! All endpoints: what each takes and returns, and its handler.
//!
//! Requests are checked against this table, and the OpenAPI document is made from it.

use std::sync::OnceLock;

use super::api::fields::*;
use super::api::openapi;
use super::api::operation::Operation;
use super::api::params::{BODY, Field, Kind, may, must};
use super::context::{Call, HandlerResult};
use super::handlers::tasks::MAX_PAGE;
use super::handlers::{
    agents, claims, dispatch_routes, events, lanes, logs, responses, server, submit, tasks, vendors,
};
use super::log_follower::STREAMS;
use super::transport::response::HttpResponse;
use crate::model::Status;
use crate::model::json::Object;

/// An operation with its handler.
pub struct Endpoint {
    /// What it takes and returns.
    pub operation: Operation,
    /// The handler.
    pub run: fn(&Call<'_>) -> HandlerResult,
}

/// An endpoint that reads.
const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    query: &'static [Field],
    responses: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> HandlerResult,
) -> Endpoint {
    let operation =
        Operation { method: "GET", path, id, summary, query, body: None, responses, needs_management: false };
    Endpoint { operation, run }
}

/// An endpoint that changes something.
const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: &'static [Field],
    responses: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> HandlerResult,
) -> Endpoint {
    let endpoint = get(path, id, summary, NO_QUERY, responses, run);
    Endpoint { operation: Operation { method: "POST", body: Some(body), ..endpoint.operation }, run }
}

/// The same endpoint with the method PATCH.
const fn patch(endpoint: Endpoint) -> Endpoint {
    Endpoint { operation: Operation { method: "PATCH", ..endpoint.operation }, run: endpoint.run }
}

/// The same endpoint, only for a server that lets lanes and routes be changed.
const fn managed(endpoint: Endpoint) -> Endpoint {
    Endpoint { operation: Operation { needs_management: true, ..endpoint.operation }, run: endpoint.run }
}

/// A managed endpoint that deletes something.
const fn delete(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    run: fn(&Call<'_>) -> HandlerResult,
) -> Endpoint {
    let endpoint = get(path, id, summary, NO_QUERY, &[(204, "")], run);
    managed(Endpoint { operation: Operation { method: "DELETE", ..endpoint.operation }, run })
}

/// `GET /openapi.json`; here, and not among the handlers, because it shows the table that names them.
fn show_document(_call: &Call<'_>) -> HandlerResult {
    static RESPONSE: OnceLock<HttpResponse> = OnceLock::new();
    Ok(RESPONSE.get_or_init(|| HttpResponse::json(200, &document())).clone().into())
}

/// Returns the OpenAPI document.
pub fn document() -> Object {
    openapi::document(ENDPOINTS.iter().map(|endpoint| &endpoint.operation))
}

/// All endpoints.
pub const ENDPOINTS: &[Endpoint] = &[
    get(
        "/tasks",
        "listTasks",
        "Lists tasks, oldest first, a page at a time.",
        &[
            may("lane", Kind::Texts, "Only of these lanes."),
            may("state", Kind::Words(&Status::WORDS), "Only in these states."),
            may("limit", Kind::Whole(1, MAX_PAGE), "Tasks of a page; 100 by default."),
            may("cursor", TEXT, "The `next_cursor` of the page before."),
        ],
        &[(200, "TaskPage")],
        tasks::list,
    ),
    post(
        "/tasks",
        "submitTask",
        "Submits a task.",
        SUBMIT,
        &[(201, "Submitted"), (200, "Submitted")],
        submit::submit,
    ),
    post(
        "/tasks/batch",
        "submitTasks",
        "Submits many tasks; each is taken or refused for itself.",
        &[must("tasks", Kind::Items, "What `POST /tasks` takes, each.")],
        &[(200, "SubmittedBatch")],
        submit::submit_batch,
    ),
    get(
        "/tasks/next",
        "nextTask",
        "Waits for a task that can be claimed, without claiming it.",
        &[
            must("lane", Kind::Texts, "The lanes, in the order in which they are looked at."),
            may("match", Kind::Texts, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
            WAIT_SECONDS,
        ],
        &[(200, "MaybeTask")],
        claims::next,
    ),
    post(
        "/tasks/claim",
        "claimNext",
        "Claims the next task that fits, in one step; waits for one if told to.",
        &[
            may("lanes", Kind::Texts, "The lanes, in the order in which they are looked at."),
            may("lane", LANE_TEXT, "The same for one lane."),
            may("match", Kind::Texts, "Conditions on the metadata: KEY=VALUE[,VALUE]."),
            OWNER,
            LEASE_SECONDS,
            may("wait_seconds", WAIT, "How long to wait for one, in seconds; 0 by default."),
        ],
        &[(200, "MaybeClaimed")],
        claims::claim_next,
    ),
    get(
        "/tasks/wait",
        "waitForTasks",
        "Waits for the responses of several tasks.",
        &[
            must("id", Kind::Texts, "The tasks."),
            may("mode", Kind::Word(&["all", "any"]), "All of them (by default), or the first."),
            WAIT_SECONDS,
        ],
        &[(200, "Answered")],
        responses::wait_several,
    ),
    get("/tasks/{id}", "showTask", "Shows a task.", NO_QUERY, &[(200, "BoardTask")], tasks::show),
    patch(post(
        "/tasks/{id}",
        "editTask",
        "Changes the words that people see of a task; the request stays what was submitted.",
        &[
            may("name", TEXT, "The title."),
            may("description", Kind::Text(BODY), "The description."),
            may("labels", Kind::Texts, "All labels."),
            may("assignees", Kind::Texts, "All assignees."),
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
        "Keeps a claimed task longer.",
        &[TOKEN, may("lease_seconds", LEASE, "From now; the claim's own length by default.")],
        &[(200, "Claimed")],
        claims::renew,
    ),
    post(
        "/tasks/{id}/release",
        "releaseClaim",
        "Gives a claimed task back.",
        &[
            TOKEN,
            may("reason", LONG, "Why."),
            may("delay_seconds", DELAY, "Not to be claimed again for this long."),
            may("failure_class", CLASSES, "The attempt counts as spent, for this reason."),
        ],
        &[(200, "OneTask")],
        claims::release,
    ),
    post(
        "/tasks/{id}/response",
        "respond",
        "Answers a task.",
        RESPOND,
        &[(200, "Responded")],
        responses::give,
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
        "Adds a line to a task's history.",
        &[
            may("type", TEXT, "One word; `note` by default."),
            may("message", LONG, "What happened."),
            may("data", Kind::Map, "Details."),
            may("claim_token", TEXT, "The proof of the claim, if the writer says that it holds the task."),
        ],
        &[(200, "Done")],
        events::add,
    ),
    get(
        "/tasks/{id}/events",
        "followTask",
        "Streams a task's history as server-sent events; 204 when a client that has all of it comes again.",
        &[SINCE],
        &[(200, "text/event-stream"), (204, "")],
        events::follow_task,
    ),
    post(
        "/tasks/{id}/comments",
        "addComment",
        "Adds a comment.",
        &[must("comment", LONG, "The words."), may("author", WORDS, "Whose they are.")],
        &[(201, "Comments")],
        events::comment,
    ),
    post(
        "/tasks/{id}/move",
        "moveTask",
        "Puts a task into another lane.",
        &[
            may("lane", LANE_TEXT, "The lane."),
            may("target_queue", LANE_TEXT, "The same, as boards call it."),
        ],
        &[(200, "BoardTask")],
        tasks::move_to,
    ),
    post(
        "/tasks/{id}/cancel",
        "cancelTask",
        "Ends a task without an answer.",
        &[may("reason", LONG, "Why."), BY],
        &[(200, "Changed")],
        tasks::cancel,
    ),
    post(
        "/tasks/{id}/retry",
        "retryTask",
        "Submits a failed task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        tasks::retry,
    ),
    post(
        "/tasks/{id}/redrive",
        "redriveTask",
        "Submits a dead task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        tasks::redrive,
    ),
    get(
        "/tasks/{id}/why",
        "explainTask",
        "Tells the one thing that a task waits for.",
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
            may("follow", Kind::Flag, "Go on until the task ends."),
            may(
                "stream",
                Kind::Word(&STREAMS),
                "Which output; stdout by default; prompt is what the agent was told.",
            ),
            may("attempt", Kind::Whole(1, 1_000_000), "Which run; the newest by default."),
        ],
        &[(200, "text/plain; charset=utf-8")],
        logs::show,
    ),
    get(
        "/events",
        "followAll",
        "Streams all changes as server-sent events, with ids that order them.",
        &[SINCE, may("lane", LANE_TEXT, "Only of this lane.")],
        &[(200, "text/event-stream")],
        events::follow_all,
    ),
    get("/lanes", "listLanes", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lanes::list),
    get("/lanes/{name}", "showLane", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lanes::show),
    managed(post(
        "/lanes",
        "createLane",
        "Describes a lane.",
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
        "Hands out nothing of a lane.",
        &[may("reason", LONG, "Why.")],
        &[(200, "Paused")],
        lanes::pause,
    )),
    managed(post(
        "/lanes/{name}/resume",
        "resumeLane",
        "Hands out the tasks of a lane again.",
        &[],
        &[(200, "Paused")],
        lanes::resume,
    )),
    post(
        "/lanes/{name}/redrive",
        "redriveLane",
        "Submits all dead tasks of a lane again that were not retried yet.",
        &[BY],
        &[(200, "Redriven")],
        tasks::redrive_lane,
    ),
    delete("/lanes/{name}", "deleteLane", "Deletes a lane without tasks.", lanes::delete),
    get(
        "/vendors",
        "listVendors",
        "Lists the vendors that are not used at present.",
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
        "Uses a vendor again, whatever it is paused for.",
        RESUME_VENDOR,
        &[(200, "PausedVendor")],
        vendors::resume,
    )),
    get("/queues", "listQueues", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lanes::list),
    get("/queues/{name}", "showQueue", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lanes::show),
    managed(post(
        "/queues",
        "createQueue",
        "Describes a lane.",
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
        "Gives a lane a dispatch route.",
        CREATE_ROUTE,
        &[(201, "OneRoute")],
        dispatch_routes::create,
    )),
    managed(patch(post(
        "/routes/{lane}",
        "editRoute",
        "Changes a dispatch route; what is not named stays.",
        EDIT_ROUTE,
        &[(200, "OneRoute")],
        dispatch_routes::edit,
    ))),
    delete(
        "/routes/{lane}",
        "deleteRoute",
        "Deletes a dispatch route that was made over HTTP.",
        dispatch_routes::delete,
    ),
    get(
        "/status",
        "showStatus",
        "Shows what is going on.",
        NO_QUERY,
        &[(200, "ServerStatus")],
        agents::status,
    ),
    get("/agents", "listAgents", "Lists running agents.", NO_QUERY, &[(200, "Agents")], agents::list),
    get(
        "/agents/{id}",
        "showAgent",
        "Shows the agent that works on a task.",
        NO_QUERY,
        &[(200, "OneAgent")],
        agents::show,
    ),
    get(
        "/healthz",
        "checkHealth",
        "Whether the server can do its work.",
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
        "Lets a browser in: takes the code that `lanes serve --open` has printed, once, and sets a cookie.",
        &[must("code", TEXT, "The code.")],
        &[(303, "text/plain; charset=utf-8")],
        server::open,
    ),
    get("/openapi.json", "showDocument", "This document.", NO_QUERY, &[(200, "Document")], show_document),
];
