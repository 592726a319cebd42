//! A layer of the store as the blob that is sent: gzip by libdeflate level 1, one member per block. Layers are compressed
//! here, for the first time.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{
    Digest, Store,
    layer::{self, Form, LayerSource, Owner, blob::compressor},
    manifest::{Descriptor, OCI_LAYER_GZIP},
    sandbox::SANDBOX_ID,
    store::{Doing as _, StoreError},
};

/// Members of this size cost 0.2 % in size and can be made one by one (RFC 1952 allows any number of members).
const MEMBER_BYTES: usize = 1024 * 1024;

/// Compresses the layer into the directory `blobs`, named by the hex digits of the blob's digest.
pub(crate) fn compress(
    store: &Store,
    diff_id: &Digest,
    blobs: &Path,
) -> Result<Descriptor, StoreError> {
    let tree = store.layer(diff_id).ok_or(StoreError::NoLayer(*diff_id))?;
    let part = blobs.join(format!(".{}.part", diff_id.hex()));
    let file = fs::File::create(&part).doing("make", &part)?;
    let mut gzip = Gzip {
        file: io::BufWriter::new(file),
        hasher: Sha256::new(),
        pending: Vec::new(),
        bytes: 0,
    };
    let written = write_layer(&tree, diff_id, &mut gzip).doing("compress", &tree)?;
    if !written {
        return Err(StoreError::Refused(format!(
            "layer {diff_id} is damaged: its files no longer have that digest"
        )));
    }
    let (digest, size) = gzip.finish().doing("write", &part)?;
    let fixed = blobs.join(digest.hex());
    fs::rename(&part, &fixed).doing("write", &fixed)?;
    Ok(Descriptor {
        digest,
        size,
        ..Descriptor::of(OCI_LAYER_GZIP, &[])
    })
}

/// Which form and which depth a layer was hashed with is not recorded; there are few, and the digest says which it was.
fn write_layer(tree: &Path, diff_id: &Digest, out: &mut Gzip) -> io::Result<bool> {
    let owners = [
        Owner {
            uid: SANDBOX_ID,
            gid: SANDBOX_ID,
        },
        Owner { uid: 0, gid: 0 },
    ];
    let mut place = String::new();
    loop {
        let dir = tree.join(place.trim_start_matches('/'));
        for owner in owners {
            for form in [Form::App, Form::Dir] {
                let at = if place.is_empty() { "/" } else { &place };
                let source = LayerSource {
                    dir: &dir,
                    at,
                    owner,
                    form,
                };
                if layer::diff_id(&source)? == *diff_id {
                    layer::write_tar(&source, out)?;
                    return Ok(true);
                }
            }
        }
        let mut children = fs::read_dir(&dir)?.flatten();
        match (children.next(), children.next()) {
            (Some(only), None) if only.file_type()?.is_dir() => {
                place = format!("{place}/{}", only.file_name().to_string_lossy());
            }
            _ => return Ok(false),
        }
    }
}

struct Gzip {
    file: io::BufWriter<fs::File>,
    hasher: Sha256,
    pending: Vec<u8>,
    bytes: u64,
}

impl Gzip {
    fn member(&mut self, length: usize) -> io::Result<()> {
        let mut compressor = compressor();
        let mut out = vec![0; compressor.gzip_compress_bound(length)];
        let size = compressor
            .gzip_compress(&self.pending[..length], &mut out)
            .map_err(io::Error::other)?;
        self.hasher.update(&out[..size]);
        self.bytes += size as u64;
        self.pending.drain(..length);
        self.file.write_all(&out[..size])
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.member(self.pending.len())?;
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        Ok((Digest::finish(self.hasher), self.bytes))
    }
}

impl Write for Gzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= MEMBER_BYTES {
            self.member(MEMBER_BYTES)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
