//! The rules of a workspace: turns what a user or program requests into operations of the store.
//!
//! Contains configuration, task files, path rules and scaffolds. Nothing here prints, and only `deliver`,
//! `doctor` and `why` access the state directory.

mod base_dir;
mod config;
mod delivery;
mod discover;
mod doctor;
mod edit;
mod fingerprints;
mod key_value;
mod ownership;
mod paths;
mod scaffold;
mod sensitive_paths;
mod submit;
mod submit_paths;
mod submit_request;
mod text_file;
mod trust;
mod why;
mod yaml;

pub use crate::model::check_lane;
pub use crate::model::limits::MAX_PROMPT_ONLY;
pub use crate::model::limits::key as check_key;
pub use base_dir::BaseDir;
pub use config::Config;
pub use delivery::deliver;
pub use discover::{Locate, find_in, locate};
pub use doctor::{Diagnosis, DiagnosisLevel, DoctorOptions, doctor};
pub use edit::{TaskEdit, check_edit};
pub use fingerprints::Fingerprints;
pub use key_value::parse_pairs;
pub use ownership::{FoundConfig, Identity};
pub use paths::{absolute, real_path};
pub use scaffold::{InitOptions, init, init_pool};
pub use sensitive_paths::is_in_secret_directory;
pub use submit::{Checked, SubmitContext, check_line, check_submit};
pub use submit_request::{SUBMIT_FIELDS, SubmitField, SubmitRequest, SubmitValue};
pub use trust::{Choices, Standing, TrustRecord, TrustRecords, fingerprint, is_in_repository, state_home};
pub use why::why;
pub use yaml::{check_nesting, written_number};
