//! The interface as data: routes, parameters, fields, schemas and the OpenAPI document.

pub(crate) mod fields;
pub(crate) mod openapi;
pub(crate) mod params;
pub(crate) mod route;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod strict_json;
