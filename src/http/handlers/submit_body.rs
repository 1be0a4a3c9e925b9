//! A task as a client wants it, in either form of `POST /tasks`, before its files are read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::submit::check_metadata;
use crate::error::{Error, Result};
use crate::http::allowed_paths;
use crate::http::api::params::{Input, missing};
use crate::http::context::{App, blame_client};
use crate::model::json::Object;
use crate::workspace::{Base, Checked, Config, Fingerprints, SubmitWish, check_submit};

/// Any of these fields makes it agent-lanes' form.
const FULL: [&str; 5] = ["workspace_id", "workspace_root", "request_path", "response_path", "checkpoint_id"];

/// What a body says of a task.
pub struct Draft {
    config: Config,
    wish: SubmitWish,
    metadata: Object,
    warnings: Vec<String>,
}

impl Draft {
    /// Reads the fields of a body; `files` are the fingerprints of the whole request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(app: &App, body: &Input, key: Option<String>, files: &Fingerprints) -> Result<Self> {
        let is_full = FULL.iter().any(|name| body.has(name));
        let (config, mut wish) = if is_full { full(app, body)? } else { (app.config.clone(), short(body)?) };
        wish.key = key;
        wish.source_agent = body.text_or("source_agent", "api");
        wish.supporting =
            body.texts("supporting_paths").unwrap_or_default().into_iter().map(PathBuf::from).collect();
        wish.priority = body.whole("priority");
        wish.not_before = body.time("not_before");
        wish.delay_seconds = body.seconds("delay_seconds");
        wish.max_attempts = body.whole("max_attempts");
        wish.timeout_seconds = body.seconds("timeout_seconds");
        wish.name = body.text("name");
        wish.labels = body.texts("labels").unwrap_or_default();
        wish.worktree_path = body.text("worktree_path").map(PathBuf::from);
        wish.for_client = true;
        wish.fingerprints = files.clone();

        let metadata = body.map("metadata");
        check_metadata(&metadata)?;
        allowed_paths::settle(app, &config.workspace_root, &mut wish)?;
        let warnings = body.warning().into_iter().chain(two_prompts(body)).collect();
        Ok(Self { config, wish, metadata, warnings })
    }

    /// Checks it against the rules of the workspace, for which its files are read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, app: &App) -> Result<Checked> {
        let root = self.config.workspace_root.clone();
        let mut checked = check_submit(&self.config, &Base::at(root), app.store.now().wall, self.wish)
            .map_err(blame_client)?;
        // A shell can only give texts; here any JSON will do.
        checked.task.spec.metadata = self.metadata;
        checked.warnings.extend(self.warnings);
        Ok(checked)
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.wish.request_from.iter().chain(&self.wish.supporting).map(PathBuf::as_path)
    }
}

/// How many bytes have to be read for these.
pub fn weight<'a>(drafts: impl IntoIterator<Item = &'a Draft>) -> u64 {
    let mut sizes = HashMap::new();
    for path in drafts.into_iter().flat_map(Draft::files) {
        sizes.entry(path).or_insert_with(|| std::fs::metadata(path).map_or(0, |there| there.len()));
    }
    sizes.into_values().sum()
}

fn full(app: &App, body: &Input) -> Result<(Config, SubmitWish)> {
    let workspace_id = body.needed("workspace_id")?;
    if workspace_id.trim().is_empty() {
        return Err(Error::invalid("'workspace_id' is empty"));
    }
    let correlation_id = body
        .text("correlation_id")
        .or_else(|| body.text("checkpoint_id"))
        .ok_or_else(|| missing("correlation_id"))?;
    let lane = body.needed("lane")?;
    let workspace_root = allowed_paths::workspace_root(app, &body.needed("workspace_root")?)?;
    let request = body.needed("request_path")?;
    let response = body.needed("response_path")?;
    let config = Config { workspace_id, workspace_root, ..app.config.clone() };
    let wish = SubmitWish {
        lane: Some(lane),
        correlation_id: Some(correlation_id),
        request_from: Some(request.into()),
        response_to: Some(response.into()),
        prompt: first_said(body, &["prompt", "description"]).map(str::to_string),
        branch: body.text("expected_branch"),
        ..SubmitWish::default()
    };
    Ok((config, wish))
}

fn short(body: &Input) -> Result<SubmitWish> {
    let lane = body.text("lane").or_else(|| body.text("queue_name")).ok_or_else(|| missing("lane"))?;
    // A card that has nothing but a title is still something to do.
    let has_request = body.has("request_from");
    let names = ["prompt", "description", "name"];
    let prompt = first_said(body, if has_request { &names[..2] } else { &names });
    if prompt.is_none() && !has_request {
        return Err(missing("prompt").with_hint(
            "beside the lane give prompt, description, name or request_from; or agent-lanes' form: \
             workspace_id, correlation_id, workspace_root, request_path and response_path",
        ));
    }
    Ok(SubmitWish {
        lane: Some(lane),
        correlation_id: body.text("correlation_id"),
        request_from: body.text("request_from").map(PathBuf::from),
        response_to: body.text("response_to").map(PathBuf::from),
        prompt: prompt.map(str::to_string),
        branch: body.text("expected_branch"),
        ..SubmitWish::default()
    })
}

/// The first of these fields that says something.
fn first_said<'a>(body: &'a Input, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| body.str(name).filter(|text| !text.trim().is_empty()))
}

fn two_prompts(body: &Input) -> Option<String> {
    let (prompt, description) = (first_said(body, &["prompt"])?, first_said(body, &["description"])?);
    (prompt != description)
        .then(|| "the body has both prompt and description: the prompt is used".to_string())
}
