//! A pack, unpacked and checked while it arrives: when its last byte is here, little is left to do.
//!
//! One thread reads: the [`source`] writes and hashes what comes, [`entry`] and [`inflate`] take the next object out of
//! it, [`delta`] makes it whole upon a base that is [`recent`], all of it told by [`unpack`]. Other threads [`inspect`]
//! the objects, which gives them their ids and the [`links`] between them. When all are there, the deltas whose base came
//! after them are settled, bases that the client left out are added ([`thin`]), every link is followed ([`connect`]), and
//! the [`index`] is written. No object is inflated twice unless its base was forgotten meanwhile.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, Read},
    path::Path,
    thread,
};

use gix_hash::ObjectId;
use gix_object::Kind;

use self::{
    inspect::{Context, Inspected, Inspection, Inspector},
    source::Source,
    table::Table,
    unpack::Unpacker,
};
use super::{fsck::FsckError, quarantine::PackFiles, watch::Watch};

mod block;
mod connect;
mod delta;
mod entries;
mod entry;
mod folders;
mod id_hash;
mod index;
mod inflate;
mod inspect;
mod links;
mod recent;
mod source;
mod table;
mod thin;
mod unpack;

const HEADER: usize = 12;
const UNFINISHED: &str = "tmp_pack";

/// A pack that passed.
pub(super) struct Pack {
    /// `None`: it has no objects.
    pub(super) files: Option<PackFiles>,
    /// Commits whose parents the client does not have, as it had said.
    pub(super) boundaries: Vec<ObjectId>,
    table: Table,
    /// By the object's place in the pack.
    kinds: Vec<Option<Kind>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("this is not a pack")]
    NotAPack,
    #[error("the pack is cut off")]
    CutOff,
    #[error("the pack's checksum is wrong")]
    Checksum,
    #[error("there are bytes after the pack")]
    Junk,
    #[error("the pack has {objects} objects, more than {max}")]
    TooMany { objects: u32, max: u32 },
    #[error("the object at byte {offset} of the pack {problem}")]
    Entry { offset: u64, problem: Problem },
    #[error("the delta base {0} is neither in the pack nor here")]
    MissingBase(ObjectId),
    #[error("the deltas of the pack form a circle at object {0}")]
    Circle(ObjectId),
    #[error("object {0} is in the pack twice")]
    Duplicate(ObjectId),
    #[error("an object of the pack is part of an attack on SHA-1")]
    Collision,
    #[error(transparent)]
    Fsck(#[from] FsckError),
    #[error("{} {id}, which {by} names, is missing", kind_name(*.kind))]
    Missing {
        kind: Option<Kind>,
        id: ObjectId,
        by: ObjectId,
    },
    #[error("{by} names {id} as a {expected}, but it is a {actual}")]
    WrongKind {
        id: ObjectId,
        by: ObjectId,
        expected: Kind,
        actual: Kind,
    },
    #[error("{problem}, in object {id}")]
    Modules { id: ObjectId, problem: String },
    #[error("stopped")]
    Stopped,
    #[error("the server cannot store the pack: {0}")]
    Io(#[source] io::Error),
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("has the unknown type {0}")]
    Type(u8),
    #[error("unpacks to another size than it says")]
    Size,
    #[error("has {size} bytes, more than {} MiB", .bytes_max >> 20)]
    TooLarge { size: u64, bytes_max: usize },
    #[error("cannot be inflated")]
    Inflate,
    #[error("is a delta without a base: no object starts where it says")]
    NoBase,
    #[error("is a delta that does not fit its base")]
    Delta,
    #[error("is a delta upon more than {0} others")]
    Depth(u16),
    #[error("is cut off")]
    CutOff,
    #[error("was left")]
    Stopped,
    #[error(transparent)]
    Io(io::Error),
}

/// Another object that a delta builds upon: of the pack, or of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    Entry(u32),
    Outside(u32),
}

