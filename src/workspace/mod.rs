//! The rules of a workspace: turns what a user or program requests into operations of the store.
//!
//! Contains configuration, task files, path rules and scaffolds. Nothing here prints, and only `attempts`, `attention`,
//! `deliver`, `dispatchers`, `doctor`, `lane_spelling`, `messages`, `notices`, `schedules`, `task_batch`, `verified_answer` and `why`
//! access the state directory.

mod agent_change;
mod agent_description;
mod agent_report;
mod agents;
mod agents_file;
#[cfg(feature = "cli")]
mod attempts;
#[cfg(feature = "cli")]
mod attention;
mod base_dir;
#[cfg(feature = "cli")]
mod bounded_command;
#[cfg(feature = "mcp")]
mod client_file;
mod client_metadata;
mod config;
mod delivery;
mod dependency_answers;
mod discover;
#[cfg(feature = "cli")]
mod dispatchers;
mod doctor;
mod edit;
#[cfg(feature = "cli")]
#[allow(dead_code, reason = "the adapters of bridges follow")]
mod env_file;
mod file_hashes;
mod key_value;
#[cfg(feature = "cli")]
mod lane_spelling;
#[cfg(feature = "cli")]
mod marked_section;
mod messages;
#[cfg(feature = "cli")]
mod notices;
mod ownership;
mod paths;
mod scaffold;
#[cfg(feature = "cli")]
mod schedules;
mod sensitive_paths;
mod submit;
mod submit_paths;
mod submit_request;
mod task_batch;
mod text_file;
mod trust;
mod verified_answer;
mod why;
mod yaml;

pub(crate) use crate::model::limits::MAX_PROMPT_ONLY;
pub(crate) use agent_change::{AgentChange, AgentRights};
pub(crate) use agent_description::{MAX_DESCRIPTION, describe_directory};
#[cfg(feature = "mcp")]
pub(crate) use agent_description::{mcp_servers, preview, stacks};
pub(crate) use agent_report::{AgentReport, TypicalRun};
pub(crate) use agents::{Agent, AgentSource, agents};
pub(crate) use agents_file::read_agents_file;
#[cfg(feature = "cli")]
pub(crate) use attempts::{PATCH_FILE, attempt_objects};
#[cfg(feature = "cli")]
pub(crate) use attention::{AttentionItem, AttentionKind, TaskConcern, TaskConcerns, attention};
pub use base_dir::BaseDir;
#[cfg(feature = "mcp")]
pub(crate) use bounded_command::output_within;
#[cfg(feature = "mcp")]
pub(crate) use client_file::read_text_for_client;
pub(crate) use client_metadata::check_client_metadata;
pub use config::{Config, ConfigFile, ConfigOrigin};
pub(crate) use delivery::deliver;
pub(crate) use dependency_answers::{DependencyAnswer, dependency_answers, dependency_objects};
pub use discover::LocateOptions;
#[cfg(feature = "cli")]
pub(crate) use discover::visible_config;
pub(crate) use discover::{find_in, locate, store_place};
#[cfg(feature = "cli")]
pub(crate) use dispatchers::dispatcher_objects;
pub use doctor::{Diagnosis, DiagnosisLevel, DoctorOptions, doctor};
pub(crate) use edit::check_edit;
#[cfg(feature = "cli")]
#[allow(unused_imports, reason = "the adapters of bridges follow")]
pub(crate) use env_file::{Secret, Secrets};
pub use file_hashes::FileHashes;
pub(crate) use key_value::parse_pairs;
#[cfg(feature = "cli")]
pub(crate) use lane_spelling::{configured_lanes, is_new_lane, misspelt_lane, similar_lane};
#[cfg(feature = "cli")]
pub(crate) use marked_section::{SectionMarks, find_section, with_section, without_section};
pub(crate) use messages::{mark_messages_read, message_delivery, take_messages};
#[cfg(feature = "cli")]
pub(crate) use notices::{NoticeRule, Notifier, notice_rules};
pub use ownership::{FoundConfig, Identity};
pub(crate) use paths::{absolute, home, plain_path, real_path};
pub(crate) use scaffold::{InitOptions, init, init_pool, worker_prompt};
#[cfg(feature = "cli")]
pub(crate) use schedules::{ScheduledTask, run_schedules, schedule_reports, schedules};
pub(crate) use sensitive_paths::is_in_secret_directory;
pub(crate) use submit::check_line;
pub use submit::{CheckedSubmit, SubmitContext, check_submit};
pub use submit_request::SubmitRequest;
pub(crate) use submit_request::{DEPENDENCIES, SUBMIT_FIELDS, SubmitField, SubmitValue, dependency_refs};
pub(crate) use task_batch::{LineResult, TaskBatch};
pub(crate) use trust::{
    SensitiveSettings, TrustRecord, TrustRecords, TrustState, is_in_repository, settings_hash, state_home,
};
pub(crate) use verified_answer::{
    RUN_FILE, check_is_not_verified_later, check_release_is_not_verified_later,
};
pub(crate) use why::why;
#[cfg(feature = "cli")]
pub(crate) use why::{DISPATCHER_GONE, DeadDispatchers};
pub use yaml::check_nesting;
#[cfg(feature = "cli")]
pub(crate) use yaml::{KeyNames, did_you_mean, most_similar, why_not_yaml, written_key};
#[cfg(feature = "cli")]
pub use yaml::{Override, Section, SourceText};
