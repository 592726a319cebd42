//! Random numbers of one thread, taken from the kernel a page at a time.

use std::cell::RefCell;

const BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Random {
    bytes: RefCell<([u8; BYTES], usize)>,
}

impl Random {
    pub(crate) fn new() -> Self {
        Self {
            bytes: RefCell::new(([0; BYTES], BYTES)),
        }
    }

    pub(crate) fn take<const N: usize>(&self) -> [u8; N] {
        let (bytes, used) = &mut *self.bytes.borrow_mut();
        if *used + N > BYTES {
            // Up to 256 bytes the kernel never returns fewer than asked for; a request id may repeat if it ever fails,
            // which is better than no answer.
            for page in bytes.chunks_mut(256) {
                let _ = rustix::rand::getrandom(page, rustix::rand::GetRandomFlags::empty());
            }
            *used = 0;
        }
        let mut taken = [0; N];
        taken.copy_from_slice(&bytes[*used..*used + N]);
        *used += N;
        taken
    }

    pub(crate) fn number(&self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    /// A version 4 UUID (RFC 9562 section 5.4).
    pub(crate) fn uuid(&self) -> String {
        let mut value = u128::from_be_bytes(self.take());
        value = value & !(0xf << 76) | 0x4 << 76;
        value = value & !(0x3 << 62) | 0x2 << 62;
        let hex = format!("{value:032x}");
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_the_form_of_version_4_and_differ() {
        let random = Random::new();
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| random.uuid()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), 36);
            assert_eq!(&id[14..15], "4");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}