/// Reads one pack into the directory. `old`: what is in the repository already; all of it has passed this once, so an
/// object that names only objects of the pack or of the repository is complete, and no walk through the history is needed.
/// `shallow`: commits of which the client has no parents.
pub(super) fn receive(
    input: impl Read,
    directory: &Path,
    old: &gix_odb::Handle,
    shallow: &HashSet<ObjectId>,
    watch: &Watch,
) -> Result<Pack, PackError> {
    let unfinished = directory.join(UNFINISHED);
    let file = File::create_new(&unfinished).and_then(|_| {
        let mut options = File::options();
        options.read(true).write(true).open(&unfinished)
    });
    let mut source = Source::new(input, file.map_err(PackError::Io)?);
    let objects = source.header()?;
    let max = watch.limits().objects;
    if objects > max {
        return Err(PackError::TooMany { objects, max });
    }
    let context = Context { shallow, watch };
    let mut unpacker = Unpacker::new(old, watch);
    let mut inspected = read_all(objects, &mut source, &mut unpacker, context)?;
    let (mut file, checksum) = source.end()?;
    if objects == 0 {
        return Ok(Pack {
            files: None,
            boundaries: Vec::new(),
            table: Table::default(),
            kinds: Vec::new(),
        });
    }

    let mut inspector = Inspector::new(context);
    unpacker.settle(&file, &inspected.ids, &mut inspector)?;
    inspected.take(inspector);
    let table = Table::new(inspected.ids)?;
    let boundaries = connect::follow(&inspected.links, &table, &unpacker)?;
    connect::check_modules(&inspected.links.modules, &table, &mut unpacker, &file)?;
    unpacker.find_circles(&table)?;
    let (table, checksum) = thin::complete(&mut file, &mut unpacker, table, checksum)?;

    let pack = directory.join(format!("pack-{checksum}.pack"));
    let index = pack.with_extension("idx");
    let rows = unpacker.rows(&table);
    File::create_new(&index)
        .and_then(|file| index::write(rows, &checksum, file))
        .and_then(|()| std::fs::rename(&unfinished, &pack))
        .map_err(PackError::Io)?;
    Ok(Pack {
        files: Some(PackFiles { pack, index }),
        boundaries,
        kinds: unpacker.kinds(),
        table,
    })
}

fn read_all(
    objects: u32,
    source: &mut Source<impl Read>,
    unpacker: &mut Unpacker<'_>,
    context: Context<'_>,
) -> Result<Inspected, PackError> {
    thread::scope(|scope| {
        let mut inspection = Inspection::new(scope, context);
        let read = unpacker.entries(objects, source, &mut inspection);
        match (inspection.finish(unpacker.last_block()), read) {
            // Whoever found something wrong has stopped the others.
            (Err(PackError::Stopped), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => {
                Err(error)
            }
            (Ok(inspected), Ok(())) => Ok(inspected),
        }
    })
}

impl Pack {
    /// `None`: it is not in the pack.
    pub(super) fn kind_of(&self, id: &ObjectId) -> Option<Kind> {
        let at = self.table.find(id)?;
        self.kinds[at as usize]
    }
}

impl PackError {
    fn input(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }

    fn entry(offset: u64) -> impl Fn(Problem) -> Self {
        move |problem| match problem {
            Problem::CutOff => Self::CutOff,
            Problem::Stopped => Self::Stopped,
            Problem::Io(error) => Self::Io(error),
            problem => Self::Entry { offset, problem },
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }
}

fn kind_name(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Blob) => "file",
        Some(Kind::Tree) => "tree",
        Some(Kind::Commit) => "commit",
        Some(Kind::Tag) => "tag",
        None => "object",
    }
}

fn next_byte(input: &mut impl BufRead) -> Result<u8, Problem> {
    let &byte = input.fill_buf()?.first().ok_or(Problem::CutOff)?;
    input.consume(1);
    Ok(byte)
}
