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

/// Makes a test of each law for each engine.
macro_rules! laws {
    ($($module:ident { $($law:ident,)* })*) => {
        /// On a directory of files.
        mod files {
            $(mod $module {
                $(#[test]
                fn $law() {
                    crate::$module::$law(&crate::testkit::store::Fixture::new());
                })*
            })*
        }
    };
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
        gc_keeps_what_an_open_task_depends_on,
        an_import_brings_dependents_in_any_order_and_no_circle,
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
        a_retry_and_an_import_keep_the_keys_and_a_key_of_a_submit_counts_them,
    }
    feed {
        the_feed_has_every_change_once_with_growing_numbers,
        a_follower_sees_all_that_concurrent_writers_commit,
        a_watch_wakes_for_what_it_watches,
        a_process_that_ends_wakes_its_own_waiters,
        what_changes_nothing_is_not_in_the_feed,
    }
    gc {
        only_tasks_that_ended_long_ago_go,
        an_age_of_zero_must_be_meant,
        links_between_tasks_keep_leading_somewhere,
        keys_and_correlations_go_with_their_task,
        the_feed_drops_old_entries_and_shows_where_it_begins,
        removing_during_claims_and_answers_loses_nothing,
    }
    groups {
        a_group_has_its_tasks_in_the_order_of_their_submits,
        the_newest_successor_of_a_retried_task_counts_for_its_group,
    }
    leases {
        a_renewal_extends_the_lease_by_the_clock_of_the_store,
        an_old_token_changes_nothing,
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
        a_prompt_has_a_largest_size_for_library_callers_too,
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
        changes_of_lane_descriptions_do_not_get_lost,
        a_vendor_is_paused_until_its_time_or_its_resumption,
        a_schedule_never_goes_back,
        a_worker_is_known_as_long_as_it_is_registered,
    }
    transfer {
        what_is_exported_is_the_same_after_an_import,
        the_same_is_skipped_and_anything_else_refused_by_line,
    }
}
