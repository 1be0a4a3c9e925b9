//! The parameters and responses of a route, as the OpenAPI document describes them.

use super::params::Field;

/// One operation, in the sense of OpenAPI: a method on a path.
pub(crate) struct Operation {
    /// The method; HEAD and OPTIONS are served without an entry of their own.
    pub method: &'static str,
    /// The path, with the parameter's name in braces.
    pub path: &'static str,
    /// Its id in the OpenAPI document.
    pub id: &'static str,
    /// Its description, in one line.
    pub summary: &'static str,
    /// The fields of its query.
    pub query: &'static [Field],
    /// The fields of its body; `None` when it takes none.
    pub body: Option<&'static [Field]>,
    /// Whether its response warns about keys of the body that are no fields; otherwise they are refused.
    pub warns_of_unknown_keys: bool,
    /// The statuses of its responses other than errors, and their schema or media type; `""` for no body.
    pub responses: &'static [(u16, &'static str)],
    /// Whether it changes lanes or dispatch routes, which the server must have been started for.
    pub needs_management: bool,
}
