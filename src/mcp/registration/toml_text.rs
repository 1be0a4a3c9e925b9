//! Edits a TOML settings file as text: comments, order and layout of everything else stay.

use serde_json::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

use super::settings::{EntryField, SettingsError};

/// Returns the value at a path; `None` when the text has no such key.
///
/// # Errors
/// `Syntax` when the text is not TOML.
pub(super) fn value(text: &str, path: &[&str]) -> Result<Option<Value>, SettingsError> {
    let document = parse(text)?;
    let mut item = document.as_item();
    for key in path {
        match item.as_table_like().and_then(|table| table.get(key)) {
            Some(inner) => item = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(to_json(item)))
}

/// Sets fields of the table at `path`, which is made if it is missing, at the end of the text. Of a field that is an
/// object, only the members that it names are set.
///
/// # Errors
/// `Syntax` when the text is not TOML, `Shape` when something on the path is not a table, `Layout` when the text would
/// not stay as it is.
pub(super) fn set(text: &str, path: [&str; 2], fields: &[EntryField]) -> Result<String, SettingsError> {
    let (mut document, line_end) = open(text)?;
    let [parent, name] = path;
    let root = document.as_table_mut();
    if !root.contains_key(parent) {
        root.insert(parent, Item::Table(implicit_table()));
    }
    let is_inline = root.get(parent).is_some_and(Item::is_inline_table);
    let shape = || SettingsError::Shape(parent.to_string());
    let servers = root.get_mut(parent).and_then(Item::as_table_like_mut).ok_or_else(shape)?;
    let is_new = !servers.contains_key(name);
    if is_new && is_inline {
        servers.insert(name, toml_edit::value(InlineTable::new()));
    } else if is_new {
        let mut table = Table::new();
        // After every other table.
        table.set_position(Some(isize::MAX));
        servers.insert(name, Item::Table(table));
    }
    let shape = || SettingsError::Shape(path.join("."));
    let entry = servers.get_mut(name).ok_or_else(shape)?;
    for (key, value) in fields {
        set_field(entry, key, value).ok_or_else(shape)?;
    }
    if is_new && !is_inline {
        // Comments at the end of the text stay before the new table.
        let end = document.trailing().as_str().unwrap_or_default().to_string();
        let gap = if text.trim().is_empty() { "" } else { "\n" };
        document.set_trailing("");
        if let Some(table) = table_at(&mut document, path) {
            table.decor_mut().set_prefix(format!("{end}{gap}"));
        }
    }
    Ok(line_end.restore(&document.to_string()))
}

/// Removes the table at `path`, with the tables below it.
///
/// # Errors
/// As [`set`].
pub(super) fn remove(text: &str, path: [&str; 2]) -> Result<String, SettingsError> {
    let (mut document, line_end) = open(text)?;
    let (mut before, mut position) = (String::new(), None);
    if let Some(table) = table_at(&mut document, path) {
        before = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_string();
        position = table.position();
    }
    let [parent, name] = path;
    let servers = document.get_mut(parent).and_then(Item::as_table_like_mut);
    servers.map(|servers| servers.remove(name));
    // The blank line that separates the table from the previous one.
    if before == "\n" || before.ends_with("\n\n") {
        before.pop();
    }
    if !before.is_empty() {
        let next = position.and_then(|position| next_position(document.as_table(), position));
        let next = next.and_then(|next| table_with_position(document.as_table_mut(), next));
        match next {
            Some(table) => {
                let own = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
                let joined = format!("{before}{own}");
                table.decor_mut().set_prefix(joined);
            }
            None => {
                let end = document.trailing().as_str().unwrap_or_default();
                let joined = format!("{before}{end}");
                document.set_trailing(joined);
            }
        }
    }
    Ok(line_end.restore(&document.to_string()))
}

fn parse(text: &str) -> Result<DocumentMut, SettingsError> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SettingsError::Syntax {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: error.message().lines().collect::<Vec<_>>().join(", "),
        }
    })
}

/// How the lines of a text end.
#[derive(Clone, Copy)]
enum LineEnd {
    Lf,
    CrLf,
}

impl LineEnd {
    fn restore(self, text: &str) -> String {
        match self {
            Self::Lf => text.to_string(),
            Self::CrLf => text.replace("\r\n", "\n").replace('\n', "\r\n"),
        }
    }
}

