//! Changes of what is set for an app beside its releases: its name, who reaches it, limits and checks.

use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::{
    AppHandle, Changes, blocking, detached,
    instances::{chosen_slots, now},
};
use crate::{
    App, AppName, BuildpacksEdit, Checks, DeployError, Domain, Event, ProcessType,
    apps::{DOMAINS_MAX, Handles},
    limits::LimitsSet,
    rollout::{Change, Front},
};

impl Changes {
    /// Instances go on; those that start later are told the new name.
    pub(crate) async fn rename(
        self,
        to: AppName,
        handles: Handles,
        by: String,
    ) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, store, app) = self.parts();
            let app = App {
                name: to.clone(),
                ..app
            };
            let (id, name) = (app.id, to.clone());
            blocking(move || Ok(world.ledger.rename_app(id, &name)?)).await?;
            let from = &self.handle.app.name;
            self.note(&format!("Renamed from {from} to {to} by user {by}"));
            let renamed = Arc::new(self.handle.renamed(app.clone()));
            exchange(&handles, &self.handle, &renamed);
            let renamed = Changes {
                world: Arc::clone(&self.world),
                store,
                handle: renamed,
            };
            renamed.point(app).await?;
            renamed.refresh().await
        })
        .await
    }

    /// `None`: requests go to the app again.
    pub(crate) async fn set_maintenance(
        self,
        text: Option<String>,
        by: String,
    ) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, _, app) = self.parts();
            let verb = if text.is_some() { "Enable" } else { "Disable" };
            blocking(move || Ok(world.ledger.set_maintenance(&app.name, text.as_deref())?)).await?;
            self.note(&format!("{verb} maintenance mode by user {by}"));
            self.point(self.handle.app.clone()).await
        })
        .await
    }

    pub(crate) async fn add_domain(self, domain: Domain, by: String) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, _, app) = self.parts();
            let (added, who) = (domain.clone(), by.clone());
            blocking(move || {
                if added.is_of_platform(&world.domain) {
                    return Err(DeployError::PlatformDomain { domain: added });
                }
                if world.ledger.domains(&app.name)?.len() >= DOMAINS_MAX {
                    return Err(DeployError::TooManyDomains { app: app.name });
                }
                Ok(world.ledger.add_domain(&app.name, &added, &who)?)
            })
            .await?;
            self.note(&format!("Add domain {domain} by user {by}"));
            self.point(self.handle.app.clone()).await
        })
        .await
    }

    pub(crate) async fn remove_domain(self, domain: Domain, by: String) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, _, app) = self.parts();
            let gone = domain.clone();
            blocking(
                move || match world.ledger.remove_domain(&app.name, &gone)? {
                    true => Ok(()),
                    false => Err(DeployError::NoDomain {
                        app: app.name,
                        domain: gone,
                    }),
                },
            )
            .await?;
            self.note(&format!("Remove domain {domain} by user {by}"));
            self.point(self.handle.app.clone()).await
        })
        .await
    }

    /// Whoever runs with other limits than before is replaced first; when that fails, nothing has changed.
    pub(crate) async fn set_limits(
        self,
        process_type: Option<ProcessType>,
        set: LimitsSet,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            set.check()?;
            let (world, store, app) = self.parts();
            let of = process_type.clone();
            let prepared = blocking(move || {
                let mut limits = world.ledger.limits(&app.name)?;
                let before = limits.clone();
                match &of {
                    Some(name) => _ = limits.of_type.insert(name.clone(), set),
                    None => limits.every = set,
                }
                let wanted = match now(&world, &store, &app) {
                    Err(DeployError::NotDeployed(_)) => return Ok((limits, None)),
                    wanted => wanted?,
                };
                if let Some(process_type) = of
                    && !wanted.launch.has_instances(&process_type)
                {
                    return Err(DeployError::NoProcessType {
                        app: app.name,
                        process_type,
                        known: wanted.launch.kept_running().cloned().collect(),
                    });
                }
                let platform = world.runtime.limits();
                let launch = wanted.launch.with_limits(limits.clone());
                let mut slots = chosen_slots(&world, &store, &app, None)?;
                slots.retain(|slot| {
                    let of = Some(&slot.process_type);
                    wanted.slots.contains(slot)
                        && before.of(of, platform) != limits.of(of, platform)
                });
                Ok((limits, Some((launch, slots))))
            });
            let (limits, rollout) = prepared.await?;
            let what = process_type.as_ref().map_or("all", ProcessType::as_str);
            self.note(&format!("Set limits of {what} by user {by}"));
            if let Some((launch, slots)) = rollout {
                let change = |ask| Change::Restart { launch, slots, ask };
                self.ask(change, events, gone).await?;
            }
            let (world, _, app) = self.parts();
            blocking(move || Ok(world.ledger.set_limits(&app.name, &limits)?)).await
        })
        .await
    }

    /// For what starts from now on.
    pub(crate) async fn set_checks(self, checks: Checks, by: String) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            checks.check()?;
            let (world, _, app) = self.parts();
            blocking(move || Ok(world.ledger.set_checks(&app.name, &checks)?)).await?;
            self.note(&format!("Set checks by user {by}"));
            self.refresh().await
        })
        .await
    }

    /// For the builds that come. Returns the list as it is now.
    pub(crate) async fn edit_buildpacks(
        self,
        edit: BuildpacksEdit,
        by: String,
    ) -> Result<Vec<String>, DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, _, app) = self.parts();
            let list = blocking(move || world.ledger.edit_buildpacks(&app.name, edit)).await?;
            self.note(&format!("Set buildpacks by user {by}"));
            Ok(list)
        })
        .await
    }

    /// Returns when the router knows.
    async fn point(&self, app: App) -> Result<(), DeployError> {
        let (world, _, _) = self.parts();
        let named = app.clone();
        let front = blocking(move || {
            let app = world.ledger.app(&named.name)?;
            Ok(Front::of(&app, &world.ledger)?)
        });
        let front = front.await?;
        self.tell(|done| Change::Front { app, front, done }).await
    }
}

fn exchange(handles: &Handles, old: &Arc<AppHandle>, new: &Arc<AppHandle>) {
    let mut handles = handles.write().unwrap_or_else(PoisonError::into_inner);
    // A new app may have the old name already.
    if handles
        .get(&old.app.name)
        .is_some_and(|now| Arc::ptr_eq(now, old))
    {
        handles.remove(&old.app.name);
    }
    handles.insert(new.app.name.clone(), Arc::clone(new));
}
