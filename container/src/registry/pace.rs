//! A body that trickles is given up: each of its bytes may come in time, and all of them never.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

/// In each of these spans there has to come [`BYTES_MIN`], or the end.
const SPAN: Duration = Duration::from_secs(60);
/// Of the slowest lines that anybody still builds on, a tenth.
const BYTES_MIN: u64 = 16 * 1024;

pub(super) struct Paced<R> {
    inner: R,
    since: Instant,
    /// Since then.
    bytes: u64,
}

impl<R> Paced<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn check(&mut self, now: Instant) -> io::Result<()> {
        if now.saturating_duration_since(self.since) < SPAN {
            return Ok(());
        }
        if self.bytes < BYTES_MIN {
            let why = format!(
                "only {} bytes have come in {} s",
                self.bytes,
                SPAN.as_secs()
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        (self.since, self.bytes) = (now, 0);
        Ok(())
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes += length as u64;
        if length > 0 {
            self.check(Instant::now())?;
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_given_up_and_a_slow_line_is_not() {
        let mut paced = Paced::new(io::empty());
        let start = paced.since;
        let after = |seconds| start + Duration::from_secs(seconds);
        paced.bytes = 1;
        assert!(paced.check(after(59)).is_ok());
        let error = paced.check(after(60)).unwrap_err();
        assert_eq!(error.to_string(), "only 1 bytes have come in 60 s");
        paced.bytes = BYTES_MIN;
        assert!(paced.check(after(60)).is_ok());
        // A new span has begun.
        assert_eq!((paced.since, paced.bytes), (after(60), 0));
        assert!(paced.check(after(119)).is_ok());
        assert!(paced.check(after(120)).is_err());
    }
}
