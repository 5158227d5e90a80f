//! seccomp: the system calls that are still there.
//!
//! Two filters. What is not in [`ALLOWED`] does not exist (`ENOSYS`), so that a library which tries something newer or
//! fancier takes its way around. What is in [`ATTACKS`] ends the process by SIGSYS: no reader of documents does it, and an
//! operator is to hear of it.
//!
//! To allow one more: find its name with `strace -f`, add it to its group below, and run the tests of the jail.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Bytes in and out of what is open.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64,
    libc::SYS_lseek, libc::SYS_ftruncate, libc::SYS_fadvise64, libc::SYS_close, libc::SYS_close_range, libc::SYS_dup,
    libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_memfd_create,
    // Files: Landlock says which.
    libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_getcwd,
    // Memory.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise, libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads, waiting, time.
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq, libc::SYS_set_tid_address,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_getcpu, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_restart_syscall,
    // Its own signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    // Processes: Landlock says which programs, the limits how many.
    libc::SYS_execve, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_exit, libc::SYS_exit_group,
    // Who and where am I.
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getpgid, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_getrusage, libc::SYS_times, libc::SYS_umask,
    // setpriv looks at what it may and gives it up.
    libc::SYS_capget, libc::SYS_capset,
];

/// Calls that this machine has beside those above, which do the same.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents,
    libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select, libc::SYS_vfork, libc::SYS_getpgrp, libc::SYS_time,
    libc::SYS_getrlimit, libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

#[rustfmt::skip]
const ATTACKS: &[c_long] = &[
    // The network.
    libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_sendto, libc::SYS_sendmsg,
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_kcmp,
    // Away from the group that the parent ends.
    libc::SYS_setsid, libc::SYS_setpgid,
    // Other views of the machine.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsmount, libc::SYS_open_by_handle_at,
    // Doors into the kernel that are mostly opened by exploits.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_init_module,
    libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_reboot, libc::SYS_swapon,
];

/// `prctl` by its first argument.
const ALLOWED_PRCTL: [i32; 9] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    // setpriv.
    libc::PR_SET_KEEPCAPS,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_SECUREBITS,
    libc::PR_CAP_AMBIENT,
];
/// `ioctl` by its second: is it a terminal, how much is there to read, close on exec.
const ALLOWED_IOCTL: [u64; 4] = [libc::TCGETS, libc::FIONREAD, libc::FIOCLEX, libc::FIONCLEX];
/// `fcntl` by its second: copies, close on exec, flags, locks of files. Not `F_NOTIFY` nor a lease, which send signals too.
const ALLOWED_FCNTL: [i32; 12] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_OFD_GETLK,
    libc::F_OFD_SETLK,
    libc::F_OFD_SETLKW,
];
/// A pipe that has an owner and `O_ASYNC` sends it a signal of one's choice: that is `kill` by another name, and where
/// Landlock knows no scope nothing else stops it. The last two are the kernel's `F_SETSIG` and `F_SETOWN_EX`.
const SIGNALLING_FCNTL: [i32; 3] = [libc::F_SETOWN, 10, 15];
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::Error),
    #[error("seccomp: {0}")]
    Compile(#[from] seccompiler::BackendError),
}

/// Of the calling thread and what it starts.
pub fn lock() -> Result<(), Error> {
    let (attacks, allowed) = (attacks()?, allowed()?);
    // In this order: the second could not be set after the first.
    seccompiler::apply_filter(&attacks)?;
    Ok(seccompiler::apply_filter(&allowed)?)
}

fn allowed() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let mut prctl = Vec::new();
    for option in ALLOWED_PRCTL {
        prctl.push(SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, of_int(option))?])?);
    }
    // To die with the parent may be asked for, to outlive it may not.
    prctl.push(SeccompRule::new(vec![
        argument(0, SeccompCmpOp::Eq, of_int(libc::PR_SET_PDEATHSIG))?,
        argument(1, SeccompCmpOp::Eq, of_int(libc::SIGKILL))?,
    ])?);
    rules.insert(libc::SYS_prctl, prctl);
    let mut ioctl = Vec::new();
    for request in ALLOWED_IOCTL {
        ioctl.push(SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, ioctl);
    let mut fcntl = Vec::new();
    for command in ALLOWED_FCNTL {
        fcntl.push(SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, of_int(command))?])?);
    }
    rules.insert(libc::SYS_fcntl, fcntl);
    // `clone3` hides its flags in memory, where no filter sees them; without it the C library takes this one.
    let no_namespace = argument(0, SeccompCmpOp::MaskedEq(of_int(NAMESPACES)), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    // Limits of its own, not another's.
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, 0)?])?]);
    compiled(rules, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()), SeccompAction::Allow)
}

fn attacks() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ATTACKS.iter().map(|call| (*call, Vec::new())).collect();
    let mut fcntl = Vec::new();
    for command in SIGNALLING_FCNTL {
        fcntl.push(SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, of_int(command))?])?);
    }
    let asks_for_signals = of_int(libc::O_ASYNC);
    fcntl.push(SeccompRule::new(vec![
        argument(1, SeccompCmpOp::Eq, of_int(libc::F_SETFL))?,
        argument(2, SeccompCmpOp::MaskedEq(asks_for_signals), asks_for_signals)?,
    ])?);
    rules.insert(libc::SYS_fcntl, fcntl);
    compiled(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn of_int(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?)
}

/// A process that makes calls of another architecture is ended by either filter.
fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, on_match, architecture)?.try_into()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_allowed_and_an_attack_at_once() {
        let attacks: HashSet<_> = ATTACKS.iter().collect();
        assert!(ALLOWED.iter().chain(ALLOWED_HERE).all(|call| !attacks.contains(call)));
    }

    #[test]
    fn both_filters_fit_into_what_a_kernel_takes() {
        const INSTRUCTIONS_MAX: usize = 4_096;
        for filter in [allowed().unwrap(), attacks().unwrap()] {
            assert!((1..INSTRUCTIONS_MAX).contains(&filter.len()), "{}", filter.len());
        }
    }
}
