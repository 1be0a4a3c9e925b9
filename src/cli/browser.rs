//! Opens a page in the browser of the person at this machine.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::env;
use super::output::print_error_line;
use crate::error::printable;

/// The program that opens a page where `BROWSER` names none.
const OPENER: &str = "xdg-open";

/// Where the path of the page stands in `BROWSER`; at the end if nowhere.
const PLACE: &str = "%s";

/// Returns whether somebody can see a browser: who is at a terminal, or where there is a display.
pub(super) fn is_seen() -> bool {
    std::io::stdout().is_terminal() || env::has_display()
}

/// Opens a page. Does not wait for the browser; one that cannot be started, or fails, is a warning.
pub(super) fn open_page(page: &Path) {
    let mut command = opener(env::browser(), page);
    let name = printable(&command.get_program().to_string_lossy());
    let warn = move |why: &str| {
        print_error_line(&format!(
            "lanes: warning: no browser was opened: {name} {why}; open the address yourself"
        ));
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C ends the server and not a browser that this starts.
    command.process_group(0);
    match command.spawn() {
        Err(error) => warn(&format!("cannot be started ({error})")),
        // It may last as long as the browser.
        Ok(mut child) => drop(std::thread::spawn(move || match child.wait() {
            Ok(status) if !status.success() => warn("failed"),
            _ => {}
        })),
    }
}

/// Returns the command that opens a page: the first one in `BROWSER`, a list with colons, or else [`OPENER`].
fn opener(browser: Option<OsString>, page: &Path) -> Command {
    let browser = browser.and_then(|browser| browser.into_string().ok()).unwrap_or_default();
    let first = browser.split(':').find(|command| !command.trim().is_empty()).unwrap_or(OPENER);
    let mut words = first.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(OPENER));
    let mut is_placed = false;
    for word in words {
        if word.contains(PLACE) {
            is_placed = true;
            command.arg(word.replace(PLACE, &page.to_string_lossy()));
        } else {
            command.arg(word);
        }
    }
    if !is_placed {
        command.arg(page);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_where_browser_wants_it() {
        for (browser, words) in [
            (None, vec!["xdg-open", "/p/open.html"]),
            (Some(""), vec!["xdg-open", "/p/open.html"]),
            (Some("firefox"), vec!["firefox", "/p/open.html"]),
            (Some(":firefox -P work %s --new:lynx"), vec!["firefox", "-P", "work", "/p/open.html", "--new"]),
            (Some("chromium --app=%s"), vec!["chromium", "--app=/p/open.html"]),
        ] {
            let command = opener(browser.map(OsString::from), Path::new("/p/open.html"));
            let have: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
            assert_eq!(have, words, "{browser:?}");
        }
    }
}
