//! The world that a sandbox sees: an overlay as root, the mounts it was given, and /proc, /dev and /tmp of its own.

use std::{
    ffi::CString,
    fs, io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat,
        openat, openat2, symlinkat,
    },
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
};

use crate::{
    Bind, Mount, Sandbox,
    sandbox::{SANDBOX_ID, host_ids},
    zygote::{Failed, Step},
};

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

pub(crate) const MOUNT_OVERLAY: &str = "mount the overlay";
pub(crate) const MOUNT_PROC: &str = "mount /proc";
/// Overlay's options must fit a page; the kernel would cut them off without a word.
const LOWERS_MAX: usize = 128;

/// Makes the world and moves into it; the old one is gone afterwards.
pub(crate) fn enter(sandbox: &Sandbox, root_user: bool) -> Result<(), Failed> {
    make_private()?;
    let root = sandbox.scratch.join("root");
    make_dir(&root, root_user)?;
    let mut lowers = open_dirs(&sandbox.lowers)?;
    lowers.push(mount_targets(sandbox, &root, root_user)?);
    let (upper, work) = (sandbox.scratch.join("upper"), sandbox.scratch.join("work"));
    mount_overlay(&lowers, &upper, &work, &root, root_user)?;
    let world = World {
        root: open_dir(&root)?,
        root_user,
    };
    for mount in &sandbox.mounts {
        world.mount(mount)?;
    }
    world.proc()?;
    world.dev()?;
    world.tmp(&sandbox.scratch)?;
    pivot(&root)
}

/// What [`enter`] needs of the machine, tried on a tmpfs that nobody else sees.
pub(crate) fn try_out(root_user: bool) -> Result<(), Failed> {
    make_private()?;
    let place = Path::new("/dev");
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID, None).step(|| "mount a tmpfs".to_owned())?;
    let dir = |name: &str| {
        let path = place.join(name);
        make_dir(&path, root_user).map(|()| path)
    };
    let (lower, proc, target) = (open_dir(&dir("lower")?)?, dir("proc")?, dir("target")?);
    mount_overlay(
        &[lower],
        &place.join("upper"),
        &place.join("work"),
        &target,
        root_user,
    )?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &proc, "proc", flags, None).step(|| MOUNT_PROC.to_owned())
}

fn make_private() -> Result<(), Failed> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).step(|| "make mounts private".to_owned())
}

/// An empty directory or file for everything that will be mounted, on a tmpfs at the very bottom of the root's overlay:
/// it covers nothing that an image has, the upper directory stays free of it, and it costs a hundredth of the same
/// made in an overlay. What an image lacks below another mount is made there later.
fn mount_targets(sandbox: &Sandbox, root: &Path, root_user: bool) -> Result<OwnedFd, Failed> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", root, "tmpfs", flags, Some(c"mode=0755"))
        .step(|| "mount the mount targets".to_owned())?;
    let targets = World {
        root: open_dir(root)?,
        root_user,
    };
    for mount in &sandbox.mounts {
        match mount {
            Mount::Bind(bind) if !bind.source.is_dir() => targets.file(&bind.target)?,
            Mount::Bind(Bind { target, .. })
            | Mount::Overlay { target, .. }
            | Mount::Tmpfs { target, .. } => targets.dir(target)?,
        };
    }
    for target in ["/proc", "/dev", "/tmp"] {
        targets.dir(target)?;
    }
    Ok(targets.root)
}

/// A tree that is to become a sandbox's, or already is.
struct World {
    root: OwnedFd,
    root_user: bool,
}

impl World {
    fn mount(&self, mount: &Mount) -> Result<(), Failed> {
        match mount {
            Mount::Bind(bind) => self.bind(bind),
            Mount::Overlay {
                lowers,
                upper,
                work,
                target,
            } => {
                let target = self.dir(target)?;
                mount_overlay(
                    &open_dirs(lowers)?,
                    upper,
                    work,
                    &at(&target),
                    self.root_user,
                )
            }
            Mount::Tmpfs { target, bytes_max } => {
                let (uid, gid) = self.owner();
                self.tmpfs(
                    target,
                    &format!("size={bytes_max},mode=0755,uid={uid},gid={gid}"),
                )
            }
        }
    }

