//! What a route is, and which one a request takes.

use super::fields::NO_QUERY;
use super::params::Field;
use super::routes::ROUTES;
use crate::http::context::{Call, Outcome};

/// One route.
pub struct Route {
    /// The method; HEAD and OPTIONS come by themselves.
    pub method: &'static str,
    /// The path, with the parameter's name in braces.
    pub path: &'static str,
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The fields of its query.
    pub query: &'static [Field],
    /// The fields of its body; `None` when it takes none.
    pub body: Option<&'static [Field]>,
    /// The status of its answer, and which schema that answer has.
    pub gives: &'static [(u16, &'static str)],
    /// Whether it changes lanes or routes, which must be switched on.
    pub is_managing: bool,
    /// Who answers.
    pub run: fn(&Call<'_>) -> Outcome,
}

/// What a method and a path lead to.
pub enum Found<'a> {
    /// A route, and what stands in the path for its parameter.
    Route(&'static Route, Option<&'a str>),
    /// OPTIONS: the methods there are.
    Options(String),
    /// Another method; the methods there are.
    Method(String),
    /// Nothing.
    Nothing,
}

/// A route that reads.
pub(crate) const fn get(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    query: &'static [Field],
    gives: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    Route { method: "GET", path, name, about, query, body: None, gives, is_managing: false, run }
}

/// A route that changes something.
pub(crate) const fn post(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    body: &'static [Field],
    gives: &'static [(u16, &'static str)],
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    let body = Some(body);
    Route { method: "POST", path, name, about, query: NO_QUERY, body, gives, is_managing: false, run }
}

/// The same route, for those alone who may manage the queue.
pub(crate) const fn manage(method: &'static str, route: Route) -> Route {
    Route { method, is_managing: true, ..route }
}

/// A route that removes something, for those who may manage the queue.
pub(crate) const fn delete(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    run: fn(&Call<'_>) -> Outcome,
) -> Route {
    let route = get(path, name, about, NO_QUERY, &[(204, "")], run);
    manage("DELETE", route)
}

/// Finds the route for a request.
pub fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    if path == "*" {
        return Found::Options("GET, HEAD, POST, PATCH, DELETE, OPTIONS".to_string());
    }
    let wanted = if method == "HEAD" { "GET" } else { method };
    // A path in so many words goes before one with a parameter.
    let is_literal = !path.contains('{') && ROUTES.iter().any(|route| route.path == path);
    let fits = || {
        let fit = move |route: &'static Route| match is_literal {
            true => (route.path == path).then_some((route, None)),
            false => fit(route.path, path).map(|parameter| (route, parameter)),
        };
        ROUTES.iter().filter_map(fit)
    };
    if let Some((route, parameter)) = fits().find(|(route, _)| route.method == wanted) {
        return Found::Route(route, parameter);
    }
    let mut methods: Vec<&str> = fits().map(|(route, _)| route.method).collect();
    if methods.is_empty() {
        return Found::Nothing;
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let allow = methods.join(", ");
    if method == "OPTIONS" { Found::Options(allow) } else { Found::Method(allow) }
}

/// Whether a path fits a pattern, and with which parameter.
fn fit<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut parameter = None;
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            parameter = Some(part).filter(|part| !part.is_empty());
            parameter?;
        } else if wanted != part {
            return None;
        }
    }
    parts.next().is_none().then_some(parameter)
}
