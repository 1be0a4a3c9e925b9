//! The answers of the tasks that a task has waited for, as its worker gets them.

use serde_json::Value;

use crate::error::Result;
use crate::model::excerpt::{MAX_ANSWER_BYTES, MAX_ANSWERS_BYTES, head_and_tail};
use crate::model::json::Object;
use crate::model::task::object;
use crate::model::{Task, TaskId};
use crate::store::Store;

/// The answer of one dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DependencyAnswer {
    /// The id of the dependency.
    pub task_id: String,
    /// Its state; `gone` when it is not in the store any more.
    pub state: String,
    /// Who answered it, if it is answered.
    pub reviewer: Option<String>,
    /// The answer, of which the middle may be left out; `None` without one, and when all before it are long.
    pub body: Option<String>,
    /// The path of the file that holds all of it, if `body` does not.
    pub whole_text: Option<String>,
}

impl DependencyAnswer {
    /// Returns it as JSON for programs.
    pub(crate) fn to_object(&self) -> Object {
        object([
            ("task_id", self.task_id.as_str().into()),
            ("state", self.state.as_str().into()),
            ("reviewer", self.reviewer.clone().into()),
            ("answer", self.body.clone().into()),
            ("whole_text", self.whole_text.clone().into()),
        ])
    }
}

/// Returns the answers of the dependencies of a task, in their order. Each is cut to 64 KiB, and all together to
/// 192 KiB.
///
/// # Errors
/// The error of the store, when a dependency or its answer cannot be read.
pub(crate) fn dependency_answers(store: &Store, task: &Task) -> Result<Vec<DependencyAnswer>> {
    let mut left = MAX_ANSWERS_BYTES;
    let answer = |id: &TaskId| -> Result<DependencyAnswer> {
        let task_id = id.to_string();
        let task = match store.task(id) {
            Err(error) if error.kind() == crate::error::ErrorKind::NotFound => {
                return Ok(DependencyAnswer {
                    task_id,
                    state: "gone".to_string(),
                    ..DependencyAnswer::default()
                });
            }
            task => store.shown(task?),
        };
        let state = task.status.as_str().to_string();
        let Some(response) = store.response(&task)? else {
            return Ok(DependencyAnswer { task_id, state, ..DependencyAnswer::default() });
        };
        let shown = head_and_tail(&response.body, MAX_ANSWER_BYTES);
        let fits = shown.len() <= left;
        left = left.saturating_sub(shown.len());
        let is_whole = fits && shown.len() == response.body.len();
        Ok(DependencyAnswer {
            task_id,
            state,
            reviewer: Some(response.reviewer),
            body: fits.then_some(shown),
            whole_text: (!is_whole).then(|| store.blobs().response_path(id).to_string_lossy().into_owned()),
        })
    };
    task.spec.after.iter().map(|dependency| &dependency.task).map(answer).collect()
}

/// Returns the answers of the dependencies of a task as JSON for programs.
///
/// # Errors
/// As [`dependency_answers`].
pub(crate) fn dependency_objects(store: &Store, task: &Task) -> Result<Vec<Value>> {
    Ok(dependency_answers(store, task)?.iter().map(|answer| Value::Object(answer.to_object())).collect())
}
