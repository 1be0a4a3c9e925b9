//! New tasks: `POST /tasks`, `POST /tasks/batch`.
//!
//! Two forms in one route. agent-lanes' form names everything (workspace, request and response file); the short form
//! names a lane and a prompt (`queue_name` and `description` on boards) or a request file, and takes the rest from
//! the server's own workspace.
//!
//! The handlers do not wait for the disk: a single submit is handed to the batch thread, one that names large files
//! to the reader threads, and the handler returns [`Reply::Deferred`]. That other thread sends the response.

use crate::error::{Error, Result};
use crate::http::api::fields::SUBMIT;
use crate::http::api::params::Params;
use crate::http::context::{Call, HandlerResult};
use crate::http::responder::Responder;
use crate::http::submit_draft::{
    MAX_FILES, SubmitDraft, failed_check, files_too_large, size_of_files, submit_drafts,
};
use crate::http::submit_readers::LargeSubmit;
use crate::http::transport::response::HttpResponse;
use crate::http::transport::service::Reply;
use crate::model::IdempotencyKey;

/// The maximum number of bytes of files that the handler reads itself; the reader threads read more.
const MAX_INLINE_READ: u64 = 4 * 1024 * 1024;

/// `POST /tasks`: the batch thread sends the response.
pub(crate) fn submit(call: &Call<'_>) -> HandlerResult {
    let app = call.app;
    if call.body.has("verify") {
        check_commands_are_allowed(call)?;
    }
    let files = app.hashes();
    let draft =
        SubmitDraft::read(&app.config, &app.allowed_paths, &call.body, key(call)?.map(String::from), &files)?;
    if has_large_files([&draft])? {
        return app.submit_readers.send(call.defer(), LargeSubmit::One(Box::new(draft)), files);
    }
    let checked = draft.check(&app.store).map_err(|error| failed_check(&files, app.is_stopping(), error))?;
    let refused = app.submit_batcher.submit(call.defer(), checked);
    refused.map_or(Ok(Reply::Deferred), |_| Err(HttpResponse::stopping()))
}

/// `POST /tasks/batch`: each task is accepted or refused on its own.
pub(crate) fn submit_batch(call: &Call<'_>) -> HandlerResult {
    let app = call.app;
    let common = key(call)?;
    if call.body.items("tasks").iter().any(|item| item.get("verify").is_some()) {
        check_commands_are_allowed(call)?;
    }
    let files = app.hashes();
    let read = |(number, item)| {
        let derived = common.as_ref().map(|key| format!("{key}#{number}"));
        let item = Params::from_item(SUBMIT, item)?;
        let key = item.text("key").or(derived);
        SubmitDraft::read(&app.config, &app.allowed_paths, &item, key, &files)
    };
    let drafts: Vec<Result<SubmitDraft>> = call.body.items("tasks").iter().enumerate().map(read).collect();
    if has_large_files(drafts.iter().flatten())? {
        return app.submit_readers.send(call.defer(), LargeSubmit::Batch(drafts), files);
    }
    Ok(submit_drafts(&app.store, drafts)?.into())
}

/// Refuses commands in tasks unless the server was started with the right to choose what runs.
pub(super) fn check_commands_are_allowed(call: &Call<'_>) -> std::result::Result<(), HttpResponse> {
    if call.app.route_rules.programs {
        return Ok(());
    }
    let text = "'verify' decides what runs on this machine; start with --allow-route-programs to have it set over HTTP, or set it in the route of the lane";
    Err(HttpResponse::error(403, "programs_disabled", text))
}

/// Returns whether the files of these drafts are left to the reader threads.
fn has_large_files<'a>(
    drafts: impl IntoIterator<Item = &'a SubmitDraft>,
) -> std::result::Result<bool, HttpResponse> {
    let bytes = size_of_files(drafts);
    if bytes > MAX_FILES { Err(files_too_large()) } else { Ok(bytes > MAX_INLINE_READ) }
}

/// Returns the idempotency key, by header or by field.
fn key(call: &Call<'_>) -> Result<Option<IdempotencyKey>> {
    let header = call.request.header("idempotency-key").map(str::to_string);
    if call.request.count("idempotency-key") > 1 {
        return Err(Error::invalid("Idempotency-Key is given twice"));
    }
    match (header, call.body.text("key")) {
        (Some(header), Some(field)) if header != field => {
            Err(Error::invalid("Idempotency-Key and the field 'key' differ"))
        }
        (header, field) => header.or(field).map(IdempotencyKey::new).transpose(),
    }
}
