//! A task as a client submits it, in either form of `POST /tasks`: read from the body, then checked against the
//! rules of the workspace.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::allowed_paths::AllowedPaths;
use super::api::params::{Params, missing};
use super::transport::response::{HttpResponse, members, ok};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, SubmittedTask};
use crate::workspace::{
    BaseDir, CheckedSubmit, Config, FileHashes, LineResult, SUBMIT_FIELDS, SubmitContext, SubmitRequest,
    SubmitValue, TaskBatch, check_client_metadata, check_submit, misspelt_lane,
};

/// The maximum total size of the files of one request, in bytes.
pub(super) const MAX_FILES: u64 = 1024 * 1024 * 1024;
/// The fields of which each marks agent-lanes' form.
const FULL_FORM_FIELDS: [&str; 5] =
    ["workspace_id", "workspace_root", "request_path", "response_path", "checkpoint_id"];

/// A task to submit whose files have not been read yet.
pub(crate) struct SubmitDraft {
    config: Config,
    request: SubmitRequest,
    files: FileHashes,
    warnings: Vec<String>,
}

impl SubmitDraft {
    /// Reads the fields of a body; `files` are the hashes of the whole request.
    ///
    /// # Errors
    /// `Invalid` when fields are missing or contradict each other, or a path leads where it must not.
    pub(crate) fn read(
        config: &Config,
        paths: &AllowedPaths,
        body: &Params,
        key: Option<String>,
        files: &FileHashes,
    ) -> Result<Self> {
        let is_full = FULL_FORM_FIELDS.iter().any(|name| body.has(name));
        let (config, mut request) =
            if is_full { full_form(config, paths, body)? } else { (config.clone(), short_form(body)?) };
        request.key = key;
        request.source_agent.get_or_insert_with(|| "api".to_string());
        check_client_metadata(&request.metadata)?;
        paths.resolve_all(&config.workspace_root, &mut request)?;
        let warnings = body.warning().into_iter().chain(two_prompts(body)).collect();
        Ok(Self { config, request, files: files.clone(), warnings })
    }

    /// Checks the task against the rules of the workspace, for which its files are read.
    ///
    /// # Errors
    /// `Invalid` when the task breaks a rule or a file cannot be read.
    pub(crate) fn check(self, store: &Store) -> Result<CheckedSubmit> {
        let base = BaseDir::at(&self.config.workspace_root);
        let context = SubmitContext {
            for_client: true,
            hashes: self.files,
            ..SubmitContext::new(&self.config, &base, store.now().wall)
        };
        let mut checked = check_submit(&context, self.request).map_err(as_invalid)?;
        checked.warnings.extend(self.warnings);
        checked.warnings.extend(misspelt_lane(&self.config, store, &checked.task.spec.lane));
        Ok(checked)
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.request.request_from.iter().chain(&self.request.supporting_paths).map(PathBuf::as_path)
    }
}

/// Returns the size of all files that the drafts name, in bytes.
pub(super) fn size_of_files<'a>(drafts: impl IntoIterator<Item = &'a SubmitDraft>) -> u64 {
    let mut sizes = HashMap::new();
    for path in drafts.into_iter().flat_map(SubmitDraft::files) {
        sizes.entry(path).or_insert_with(|| std::fs::metadata(path).map_or(0, |there| there.len()));
    }
    sizes.into_values().sum()
}

/// Reads the fields that both forms have.
fn common(body: &Params) -> SubmitRequest {
    let mut request = SubmitRequest::default();
    for field in &SUBMIT_FIELDS {
        let Some(name) = field.body else { continue };
        match field.value {
            SubmitValue::Text(_, slot) => *slot(&mut request) = body.text(name),
            SubmitValue::Path(slot) => *slot(&mut request) = body.text(name).map(PathBuf::from),
            SubmitValue::Paths(slot) => {
                let paths = body.texts(name).unwrap_or_default();
                *slot(&mut request) = paths.into_iter().map(PathBuf::from).collect();
            }
            SubmitValue::Texts(slot) => *slot(&mut request) = body.texts(name).unwrap_or_default(),
            SubmitValue::Integer(_, _, slot) => *slot(&mut request) = body.integer(name),
            SubmitValue::Seconds(_, slot) => *slot(&mut request) = body.seconds(name),
            SubmitValue::Time(slot) => *slot(&mut request) = body.time(name),
            SubmitValue::Map(slot) => *slot(&mut request) = body.map(name),
            SubmitValue::Dependencies(on, slot) => {
                *slot(&mut request) = body.dependencies(name, on);
            }
            SubmitValue::Schema(slot) if body.has(name) => {
                *slot(&mut request) = Some(Value::Object(body.map(name)));
            }
            SubmitValue::Schema(_) => {}
            SubmitValue::Commands(slot) => *slot(&mut request) = body.commands(name),
        }
    }
    request
}

/// Reads agent-lanes' form, which names everything.
fn full_form(config: &Config, paths: &AllowedPaths, body: &Params) -> Result<(Config, SubmitRequest)> {
    let workspace_id = body.needed("workspace_id")?;
    if workspace_id.trim().is_empty() {
        return Err(Error::invalid("'workspace_id' is empty"));
    }
    let correlation_id = body
        .text("correlation_id")
        .or_else(|| body.text("checkpoint_id"))
        .ok_or_else(|| missing("correlation_id"))?;
    let lane = body.needed("lane")?;
    let workspace_root = paths.workspace_root(&body.needed("workspace_root")?)?;
    let request_path = body.needed("request_path")?;
    let response_path = body.needed("response_path")?;
    let config = Config { workspace_id, workspace_root, ..config.clone() };
    let request = SubmitRequest {
        lane: Some(lane),
        correlation_id: Some(correlation_id),
        request_from: Some(request_path.into()),
        response_to: Some(response_path.into()),
        prompt: first_filled(body, &["prompt", "description"]).map(str::to_string),
        ..common(body)
    };
    Ok((config, request))
}

