//! The title of a task.

use super::task::Task;

/// The longest title, in characters.
const MAX_TITLE: usize = 80;

impl Task {
    /// Returns the title of the task for people.
    pub(crate) fn title(&self) -> String {
        title(self.spec.name.as_deref(), &self.spec.prompt, self.id.as_str())
    }
}

/// Returns the title of a task for people: its name, or else the first line of its prompt that is not empty, or else the
/// end of its id.
pub(crate) fn title(name: Option<&str>, prompt: &str, id: &str) -> String {
    let line = |text: &str| text.lines().map(str::trim).find(|line| !line.is_empty()).map(cut);
    let end = || id.rsplit('-').next().unwrap_or(id).to_string();
    name.and_then(line).or_else(|| line(prompt)).unwrap_or_else(end)
}

/// Cuts a line at the length of a title.
fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_TITLE) {
        None => line.to_string(),
        Some(_) => line.chars().take(MAX_TITLE - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_a_name_a_line_or_the_end_of_an_id() {
        let id = "20261121T070000123456Z-work-abc-d64cf2";
        assert_eq!(title(Some("Paint"), "the fence", id), "Paint");
        assert_eq!(title(Some("  "), "\n\n  the fence \nred", id), "the fence");
        assert_eq!(title(None, " \n", id), "d64cf2");
        let long = title(None, &"ä".repeat(81), id);
        assert_eq!((long.chars().count(), long.ends_with("ä…")), (80, true));
        assert_eq!(title(None, &"ä".repeat(80), id), "ä".repeat(80));
    }
}
