//! A file of a web server, by the same connections: bounded, and once more where it breaks off.

use std::io::{self, Read as _, Write};

use super::{
    error::RegistryError,
    http::{Client, Tries, may_pass},
};

impl Client {
    /// Writes what is at `url` to `out`. Nothing is promised about it but that it is no longer than `bytes_max`.
    pub fn download(
        &self,
        url: &str,
        bytes_max: u64,
        out: &mut dyn Write,
    ) -> Result<(), RegistryError> {
        let mut tries = Tries::default();
        let response = loop {
            match self.agent().get(url).call() {
                Err(error) if may_pass(&error) && tries.pause(None) => {}
                result => break result,
            }
        };
        let response = response.map_err(|source| RegistryError::Transport {
            action: "fetch",
            what: url.to_owned(),
            source: Box::new(source),
        })?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(RegistryError::Status {
                action: "fetch",
                what: url.to_owned(),
                registry: "the server".to_owned(),
                status,
                detail: None,
            });
        }
        let mut body = response.into_body().into_reader().take(bytes_max + 1);
        let copied = io::copy(&mut body, out).map_err(|source| RegistryError::Sink {
            what: url.to_owned(),
            source,
        })?;
        if copied > bytes_max {
            return Err(RegistryError::TooLarge {
                what: url.to_owned(),
                max: bytes_max,
            });
        }
        Ok(())
    }
}
