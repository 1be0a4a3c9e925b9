//! Templates of prompts in routes.

use crate::{Error, Result};

/// Replaces the placeholders of a template: `{name}` by a value, `{{` and `}}` by braces.
///
/// # Errors
/// `Config` for an unknown name, because a misspelt one would be missing from every prompt without notice, and for
/// a single brace.
pub(crate) fn fill_template(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let known_names =
            || values.iter().map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(" ");
        let (name, after) = after.split_once('}').filter(|_| brace == "{").ok_or_else(|| {
            Error::config(format!("a single {brace} in a template; write {brace}{brace} for a brace"))
        })?;
        let (_, value) = values.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            Error::config(format!("unknown placeholder {{{}}}", crate::error::printable(name)))
                .with_hint(format!("known placeholders are {}; write {{{{ for a brace", known_names()))
        })?;
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_and_checked() {
        let values = [("task_id", "t1"), ("lane", "{lane}")];
        let fill = |template| fill_template(template, &values);
        assert_eq!(fill("do {task_id} in {lane} {{x}}").expect("fine"), "do t1 in {lane} {x}");
        assert_eq!(fill("").expect("fine"), "");
        let error = fill("{tsk}").expect_err("unknown").to_string();
        assert_eq!(
            error,
            "unknown placeholder {tsk}; known placeholders are {task_id} {lane}; write {{ for a brace"
        );
        for bad in ["{", "}", "a } b", "{task_id", "{ task_id"] {
            assert!(fill(bad).is_err(), "{bad}");
        }
    }
}
