//! Which objects a partial clone leaves out (rev-list, `--filter`).

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Filter {
    #[default]
    All,
    /// `blob:none`, `blob:limit=<size>`: no blob of that many bytes or more.
    Blobs { below_bytes: u64 },
    /// `tree:<depth>`: nothing at that depth or deeper; the tree of a commit is at 0, its entries at 1.
    Depth { below: u64 },
}

impl Filter {
    /// `None`: there is no such filter here.
    pub(crate) fn parse(spec: &str) -> Option<Self> {
        if spec == "blob:none" {
            return Some(Self::Blobs { below_bytes: 0 });
        }
        if let Some(size) = spec.strip_prefix("blob:limit=") {
            return bytes(size).map(|below_bytes| Self::Blobs { below_bytes });
        }
        let below = spec.strip_prefix("tree:")?.parse().ok()?;
        Some(Self::Depth { below })
    }

    pub(crate) fn leaves_out_tree(self, depth: u64) -> bool {
        matches!(self, Self::Depth { below } if depth >= below)
    }

    /// `size` is asked only where it matters.
    pub(crate) fn leaves_out_blob<E>(
        self,
        depth: u64,
        size: impl FnOnce() -> Result<u64, E>,
    ) -> Result<bool, E> {
        match self {
            Self::All => Ok(false),
            Self::Blobs { below_bytes: 0 } => Ok(true),
            Self::Blobs { below_bytes } => Ok(size()? >= below_bytes),
            Self::Depth { below } => Ok(depth >= below),
        }
    }
}

/// `10`, `10k`, `10m`, `10g`.
fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let check = |spec: &str, filter| assert_eq!(Filter::parse(spec), filter, "{spec}");
        check("blob:none", Some(Filter::Blobs { below_bytes: 0 }));
        check("blob:limit=0", Some(Filter::Blobs { below_bytes: 0 }));
        check("blob:limit=1k", Some(Filter::Blobs { below_bytes: 1024 }));
        check("blob:limit=7", Some(Filter::Blobs { below_bytes: 7 }));
        check("tree:0", Some(Filter::Depth { below: 0 }));
        for bad in [
            "",
            "blob:limit=",
            "blob:limit=k",
            "blob:limit=99999999999g",
            "blob:limit=1é",
            "tree:x",
            "sparse:oid=HEAD",
            "combine:blob:none+tree:1",
            "object:type=tag",
        ] {
            check(bad, None);
        }
    }
}
