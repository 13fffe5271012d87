"""Linux calls that Python lacks, by ctypes: namespaces, the new mount interface, loop devices.

Every function raises `OSError` with the kernel's errno and the path it was about. ctypes releases the GIL during a call.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
from contextlib import suppress
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_IDMAP = 1 << 20
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04

# The same numbers on every architecture: all are younger than the unified table.
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CLR_FD = 0x4C01
_LO_FLAGS_AUTOCLEAR = 4
_LO_FLAGS_DIRECT_IO = 16

_SO_PASSRIGHTS = 83  # Linux 6.16

_PR_GET_TID_ADDRESS = 40

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _syscall(number: int, what: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *wide)), what)


def knows_thread_addresses() -> bool:
    """Whether the kernel tells where a C library keeps a thread's number (CONFIG_CHECKPOINT_RESTORE)."""
    address = ctypes.c_void_p()
    return int(_libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)) == 0


def unshare(flags: int) -> None:
    """Leave namespaces (or the shared working directory) of the calling thread."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter a namespace with the calling thread."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()), target)


def unmount(target: str) -> None:
    """Detach a mount; the file system is unmounted when its last user ends."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW), target)


def clone_tree(source: str, user_namespace: int | None = None, *, writable: bool = False) -> int:
    """A detached copy of the mounts below a directory, read-only if not `writable`, nosuid, nodev: a descriptor for `move_tree`.

    With a user namespace (a descriptor), root's files are its root's in the copy: mount_setattr(2), "ID-mapped mounts". Raises EINVAL
    where the file system or the kernel cannot do that, EPERM where the caller may not.
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW
    fd = _syscall(_OPEN_TREE, source, AT_FDCWD, source.encode(), flags)
    wanted = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (0 if writable else MOUNT_ATTR_RDONLY)
    if user_namespace is not None:
        wanted |= MOUNT_ATTR_IDMAP
    try:
        attributes = struct.pack("=QQQQ", wanted, 0, MS_PRIVATE, user_namespace or 0)
        _syscall(_MOUNT_SETATTR, source, fd, b"", AT_EMPTY_PATH | AT_RECURSIVE, attributes, len(attributes))
    except OSError:
        os.close(fd)
        raise
    return fd


def make_tmpfs(size_bytes: int) -> int:
    """A detached tmpfs, nosuid, nodev, mode 755: a descriptor for `move_tree`, below whose /proc/self/fd path it can be filled."""
    context = _syscall(_FSOPEN, "tmpfs", b"tmpfs", 1)
    try:
        for key, value in ((b"size", str(size_bytes).encode()), (b"mode", b"755")):
            _syscall(_FSCONFIG, "tmpfs", context, _FSCONFIG_SET_STRING, key, value, 0)
        _syscall(_FSCONFIG, "tmpfs", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, "tmpfs", context, 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    finally:
        os.close(context)


def open_directory(path: str) -> int:
    """Open a directory; a path with a symbolic link in it is refused."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    return _syscall(_OPENAT2, path, AT_FDCWD, path.encode(), how, len(how))


def move_tree(tree: int, directory: int) -> None:
    """Mount what `clone_tree` made onto an open directory."""
    _syscall(_MOVE_MOUNT, "move_mount", tree, b"", directory, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def attach_loop(image: Path) -> tuple[str, int]:
    """Attach a file to a loop device that is cleared when its last user closes it. Returns the device's path and an open descriptor."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(64):  # between the question and the claim another process may take the device
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = f"/dev/loop{number}"
            if not os.path.exists(device):  # a container's /dev does not fill itself
                with suppress(FileExistsError):
                    os.mknod(device, 0o60600, os.makedev(7, number))
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            # Direct I/O: without it the file's pages would be cached a second time, on the environment's memory.
            for flags in (_LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO, _LO_FLAGS_AUTOCLEAR):
                try:
                    fcntl.ioctl(fd, _LOOP_CONFIGURE, _loop_config(backing, flags))
                    return device, fd
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno == 16:  # EBUSY: taken
                        break
                    if flags == _LO_FLAGS_AUTOCLEAR:
                        os.close(fd)
                        raise
            os.close(fd)
        raise OSError(16, "no free loop device", "/dev/loop-control")
    finally:
        os.close(control)
        os.close(backing)


def _loop_config(backing: int, flags: int) -> bytes:
    """struct loop_config: u32 fd, u32 block_size, struct loop_info64 (232 bytes, lo_flags at 52), u64 reserved[8]."""
    info = bytearray(232)
    struct.pack_into("=I", info, 52, flags)
    return struct.pack("=II", backing, 4096) + bytes(info) + bytes(64)


def detach_loop(device: str) -> None:
    """Clear a loop device that an earlier run left; a busy one is cleared at its last close."""
    with suppress(OSError):
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _LOOP_CLR_FD)
        finally:
            os.close(fd)


def refuse_rights(receiver: socket.socket) -> bool:
    """Refuse descriptors (SCM_RIGHTS) sent to a unix socket; False where the kernel cannot.

    The receiver may close a file's last reference and block in that close: for hours with a TCP socket that has SO_LINGER.
    """
    try:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def accept_rights(receiver: socket.socket) -> None:
    """Undo `refuse_rights`."""
    with suppress(OSError):
        receiver.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 1)


def can_refuse_rights() -> bool:
    """Whether `refuse_rights` works here."""
    one, other = socket.socketpair()
    with one, other:
        return refuse_rights(one)


def has_exited(pidfd: int, timeout_s: float = 0) -> bool:
    """Wait for a process to end. Not by `select`: descriptors may be over 1023."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def reap(pidfd: int) -> int | None:
    """Reap a process that has ended, if it is a child. Returns its exit status (negative: the signal)."""
    try:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
