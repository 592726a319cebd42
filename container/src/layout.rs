//! Writes an image of the store as an OCI image layout (image-spec image-layout.md): `oci-layout`, `index.json`, blobs.
//! Layers are compressed here, for the first time: gzip by libdeflate, in 1 MiB members (bench-build.md section 7).

use std::path::Path;

use crate::{Digest, Store, store::StoreError};

/// Exports `image` to `dir` (made if absent) under the reference name `tag`; returns the manifest digest.
pub fn export(
    _store: &Store,
    _image: &Digest,
    _dir: &Path,
    _tag: &str,
) -> Result<Digest, StoreError> {
    todo!()
}