    fn bind(&self, bind: &Bind) -> Result<(), Failed> {
        let read_only = if bind.read_only {
            libc::MOUNT_ATTR_RDONLY
        } else {
            0
        };
        self.attach(
            &bind.source,
            &bind.target,
            read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        )
    }

    /// The tree is restricted while it is still nowhere, so there is no moment at which it can be written.
    fn attach(&self, source: &Path, target: &str, attributes: u64) -> Result<(), Failed> {
        let step = || format!("mount {} at {target}", source.display());
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, source, flags).step(step)?;
        restrict(tree.as_fd(), attributes).step(step)?;
        let target = match FileType::from_raw_mode(fstat(&tree).step(step)?.st_mode) {
            FileType::Directory => self.dir(target)?,
            _ => self.file(target)?,
        };
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, "", &target, "", flags).step(step)
    }

    fn proc(&self) -> Result<(), Failed> {
        let target = self.dir("/proc")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", at(&target), "proc", flags, None).step(|| MOUNT_PROC.to_owned())
    }

    fn dev(&self) -> Result<(), Failed> {
        self.tmpfs("/dev", "mode=0755,size=65536k")?;
        for device in DEVICES {
            let device = format!("/dev/{device}");
            self.attach(
                Path::new(&device),
                &device,
                libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
            )?;
        }
        let dev = self.dir("/dev")?;
        for (target, name) in DEVICE_LINKS {
            symlinkat(*target, &dev, *name).step(|| format!("make /dev/{name}"))?;
        }
        let shm = self.dir("/dev/shm")?;
        fs::set_permissions(at(&shm), fs::Permissions::from_mode(0o1777))
            .step(|| "make /dev/shm".to_owned())?;
        let pts = self.dir("/dev/pts")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        // Some container hosts do not allow it; only programs that open a terminal miss it.
        _ = mount(
            "devpts",
            at(&pts),
            "devpts",
            flags,
            Some(c"newinstance,ptmxmode=0666,mode=0620"),
        );
        Ok(())
    }

    /// On the scratch's disk rather than in memory.
    fn tmp(&self, scratch: &Path) -> Result<(), Failed> {
        let tmp = scratch.join("tmp");
        make_dir(&tmp, self.root_user)?;
        fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))
            .step(|| "make /tmp".to_owned())?;
        self.bind(&Bind {
            source: tmp,
            target: "/tmp".into(),
            read_only: false,
        })
    }

    fn tmpfs(&self, target: &str, options: &str) -> Result<(), Failed> {
        let step = || format!("mount {target}");
        let fd = self.dir(target)?;
        let options = CString::new(options).map_err(io::Error::from).step(step)?;
        mount(
            "tmpfs",
            at(&fd),
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            options.as_c_str(),
        )
        .step(step)
    }

    /// A directory inside, made when absent. Never through a symbolic link: the layers below are not to be trusted.
    fn dir(&self, path: &str) -> Result<OwnedFd, Failed> {
        let step = || format!("make {path}");
        let mut dir = self.root.try_clone().step(step)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
            let open = || openat2(&dir, name, flags, Mode::empty(), resolve);
            dir = match open() {
                Err(Errno::NOENT) => {
                    mkdirat(&dir, name, Mode::from_raw_mode(0o755)).step(step)?;
                    self.give(&dir, name).step(step)?;
                    open()
                }
                opened => opened,
            }
            .step(step)?;
        }
        Ok(dir)
    }

    fn file(&self, path: &str) -> Result<OwnedFd, Failed> {
        let step = || format!("make {path}");
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.dir(parent)?;
        let open = || {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let resolve = ResolveFlags::BENEATH;
            openat2(&parent, name, flags, Mode::empty(), resolve)
        };
        match open() {
            Err(Errno::NOENT) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&parent, name, flags, Mode::from_raw_mode(0o644)).step(step)?;
                self.give(&parent, name).step(step)?;
                open()
            }
            opened => opened,
        }
        .step(step)
    }

    /// What is made for the sandbox belongs to its user, also when root makes it.
    fn give(&self, dir: &OwnedFd, name: &str) -> rustix::io::Result<()> {
        if !self.root_user {
            return Ok(());
        }
        let (uid, gid) = host_ids();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// As a mount option names it: in the user namespace that we mount from.
    fn owner(&self) -> (u32, u32) {
        if self.root_user {
            host_ids()
        } else {
            (SANDBOX_ID, SANDBOX_ID)
        }
    }
}

