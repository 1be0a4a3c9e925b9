//! Items that the tests and benchmarks of this package use in addition to the public interface, and
//! the types that these mention. They may change at any time.

#![allow(missing_docs, reason = "the documentation is at the items")]

pub mod sha256 {
    pub use crate::sha256::{sha256_bytes, sha256_file};
}
#[cfg(feature = "cli")]
pub mod dispatch {
    pub mod agent {
        pub use crate::dispatch::agent::{AgentEvent, AgentSpec, FinishedAgent, StopHandle, run};
        pub mod log {
            pub use crate::dispatch::agent::log::CappedLog;
        }
        pub mod process_tree {
            pub use crate::guard::process_tree::{Process, RUN_ID_VARIABLE, marked_processes, run_marker};
        }
        pub mod reaper {
            pub use crate::dispatch::agent::reaper::GuardPool;
        }
    }
    pub mod config {
        pub use crate::dispatch::config::DispatchConfig;
        pub mod prices {
            pub use crate::dispatch::config::prices::Prices;
        }
        pub mod route {
            pub use crate::dispatch::config::route::{DroppedSettings, Route, Runner, SettingLevel};
        }
    }
    pub mod outcome {
        pub use crate::dispatch::outcome::{
            AgentExit, Interruption, NotStarted, ResetTime, RunAnswer, RunFailure, RunOutcome, StopReason,
            VendorRefusal,
        };
    }
    pub mod output {
        pub use crate::dispatch::output::{
            Baseline, Format, MAX_TEXT_BYTES, Note, RunReport, StreamParser, Tokens, Totals, Usage,
        };
        pub mod answer {
            pub use crate::dispatch::output::answer::ClosingStatus;
        }
        pub mod report {
            pub use crate::dispatch::output::report::{
                AgentResult, BackgroundEnd, BackgroundWork, Denial, ResultStanding, ResultStatus,
            };
        }
        pub mod usage {
            pub use crate::dispatch::output::usage::{
                Cost, CostSource, ModelUsage, ReportedUsage, RunUsage, UsageLowerBound,
            };
        }
    }
    pub mod cost_limit {
        pub use crate::dispatch::cost_limit::CostLimit;
    }
    pub mod run {
        pub mod classify {
            pub use crate::dispatch::run::classify::classify;
        }
        pub mod evidence {
            pub use crate::dispatch::run::evidence::RunEvidence;
        }
        pub mod reset_time {
            pub use crate::dispatch::run::reset_time::{MessageContext, reset_in};
        }
    }
    pub mod vendor {
        pub use crate::dispatch::vendor::{SessionIds, Vendor, VendorMessages, Vendors};
        pub mod argv {
            pub use crate::dispatch::vendor::argv::{ArgumentValues, Argv};
        }
        pub mod messages {
            pub use crate::dispatch::vendor::messages::{
                MessageMatch, MessageMeaning, MessageSource, RefusedCall, ResetFormat,
            };
        }
    }
}
pub mod error {
    pub use crate::error::{ErrorKind, Result};
}
#[cfg(feature = "cli")]
pub mod http {
    pub use crate::http::{document, serve_until_exit};
    pub mod fuzzing {
        pub use crate::http::fuzzing::{ParsedConnection, ParsedRequest, read};
    }
}
pub mod model {
    pub use crate::model::{
        Answer, AnswerOutcome, Claim, ClaimToken, Command, Dependency, DependencyCondition,
        DependencyOutcome, DependencyRef, DependencyTarget, Effect, Event, ExclusiveKey, FailureClass,
        Filter, GroupName, IdempotencyKey, LaneName, NewRequest, NewTask, Now, Owner, RequestCheck, Response,
        ResponseStatus, RunId, Status, Task, TaskId, TaskSpec, TaskText, Time, Verdict,
    };
    pub mod cooldown {
        pub use crate::model::cooldown::{
            Certainty, Cooldown, CooldownCause, CooldownKey, CooldownScope, CooledModels,
        };
    }
    pub mod event {
        pub use crate::model::event::ENGINE_KINDS;
    }
    pub mod json {
        pub use crate::model::json::{Object, parse_object, to_ascii_line, to_line, to_text};
        pub mod raw {
            pub use crate::model::json::raw::{Raw, RawString, members};
        }
    }
    pub mod spec {
        pub use crate::model::spec::SpecText;
    }
    pub mod task {
        pub use crate::model::task::{Availability, Bookkeeping, LeaseClock};
    }
    pub mod task_text {
        pub use crate::model::task_text::BookkeepingExcerpt;
    }
    pub mod transition {
        pub use crate::model::transition::TransitionContext;
    }
}
pub mod store {
    pub use crate::store::{
        Blobs, Clock, Entropy, FeedEntry, FsckReport, GcAge, GcPlan, ImportReport, LaneQuery, ScheduleRecord,
        ScheduleRecords, Severity, Store, StoreOptions, SubmittedTask, WorkerInfo, WorkerKind,
        last_lock_hold, longest_lock_hold,
    };
}
pub mod workspace {
    pub use crate::workspace::{
        BaseDir, CheckedSubmit, Config, ConfigFile, ConfigOrigin, Diagnosis, DiagnosisLevel, DoctorOptions,
        FileHashes, FoundConfig, Identity, LocateOptions, SubmitContext, SubmitRequest, check_nesting,
        check_submit, doctor,
    };
    #[cfg(feature = "cli")]
    pub use crate::workspace::{Override, Section, SourceText};
}
