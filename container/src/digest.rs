//! Content digests in the OCI form, `sha256:<64 lower-case hex digits>` (image-spec, descriptor.md "Digests").

use std::fmt;

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(_bytes: &[u8]) -> Self {
        todo!()
    }

    /// 64 lower-case hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        todo!()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
// + FromStr (error names the text), serde as the string form.
