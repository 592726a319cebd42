//! What a registry did, as facts. No secret is ever in one.

use std::{io, path::PathBuf, time::Duration};

use crate::{Digest, manifest::BadManifest, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{what}` does not exist, or may not be seen{}", hint(*anonymous, registry))]
    NotFound {
        what: String,
        registry: String,
        anonymous: bool,
    },
    #[error("`{registry}` refuses access to `{what}`{}", hint(*anonymous, registry))]
    Denied {
        what: String,
        registry: String,
        /// No credentials were found for this registry.
        anonymous: bool,
    },
    #[error("`{registry}` answered {status} to {action} `{what}`{}", detail.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Status {
        action: &'static str,
        what: String,
        registry: String,
        status: u16,
        /// The registry's own words.
        detail: Option<String>,
        /// When it wants to be asked again (RFC 9110 section 10.2.3).
        again_after: Option<Duration>,
    },
    #[error("cannot {action} `{what}`")]
    Transport {
        action: &'static str,
        what: String,
        source: Box<ureq::Error>,
    },
    #[error("`{what}` broke off after {at} of {size} bytes")]
    BrokeOff {
        what: String,
        at: u64,
        size: u64,
        source: io::Error,
    },
    #[error("`{what}` has the digest {found} and not {expected}, which was promised")]
    Digest {
        what: String,
        expected: Digest,
        found: Digest,
    },
    #[error("`{what}` is {found} and not {expected} bytes long, as was promised")]
    Size {
        what: String,
        expected: u64,
        /// In words, because nobody reads on past what was promised.
        found: String,
    },
    #[error("`{what}` is larger than the {max} bytes that are read of one")]
    TooLarge { what: String, max: u64 },
    #[error("`{what}` {why}")]
    BadManifest { what: String, why: BadManifest },
    #[error("`{registry}` gave an answer that makes no sense: {why}")]
    Nonsense { registry: String, why: String },
    #[error("the credentials for `{registry}` cannot be had: {why}")]
    Credentials { registry: String, why: String },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes the bytes of a blob could not.
    #[error("cannot keep `{what}`")]
    Sink { what: String, source: io::Error },
}

fn hint(anonymous: bool, registry: &str) -> String {
    if anonymous {
        format!("; no credentials for it are in the docker configuration: docker login {registry}")
    } else {
        String::new()
    }
}
