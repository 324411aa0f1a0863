//! The part of the store that the scheduler needs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::store::{Claim, Result, Store, Tick, TickPlace, TickState};
use crate::workflow::WorkflowId;

/// The ledger of due instants: the store's verbs of the same names. `Arc<dyn Store>`
/// implements it.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// [`Store::claim`].
    async fn claim(&self, tick: Tick) -> Result<Claim>;

    /// [`Store::settle`].
    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        state: TickState,
        lateness: Duration,
    ) -> Result<()>;

    /// [`Store::ticks`].
    async fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>>;

    /// [`Store::unsettled_ticks`].
    async fn unsettled_ticks(&self) -> Result<Vec<Tick>>;
}

#[async_trait]
impl<S: Store + ?Sized> Ledger for Arc<S> {
    async fn claim(&self, tick: Tick) -> Result<Claim> {
        Store::claim(&**self, tick).await
    }

    async fn settle(
        &self,
        workflow: WorkflowId,
        schedule: &str,
        due: Timestamp,
        state: TickState,
        lateness: Duration,
    ) -> Result<()> {
        Store::settle(&**self, workflow, schedule, due, state, lateness).await
    }

    async fn ticks(
        &self,
        workflow: WorkflowId,
        schedule: Option<&str>,
        up_to: Option<&TickPlace>,
        limit: usize,
    ) -> Result<Vec<Tick>> {
        Store::ticks(&**self, workflow, schedule, up_to, limit).await
    }

    async fn unsettled_ticks(&self) -> Result<Vec<Tick>> {
        Store::unsettled_ticks(&**self).await
    }
}
