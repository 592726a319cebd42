//! A file of a web server, by the same connections: bounded, and once more where it breaks off.

use std::io::{self, Read as _, Write};

use ureq::{Body, ResponseExt as _, http::Response};

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
        let response = self.get(url)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(RegistryError::Status {
                action: "fetch",
                what: url.to_owned(),
                registry: "the server".to_owned(),
                status,
                detail: None,
                again_after: None,
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

    /// Where `url` leads to in the end, whatever is there.
    pub fn follow(&self, url: &str) -> Result<String, RegistryError> {
        Ok(self.get(url)?.get_uri().to_string())
    }

    /// Whether connections to `url` go through a proxy, which then looks up its host.
    pub fn is_proxied(&self, url: &str) -> bool {
        let proxy = self.agent().config().proxy();
        let uri = url.parse();
        proxy.is_some_and(|proxy| uri.is_ok_and(|uri| !proxy.is_no_proxy(&uri)))
    }

    fn get(&self, url: &str) -> Result<Response<Body>, RegistryError> {
        let mut tries = Tries::default();
        let response = loop {
            match self.agent().get(url).call() {
                Err(error) if may_pass(&error) && tries.pause(None) => {}
                result => break result,
            }
        };
        response.map_err(|source| RegistryError::Transport {
            action: "fetch",
            what: url.to_owned(),
            source: Box::new(source),
        })
    }
}
