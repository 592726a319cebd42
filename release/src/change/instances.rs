//! Changes of what runs of the current release: how many, which not, and new ones in their place.

use std::{collections::BTreeSet, sync::Arc};

use container::Store;
use tokio::sync::mpsc;

use super::{Changes, blocking, detached};
use crate::{
    App, DeployError, Event,
    formation::{Formation, QUANTITY_MAX, Slot, slots},
    rollout::{Change, World},
    wanted::Wanted,
};

impl Changes {
    /// Process types that are scaled are no longer stopped.
    pub(crate) async fn scale(
        self,
        quantities: Formation,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            let shown: Vec<String> = quantities
                .iter()
                .map(|(process_type, quantity)| format!("{process_type}@{quantity}"))
                .collect();
            let (world, store, app) = self.parts();
            let slots = blocking(move || set_formation(&world, &store, &app, &quantities)).await?;
            self.note(&format!("Scaled to {} by user {by}", shown.join(" ")));
            self.ask(|ask| Change::Scale { slots, ask }, events, gone)
                .await
        })
        .await
    }

    /// Returns when they are on their way out. They stay away, deploys or not, until they are started again.
    pub(crate) async fn stop(self, which: Option<String>, by: String) -> Result<(), DeployError> {
        detached(|_| async move {
            let _turn = self.handle.turn().await;
            let (world, store, app) = self.parts();
            let chosen = which.clone();
            let slots = blocking(move || {
                let running = chosen_slots(&world, &store, &app, chosen.as_deref())?;
                let stopped = &world.ledger.stopped(app.id)? | &running;
                world.ledger.set_stopped(app.id, &stopped)?;
                Ok(now(&world, &store, &app)?.slots)
            });
            let slots = slots.await?;
            self.note(&format!("Stop of {} by user {by}", called(&which)));
            self.tell(|done| Change::Stop { slots, done }).await
        })
        .await
    }

    /// Those that were stopped; returns when they are up.
    pub(crate) async fn start(
        self,
        which: Option<String>,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            let (world, store, app) = self.parts();
            let chosen = which.clone();
            let slots = blocking(move || {
                chosen_slots(&world, &store, &app, chosen.as_deref())?;
                unstop(&world, &app, |slot| slot.is_among(chosen.as_deref()))?;
                Ok(now(&world, &store, &app)?.slots)
            });
            let slots = slots.await?;
            self.note(&format!("Start of {} by user {by}", called(&which)));
            self.ask(|ask| Change::Scale { slots, ask }, events, gone)
                .await
        })
        .await
    }

    /// Those that were stopped are started.
    pub(crate) async fn restart(
        self,
        which: Option<String>,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            let (world, store, app) = self.parts();
            let chosen = which.clone();
            let wanted = blocking(move || {
                let slots = chosen_slots(&world, &store, &app, chosen.as_deref())?;
                unstop(&world, &app, |slot| slot.is_among(chosen.as_deref()))?;
                Ok((now(&world, &store, &app)?.launch, slots))
            });
            let (launch, slots) = wanted.await?;
            self.note(&format!("Restart of {} by user {by}", called(&which)));
            let change = |ask| Change::Restart { launch, slots, ask };
            self.ask(change, events, gone).await
        })
        .await
    }

    /// The app's task hears of what the ledger says now. What runs goes on.
    pub(crate) async fn refresh(&self) -> Result<(), DeployError> {
        let (world, store, app) = self.parts();
        let wanted = blocking(move || Wanted::now(&app, &world.ledger, &store)).await?;
        let Some(wanted) = wanted else { return Ok(()) };
        self.tell(|done| Change::Refresh { wanted, done }).await
    }
}

fn called(which: &Option<String>) -> &str {
    which.as_deref().unwrap_or("all instances")
}

pub(super) fn now(world: &World, store: &Store, app: &App) -> Result<Wanted, DeployError> {
    Wanted::now(app, &world.ledger, store)?
        .ok_or_else(|| DeployError::NotDeployed(app.name.clone()))
}

/// By the formation, stopped or not.
pub(super) fn chosen_slots(
    world: &World,
    store: &Store,
    app: &App,
    which: Option<&str>,
) -> Result<BTreeSet<Slot>, DeployError> {
    let launch = now(world, store, app)?.launch;
    let formation = world.ledger.formation(&app.name)?;
    let mut slots = slots(launch.kept_running(), &formation);
    slots.retain(|slot| slot.is_among(which));
    match which {
        Some(which) if slots.is_empty() => Err(DeployError::NoInstance {
            app: app.name.clone(),
            which: which.to_owned(),
        }),
        _ => Ok(slots),
    }
}

fn unstop(
    world: &Arc<World>,
    app: &App,
    started: impl Fn(&Slot) -> bool,
) -> Result<(), DeployError> {
    let mut stopped = world.ledger.stopped(app.id)?;
    stopped.retain(|slot| !started(slot));
    Ok(world.ledger.set_stopped(app.id, &stopped)?)
}

/// The slots afterwards.
fn set_formation(
    world: &Arc<World>,
    store: &Store,
    app: &App,
    quantities: &Formation,
) -> Result<BTreeSet<Slot>, DeployError> {
    let launch = now(world, store, app)?.launch;
    for (process_type, &quantity) in quantities {
        if !launch.has_instances(process_type) {
            return Err(DeployError::NoProcessType {
                app: app.name.clone(),
                process_type: process_type.clone(),
                known: launch.kept_running().cloned().collect(),
            });
        }
        if quantity > QUANTITY_MAX {
            return Err(DeployError::TooMany {
                process_type: process_type.clone(),
                quantity,
            });
        }
    }
    world.ledger.set_formation(app.id, quantities)?;
    unstop(world, app, |slot| {
        quantities.contains_key(&slot.process_type)
    })?;
    Ok(now(world, store, app)?.slots)
}
