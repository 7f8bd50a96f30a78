//! The field's groups of system calls, by the names that systemd gives them (systemd.exec(5), `SystemCallFilter=`;
//! `systemd-analyze syscall-filter` prints them), as of systemd 262.
//!
//! A group names calls of every ABI; those that an ABI lacks are no part of it there.

use super::set::CallSet;
use super::table::{Abi, compare};

/// A named group.
pub(super) struct Group {
    /// With its `@`.
    pub(super) name: &'static str,
    /// Groups that it includes.
    groups: &'static [&'static str],
    /// Its own calls, sorted.
    pub(super) calls: &'static [&'static str],
}

/// Writes names as bare words, several on a line.
macro_rules! names {
    ($($name:ident)*) => { &[$(stringify!($name)),*] };
}
pub(super) use names;

/// The group of all calls that we know; it has no list of its own.
pub(super) const KNOWN: &str = "@known";

/// All groups but [`KNOWN`], sorted by name.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "@aio",
        groups: &[],
        calls: names! {
            io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit io_uring_enter
            io_uring_register io_uring_setup
        },
    },
    Group {
        name: "@basic-io",
        groups: &[],
        calls: names! {
            _llseek close close_range dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
            readv write writev
        },
    },
    Group {
        name: "@chown",
        groups: &[],
        calls: names! { chown chown32 fchown fchown32 fchownat lchown lchown32 },
    },
    Group {
        name: "@clock",
        groups: &[],
        calls: names! { adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday },
    },
    Group {
        name: "@cpu-emulation",
        groups: &[],
        calls: names! { modify_ldt subpage_prot switch_endian vm86 vm86old },
    },
    Group {
        name: "@debug",
        groups: &[],
        calls: names! {
            lookup_dcookie perf_event_open pidfd_getfd ptrace rtas s390_runtime_instr sys_debug_setcontext
        },
    },
    Group {
        name: "@default",
        groups: &["@sandbox"],
        calls: names! {
            arch_prctl brk cacheflush clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
            clock_nanosleep_time64 execve exit exit_group futex futex_time64 futex_waitv get_robust_list
            get_thread_area getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp
            getpid getppid getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getsid gettid gettimeofday
            getuid getuid32 lsm_get_self_attr lsm_list_modules membarrier mmap mmap2 mprotect mseal munmap nanosleep
            pause prlimit64 restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigreturn sched_getaffinity
            sched_yield set_robust_list set_thread_area set_tid_address set_tls sigreturn time ugetrlimit uretprobe
        },
    },
    Group {
        name: "@file-system",
        groups: &[],
        calls: names! {
            access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 fcntl
            fcntl64 fgetxattr file_getattr file_setattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64
            fstatfs fstatfs64 ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat
            inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lgetxattr link linkat listmount listxattr
            listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat
            oldfstat oldlstat oldstat open open_tree openat openat2 readlink readlinkat removexattr removexattrat
            rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs statfs64 statmount statx symlink
            symlinkat truncate truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes
        },
    },
    Group {
        name: "@io-event",
        groups: &[],
        calls: names! {
            _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
            epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select
        },
    },
    Group {
        name: "@ipc",
        groups: &[],
        calls: names! {
            ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
            mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 process_madvise process_vm_readv
            process_vm_writev semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
        },
    },
    Group { name: "@keyring", groups: &[], calls: names! { add_key keyctl request_key } },
    Group { name: "@memlock", groups: &[], calls: names! { mlock mlock2 mlockall munlock munlockall } },
    Group { name: "@module", groups: &[], calls: names! { delete_module finit_module init_module } },
    Group {
        name: "@mount",
        groups: &[],
        calls: names! {
            chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree_attr pivot_root umount
            umount2
        },
    },
    Group {
        name: "@network-io",
        groups: &[],
        calls: names! {
            accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
            recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair
        },
    },
    Group {
        name: "@obsolete",
        groups: &[],
        calls: names! {
            _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof
            profil putpmsg query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat
            vserver
        },
    },
    Group { name: "@pkey", groups: &[], calls: names! { pkey_alloc pkey_free pkey_mprotect } },
    Group {
        name: "@privileged",
        groups: &["@chown", "@clock", "@module", "@raw-io", "@reboot", "@swap"],
        calls: names! {
            _sysctl acct bpf capset chroot fanotify_init fanotify_mark nfsservctl open_by_handle_at pivot_root
            quotactl quotactl_fd setdomainname setfsuid setfsuid32 setgroups setgroups32 sethostname setresuid
            setresuid32 setreuid setreuid32 setuid setuid32 vhangup
        },
    },
    Group {
        name: "@process",
        groups: &[],
        calls: names! {
            capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo
            rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork wait4 waitid waitpid
        },
    },
    Group {
        name: "@raw-io",
        groups: &[],
        calls: names! {
            ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write
        },
    },
    Group { name: "@reboot", groups: &[], calls: names! { kexec_file_load kexec_load reboot } },
    Group {
        name: "@resources",
        groups: &[],
        calls: names! {
            ioprio_set mbind migrate_pages move_pages nice sched_setaffinity sched_setattr sched_setparam
            sched_setscheduler set_mempolicy set_mempolicy_home_node setpriority setrlimit
        },
    },
    Group {
        name: "@sandbox",
        groups: &[],
        calls: names! { landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp },
    },
    Group {
        name: "@setuid",
        groups: &[],
        calls: names! {
            setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32
            setreuid setreuid32 setuid setuid32
        },
    },
    Group {
        name: "@signal",
        groups: &[],
        calls: names! {
            rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaction
            sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigsuspend
        },
    },
    Group { name: "@swap", groups: &[], calls: names! { swapoff swapon } },
    Group {
        name: "@sync",
        groups: &[],
        calls: names! { fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs },
    },
    Group {
        name: "@system-service",
        groups: &[
            "@aio",
            "@basic-io",
            "@chown",
            "@default",
            "@file-system",
            "@io-event",
            "@ipc",
            "@keyring",
            "@memlock",
            "@network-io",
            "@process",
            "@resources",
            "@setuid",
            "@signal",
            "@sync",
            "@timer",
        ],
        calls: names! {
            arm_fadvise64_64 capget capset copy_file_range fadvise64 fadvise64_64 flock get_mempolicy getcpu
            getpriority ioctl ioprio_get kcmp madvise mremap name_to_handle_at oldolduname olduname personality
            readahead readdir remap_file_pages sched_get_priority_max sched_get_priority_min sched_getattr
            sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_yield sendfile
            sendfile64 setfsgid setfsgid32 setfsuid setfsuid32 setpgid setsid splice sysinfo tee umask uname
            userfaultfd vmsplice
        },
    },
    Group {
        name: "@timer",
        groups: &[],
        calls: names! {
            alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
            timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
            timerfd_settime64 times
        },
    },
];

