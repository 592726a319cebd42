//! The system calls that no app needs and that have opened machines before: refused with EPERM, so that programs fall back.

use std::{collections::BTreeMap, io, sync::OnceLock};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Kernel administration, key rings, profiling of others, and what would change the sandbox's own world.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Installs the filter for this process and all that it starts; needs no_new_privs.
pub(crate) fn apply() -> io::Result<()> {
    let [refuse, absent] = programs()?;
    seccompiler::apply_filter(absent).map_err(io::Error::other)?;
    seccompiler::apply_filter(refuse).map_err(io::Error::other)
}

/// Compiled once per spawner and shared by all that it clones.
fn programs() -> io::Result<&'static [BpfProgram; 2]> {
    static PROGRAMS: OnceLock<Option<[BpfProgram; 2]>> = OnceLock::new();
    PROGRAMS
        .get_or_init(|| compile().ok())
        .as_ref()
        .ok_or_else(|| io::Error::other("the filter does not compile for this machine"))
}

/// Compiles ahead, so that the work is not done again in every clone.
pub(crate) fn prepare() {
    // A failure shows when it is applied.
    _ = programs();
}

fn compile() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, vec![])).collect();
    // A user namespace would bring back capabilities; TIOCSTI and TIOCLINUX type into somebody's terminal.
    let new_user_namespace = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(u64::from(libc::CLONE_NEWUSER.unsigned_abs())),
        u64::from(libc::CLONE_NEWUSER.unsigned_abs()),
    )?;
    refused.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![new_user_namespace])?],
    );
    let into_terminal = |request| {
        let condition =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![condition])
    };
    refused.insert(
        libc::SYS_ioctl,
        vec![
            into_terminal(libc::TIOCSTI)?,
            into_terminal(libc::TIOCLINUX)?,
        ],
    );
    let refuse = SeccompFilter::new(
        refused,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        arch,
    )?;
    // The flags of clone3 lie in memory, where a filter cannot see them: without it, libraries use clone. io_uring
    // passes by every filter.
    let absent = [libc::SYS_clone3, libc::SYS_io_uring_setup]
        .into_iter()
        .map(|call| (call, vec![]))
        .collect();
    let absent = SeccompFilter::new(
        absent,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        arch,
    )?;
    let mut absent: BpfProgram = absent.try_into()?;
    absent.splice(..0, no_x32());
    Ok([refuse.try_into()?, absent])
}

/// The x32 calls of x86_64 are the same calls under other numbers, which the filters would not know; where the kernel has
/// them, it has them for every process.
fn no_x32() -> Vec<sock_filter> {
    const X32_BIT: u32 = 0x4000_0000;
    if !cfg!(target_arch = "x86_64") {
        return vec![];
    }
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    vec![
        // The number is the first field of seccomp_data.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
    ]
}
