//! Which images stay: those that serve, and those that can be gone back to. The rest of the store is garbage.

use std::collections::BTreeSet;

use container::{
    Digest,
    store::{Collected, Roots},
};

use crate::{AppName, Apps, DeployError, ReleaseNumber};

/// Images per app that can be gone back to, the current one among them, unless the operator says otherwise. A change of
/// config makes a release, but no image.
pub const IMAGES_KEPT: usize = 20;

impl Apps {
    /// Removes images, and layers that only they have, beyond the newest `keep` of each app; never one that is current,
    /// is being released, or has an instance. Blocks.
    pub fn collect_garbage(&self, keep: usize) -> Result<Collected, DeployError> {
        self.store().collect_garbage(|| {
            let mut images: BTreeSet<Digest> =
                self.ledger().images_kept(keep)?.into_iter().collect();
            for (app, release) in self.releases_with_instances() {
                images.extend(self.ledger().image_of(app, release)?);
            }
            Ok(Roots {
                images: images.into_iter().collect(),
                layers: self.stack_layers(),
            })
        })
    }

    /// Apps whose current image, or a layer of it, is not in the store.
    pub fn images_missing(&self) -> Result<Vec<AppName>, DeployError> {
        let mut missing = Vec::new();
        for app in self.ledger().apps()? {
            let image = (self.ledger().current(&app.name)?).and_then(|release| release.image);
            if image.is_some_and(|image| !self.is_whole(&image)) {
                missing.push(app.name);
            }
        }
        Ok(missing)
    }

    fn is_whole(&self, image: &Digest) -> bool {
        let layers = self.store().image(image).map(|image| image.config.layers);
        layers.is_ok_and(|layers| {
            (layers.iter()).all(|layer| self.store().layer(&layer.diff_id).is_some())
        })
    }

    fn releases_with_instances(&self) -> BTreeSet<(i64, ReleaseNumber)> {
        let handles = self.handles();
        let instances = handles.values().flat_map(|handle| {
            let view = handle.instances();
            view.into_iter()
                .map(|instance| (handle.app.id, instance.release))
        });
        instances
            .filter_map(|(app, release)| Some((app, ReleaseNumber::new(release)?)))
            .collect()
    }
}
