//! The interface as data: operations, parameters, fields, schemas, views of tasks, and the OpenAPI document.

pub(crate) mod fields;
pub(crate) mod openapi;
pub(crate) mod operation;
pub(crate) mod params;
pub(crate) mod schema;
pub(crate) mod strict_json;
pub(crate) mod views;
