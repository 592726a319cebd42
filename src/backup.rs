//! `slipway backup` and `slipway restore`: the whole platform into a file, and out of it.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use gitd::backup::{self, Progress};

use crate::up::data_default;

#[derive(clap::Args)]
pub(crate) struct Backup {
    /// Where to write it, for your eyes only; `-` is stdout
    file: PathBuf,
    /// The data folder of `slipway up`, which may be running
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Images of each app that can be rolled back to; with 0 each app has to be built again
    #[arg(long, value_name = "N", default_value_t = release::IMAGES_KEPT)]
    keep: usize,
}

#[derive(clap::Args)]
pub(crate) struct Restore {
    /// A file that `slipway backup` wrote; `-` is stdin
    file: PathBuf,
    /// The data folder to make, absent or empty
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Backup {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let data = self.data.map_or_else(data_default, Ok)?;
        if is_dash(&self.file) {
            let stdout = io::stdout().lock();
            if stdout.is_terminal() {
                return Err(
                    "a backup is no text for a terminal; name a file, or send it on".into(),
                );
            }
            return Ok(backup::backup(&data, self.keep, stdout, &mut tell)?);
        }
        let part = part_of(&self.file);
        let written = write(&data, self.keep, &part, &self.file);
        if written.is_err() {
            // It may not have been made.
            _ = fs::remove_file(&part);
        }
        written?;
        eprintln!(
            "-----> {} holds config vars and private keys: keep it as you keep those.",
            self.file.display()
        );
        Ok(())
    }
}

impl Restore {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let data = self.data.map_or_else(data_default, Ok)?;
        let about = if is_dash(&self.file) {
            backup::restore(io::stdin(), &data)?
        } else {
            let file = File::open(&self.file)
                .map_err(|error| format!("cannot read {}: {error}", self.file.display()))?;
            backup::restore(file, &data)?
        };
        eprintln!(
            "=====> {} apps as they were at {}",
            about.apps, about.made_at
        );
        eprintln!("       To start them: slipway up --data {}", data.display());
        Ok(())
    }
}

/// A backup that stood under the name before stays until the new one is whole.
fn write(data: &Path, keep: usize, part: &Path, file: &Path) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| format!("cannot write {}: {error}", file.display());
    let mut options = File::options();
    let made = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part);
    let made = made.map_err(failed)?;
    make_private(&made).map_err(failed)?;
    let mut out = BufWriter::new(made);
    backup::backup(data, keep, &mut out, &mut tell)?;
    let mut finish = || {
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(part, file)
    };
    finish().map_err(failed)?;
    Ok(())
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// One that a killed backup left may be anybody's to read.
fn make_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

fn tell(progress: Progress) {
    eprintln!("       {progress}");
}

fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}
