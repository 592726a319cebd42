//! Control groups, where this machine lets us make them: one group per limited sandbox in each hierarchy, v2 or v1.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    limits::{Capabilities, Enforcement, Limits},
    zygote::{Failed, Step},
};

const ROOT: &str = "/sys/fs/cgroup";
/// Our groups lie below one of this name, so that leftovers can be found.
const PARENT: &str = "slipway";
/// cpu.cfs_period_us, also v2's default.
const PERIOD_US: u64 = 100_000;

/// Which directory takes groups, per controller.
pub(crate) struct Cgroups {
    memory: Option<Hierarchy>,
    cpu: Option<Hierarchy>,
    pids: Option<Hierarchy>,
}

#[derive(Clone)]
struct Hierarchy {
    parent: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The groups of one sandbox; removed by [`Group::remove`] after its end.
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    memory: Option<(PathBuf, Version)>,
}

impl Cgroups {
    pub(crate) fn probe() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let found = Self {
            memory: Hierarchy::find("memory", &own),
            cpu: Hierarchy::find("cpu", &own),
            pids: Hierarchy::find("pids", &own),
        };
        found.all().for_each(Hierarchy::sweep);
        found
    }

    fn all(&self) -> impl Iterator<Item = &Hierarchy> {
        [&self.memory, &self.cpu, &self.pids].into_iter().flatten()
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let of = |hierarchy: &Option<Hierarchy>, without| match hierarchy
            .as_ref()
            .map(|found| found.version)
        {
            Some(Version::V2) => Enforcement::CgroupV2,
            Some(Version::V1) => Enforcement::CgroupV1,
            None => without,
        };
        Capabilities {
            memory: of(&self.memory, Enforcement::Watched),
            cpu: of(&self.cpu, Enforcement::None),
            processes: of(&self.pids, Enforcement::Rlimit),
            network: Enforcement::None,
        }
    }

    /// `None` when memory cannot be limited this way: init watches it then.
    pub(crate) fn create(&self, limits: &Limits) -> Result<Option<Group>, Failed> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let mut group = Group {
            dirs: vec![],
            memory: None,
        };
        if let (Some(hierarchy), Some(bytes)) = (&self.memory, limits.memory_bytes) {
            let dir = group.make(hierarchy, &name)?;
            hierarchy.limit_memory(&dir, bytes)?;
            group.memory = Some((dir, hierarchy.version));
        }
        if let (Some(hierarchy), Some(milli)) = (&self.cpu, limits.cpu_milli) {
            let dir = group.make(hierarchy, &name)?;
            hierarchy.limit_cpu(&dir, u64::from(milli))?;
        }
        if let (Some(hierarchy), Some(processes)) = (&self.pids, limits.processes) {
            let dir = group.make(hierarchy, &name)?;
            // Init counts too.
            write(&dir.join("pids.max"), &(processes + 1).to_string())?;
        }
        if group.memory.is_none() {
            group.remove();
            return Ok(None);
        }
        Ok(Some(group))
    }
}

impl Hierarchy {
    /// The directory for our groups: below our own group, so that what limits us limits them. Only real write access
    /// counts, and that is found out by writing.
    fn find(controller: &str, own: &str) -> Option<Self> {
        let v1 = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            controllers
                .split(',')
                .any(|name| name == controller)
                .then_some((controllers, path))
        });
        let found = match v1 {
            Some((controllers, path)) => {
                let mount = [controllers, controller].map(|name| Path::new(ROOT).join(name));
                let mount = mount.into_iter().find(|dir| dir.is_dir())?;
                let own = mount.join(path.trim_start_matches('/'));
                let parent = if own.is_dir() { own } else { mount };
                Self {
                    parent: parent.join(PARENT),
                    version: Version::V1,
                }
            }
            // Processes may live only in leaves of v2, so ours cannot be nested below the group we are in.
            None => Self {
                parent: Path::new(ROOT).join(PARENT),
                version: Version::V2,
            },
        };
        found.try_out(controller).ok().map(|()| found)
    }

    fn try_out(&self, controller: &str) -> io::Result<()> {
        fs::create_dir_all(&self.parent)?;
        if self.version == Version::V2 {
            fs::write(
                Path::new(ROOT).join("cgroup.subtree_control"),
                format!("+{controller}"),
            )?;
            fs::write(
                self.parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            )?;
        }
        let trial = self.parent.join(format!("try-{}", std::process::id()));
        fs::create_dir(&trial)?;
        fs::remove_dir(&trial)
    }

    /// Groups of sandboxes that ended while nobody was there to remove them. One in use cannot be removed.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn limit_memory(&self, dir: &Path, bytes: u64) -> Result<(), Failed> {
        if self.version == Version::V2 {
            // No swap behind the limit; absent where the kernel has no swap accounting.
            _ = fs::write(dir.join("memory.swap.max"), "0");
            return write(&dir.join("memory.max"), &bytes.to_string());
        }
        write(&dir.join("memory.limit_in_bytes"), &bytes.to_string())?;
        _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), bytes.to_string());
        Ok(())
    }

    fn limit_cpu(&self, dir: &Path, milli: u64) -> Result<(), Failed> {
        let quota = milli * PERIOD_US / 1000;
        match self.version {
            Version::V2 => write(&dir.join("cpu.max"), &format!("{quota} {PERIOD_US}")),
            Version::V1 => write(&dir.join("cpu.cfs_quota_us"), &quota.to_string()),
        }
    }
}

impl Group {
    fn make(&mut self, hierarchy: &Hierarchy, name: &str) -> Result<PathBuf, Failed> {
        let dir = hierarchy.parent.join(name);
        match fs::create_dir(&dir) {
            // v2 has one directory for all controllers.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && self.dirs.contains(&dir) => {}
            result => {
                result.step(|| format!("make the control group {}", dir.display()))?;
                self.dirs.push(dir.clone());
            }
        }
        Ok(dir)
    }

    pub(crate) fn add(&self, pid: i32) -> Result<(), Failed> {
        self.dirs
            .iter()
            .try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    pub(crate) fn out_of_memory_events(&self) -> Option<OwnedFd> {
        let (dir, version) = self.memory.as_ref()?;
        let name = if *version == Version::V2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        fs::File::open(dir.join(name)).ok().map(OwnedFd::from)
    }

    /// Every process is dead when init is, but the kernel may still be taking the last ones apart.
    pub(crate) fn remove(&self) {
        const TRIES_MAX: u32 = 100;
        for dir in &self.dirs {
            for _ in 0..TRIES_MAX {
                match fs::remove_dir(dir) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
    }
}

fn write(file: &Path, value: &str) -> Result<(), Failed> {
    fs::write(file, value).step(|| format!("write {value} to {}", file.display()))
}