/// Returns the document, with lines that end with LF, and how they end in the text.
///
/// # Errors
/// `Syntax` when the text is not TOML, `Layout` when it could not be written as it is.
fn open(text: &str) -> Result<(DocumentMut, LineEnd), SettingsError> {
    let document = parse(text)?;
    let written = document.to_string();
    let fits = |line_end: LineEnd| {
        let written = line_end.restore(&written);
        // Writing may add a newline at the end of the last line.
        written == text || written.strip_suffix('\n').is_some_and(|written| written == text)
    };
    if fits(LineEnd::Lf) {
        return Ok((document, LineEnd::Lf));
    }
    if fits(LineEnd::CrLf) {
        return Ok((parse(&text.replace("\r\n", "\n"))?, LineEnd::CrLf));
    }
    Err(SettingsError::Layout)
}

fn implicit_table() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

/// Sets a field of a table; `None` when something that must be a table is none.
fn set_field(item: &mut Item, key: &str, value: &Value) -> Option<()> {
    let is_inline = item.is_inline_table();
    let table = item.as_table_like_mut()?;
    if let Value::Object(members) = value {
        if !table.contains_key(key) {
            let has_tables_only = members.values().all(Value::is_object);
            let inner = match is_inline {
                true => toml_edit::value(InlineTable::new()),
                false if has_tables_only => Item::Table(implicit_table()),
                false => Item::Table(Table::new()),
            };
            table.insert(key, inner);
        }
        let inner = table.get_mut(key)?;
        return members.iter().try_for_each(|(key, value)| set_field(inner, key, value));
    }
    if table.get(key).map(to_json).as_ref() == Some(value) {
        return Some(());
    }
    let mut new = to_toml(value)?;
    if let Some(old) = table.get(key) {
        *new.decor_mut() = old.as_value()?.decor().clone();
    }
    insert(table, key, Item::Value(new));
    Some(())
}

/// Inserts a value; an existing key keeps its layout and comment.
fn insert(table: &mut dyn TableLike, key: &str, new: Item) {
    match table.get_mut(key) {
        Some(item) => *item = new,
        None => {
            table.insert(key, new);
        }
    }
}

fn table_at<'a>(document: &'a mut DocumentMut, [parent, name]: [&str; 2]) -> Option<&'a mut Table> {
    document.get_mut(parent)?.as_table_mut()?.get_mut(name)?.as_table_mut()
}

/// Calls `each` with every table that has a header.
fn for_each_table(table: &Table, each: &mut dyn FnMut(&Table)) {
    each(table);
    for (_, item) in table.iter() {
        match item {
            Item::Table(inner) => for_each_table(inner, each),
            Item::ArrayOfTables(inner) => inner.iter().for_each(|inner| for_each_table(inner, each)),
            _ => {}
        }
    }
}

/// Returns the position of the first table after `position`.
fn next_position(root: &Table, position: isize) -> Option<isize> {
    let mut next = None;
    for_each_table(root, &mut |table| {
        let is_printed = !table.is_implicit() && !table.is_dotted();
        let later = table.position().filter(|other| is_printed && *other > position);
        next = [next, later].into_iter().flatten().min();
    });
    next
}

fn table_with_position(table: &mut Table, position: isize) -> Option<&mut Table> {
    if table.position() == Some(position) && !table.is_implicit() && !table.is_dotted() {
        return Some(table);
    }
    table.iter_mut().find_map(|(_, item)| match item {
        Item::Table(inner) => table_with_position(inner, position),
        Item::ArrayOfTables(inner) => inner.iter_mut().find_map(|inner| table_with_position(inner, position)),
        _ => None,
    })
}

/// Returns a value as JSON; dates become null, since none of our settings is a date.
fn to_json(item: &Item) -> Value {
    fn of_value(value: &toml_edit::Value) -> Value {
        match value {
            toml_edit::Value::String(text) => text.value().as_str().into(),
            toml_edit::Value::Integer(number) => (*number.value()).into(),
            toml_edit::Value::Float(number) => (*number.value()).into(),
            toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
            toml_edit::Value::Array(items) => items.iter().map(of_value).collect(),
            toml_edit::Value::InlineTable(table) => {
                table.iter().map(|(key, value)| (key.to_string(), of_value(value))).collect()
            }
            toml_edit::Value::Datetime(_) => Value::Null,
        }
    }
    match item {
        Item::Value(value) => of_value(value),
        Item::Table(table) => table.iter().map(|(key, item)| (key.to_string(), to_json(item))).collect(),
        Item::ArrayOfTables(tables) => {
            tables.iter().map(|table| to_json(&Item::Table(table.clone()))).collect()
        }
        Item::None => Value::Null,
    }
}

