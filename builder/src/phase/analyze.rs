//! ANALYZE: what the app's previous image says of itself.

use container::{Digest, Store};

use crate::metadata::LifecycleMetadata;

/// `None` as well when the image is gone or its label is not understood: the build then starts from nothing.
pub(crate) fn analyze(store: &Store, previous: Option<&Digest>) -> Option<LifecycleMetadata> {
    let image = store.image(previous?).ok()?;
    LifecycleMetadata::of(&image.config)
}
