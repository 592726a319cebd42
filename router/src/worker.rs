//! What the connections of one thread share.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{Table, Timeouts, log::Outlet, pool::Pool, random::Random};

/// How often idle connections to endpoints are looked at; a retirement is acted on at once.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Never leaves its thread.
pub(crate) type Shared = Rc<Worker>;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) table: Table,
    pub(crate) timeouts: Arc<Timeouts>,
    /// The listener's, for X-Forwarded-Port.
    pub(crate) port: u16,
    pub(crate) pool: Pool,
    pub(crate) random: Random,
    pub(crate) log: Outlet,
    /// True, or closed, when connections are to end after the request at hand.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Runs as long as the thread does.
pub(crate) async fn keep_pool(worker: Shared) {
    let mut retirements = worker.table.retirements();
    let every = SWEEP_EVERY.min(worker.timeouts.pooled);
    loop {
        // Nobody retires anything once the table is gone, which the worker keeps from happening.
        let _ = tokio::time::timeout(every, retirements.changed()).await;
        worker.pool.sweep(worker.timeouts.pooled);
    }
}

/// Resolves when the router is to stop.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the router itself was dropped.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