/// Returns a text, flag, number or list of them as TOML.
fn to_toml(value: &Value) -> Option<toml_edit::Value> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(flag) => Some((*flag).into()),
        Value::Number(number) => number.as_i64().map(Into::into),
        Value::Array(items) => items.iter().map(to_toml).collect::<Option<Array>>().map(Into::into),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PATH: [&str; 2] = ["mcp_servers", "lanes"];

    fn fields() -> Vec<EntryField> {
        vec![
            ("command", json!("/l")),
            ("args", json!(["mcp", "--user"])),
            ("required", json!(true)),
            ("tools", json!({"delegate": {"approval_mode": "approve"}})),
        ]
    }

    const ENTRY: &str = "[mcp_servers.lanes]\ncommand = \"/l\"\nargs = [\"mcp\", \"--user\"]\nrequired = true\n\n\
                         [mcp_servers.lanes.tools.delegate]\napproval_mode = \"approve\"\n";

    #[test]
    fn an_entry_is_added_at_the_end_and_removed_without_a_trace() {
        for text in [
            "",
            "a = 1\n",
            "# top\nmodel = 'x' # why\n\n[profiles.a] # p\nz = 1\nb = { c = 2 }\n\n# [commented]\n# out = 1\n",
            "[mcp_servers.other]\ncommand = \"o\"\n\n[mcp_servers.other.env]\nA = \"1\"\n\n[[list]]\nx = 1\n[last]\n",
            "[mcp_servers]\n[mcp_servers.other]\ncommand = \"o\"",
            "# only a comment\n",
        ] {
            let added = set(text, PATH, &fields()).unwrap();
            assert!(added.ends_with(ENTRY), "{added}");
            assert!(added.starts_with(text), "{added}");
            assert_eq!(set(&added, PATH, &fields()).unwrap(), added, "a second time nothing changes");
            assert_eq!(remove(&added, PATH).unwrap().trim_end(), text.trim_end(), "{added}");
        }
        let text = "x = 1\r\n[a]\r\nb = 2\r\n";
        let added = set(text, PATH, &fields()).unwrap();
        assert_eq!(added, format!("{text}\r\n{}", ENTRY.replace('\n', "\r\n")));
        assert_eq!(remove(&added, PATH).unwrap(), text);
    }

    #[test]
    fn an_entry_in_the_middle_is_changed_and_removed_in_place() {
        let text = "[a]\nx = 1\n\n# mine\n[mcp_servers.lanes] # head\nenv = { A = \"b\" }\ncommand = \"/old\" # path\n\n\
                    # after\n[z]\ny = 2\n";
        let changed = set(text, PATH, &fields()[..3]).unwrap();
        assert_eq!(
            changed,
            "[a]\nx = 1\n\n# mine\n[mcp_servers.lanes] # head\nenv = { A = \"b\" }\ncommand = \"/l\" # path\n\
             args = [\"mcp\", \"--user\"]\nrequired = true\n\n# after\n[z]\ny = 2\n"
        );
        assert_eq!(remove(&changed, PATH).unwrap(), "[a]\nx = 1\n\n# mine\n\n# after\n[z]\ny = 2\n");
    }

    #[test]
    fn inline_and_dotted_tables_are_edited_as_they_are() {
        let text = "mcp_servers = { other = { command = \"o\" } }\n";
        let added = set(text, PATH, &fields()[..2]).unwrap();
        assert_eq!(
            added,
            "mcp_servers = { other = { command = \"o\" } , lanes = { command = \"/l\", args = [\"mcp\", \"--user\"] } }\n"
        );
        assert_eq!(
            value(&remove(&added, PATH).unwrap(), &["mcp_servers"]).unwrap(),
            value(text, &["mcp_servers"]).unwrap()
        );
        let text = "mcp_servers.lanes.command = \"/old\"\nb = 1\n";
        let changed = set(text, PATH, &fields()[..1]).unwrap();
        assert_eq!(changed, "mcp_servers.lanes.command = \"/l\"\nb = 1\n");
        assert_eq!(remove(&changed, PATH).unwrap(), "b = 1\n");
    }

    #[test]
    fn what_cannot_be_edited_is_refused_with_its_place() {
        for (text, expected) in [
            ("a = 1\nb = = 2\n", "line: 2, column: 5"),
            ("a = 1\na = 2\n", "line: 2, column: 1"),
            ("ü = 1\n", "line: 1, column: 1"),
            ("mcp_servers = 1\n", "Shape(\"mcp_servers\")"),
            ("mcp_servers.lanes = []\n", "Shape(\"mcp_servers.lanes\")"),
            ("a = 1\r\nb = 2\nc = 3\r\n", "Layout"),
        ] {
            let error = format!("{:?}", set(text, PATH, &fields()).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
