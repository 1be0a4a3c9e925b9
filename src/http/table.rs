//! Every route there is: what it takes, what it gives, and who answers.
//!
//! Requests are checked against this list and the OpenAPI document is made from it.

use super::app::{Call, Outcome};
use super::fields::*;
use super::input::{BODY, Field, Kind, may, must};
use super::route::Route;
use super::run_log::STREAMS;
use super::task::MAX_PAGE;
use super::{
    agent, claim, dispatch, event, health, lane, metrics, open, openapi, response, run_log, submit, task,
};
use crate::model::Status;

const fn get(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    query: &'static [Field],
    gives: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    Route { method: "GET", path, name, about, query, body: None, gives, is_managing: false, run }
}

const fn post(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    body: &'static [Field],
    gives: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    let body = Some(body);
    Route { method: "POST", path, name, about, query: NO_QUERY, body, gives, is_managing: false, run }
}

const fn manage(method: &'static str, route: Route) -> Route {
    Route { method, is_managing: true, ..route }
}

const fn delete(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    let route = get(path, name, about, NO_QUERY, &[(204, "")], run);
    manage("DELETE", route)
}

/// All routes.
pub const ROUTES: &[Route] = &[
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
        task::list,
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
        claim::next,
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
        claim::claim_next,
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
        response::wait_several,
    ),
    get("/tasks/{id}", "showTask", "Shows a task.", NO_QUERY, &[(200, "BoardTask")], task::show),
    Route {
        method: "PATCH",
        ..post(
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
            task::edit,
        )
    },
    post(
        "/tasks/{id}/claim",
        "claimTask",
        "Claims a task.",
        &[OWNER, LEASE_SECONDS],
        &[(200, "Claimed")],
        claim::claim,
    ),
    post(
        "/tasks/{id}/renew",
        "renewClaim",
        "Keeps a claimed task longer.",
        &[TOKEN, may("lease_seconds", LEASE, "From now; the claim's own length by default.")],
        &[(200, "Claimed")],
        claim::renew,
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
        claim::release,
    ),
    post(
        "/tasks/{id}/response",
        "respond",
        "Answers a task.",
        RESPOND,
        &[(200, "Responded")],
        response::give,
    ),
    get(
        "/tasks/{id}/response",
        "waitForResponse",
        "Waits for the response to a task.",
        &[WAIT_SECONDS],
        &[(200, "OneResponse")],
        response::wait_one,
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
        event::add,
    ),
    get(
        "/tasks/{id}/events",
        "followTask",
        "Streams a task's history as server-sent events; 204 when a client that has all of it comes again.",
        &[SINCE],
        &[(200, "text/event-stream"), (204, "")],
        event::follow_task,
    ),
    post(
        "/tasks/{id}/comments",
        "addComment",
        "Adds a comment.",
        &[must("comment", LONG, "The words."), may("author", WORDS, "Whose they are.")],
        &[(201, "Comments")],
        event::comment,
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
        task::move_to,
    ),
    post(
        "/tasks/{id}/cancel",
        "cancelTask",
        "Ends a task without an answer.",
        &[may("reason", LONG, "Why."), BY],
        &[(200, "Changed")],
        task::cancel,
    ),
    post(
        "/tasks/{id}/retry",
        "retryTask",
        "Submits a failed task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        task::retry,
    ),
    post(
        "/tasks/{id}/redrive",
        "redriveTask",
        "Submits a dead task again, as a new one.",
        &[BY],
        &[(201, "Retried"), (200, "Retried")],
        task::redrive,
    ),
    get(
        "/tasks/{id}/why",
        "explainTask",
        "Tells the one thing that a task waits for.",
        NO_QUERY,
        &[(200, "Reason")],
        task::why,
    ),
    get(
        "/tasks/{id}/history",
        "showHistory",
        "Shows a task with all of its events and its response.",
        NO_QUERY,
        &[(200, "History")],
        task::history,
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
        run_log::show,
    ),
    get(
        "/events",
        "followAll",
        "Streams all changes as server-sent events, with ids that order them.",
        &[SINCE, may("lane", LANE_TEXT, "Only of this lane.")],
        &[(200, "text/event-stream")],
        event::follow_all,
    ),
    get("/lanes", "listLanes", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lane::list),
    get("/lanes/{name}", "showLane", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lane::show),
    manage(
        "POST",
        post("/lanes", "createLane", "Describes a lane.", CREATE_LANE, &[(201, "OneLane")], lane::create),
    ),
    manage(
        "PATCH",
        post("/lanes/{name}", "editLane", "Changes a lane.", EDIT_LANE, &[(200, "OneLane")], lane::edit),
    ),
    manage(
        "POST",
        post(
            "/lanes/{name}/pause",
            "pauseLane",
            "Hands out nothing of a lane.",
            &[may("reason", LONG, "Why.")],
            &[(200, "Paused")],
            lane::pause,
        ),
    ),
    manage(
        "POST",
        post(
            "/lanes/{name}/resume",
            "resumeLane",
            "Hands out the tasks of a lane again.",
            &[],
            &[(200, "Paused")],
            lane::resume,
        ),
    ),
    post(
        "/lanes/{name}/redrive",
        "redriveLane",
        "Submits all dead tasks of a lane again that were not retried yet.",
        &[BY],
        &[(200, "Redriven")],
        task::redrive_lane,
    ),
    delete("/lanes/{name}", "deleteLane", "Deletes a lane without tasks.", lane::delete),
    get("/queues", "listQueues", "Lists lanes.", NO_QUERY, &[(200, "Lanes")], lane::list),
    get("/queues/{name}", "showQueue", "Shows a lane.", NO_QUERY, &[(200, "OneLane")], lane::show),
    manage(
        "POST",
        post("/queues", "createQueue", "Describes a lane.", CREATE_LANE, &[(201, "OneLane")], lane::create),
    ),
    manage(
        "PATCH",
        post("/queues/{name}", "editQueue", "Changes a lane.", EDIT_LANE, &[(200, "OneLane")], lane::edit),
    ),
    delete("/queues/{name}", "deleteQueue", "Deletes a lane without tasks.", lane::delete),
    get("/routes", "listRoutes", "Lists dispatch routes.", NO_QUERY, &[(200, "Routes")], dispatch::list),
    get(
        "/routes/{lane}",
        "showRoute",
        "Shows a dispatch route.",
        NO_QUERY,
        &[(200, "OneRoute")],
        dispatch::show,
    ),
    manage(
        "POST",
        post(
            "/routes",
            "createRoute",
            "Gives a lane a dispatch route.",
            CREATE_ROUTE,
            &[(201, "OneRoute")],
            dispatch::create,
        ),
    ),
    manage(
        "PATCH",
        post(
            "/routes/{lane}",
            "editRoute",
            "Changes a dispatch route; what is not named stays.",
            EDIT_ROUTE,
            &[(200, "OneRoute")],
            dispatch::edit,
        ),
    ),
    delete(
        "/routes/{lane}",
        "deleteRoute",
        "Deletes a dispatch route that was made over HTTP.",
        dispatch::delete,
    ),
    get(
        "/status",
        "showStatus",
        "Shows what is going on.",
        NO_QUERY,
        &[(200, "ServerStatus")],
        agent::status,
    ),
    get("/agents", "listAgents", "Lists running agents.", NO_QUERY, &[(200, "Agents")], agent::list),
    get(
        "/agents/{id}",
        "showAgent",
        "Shows the agent that works on a task.",
        NO_QUERY,
        &[(200, "OneAgent")],
        agent::show,
    ),
    get(
        "/healthz",
        "checkHealth",
        "Whether the server can do its work.",
        NO_QUERY,
        &[(200, "Health")],
        health::show,
    ),
    get(
        "/metrics",
        "showMetrics",
        "Counters for Prometheus.",
        NO_QUERY,
        &[(200, "text/plain; version=0.0.4; charset=utf-8")],
        metrics::show,
    ),
    get(
        "/open",
        "openSession",
        "Lets a browser in: takes the code that `lanes serve --open` has printed, once, and sets a cookie.",
        &[must("code", TEXT, "The code.")],
        &[(303, "text/plain; charset=utf-8")],
        open::open,
    ),
    get("/openapi.json", "showDocument", "This document.", NO_QUERY, &[(200, "Document")], openapi::show),
];
