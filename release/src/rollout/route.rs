//! Which hosts lead to the app, and where their requests go.

use std::collections::BTreeSet;

use router::{Backend, Route};

use super::{Rollout, World, instance::Instance};
use crate::{App, Domain, Ledger, LedgerError, plan};

/// What visitors meet before the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Front {
    /// Besides the host that every app has.
    pub(crate) domains: BTreeSet<Domain>,
    /// They read this instead; empty for the usual words.
    pub(crate) maintenance: Option<String>,
}

impl Front {
    pub(crate) fn of(app: &App, ledger: &Ledger) -> Result<Self, LedgerError> {
        Ok(Self {
            domains: ledger.domains(&app.name)?.into_iter().collect(),
            maintenance: app.maintenance.clone(),
        })
    }
}

impl Rollout {
    pub(super) fn point_route(&mut self) {
        if self.destroyed.is_some() {
            return;
        }
        let hosts = self.hosts();
        let backend = self.backend();
        let moved = self.route.as_ref() != Some(&backend);
        for host in hosts
            .iter()
            .filter(|host| moved || !self.routed.contains(*host))
        {
            let route = Route {
                app: self.app.name.to_string(),
                backend: backend.clone(),
            };
            self.world.routes.set(host, route);
        }
        for host in self.routed.difference(&hosts) {
            self.world.routes.remove(host);
        }
        self.route = Some(backend);
        self.routed = hosts;
    }

    pub(super) fn remove_routes(&mut self) {
        for host in std::mem::take(&mut self.routed) {
            self.world.routes.remove(&host);
        }
    }

    fn hosts(&self) -> BTreeSet<String> {
        let own = self.world.host(&self.app);
        let domains = self.front.domains.iter().map(ToString::to_string);
        domains.chain([own]).collect()
    }

    fn backend(&self) -> Backend {
        if let Some(text) = &self.front.maintenance {
            return Backend::Maintenance((!text.is_empty()).then(|| text.clone()));
        }
        match plan::targets(&self.desired, &self.seen(), &self.crashes) {
            Ok(serials) => {
                let endpoints = serials
                    .iter()
                    .filter_map(|serial| self.instances.get(serial));
                Backend::Endpoints(endpoints.filter_map(Instance::endpoint).collect())
            }
            Err(why) => Backend::Unavailable(why),
        }
    }
}

impl World {
    /// The host that every app has.
    pub(crate) fn host(&self, app: &App) -> String {
        format!("{}.{}", app.name, self.domain)
    }
}
