//! The command line from outside: every test runs the built binary in an empty environment, at a fixed time, and
//! checks standard output, standard error and the exit code.

mod admin;
mod agents;
mod bad_input;
mod bridges;
mod broken_store;
mod care;
mod claim;
mod compat;
mod edit;
mod exclusive;
mod fields;
mod gone;
mod history;
mod init;
mod inside_run;
mod message;
mod output;
mod question;
mod readers;
mod respond;
mod schedules;
mod settings;
mod setup;
mod status;
mod strangers;
mod submit;
mod terminal;
mod top;
mod trust;
mod usage;
mod wait;
mod workflow;
