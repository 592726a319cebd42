//! The whole platform as one file, taken while it runs, and a platform made of such a file.
//!
//! A backup is a `.tar.gz` of a data folder as it was at one [`moment`]: the ledger, the repositories that belong to it,
//! host keys, logs, and the images that apps run or can be rolled back to. Left out is what a start makes again (the
//! bundled buildpacks) or does without (caches of builds, what instances left on their disks). [`restore`] unpacks it
//! beside the new data folder, which appears when all of it is there and right.

mod moment;
mod restore;
mod workplace;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use container::{
    Digest, Store,
    archive::{ArchiveError, ArchiveWriter},
    layer::Plan,
    store::StoreError,
};
use jiff::Timestamp;
use release::{Ledger, LedgerError};
use serde::{Deserialize, Serialize};

pub use self::restore::restore;
use self::{moment::Moment, workplace::Workplace};

const LEDGER: &str = "ledger.db";
const STORE: &str = "store";
const REPOS: &str = "repos";
/// Beside those: what is worth keeping of a data folder.
const KEPT: &[&str] = &[
    "host_keys",
    "admin_ed25519",
    "admin_ed25519.pub",
    "builds",
    "logs",
];
/// Where one is prepared. On the disk of the rest, for the sake of hard links.
const PLACE: &str = "backing-up";
/// The first entry of each backup.
const ABOUT: &str = "slipway-backup.json";
/// Of what is in a backup and where. A change that older programs would misread makes it 2.
const FORMAT: u32 = 1;
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    format: u32,
    /// The version that made it.
    pub slipway: String,
    pub made_at: Timestamp,
    pub apps: usize,
}

/// What is told of a backup under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    Taken {
        apps: usize,
        images: usize,
        layers: usize,
    },
    /// A release has it, and the store does not.
    Missing(Digest),
    Layers {
        done: usize,
        of: usize,
        bytes: u64,
    },
    Written {
        bytes: u64,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no platform in {}", .0.display())]
    NoPlatform(PathBuf),
    #[error("{} is not empty, and a backup is restored into a new folder", .0.display())]
    NotEmpty(PathBuf),
    #[error("another backup is at work in {}", .0.display())]
    Busy(PathBuf),
    #[error("this is no backup of Slipway")]
    Foreign(#[source] ArchiveError),
    #[error("the backup cannot be used, and nothing has been changed")]
    Unusable(#[source] ArchiveError),
    #[error("the ledger in the backup is damaged ({0}), and nothing has been changed")]
    DamagedLedger(String),
    #[error(
        "the backup was made by slipway {0}, in a form that this one does not know; restore it with that one"
    )]
    Newer(String),
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot write the backup")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Says what was being done to which path.
trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, BackupError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, BackupError> {
        self.map_err(|source| BackupError::Io {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}

/// Writes a backup of the platform in `data`, which may be running, with at most `keep` images of each app. Nobody waits
/// for it, but for the short time in which the ledger is copied; until it ends, no image is removed.
pub fn backup(
    data: &Path,
    keep: usize,
    out: impl Write,
    told: &mut dyn FnMut(Progress),
) -> Result<(), BackupError> {
    let store = Store::reader(&data.join(STORE));
    if !data.join(LEDGER).is_file() {
        return Err(BackupError::NoPlatform(data.to_owned()));
    }
    let _kept = store.keep()?;
    let place = Workplace::claim(data.join(PLACE))?;
    let moment = Moment::take(data, place.path())?;
    let ledger = Ledger::open(&moment.ledger())?;
    let apps = ledger.apps()?.len();
    let wanted = if keep == 0 {
        vec![]
    } else {
        ledger.images_kept(keep)?
    };
    // So that all of it is in one file.
    drop(ledger);
    let (images, layers) = present(&store, wanted, told)?;
    told(Progress::Taken {
        apps,
        images: images.len(),
        layers: layers.len(),
    });

    let about = About::of(apps);
    let out = Counted { out, bytes: 0 };
    let mut file = BackupFile::begin(out, &about, told)?;
    file.add(&moment.outline()?)?;
    for part in moment.parts()? {
        file.add(&part.plan()?)?;
    }
    for image in &images {
        file.add(&store.plan_image(image, STORE.as_ref())?)?;
    }
    for (done, layer) in layers.iter().enumerate() {
        file.tell(done, layers.len());
        file.add(&store.plan_layer(layer, STORE.as_ref())?)?;
    }
    file.finish()
}

/// Those of the images that are there, and all their layers.
fn present(
    store: &Store,
    wanted: Vec<Digest>,
    told: &mut dyn FnMut(Progress),
) -> Result<(Vec<Digest>, BTreeSet<Digest>), BackupError> {
    let (mut images, mut layers) = (Vec::new(), BTreeSet::new());
    for image in wanted {
        match store.layers_present(&image) {
            Ok(its) => {
                images.push(image);
                layers.extend(its);
            }
            Err(StoreError::NoImage(image)) => told(Progress::Missing(image)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((images, layers))
}

impl About {
    fn of(apps: usize) -> Self {
        Self {
            format: FORMAT,
            slipway: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: Timestamp::now(),
            apps,
        }
    }
}

struct BackupFile<'t, W: Write> {
    archive: ArchiveWriter<Counted<W>>,
    told: &'t mut dyn FnMut(Progress),
    told_at: Instant,
}

impl<'t, W: Write> BackupFile<'t, W> {
    fn begin(
        out: Counted<W>,
        about: &About,
        told: &'t mut dyn FnMut(Progress),
    ) -> Result<Self, BackupError> {
        let about = serde_json::to_vec(about).map_err(|error| BackupError::Write(error.into()))?;
        Ok(Self {
            archive: ArchiveWriter::new(out, ABOUT, &about).map_err(BackupError::Write)?,
            told,
            told_at: Instant::now(),
        })
    }

    fn add(&mut self, plan: &Plan) -> Result<(), BackupError> {
        self.archive.append(plan).map_err(BackupError::Write)
    }

    fn tell(&mut self, done: usize, of: usize) {
        if self.told_at.elapsed() >= TELL_EVERY {
            let bytes = self.archive.out().bytes;
            (self.told)(Progress::Layers { done, of, bytes });
            self.told_at = Instant::now();
        }
    }

    fn finish(self) -> Result<(), BackupError> {
        let out = self.archive.finish().map_err(BackupError::Write)?;
        (self.told)(Progress::Written { bytes: out.bytes });
        Ok(())
    }
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
