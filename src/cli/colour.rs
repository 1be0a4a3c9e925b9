//! Decides what is coloured, and when. A word is never replaced by its colour.

use std::borrow::Cow;

use clap::ValueEnum;

/// When output has colours, as `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColourChoice {
    /// On a terminal that has them, unless the environment decides otherwise
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What the environment says about colours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColourVariables {
    /// Whether `NO_COLOR` is set.
    pub forbidden: bool,
    /// Whether `CLICOLOR_FORCE` is set, and not to 0.
    pub forced: bool,
    /// Whether `TERM` says that the terminal only prints lines.
    pub is_plain: bool,
}

impl ColourChoice {
    /// Returns whether output has colours.
    pub(super) fn is_coloured(self, variables: ColourVariables, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if variables.forbidden => false,
            Self::Auto => variables.forced || is_terminal && !variables.is_plain,
        }
    }
}

/// The look of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// A heading.
    Bold,
    /// What needs no attention yet.
    Dim,
    /// What went well.
    Good,
    /// What went wrong.
    Bad,
    /// What waits for somebody.
    Waiting,
    /// What is being worked on.
    Active,
}

impl Colour {
    /// Returns the parameter of the escape sequence that selects it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Bad => "31",
            Self::Good => "32",
            Self::Waiting => "33",
            Self::Active => "36",
        }
    }

    /// Returns a text in this colour.
    pub(super) fn paint(self, text: &str) -> String {
        format!("\u{1b}[{}m{text}\u{1b}[0m", self.code())
    }

    /// Returns the colour of a state of a task, or of a level of a diagnosis, by the first word of what is shown for
    /// it.
    pub(super) fn of_state(shown: &str) -> Option<Self> {
        match shown.split(' ').next().unwrap_or_default() {
            "completed" | "ok" => Some(Self::Good),
            "failed" | "blocking" => Some(Self::Bad),
            "input_required" | "warning" => Some(Self::Waiting),
            "claimed" => Some(Self::Active),
            "scheduled" | "blocked" => Some(Self::Dim),
            _ => None,
        }
    }
}

/// Returns a text in a colour, if it has one.
pub(super) fn painted(text: &str, colour: Option<Colour>) -> Cow<'_, str> {
    colour.map_or(Cow::Borrowed(text), |colour| colour.paint(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;

    #[test]
    fn a_flag_decides_before_the_environment_and_the_environment_before_the_terminal() {
        use ColourChoice::{Always, Auto, Never};
        let none = ColourVariables::default();
        let forbidden = ColourVariables { forbidden: true, ..none };
        let forced = ColourVariables { forced: true, ..none };
        let both = ColourVariables { forbidden: true, ..forced };
        let plain = ColourVariables { is_plain: true, ..none };
        for (choice, variables, on_a_terminal, in_a_pipe) in [
            (Auto, none, true, false),
            (Auto, forbidden, false, false),
            (Auto, forced, true, true),
            (Auto, both, false, false),
            (Auto, plain, false, false),
            (Auto, ColourVariables { is_plain: true, ..forced }, true, true),
            (Always, both, true, true),
            (Always, plain, true, true),
            (Never, forced, false, false),
            (Never, none, false, false),
        ] {
            let seen = [true, false].map(|is_terminal| choice.is_coloured(variables, is_terminal));
            assert_eq!(seen, [on_a_terminal, in_a_pipe], "{choice:?} {variables:?}");
        }
    }

    #[test]
    fn every_state_but_queued_has_a_colour() {
        for state in Status::NAMES {
            assert_eq!(Colour::of_state(state).is_none(), state == "queued", "{state}");
            assert_eq!(Colour::of_state(&format!("{state} (due)")), Colour::of_state(state));
        }
        assert_eq!(painted("x", Some(Colour::Bad)), "\u{1b}[31mx\u{1b}[0m");
    }
}
