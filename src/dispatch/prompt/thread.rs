//! The earlier answers of a thread: of the tasks that a task continues (`parent_task_id`).

use crate::model::excerpt::{MAX_ANSWER_BYTES, MAX_ANSWERS_BYTES, head_and_tail};

/// An earlier answer of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadAnswer {
    /// The id of the answered task.
    pub task_id: String,
    /// The worker that answered.
    pub author: String,
    /// The answer.
    pub body: String,
}

/// A task of a thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadLink {
    /// The id of the previous task in the thread.
    pub parent: Option<String>,
    /// Its answer, if it has one.
    pub answer: Option<ThreadAnswer>,
}

/// Returns the earlier answers of a thread, oldest first. `find_task` returns the task with an id. A parent that is
/// missing, unreadable or already visited (a cycle) ends the history, and so does the limit for all answers.
pub(crate) fn thread_history(
    task_id: &str,
    parent: Option<&str>,
    mut find_task: impl FnMut(&str) -> Option<ThreadLink>,
) -> Vec<ThreadAnswer> {
    let mut seen = vec![task_id.to_string()];
    let mut next = parent.map(str::to_string);
    let mut answers = Vec::new();
    let mut size = 0;
    while let Some(id) = next.filter(|id| !seen.contains(id)) {
        let Some(link) = find_task(&id) else { break };
        if let Some(mut answer) = link.answer {
            answer.body = head_and_tail(&answer.body, MAX_ANSWER_BYTES);
            size += answer.body.len();
            if size > MAX_ANSWERS_BYTES {
                break;
            }
            answers.push(answer);
        }
        seen.push(id);
        next = link.parent;
    }
    answers.reverse();
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(parent: Option<&str>, body: &str) -> ThreadLink {
        ThreadLink {
            parent: parent.map(str::to_string),
            answer: Some(ThreadAnswer { body: body.to_string(), ..ThreadAnswer::default() }),
        }
    }

    #[test]
    fn threads_survive_cycles_gaps_and_length() {
        let bodies =
            |history: Vec<ThreadAnswer>| history.into_iter().map(|answer| answer.body).collect::<Vec<_>>();
        let cycle = thread_history("c", Some("b"), |id| match id {
            "b" => Some(link(Some("a"), "second")),
            "a" => Some(link(Some("b"), "first")),
            _ => None,
        });
        assert_eq!(bodies(cycle), ["first", "second"]);
        let itself = thread_history("c", Some("c"), |_| Some(link(None, "x")));
        assert!(itself.is_empty());
        let gap = thread_history("c", Some("b"), |id| (id == "b").then(|| link(Some("gone"), "kept")));
        assert_eq!(bodies(gap), ["kept"]);
        let mut asked = 0;
        let long = thread_history("c", Some("0"), |id| {
            asked += 1;
            let next = id.parse::<u32>().ok()? + 1;
            Some(link(Some(&next.to_string()), &"é".repeat(MAX_ANSWER_BYTES)))
        });
        assert_eq!((long.len(), asked), (2, 3));
        assert!(long[0].body.contains("bytes left out"));
    }
}
