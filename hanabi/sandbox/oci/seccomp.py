"""The seccomp profile of a sandbox: an allow-list of system calls, by groups, in OCI form.

It allows what glibc, musl, Python, Node, Go, Java and Rust programs need; everything else is refused with EPERM. Not in the list,
on purpose: mount and namespaces, ptrace and process_vm_*, bpf, perf, userfaultfd, keyrings, io_uring, modules, kexec, swap, quota,
file handles, raw and packet sockets, clocks, reboot. `clone3` returns ENOSYS: a filter cannot read its flags, and libraries fall
back to `clone`.
"""

import platform
import socket
from typing import Any

EPERM = 1
ENOSYS = 38

FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate fchdir
    fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
    ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown
    lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat
    openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat
    renameat2 rmdir sendfile setxattr splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink
    unlinkat utime utimensat utimes vmsplice write writev cachestat getxattrat listxattrat
"""

EVENTS = """
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 pipe pipe2 poll ppoll pselect6 select
    signalfd signalfd4 timerfd_create timerfd_gettime timerfd_settime io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
"""

MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync munlock
    munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages get_mempolicy
"""

PROCESSES = """
    arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid geteuid getgid
    getgroups getitimer getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid
    ioprio_get kill pause pidfd_open pidfd_send_signal prctl prlimit64 rseq sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid
    setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sysinfo tgkill time times
    tkill uname vfork wait4 waitid landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""

SIGNALS_AND_TIME = """
    alarm clock_getres clock_gettime clock_nanosleep futex futex_requeue futex_wait futex_waitv futex_wake gettimeofday nanosleep
    restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sigaltstack timer_create timer_delete timer_getoverrun timer_gettime timer_settime getrandom
"""

SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto shutdown
    socketpair
"""

SYSTEM_V = """
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    shmat shmctl shmdt shmget
"""

# Only the native architecture: with x32 or i386 allowed, every rule could be bypassed by another call number.
_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_DOMAIN, _TYPE, _PROTOCOL = 0, 1, 2
_TYPE_MASK = 0xF  # the rest of socket()'s type argument is SOCK_CLOEXEC and SOCK_NONBLOCK
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_TCP, _UDP, _ROUTE = 6, 17, 0


def profile(*, linger: bool = True) -> dict[str, Any]:
    """The `linux.seccomp` member of an OCI configuration. `linger`: whether SO_LINGER may be set (`linux.refuse_rights` says why not)."""
    groups = (FILES, EVENTS, MEMORY, PROCESSES, SIGNALS_AND_TIME, SOCKETS, SYSTEM_V)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": [_ARCHITECTURES[platform.machine()]],
        "syscalls": [
            _allow(*(name for group in groups for name in group.split())),
            _allow("clone", where=[_masked(0, _NEW_NAMESPACES, 0)]),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            _allow("personality", where=[_equal(0, 0)]),
            _allow("personality", where=[_equal(0, 0xFFFFFFFF)]),
            *_sockets(),
            *([_allow("setsockopt")] if linger else _no_linger()),
        ],
    }


def _sockets() -> list[dict[str, Any]]:
    """Allow Unix, TCP and UDP sockets, and the routing socket that getifaddrs reads; each with its own protocol only."""
    rules = [_allow("socket", where=[_equal(_DOMAIN, _UNIX), _masked(_TYPE, _TYPE_MASK, kind)]) for kind in (_STREAM, _DGRAM, _SEQPACKET)]
    for domain in (_INET, _INET6):
        for kind, protocol in ((_STREAM, _TCP), (_DGRAM, _UDP)):
            for number in (0, protocol):
                rules.append(_allow("socket", where=[_equal(_DOMAIN, domain), _masked(_TYPE, _TYPE_MASK, kind), _equal(_PROTOCOL, number)]))
    rules.append(_allow("socket", where=[_equal(_DOMAIN, _NETLINK), _equal(_PROTOCOL, _ROUTE)]))
    return rules


def _no_linger() -> list[dict[str, Any]]:
    """Allow setsockopt() for all but SO_LINGER of SOL_SOCKET."""
    conditions = [*_differs(1, socket.SOL_SOCKET), *_differs(2, socket.SO_LINGER)]
    return [_allow("setsockopt", where=[condition]) for condition in conditions]


def _differs(index: int, value: int) -> list[dict[str, Any]]:
    """Conditions, one of which holds if an `int` argument is not `value`. The kernel ignores the upper half, so a filter must, too."""
    return [_masked(index, 1 << bit, ~value & 1 << bit) for bit in range(32)]


def _allow(*names: str, where: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    if where:
        rule["args"] = where
    return rule


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
