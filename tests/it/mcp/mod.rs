//! `lanes mcp` as its clients see it: JSON-RPC over the pipes of the built program.

mod agents;
mod cache;
mod caller;
mod client;
mod compat;
mod coordination;
mod dispatched;
mod http;
mod input;
mod install;
mod lifecycle;
mod on_demand;
mod python_client;
mod recursion;
mod worker;
