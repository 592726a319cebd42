//! The log of one app, as it comes.

use std::{collections::VecDeque, future::pending, sync::Arc};

use release::{AppName, LogFilter, LogLine};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::{JoinHandle, spawn_blocking},
};

use crate::Context;

/// What can be scrolled through.
const LINES_MAX: usize = 1000;
/// Taken at once.
const BATCH: usize = 256;

pub(super) struct Feed {
    app: AppName,
    /// What there was before, while it is being read.
    before: Option<JoinHandle<Vec<LogLine>>>,
    new: mpsc::Receiver<LogLine>,
    ended: bool,
    lines: VecDeque<LogLine>,
}

impl Feed {
    pub(super) fn open(ctx: &Arc<Context>, app: AppName) -> Self {
        let filter = LogFilter::default();
        // Before the tail is read, so that no line falls between the two.
        let new = ctx.apps.log_follow(&app, filter.clone());
        let (apps, of) = (Arc::clone(&ctx.apps), app.clone());
        let before = spawn_blocking(move || {
            // An app that has just gone has no log.
            apps.log_tail(&of, LINES_MAX, &filter).unwrap_or_default()
        });
        Self {
            app,
            before: Some(before),
            new,
            ended: false,
            lines: VecDeque::new(),
        }
    }

    pub(super) fn app(&self) -> &AppName {
        &self.app
    }

    /// Oldest first.
    pub(super) fn lines(&self) -> &VecDeque<LogLine> {
        &self.lines
    }

    async fn next(&mut self) {
        if let Some(before) = &mut self.before {
            self.lines = before.await.unwrap_or_default().into();
            self.before = None;
            return;
        }
        if self.ended {
            return pending().await;
        }
        match self.new.recv().await {
            Some(line) => self.push(line),
            None => self.ended = true,
        }
        for _ in 1..BATCH {
            match self.new.try_recv() {
                Ok(line) => self.push(line),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn push(&mut self, line: LogLine) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Some lines have come, or there will be none.
pub(super) async fn news(feed: &mut Option<Feed>) {
    match feed {
        Some(feed) => feed.next().await,
        None => pending().await,
    }
}
