//! Control groups, where this machine lets us make them: one group per limited sandbox in each hierarchy, v2 or v1.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    limits::{Capabilities, Enforcement, Limits},
    zygote::{Failed, Step},
};

const ROOT: &str = "/sys/fs/cgroup";
/// Our groups lie below one of this name, so that leftovers can be found.
const PARENT: &str = "slipway";
const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
/// cpu.cfs_period_us, also v2's default.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller quota.
const QUOTA_US_MIN: u64 = 1000;

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

/// Our own group in the hierarchy that has `controller`, and the names under which it may be mounted.
fn v1_group<'a>(controller: &'a str, own: &'a str) -> Option<([&'a str; 2], &'a str)> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(([controllers, controller], group))
    })
}

/// Below our own group, so that what limits us limits them; in a container that group may not be in sight.
fn v1_parents(mounts: [&str; 2], group: &str) -> Vec<Hierarchy> {
    let groups = [group.trim_start_matches('/'), ""];
    let mounts = mounts.map(|name| Path::new(ROOT).join(name));
    let existing = mounts.iter().find(|mount| mount.is_dir()).into_iter();
    existing
        .flat_map(|mount| groups.map(|group| mount.join(group)))
        .filter(|dir| dir.is_dir())
        .map(|dir| Hierarchy {
            parent: dir.join(PARENT),
            version: Version::V1,
        })
        .collect()
}

/// Beside our own group or further up, the nearest first: v2 has processes only in leaves, so ours cannot be in our own.
/// A group that systemd has delegated to an ordinary user is among them.
fn v2_parents(own: &str) -> Vec<Hierarchy> {
    let group = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let above = Path::new(group.unwrap_or_default()).ancestors().skip(1);
    let mut dirs: Vec<PathBuf> = above.map(|dir| Path::new(ROOT).join(dir)).collect();
    if dirs.is_empty() {
        dirs.push(PathBuf::from(ROOT));
    }
    dirs.into_iter()
        .map(|dir| Hierarchy {
            parent: dir.join(PARENT),
            version: Version::V2,
        })
        .collect()
}

/// The groups of one sandbox; removed by [`Group::remove`] after its end.
pub(crate) struct Group {
    name: String,
    dirs: Vec<(PathBuf, Version)>,
    memory: Option<(PathBuf, Version)>,
    /// Somebody else made it.
    shared: bool,
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

    /// Makes and limits the groups of one sandbox; nothing is left of them when one step fails.
    pub(crate) fn create(&self, limits: &Limits) -> Result<Group, Failed> {
        let mut group = Group {
            name: self.free_name(),
            dirs: vec![],
            memory: None,
            shared: false,
        };
        match self.limit(&mut group, limits) {
            Ok(()) => Ok(group),
            Err(failed) => {
                group.remove();
                Err(failed)
            }
        }
    }

    fn limit(&self, group: &mut Group, limits: &Limits) -> Result<(), Failed> {
        if let (Some(hierarchy), Some(bytes)) = (&self.memory, limits.memory_bytes) {
            let dir = group.make(hierarchy)?;
            hierarchy.limit_memory(&dir, bytes)?;
            group.memory = Some((dir, hierarchy.version));
        }
        if let (Some(hierarchy), Some(milli)) = (&self.cpu, limits.cpu_milli) {
            let dir = group.make(hierarchy)?;
            hierarchy.limit_cpu(&dir, milli)?;
        }
        if let (Some(hierarchy), Some(processes)) = (&self.pids, limits.processes) {
            let dir = group.make(hierarchy)?;
            // Init counts too.
            write(
                &dir.join("pids.max"),
                &(u64::from(processes) + 1).to_string(),
            )?;
        }
        Ok(())
    }

    /// The groups that a running sandbox is in, for another process to join. They are not removed by whoever joins.
    pub(crate) fn shared_with(&self, pid: u32) -> Group {
        let of_process = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = group_name(&of_process).unwrap_or_default();
        let mut dirs: Vec<(PathBuf, Version)> = self
            .all()
            .map(|hierarchy| (hierarchy.parent.join(name), hierarchy.version))
            .filter(|(dir, _)| !name.is_empty() && dir.is_dir())
            .collect();
        // v2 has one directory for all controllers.
        dirs.dedup();
        Group {
            name: name.to_owned(),
            dirs,
            memory: None,
            shared: true,
        }
    }

    /// Begins with our pid, so that nobody sweeps it while we live. Of an earlier spawner with the same pid a detached
    /// sandbox may still run in a group.
    fn free_name(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            if self.all().all(|one| !one.parent.join(&name).exists()) {
                return name;
            }
        }
    }
}

impl Hierarchy {
    /// The directory for our groups. Only real write access counts, and that is found out by writing.
    fn find(controller: &str, own: &str) -> Option<Self> {
        let places = match v1_group(controller, own) {
            Some((mount, group)) => v1_parents(mount, group),
            None => v2_parents(own),
        };
        places.into_iter().find(|place| {
            let tried = place.try_out(controller);
            // Only if it is empty, so nothing of another spawner's.
            tried
                .inspect_err(|_| _ = fs::remove_dir(&place.parent))
                .is_ok()
        })
    }

    fn try_out(&self, controller: &str) -> io::Result<()> {
        fs::create_dir_all(&self.parent)?;
        if self.version == Version::V2 {
            let above = self.parent.parent().unwrap_or(&self.parent);
            // Refused where somebody else decides it, and has already.
            _ = fs::write(above.join(SUBTREE_CONTROL), format!("+{controller}"));
            fs::write(self.parent.join(SUBTREE_CONTROL), format!("+{controller}"))?;
            // Moving a process takes the right to write where both groups meet.
            fs::File::options()
                .write(true)
                .open(above.join("cgroup.procs"))?;
        }
        let trial = self.parent.join(format!("{}-trial", std::process::id()));
        fs::create_dir(&trial)?;
        fs::remove_dir(&trial)
    }

