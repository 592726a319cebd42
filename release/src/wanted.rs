//! What the ledger wants to run of a release: its processes, and how many of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use container::Store;

use crate::{
    App, DeployError, Ledger, Release, ReleaseNumber,
    formation::{Slot, slots},
    launch::Launch,
    plan::{Cohort, Serial},
};

#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) launch: Arc<Launch>,
    pub(crate) slots: BTreeSet<Slot>,
    /// What runs may be of any of these.
    pub(crate) releases: BTreeSet<ReleaseNumber>,
}

impl Wanted {
    /// `None`: the release has no image, there is nothing to run.
    pub(crate) fn of(
        app: &App,
        release: &Release,
        ledger: &Ledger,
        store: &Store,
    ) -> Result<Option<Self>, DeployError> {
        let Some(launch) = Launch::of(app, release, ledger, store)? else {
            return Ok(None);
        };
        let formation = ledger.formation(&app.name)?;
        let stopped = ledger.stopped(app.id)?;
        let releases = if app.current == Some(release.number) {
            ledger.as_good_as_current(app)?
        } else {
            BTreeSet::from([release.number])
        };
        Ok(Some(Self {
            slots: &slots(launch.kept_running(), &formation) - &stopped,
            launch: Arc::new(launch),
            releases,
        }))
    }

    /// Of the current release. `None`: nothing has been deployed.
    pub(crate) fn now(
        app: &App,
        ledger: &Ledger,
        store: &Store,
    ) -> Result<Option<Self>, DeployError> {
        // The app may have changed since the caller read it.
        let app = ledger.app(&app.name)?;
        let current = ledger.current(&app.name)?;
        let wanted = current.map(|release| Self::of(&app, &release, ledger, store));
        Ok(wanted.transpose()?.flatten())
    }

    /// An instance must have at least the serial `since` to do.
    pub(crate) fn cohort(&self, since: Serial) -> Cohort {
        let slots: BTreeMap<Slot, Serial> =
            (self.slots.iter().map(|slot| (slot.clone(), since))).collect();
        Cohort {
            release: self.launch.release,
            releases: self.releases.clone(),
            slots,
        }
    }
}
