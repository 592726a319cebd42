//! A layer of the store as the blob that is sent. Layers are compressed here, for the first time.

use std::{fs, io, path::Path};

use crate::{
    Digest, Store,
    layer::{self, Blob, Form, Owner},
    manifest::{Descriptor, OCI_LAYER_GZIP},
    sandbox::SANDBOX_ID,
    store::{Doing as _, Source, StoreError},
};

/// Compresses the layer into the directory `blobs`, named by the hex digits of the blob's digest.
pub(crate) fn compress(
    store: &Store,
    diff_id: &Digest,
    blobs: &Path,
) -> Result<Descriptor, StoreError> {
    let tree = store.layer(diff_id).ok_or(StoreError::NoLayer(*diff_id))?;
    let part = blobs.join(format!(".{}.part", diff_id.hex()));
    let written = write_layer(&tree, diff_id, &part).doing("compress", &tree)?;
    let Some(blob) = written else {
        return Err(StoreError::Refused(format!(
            "layer {diff_id} is damaged: its files no longer have that digest"
        )));
    };
    let fixed = blobs.join(blob.digest.hex());
    fs::rename(&part, &fixed).doing("write", &fixed)?;
    Ok(Descriptor {
        digest: blob.digest,
        size: blob.bytes,
        ..Descriptor::of(OCI_LAYER_GZIP, &[])
    })
}

/// `None` when its files have not that digest, however they are taken.
fn write_layer(tree: &Path, diff_id: &Digest, part: &Path) -> io::Result<Option<Blob>> {
    let noted = Source::noted(tree).filter(|source| source.dir(tree).is_dir());
    if let Some(source) = noted {
        let blob = write(&source, tree, part)?;
        if blob.diff_id == *diff_id {
            return Ok(Some(blob));
        }
    }
    let found = find_source(tree, diff_id)?;
    found
        .map(|source| write(&source, tree, part))
        .transpose()
        .map(|blob| blob.filter(|blob| blob.diff_id == *diff_id))
}

fn write(source: &Source, tree: &Path, part: &Path) -> io::Result<Blob> {
    let mut file = fs::File::create(part)?;
    let blob = layer::write_gzip(&source.layer(&source.dir(tree)), &mut file)?;
    file.sync_all()?;
    Ok(blob)
}

/// There are few ways in which a layer can have been made, and the digest says which it was.
fn find_source(tree: &Path, diff_id: &Digest) -> io::Result<Option<Source>> {
    let owners = [
        Owner {
            uid: SANDBOX_ID,
            gid: SANDBOX_ID,
        },
        Owner { uid: 0, gid: 0 },
    ];
    let mut place = String::new();
    loop {
        let at = if place.is_empty() { "/" } else { &place };
        let dir = tree.join(place.trim_start_matches('/'));
        for owner in owners {
            for form in [Form::App, Form::Dir] {
                let source = Source::new(at, owner, form);
                if layer::diff_id(&source.layer(&dir))? == *diff_id {
                    return Ok(Some(source));
                }
            }
        }
        let mut children = fs::read_dir(&dir)?.flatten();
        match (children.next(), children.next()) {
            (Some(only), None) if only.file_type()?.is_dir() => {
                place = format!("{place}/{}", only.file_name().to_string_lossy());
            }
            _ => return Ok(None),
        }
    }
}