/// Reads the short form: a lane, and a prompt or a request file.
fn short_form(body: &Params) -> Result<SubmitRequest> {
    let lane = body.text("lane").or_else(|| body.text("queue_name")).ok_or_else(|| missing("lane"))?;
    // A card on a board that has nothing but a title is still a task.
    let has_request = body.has("request_from");
    let names = ["prompt", "description", "name"];
    let prompt = first_filled(body, if has_request { &names[..2] } else { &names });
    if prompt.is_none() && !has_request {
        return Err(missing("prompt").with_hint(
            "besides the lane, give prompt, description, name or request_from; or agent-lanes' form: \
             workspace_id, correlation_id, workspace_root, request_path and response_path",
        ));
    }
    Ok(SubmitRequest { lane: Some(lane), prompt: prompt.map(str::to_string), ..common(body) })
}

/// Returns the first of these fields that is not blank.
fn first_filled<'a>(body: &'a Params, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| body.str(name).filter(|text| !text.trim().is_empty()))
}

/// Returns the warning about a body with both a prompt and a description.
fn two_prompts(body: &Params) -> Option<String> {
    let (prompt, description) = (first_filled(body, &["prompt"])?, first_filled(body, &["description"])?);
    (prompt != description)
        .then(|| "the body has both prompt and description: the prompt is used".to_string())
}

/// Converts an error of the operating system to `Invalid`, since the client's paths caused it.
fn as_invalid(error: Error) -> Error {
    if error.kind() == ErrorKind::Io { Error::invalid(error.to_string()) } else { error }
}

/// Returns the response to a request whose files are too large.
pub(super) fn files_too_large() -> HttpResponse {
    let most = MAX_FILES / (1024 * 1024);
    let text = format!(
        "the files that this request names are larger than {most} MiB together; `lanes submit` takes any size"
    );
    HttpResponse::error(413, "files_too_large", &text)
}

/// Returns the response to a submit that failed with `error` after its files were read.
pub(super) fn failed_check(files: &FileHashes, is_stopping: bool, error: Error) -> HttpResponse {
    if files.is_exceeded() {
        // A file has grown since its size was read.
        files_too_large()
    } else if is_stopping {
        HttpResponse::stopping()
    } else {
        error.into()
    }
}

/// Checks and submits the tasks of a batch; each is accepted or refused on its own.
///
/// # Errors
/// The error of the store for the batch as a whole.
pub(super) fn submit_drafts(store: &Store, drafts: Vec<Result<SubmitDraft>>) -> Result<HttpResponse> {
    let count = drafts.len();
    let mut results: Vec<Option<Result<SubmittedTask>>> = (0..count).map(|_| None).collect();
    let mut warnings: Vec<Vec<String>> = vec![Vec::new(); count];
    match submit_lines(store, drafts, &mut results, &mut warnings) {
        // Nothing is stored, so the client may send all of it again.
        Err(error) if !results.iter().any(|result| matches!(result, Some(Ok(_)))) => return Err(error),
        Err(error) => {
            let same = || Err(Error::new(error.kind(), error.message()));
            results.iter_mut().filter(|result| result.is_none()).for_each(|result| *result = Some(same()));
        }
        Ok(()) => {}
    }
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for (index, (result, warnings)) in results.into_iter().zip(warnings).enumerate() {
        match result {
            Some(Ok(submitted)) => tasks.push(Value::Object(members([
                ("index", index.into()),
                ("task_id", submitted.task.id.as_str().into()),
                ("existing", submitted.existing.into()),
                ("warnings", warnings.into()),
            ]))),
            Some(Err(error)) => errors.push(Value::Object(members([
                ("index", index.into()),
                ("code", error.kind().code().into()),
                ("error", error.to_string().into()),
            ]))),
            None => {}
        }
    }
    let status = if errors.is_empty() { "ok" } else { "partly_refused" };
    Ok(ok([
        ("status", status.into()),
        ("count", tasks.len().into()),
        ("tasks", tasks.into()),
        ("errors", errors.into()),
    ]))
}

/// Checks and submits the tasks of a batch. Enters the result and the warnings of each at its place.
fn submit_lines(
    store: &Store,
    drafts: Vec<Result<SubmitDraft>>,
    results: &mut [Option<Result<SubmittedTask>>],
    warnings: &mut [Vec<String>],
) -> Result<()> {
    let mut batch = TaskBatch::new(store);
    let mut enter = |ended: Vec<LineResult>| {
        for (number, result) in ended {
            // Lines are counted from 1, places from 0.
            if let Some(place) = usize::try_from(number).ok().and_then(|number| results.get_mut(number - 1)) {
                *place = Some(result);
            }
        }
    };
    for (number, (draft, warnings)) in (1..).zip(drafts.into_iter().zip(warnings)) {
        match draft.and_then(|draft| draft.check(store)) {
            Ok(fine) => {
                *warnings = fine.warnings;
                enter(batch.add(number, fine.task)?);
            }
            Err(error) => enter(vec![(number, Err(error))]),
        }
    }
    enter(batch.submit()?);
    Ok(())
}
