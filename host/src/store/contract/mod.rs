//! What every implementation of [`Store`] must do: one case for each promise of the
//! trait.
//!
//! An implementation says with [`Setup`] how its store is opened, and has all cases as
//! tests of its own with `contract_tests!`.

mod accounts;
mod figures;
mod ledger;
mod metadata;
mod queue;
mod runs;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

pub(crate) use self::{accounts::*, figures::*, ledger::*, metadata::*, queue::*, runs::*, whole::*};
use super::samples::{log, workflow};
use super::{Durability, RunFilter, RunPage, Store};
use crate::run::{Run, RunId};
use crate::workflow::{SettingWriter, Settings, Workflow};

/// How a store is opened.
#[async_trait]
pub(crate) trait Setup: Send + Sync {
    /// Opens the store: empty the first time, and with what it held when it was closed
    /// after that. It is closed in between.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Declares one test for each case, in a module of its own.
macro_rules! contract_tests {
    ($module:ident, $setup:expr) => {
        mod $module {
            use super::*;
            $crate::store::contract::contract_tests! { @cases $setup,
                workflows_are_listed_by_name
                taken_name_is_refused_until_its_workflow_is_archived
                one_of_many_saves_of_a_revision_wins
                save_keeps_name_kind_and_creation
                archive_leaves_nothing_behind
                versions_are_numbered_without_gaps
                version_needs_its_blobs_and_its_workflow
                only_a_version_that_is_there_can_be_active
                blobs_come_back_and_the_same_bytes_are_one_blob
                collector_spares_blobs_that_are_used_kept_or_fresh
                runtime_is_kept_under_its_name_with_its_component
                commits_of_different_settings_all_win
                later_commit_of_a_setting_wins
                commit_of_settings_is_all_or_nothing
                accounts_are_the_same_after_reopening
                login_is_given_once
                one_of_many_changes_of_a_user_wins
                one_time_link_is_used_up_once
                changes_of_accounts_are_all_or_nothing
                appended_run_is_read_at_once
                run_needs_its_workflow
                runs_are_listed_newest_first_through_every_filter
                text_is_found_in_logs_and_errors
                statistics_outlive_their_runs
                history_of_the_host_comes_back_after_reopening
                statistics_and_last_runs_are_told_by_workflow
                pages_have_every_run_once_while_others_are_appended
                prune_deletes_what_it_counts_and_nothing_younger
                own_limits_of_a_workflow_take_its_runs_at_once
                instant_is_claimed_once_for_ever
                older_instant_can_be_claimed_after_a_newer_one
                claims_of_a_batch_are_like_single_ones
                ledger_shows_what_became_of_each_instant
                prune_never_makes_an_instant_free_again
                event_is_leased_once_oldest_first_and_when_due
                event_is_leased_as_far_as_its_workflow_has_room
                one_of_many_events_with_a_key_is_added
                each_attempt_at_an_event_is_a_run_of_its_own
                lease_is_settled_once_and_by_its_own_run
                dead_letter_is_kept_with_its_input_until_it_is_driven_again
                callback_is_told_until_it_is_over
                given_up_callback_is_known_after_reopening_and_as_long_as_a_dead_letter
                event_that_waits_can_be_taken_out
                queue_is_the_same_after_reopening
                archive_forgets_the_events_of_its_workflow
                everything_is_the_same_after_reopening
                closed_store_takes_no_changes
            }
        }
    };
    (@cases $setup:expr, $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::store::contract::$case(&$setup).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

async fn create(store: &dyn Store, name: &str) -> Workflow {
    let workflow = workflow(name);
    store.create_workflow(workflow.clone()).await.unwrap();
    workflow
}

async fn append(store: &dyn Store, run: &Run) {
    store.append_run(Arc::new(run.clone()), log(2), Durability::Written).await.unwrap();
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

/// Everything of settings, for comparisons.
fn whole(settings: &Settings) -> serde_json::Value {
    let entries = settings.entries.iter().map(|(name, setting)| {
        json(&(
            name,
            setting.value.expose(),
            setting.visibility,
            &setting.seal,
            setting.updated_at,
            &setting.updated_by,
        ))
    });
    json(&(entries.collect::<Vec<_>>(), settings.revision))
}

fn values(settings: &Settings) -> BTreeMap<String, String> {
    let entries = settings.entries.iter();
    entries.map(|(name, setting)| (name.clone(), setting.value.expose().to_owned())).collect()
}

fn user() -> SettingWriter {
    SettingWriter::User(None)
}

async fn all_runs(store: &dyn Store, filter: RunFilter, page: usize) -> Vec<RunId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let RunPage { runs, next, .. } = store.runs(filter.clone(), cursor, page).await.unwrap();
        assert!(runs.len() <= page);
        ids.extend(runs.iter().map(|run| run.id));
        match next {
            None => return ids,
            Some(next) => {
                assert_eq!(ids.last(), Some(&next));
                cursor = Some(next);
            }
        }
    }
}
