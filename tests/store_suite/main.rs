//! The laws of a store: what every door relies on, whatever keeps the queue.
//!
//! A law is a function over a [`Fixture`](testkit::store::Fixture), which opens stores and moves their clock. It goes
//! through the interface that doors have and knows no file, so it holds for each engine of `laws!`; another engine is
//! another module there. What only a store of files has, such as damage to its files and other implementations that
//! write them, is tested in `tests/it/store/`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod batch;
mod deadlines;
mod dependencies;
mod dialogue;
mod exclusive;
mod feed;
mod gc;
mod groups;
mod leases;
mod lifecycle;
mod order;
mod requests;
mod settings;
#[path = "../testkit/mod.rs"]
mod testkit;
mod transfer;

#[cfg(feature = "remote")]
use testkit::store::Fixture;

/// What a store says when it is asked for what only the machine with its files can do.
#[cfg(feature = "remote")]
const NEEDS_THE_FILES: &str = "this needs the store itself, and not only its server";

/// Makes a test of each law for each engine. For a law that no server can keep, `fails with` is what it fails with there, and
/// the text before it says why: the test fails when the law holds there after all, or fails otherwise.
macro_rules! laws {
    ($($module:ident { $($law:ident $(($why:literal fails with $failure:expr))?,)* })*) => {
        /// On a directory of files.
        mod files {
            $(mod $module {
                $(#[test]
                fn $law() {
                    crate::$module::$law(&crate::testkit::store::Fixture::new());
                })*
            })*
        }

        /// Behind a server of such a directory.
        #[cfg(feature = "remote")]
        mod servers {
            $(mod $module {
                $(#[test]
                fn $law() {
                    let known_failure: &[(&str, &str)] = &[$(($why, $failure))?];
                    crate::behind_a_server(crate::$module::$law, known_failure.first());
                })*
            })*
        }
    };
}

/// Runs a law behind a server: it holds, or fails with the text that is known.
#[cfg(feature = "remote")]
fn behind_a_server(law: fn(&Fixture), known_failure: Option<&(&str, &str)>) {
    let Some((why, failure)) = known_failure else { return law(&Fixture::on_servers()) };
    let held = std::panic::catch_unwind(|| law(&Fixture::on_servers()));
    let Err(panic) = held else { panic!("it holds behind a server, contrary to this: {why}") };
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    assert!(text.is_some_and(|text| text.contains(failure)), "{why}: {text:?} instead of {failure:?}");
}

