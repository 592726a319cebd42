//! `slipway image export APP oci:DIR`: an app's image as a standard OCI layout.

use std::{error::Error, path::PathBuf};

use clap::Subcommand;
use container::{Store, layout};
use release::{AppName, Ledger};

use crate::up::data_default;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write the image of an app's current release as an OCI layout
    Export {
        app: AppName,
        /// `oci:DIR`, or `oci:DIR:TAG`; the tag is the release when absent
        target: String,
        /// The data folder of `slipway up`
        #[arg(long)]
        data: Option<PathBuf>,
    },
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let Self::Export { app, target, data } = self;
        let target = target
            .strip_prefix("oci:")
            .ok_or("the target is written oci:DIR or oci:DIR:TAG")?;
        let data = data.map_or_else(data_default, Ok)?;
        let ledger = Ledger::open(&data.join("ledger.db"))?;
        let release = ledger
            .current(&app)?
            .ok_or_else(|| format!("`{app}` has not been deployed yet"))?;
        let image = release
            .image
            .ok_or_else(|| format!("`{app}` has no image yet"))?;
        let (dir, tag) = match target.rsplit_once(':') {
            Some((dir, tag)) => (dir, tag.to_owned()),
            None => (target, release.number.to_string()),
        };
        let digest = layout::export(
            &Store::reader(&data.join("store")),
            &image,
            dir.as_ref(),
            &tag,
        )?;
        println!("{digest}");
        Ok(())
    }
}