/// The path of an open file, for calls that take only paths.
fn at(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// Layers are named by their descriptors: that is short enough for any number of them, and safe from commas and colons.
///
/// `volatile`, because unmounting would otherwise write back the whole disk below it, with whatever others have just
/// put there, and the end of a sandbox waits for that. Nobody relies on an upper directory after a power cut.
fn mount_overlay(
    lowers: &[OwnedFd],
    upper: &Path,
    work: &Path,
    target: &Path,
    root_user: bool,
) -> Result<(), Failed> {
    let step = || format!("{MOUNT_OVERLAY} of {}", upper.display());
    if lowers.len() > LOWERS_MAX {
        return Err(Errno::TOOBIG).step(|| format!("{}: {} layers", step(), lowers.len()));
    }
    make_dir(upper, root_user)?;
    make_dir(work, root_user)?;
    forget_earlier_mount(work).step(step)?;
    let (upper, work) = (open_dir(upper)?, open_dir(work)?);
    let layers: Vec<String> = lowers
        .iter()
        .map(|lower| at(lower).display().to_string())
        .collect();
    // trusted.* attributes are for real root; without them the kernel keeps its marks in user.*.
    let attributes = if root_user { "" } else { ",userxattr" };
    let options = format!(
        "upperdir={},workdir={},volatile{attributes},lowerdir={}",
        at(&upper).display(),
        at(&work).display(),
        layers.join(":")
    );
    let options = CString::new(options).map_err(io::Error::from).step(step)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("overlay", target, "overlay", flags, options.as_c_str()).step(step)
}

/// A volatile overlay marks its work directory, and is refused another one with it.
fn forget_earlier_mount(work: &Path) -> io::Result<()> {
    let inner = work.join("work");
    match fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::remove_dir_all(&inner),
    }
}

/// mount_setattr(2), recursively: sets attributes without touching those that a user namespace has locked.
fn restrict(mounted: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    // SAFETY: all zero is a valid mount_attr.
    let mut attr: libc::mount_attr = unsafe { mem::zeroed() };
    attr.attr_set = attributes;
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a live C string and attr a live value of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mounted.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            mem::size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// pivot_root(2) with the old root stacked on the new one and then detached: no directory is needed for it.
fn pivot(root: &Path) -> Result<(), Failed> {
    let step = || "pivot_root".to_owned();
    rustix::process::chdir(root).step(step)?;
    rustix::process::pivot_root(".", ".").step(step)?;
    unmount(".", UnmountFlags::DETACH).step(step)?;
    rustix::process::chdir("/").step(step)
}

fn open_dirs(paths: &[PathBuf]) -> Result<Vec<OwnedFd>, Failed> {
    paths.iter().map(|path| open_dir(path)).collect()
}

fn open_dir(path: &Path) -> Result<OwnedFd, Failed> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).step(|| format!("open {}", path.display()))
}

/// Owned by the sandbox's user, whoever we are.
fn make_dir(path: &Path, root_user: bool) -> Result<(), Failed> {
    let step = || format!("make {}", path.display());
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Ok(()) if root_user => {
            let (uid, gid) = host_ids();
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).step(step)
        }
        result => result.step(step),
    }
}