/// The calls that `name` stands for on `abi`: a group's, or the one call of that name. Empty for a call that only
/// other ABIs have; `None` if nobody has it.
pub(super) fn calls_named(name: &str, abi: Abi) -> Option<CallSet> {
    let mut set = CallSet::EMPTY;
    if name == KNOWN {
        abi.calls().for_each(|(_, number)| set.insert(number));
    } else if group_named(name).is_some() {
        insert_groups(&mut set, &[name], abi);
    } else if exists(name) {
        insert_calls(&mut set, &[name], abi);
    } else {
        return None;
    }
    Some(set)
}

/// Puts in what `abi` has of `calls`.
pub(super) const fn insert_calls(set: &mut CallSet, calls: &[&str], abi: Abi) {
    let mut at = 0;
    while at < calls.len() {
        if let Some(number) = abi.number(calls[at]) {
            set.insert(number);
        }
        at += 1;
    }
}

/// Puts in what `abi` has of the calls of `groups`.
pub(super) const fn insert_groups(set: &mut CallSet, groups: &[&str], abi: Abi) {
    let mut at = 0;
    while at < groups.len() {
        if let Some(group) = group_named(groups[at]) {
            insert_calls(set, group.calls, abi);
            insert_groups(set, group.groups, abi);
        }
        at += 1;
    }
}

const fn group_named(name: &str) -> Option<&'static Group> {
    let mut at = 0;
    while at < GROUPS.len() {
        if compare(GROUPS[at].name, name).is_eq() {
            return Some(&GROUPS[at]);
        }
        at += 1;
    }
    None
}

/// Is `name` a call of some architecture, with a table here or without?
fn exists(name: &str) -> bool {
    Abi::ALL.iter().any(|abi| abi.number(name).is_some())
        || GROUPS.iter().any(|group| group.calls.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of groups that only architectures without a table here have.
    const OTHER_ARCHITECTURES: &[&str] = names! {
        arm_fadvise64_64 cacheflush pciconfig_iobase pciconfig_read pciconfig_write recv rtas s390_pci_mmio_read
        s390_pci_mmio_write s390_runtime_instr send set_tls subpage_prot swapcontext switch_endian
        sync_file_range2 sys_debug_setcontext
    };

    #[test]
    fn groups_are_sorted() {
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        for group in GROUPS {
            assert!(group.calls.is_sorted(), "{}", group.name);
        }
    }

    #[test]
    fn every_member_exists() {
        for group in GROUPS {
            for name in group.calls {
                let known = Abi::ALL.iter().any(|abi| abi.number(name).is_some());
                assert_ne!(known, OTHER_ARCHITECTURES.contains(name), "{} {name}", group.name);
            }
            for name in group.groups {
                assert!(group_named(name).is_some(), "{} {name}", group.name);
            }
        }
    }

    #[test]
    fn names_stand_for_calls() {
        let table: [(&str, Abi, Option<&[&str]>); 8] = [
            ("@keyring", Abi::X86_64, Some(&["add_key", "keyctl", "request_key"])),
            ("@swap", Abi::Aarch64, Some(&["swapoff", "swapon"])),
            ("@chown", Abi::Aarch64, Some(&["fchown", "fchownat"])),
            ("openat", Abi::X86_64, Some(&["openat"])),
            ("stat64", Abi::X86_64, Some(&[])),
            ("sync_file_range2", Abi::X86_64, Some(&[])),
            ("opne", Abi::X86_64, None),
            ("@nothing", Abi::X86_64, None),
        ];
        for (name, abi, expected) in table {
            let names = calls_named(name, abi).map(|set| {
                let mut names: Vec<&str> =
                    abi.calls().filter(|(_, number)| set.contains(*number)).map(|(name, _)| name).collect();
                names.sort_unstable();
                names
            });
            assert_eq!(names.as_deref(), expected, "{name} {abi:?}");
        }
    }

    #[test]
    fn a_group_holds_the_groups_it_includes() {
        let service = calls_named("@system-service", Abi::NATIVE).unwrap();
        for name in ["landlock_add_rule", "openat", "uname"] {
            assert!(service.contains(Abi::NATIVE.number(name).unwrap()), "{name}");
        }
        assert!(!service.contains(Abi::NATIVE.number("mount").unwrap()));
    }

    #[test]
    fn known_is_every_call() {
        let known = calls_named(KNOWN, Abi::NATIVE).unwrap();
        assert!(Abi::NATIVE.calls().all(|(_, number)| known.contains(number)));
    }
}