    /// Groups of sandboxes that ended when their spawner was gone. One in use cannot be removed; one without processes
    /// may just have been made by another spawner that lives.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let maker = name.to_str().and_then(|name| name.split('-').next());
            if !maker.is_some_and(runs) {
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

    fn limit_cpu(&self, dir: &Path, milli: u32) -> Result<(), Failed> {
        let quota = cpu_quota_us(milli);
        match self.version {
            Version::V2 => write(&dir.join("cpu.max"), &format!("{quota} {PERIOD_US}")),
            Version::V1 => write(&dir.join("cpu.cfs_quota_us"), &quota.to_string()),
        }
    }
}

/// Not one that has ended but still waits for its parent to take note.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        !state.is_some_and(|state| state.starts_with('Z'))
    })
}

/// Of `/proc/PID/cgroup`: a sandbox's groups have the same name in every hierarchy, below [`PARENT`].
fn group_name(of_process: &str) -> Option<&str> {
    of_process.lines().find_map(|line| {
        let (above, name) = line.splitn(3, ':').nth(2)?.rsplit_once('/')?;
        (Path::new(above).file_name()? == PARENT).then_some(name)
    })
}

fn cpu_quota_us(milli: u32) -> u64 {
    (u64::from(milli) * PERIOD_US / 1000).max(QUOTA_US_MIN)
}

impl Group {
    fn make(&mut self, hierarchy: &Hierarchy) -> Result<PathBuf, Failed> {
        let dir = hierarchy.parent.join(&self.name);
        let made = (dir.clone(), hierarchy.version);
        match fs::create_dir(&dir) {
            // v2 has one directory for all controllers.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && self.dirs.contains(&made) => {}
            result => {
                result.step(|| format!("make the control group {}", dir.display()))?;
                self.dirs.push(made);
            }
        }
        Ok(dir)
    }

    /// Of v1: by the process itself, which has one thread. To move another process, or all threads of one, the kernel keeps
    /// all from forking, which takes it some milliseconds, and more when the machine is busy.
    pub(crate) fn join(&self) -> Result<(), Failed> {
        let mut dirs = self.of(Version::V1);
        dirs.try_for_each(|dir| write(&dir.join("tasks"), "0"))
    }

    /// Of v2: for a process that is born into it, at no cost.
    pub(crate) fn cradle(&self) -> Option<OwnedFd> {
        let dir = self.of(Version::V2).next()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, dir, flags, Mode::empty()).ok()
    }

    /// Of v2: for a process that could not be born there, because the kernel is older than 5.7.
    pub(crate) fn add(&self, pid: i32) -> Result<(), Failed> {
        let mut dirs = self.of(Version::V2);
        dirs.try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    fn of(&self, version: Version) -> impl Iterator<Item = &Path> {
        let dirs = self.dirs.iter();
        dirs.filter(move |(_, of)| *of == version)
            .map(|(dir, _)| dir.as_path())
    }

    /// Otherwise init watches it.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
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
        if self.shared {
            return;
        }
        for (dir, _) in &self.dirs {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_v2_stand_beside_our_own_or_above() {
        let check = |own: &str, expected: &[&str]| {
            let parents: Vec<String> = v2_parents(own)
                .iter()
                .map(|one| one.parent.display().to_string())
                .collect();
            assert_eq!(parents, expected, "{own}");
        };
        check("0::/\n", &["/sys/fs/cgroup/slipway"]);
        check("", &["/sys/fs/cgroup/slipway"]);
        check(
            "0::/system.slice/slipway.service\n",
            &[
                "/sys/fs/cgroup/system.slice/slipway",
                "/sys/fs/cgroup/slipway",
            ],
        );
        check(
            "1:name=systemd:/x\n0::/user.slice/user@1000.service/app.slice/a.scope\n",
            &[
                "/sys/fs/cgroup/user.slice/user@1000.service/app.slice/slipway",
                "/sys/fs/cgroup/user.slice/user@1000.service/slipway",
                "/sys/fs/cgroup/user.slice/slipway",
                "/sys/fs/cgroup/slipway",
            ],
        );
    }

    #[test]
    fn our_group_of_v1_is_found_by_controller() {
        let own = "8:pids:/\n4:memory:/a:b/c\n2:cpu,cpuacct:/d\n0::/\n";
        assert_eq!(
            v1_group("memory", own),
            Some((["memory", "memory"], "/a:b/c"))
        );
        assert_eq!(v1_group("cpu", own), Some((["cpu,cpuacct", "cpu"], "/d")));
        assert_eq!(v1_group("pid", own), None);
    }

    #[test]
    fn the_group_of_a_sandbox_is_found_in_any_hierarchy() {
        let check = |text: &str, name| assert_eq!(group_name(text), name, "{text}");
        check("0::/user.slice/slipway/77-3\n", Some("77-3"));
        check("4:memory:/a/slipway/77-3\n0::/a\n", Some("77-3"));
        check("0::/slipway/77-3/inner\n", None);
        check("4:memory:/\n0::/a.scope\n", None);
        check("", None);
    }

    #[test]
    fn a_processor_limit_is_a_quota_that_the_kernel_takes() {
        assert_eq!(cpu_quota_us(1500), 150_000);
        assert_eq!(cpu_quota_us(1), 1000);
        assert_eq!(cpu_quota_us(0), 1000);
    }
}