laws! {
    batch {
        a_batch_is_what_single_submits_would_be,
        keys_hold_within_a_batch_and_one_refusal_keeps_nobody_out,
    }
    deadlines {
        a_task_that_is_not_started_in_time_fails_with_all_that_wait_for_it,
        a_task_that_was_started_in_time_may_be_finished_later,
        blocked_and_scheduled_tasks_expire_too_when_somebody_looks,
    }
    dependencies {
        a_task_that_is_released_after_its_deadline_ends_at_once,
        a_task_waits_for_the_last_of_its_dependencies,
        dependencies_that_have_ended_do_not_delay_a_task,
        a_delay_counts_after_the_dependencies,
        a_failure_fails_the_dependents_and_theirs,
        cancelled_and_dead_dependencies_have_failed,
        a_blocked_task_can_be_answered_moved_edited_and_cancelled,
        what_cannot_be_a_dependency_is_refused_and_nothing_is_submitted,
        equal_dependencies_are_part_of_the_content_of_a_key,
        a_new_task_waits_for_the_newest_successor_of_a_retried_dependency,
        a_batch_may_depend_on_tasks_that_are_there,
        gc_keeps_what_an_open_task_depends_on (
            "tasks are removed where their files are" fails with crate::NEEDS_THE_FILES
        ),
        an_import_brings_dependents_in_any_order_and_no_circle (
            "whole stores are copied where their files are" fails with crate::NEEDS_THE_FILES
        ),
    }
    dialogue {
        a_question_gives_the_claim_back_until_it_is_answered,
        a_default_counts_when_its_time_has_come,
        a_question_that_keeps_the_claim_is_answered_under_it,
        messages_are_numbered_and_read_by_the_holder,
    }
    exclusive {
        a_claim_passes_over_a_task_whose_key_is_held_and_takes_the_next_that_fits,
        a_key_is_held_across_lanes_and_by_any_of_several,
        every_end_of_a_claim_frees_the_key,
        a_key_passes_on_when_a_lease_ends_and_not_before,
        a_task_takes_its_own_key_again_after_its_lease_has_ended,
        a_claim_by_id_is_refused_while_the_key_is_held,
        dependencies_delays_and_deadlines_count_as_well,
        a_filter_takes_the_first_that_matches_and_has_its_keys,
        a_retry_and_an_import_keep_the_keys_and_a_key_of_a_submit_counts_them (
            "whole stores are copied where their files are" fails with crate::NEEDS_THE_FILES
        ),
    }
    feed {
        the_feed_has_every_change_once_with_growing_numbers,
        a_follower_sees_all_that_concurrent_writers_commit,
        a_watch_wakes_for_what_it_watches,
        a_process_that_ends_wakes_its_own_waiters,
        what_changes_nothing_is_not_in_the_feed,
    }
    gc {
        only_tasks_that_ended_long_ago_go (
            "tasks are removed where their files are" fails with crate::NEEDS_THE_FILES
        ),
        an_age_of_zero_must_be_meant (
            "tasks are removed where their files are" fails with "--all-ended"
        ),
        links_between_tasks_keep_leading_somewhere (
            "tasks are removed where their files are" fails with crate::NEEDS_THE_FILES
        ),
        keys_and_correlations_go_with_their_task (
            "tasks are removed where their files are" fails with crate::NEEDS_THE_FILES
        ),
        the_feed_drops_old_entries_and_shows_where_it_begins (
            "tasks are removed where their files are" fails with crate::NEEDS_THE_FILES
        ),
        removing_during_claims_and_answers_loses_nothing (
            "tasks are removed where their files are" fails with "a scoped thread panicked"
        ),
    }
    groups {
        a_group_has_its_tasks_in_the_order_of_their_submits (
            "whole stores are copied where their files are" fails with crate::NEEDS_THE_FILES
        ),
        the_newest_successor_of_a_retried_task_counts_for_its_group,
    }
    leases {
        a_renewal_extends_the_lease_by_the_clock_of_the_store,
        an_old_token_changes_nothing,
        a_refusal_tells_which_rule_refused (
            "a server sends the kind and the words of a refusal, but not the rule as data" fails with "no rule"
        ),
        a_release_gives_the_task_back_at_once_or_after_a_delay,
        a_spent_attempt_counts_and_the_last_one_ends_the_task,
        of_many_claims_of_one_task_one_is_granted,
        a_task_is_answered_once,
    }
    lifecycle {
        a_task_goes_from_submit_to_answer,
        higher_priority_first_then_age_and_old_tasks_overtake,
        a_task_for_others_does_not_block_the_lane,
        an_expired_lease_is_offered_again_and_the_old_token_is_void,
        attempts_run_out_and_a_waiter_gets_an_answer,
        delays_end_by_themselves,
        a_key_submits_once,
        a_prompt_has_a_largest_size_for_library_callers_too (
            "one request to a server has at most 8 MiB, and quotes take two bytes" fails with "more than the 8 MiB"
        ),
        long_names_are_refused_for_library_callers_too,
        cancel_voids_the_claim,
        large_and_odd_answers_come_back_unchanged,
        threads_share_a_lane_without_taking_a_task_twice,
        many_events_stay_in_order_and_complete,
        long_lanes_stay_sorted,
        paused_lanes_hand_out_nothing,
    }
    order {
        lanes_are_searched_in_the_given_order_and_paused_ones_left_out,
        a_task_keeps_its_age_when_it_moves,
    }
    requests {
        a_prompt_is_kept_as_it_was_submitted,
        a_retry_has_the_request_of_the_task_that_failed,
    }
    settings {
        pauses_have_a_time_and_a_reason,
        changes_of_lane_descriptions_do_not_get_lost (
            "lanes are described by the settings of the workspace of the server" fails with "a scoped thread panicked"
        ),
        a_vendor_is_paused_until_its_time_or_its_resumption,
        a_schedule_never_goes_back (
            "schedules run where the workspace of their settings is" fails with crate::NEEDS_THE_FILES
        ),
        a_worker_is_known_as_long_as_it_is_registered (
            "a server knows a worker by the wait that is open, not by a registration" fails with "left: []"
        ),
    }
    transfer {
        what_is_exported_is_the_same_after_an_import (
            "whole stores are copied where their files are" fails with crate::NEEDS_THE_FILES
        ),
        the_same_is_skipped_and_anything_else_refused_by_line (
            "whole stores are copied where their files are" fails with crate::NEEDS_THE_FILES
        ),
    }
}
