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
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
        MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
        fsmount, fsopen, mount, mount_bind_recursive, mount_change, move_mount, unmount,
    },
};

use crate::{
    Bind, Mount, Sandbox,
    sandbox::host_ids,
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

/// Makes the world and moves into it; the old one is gone afterwards.
pub(crate) fn enter(sandbox: &Sandbox, root_user: bool) -> Result<(), Failed> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step(|| "make mounts private".to_owned())?;
    let root = sandbox.scratch.join("root");
    make_dir(&root)?;
    let upper = sandbox.scratch.join("upper");
    let work = sandbox.scratch.join("work");
    make_dir(&upper)?;
    make_dir(&work)?;
    mount_overlay(&sandbox.lowers, &upper, &work, &root, root_user)?;
    let world = World {
        root: open_dir(&root)?,
    };
    for mount in &sandbox.mounts {
        world.mount(mount, root_user)?;
    }
    world.proc()?;
    world.dev()?;
    world.tmp(&sandbox.scratch)?;
    pivot(&root)
}

struct World {
    root: OwnedFd,
}

impl World {
    fn mount(&self, mount: &Mount, root_user: bool) -> Result<(), Failed> {
        match mount {
            Mount::Bind(bind) => self.bind(bind),
            Mount::Overlay {
                lowers,
                upper,
                work,
                target,
            } => {
                make_dir(upper)?;
                make_dir(work)?;
                let target = self.dir(target)?;
                mount_overlay(lowers, upper, work, &at(&target), root_user)
            }
            Mount::Tmpfs { target, bytes_max } => {
                self.tmpfs(target, &format!("size={bytes_max},mode=0755"))
            }
        }
    }

    fn bind(&self, bind: &Bind) -> Result<(), Failed> {
        let step = || format!("mount {} at {}", bind.source.display(), bind.target);
        let source = fs::canonicalize(&bind.source).step(step)?;
        let target = if source.is_dir() {
            self.dir(&bind.target)?
        } else {
            self.file(&bind.target)?
        };
        mount_bind_recursive(&source, at(&target)).step(step)?;
        // The mount now covers the target: it is reached anew, through its path.
        let mounted = self.resolve(&bind.target, OFlags::PATH).step(step)?;
        let read_only = if bind.read_only {
            libc::MOUNT_ATTR_RDONLY
        } else {
            0
        };
        restrict(
            mounted.as_fd(),
            read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        )
        .step(step)
    }

    fn proc(&self) -> Result<(), Failed> {
        let target = self.dir("/proc")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", at(&target), "proc", flags, None).step(|| "mount /proc".to_owned())
    }

    fn dev(&self) -> Result<(), Failed> {
        self.tmpfs("/dev", "mode=0755,size=65536k")?;
        for device in DEVICES {
            self.device(&format!("/dev/{device}"))?;
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

    fn device(&self, path: &str) -> Result<(), Failed> {
        let target = self.file(path)?;
        mount_bind_recursive(path, at(&target)).step(|| format!("mount {path}"))
    }

    /// On the scratch's disk rather than in memory.
    fn tmp(&self, scratch: &Path) -> Result<(), Failed> {
        let tmp = scratch.join("tmp");
        make_dir(&tmp)?;
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
            match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
                result => result.step(step)?,
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            dir = openat2(
                &dir,
                name,
                flags,
                Mode::empty(),
                ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
            )
            .step(step)?;
        }
        Ok(dir)
    }

    fn file(&self, path: &str) -> Result<OwnedFd, Failed> {
        let step = || format!("make {path}");
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.dir(parent)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::ACCESS | Errno::ROFS) => {}
            result => _ = result.step(step)?,
        }
        openat(
            &parent,
            name,
            OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .step(step)
    }

    fn resolve(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = path.trim_start_matches('/');
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }
}

/// The path of an open file, for calls that take only paths.
fn at(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// By the newer calls, which take any number of layers; paths of more than a few would not fit mount(2)'s page.
fn mount_overlay(
    lowers: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
    root_user: bool,
) -> Result<(), Failed> {
    let step = |what: &str, path: &Path| {
        format!(
            "mount an overlay at {}: {what} {}",
            target.display(),
            path.display()
        )
    };
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(|| step("open", target))?;
    for lower in lowers {
        fsconfig_set_string(&overlay, "lowerdir+", lower).step(|| step("lower", lower))?;
    }
    fsconfig_set_string(&overlay, "upperdir", upper).step(|| step("upper", upper))?;
    fsconfig_set_string(&overlay, "workdir", work).step(|| step("work", work))?;
    if !root_user {
        // trusted.* attributes are for real root; without them the kernel keeps its marks in user.*.
        fsconfig_set_flag(&overlay, "userxattr").step(|| step("userxattr", target))?;
    }
    fsconfig_create(&overlay).step(|| step("create", target))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .step(|| step("mount", target))?;
    move_mount(
        &mounted,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS,
    )
    .step(|| step("move", target))
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

fn open_dir(path: &Path) -> Result<OwnedFd, Failed> {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step(|| format!("open {}", path.display()))
}

/// Owned by the sandbox's user, whoever we are.
fn make_dir(path: &Path) -> Result<(), Failed> {
    let step = || format!("make {}", path.display());
    match fs::create_dir(path) {
        Ok(()) => {
            if rustix::process::geteuid().is_root() {
                let (uid, gid) = host_ids();
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).step(step)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).step(step),
    }
}
