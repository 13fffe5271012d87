"""Running an OCI runtime (crun, runc): once per sandbox, to start it; never afterwards."""

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hanabi.base import linux
from hanabi.base.processes import ask, search_path
from hanabi.errors import SandboxError

CANDIDATES = ("crun", "runc")  # in this order: crun starts three times as fast, but not everywhere
FIRST_CHANNEL = 3
TIMEOUT_S = 30.0
_ABOVE_CHANNELS = 10
_ORPHANS_S = 0.1

_spawning = threading.Lock()
_awaited: set[int] = set()  # runtimes that a thread of ours waits for


@dataclass(frozen=True, slots=True)
class OciRuntime:
    """One OCI runtime and its state directory."""

    program: str  # path
    state: Path

    def version(self) -> str:
        """Name and version, as in "runc 1.1.5"."""
        said = ask([self.program, "--version"], timeout_s=10) or ""
        return " ".join([os.path.basename(self.program), *said.partition("\n")[0].split()[2:3]])

    def start(self, name: str, bundle: Path, channels: Sequence[int]) -> int:
        """Start the bundle with `channels` as its descriptors 3, 4, ...; returns the first process's pid. Blocks."""
        log, pid_file = bundle / "log", bundle / "pid"
        # fmt: off
        command = [
            self.program, "--root", str(self.state), "--log", str(log), "run", "--detach", "--preserve-fds", str(len(channels)),
            "--bundle", str(bundle), "--pid-file", str(pid_file), name,
        ]
        # fmt: on
        if status := run(command, channels):
            _reap_orphans(os.path.basename(self.program))
            raise SandboxError(f"{os.path.basename(self.program)}: {_reason(log) or f'exit status {status}'}")
        return int(pid_file.read_text())

    def forget(self, name: str) -> None:
        """Remove the runtime's state of a sandbox; its `delete` command would do no more, and start a program."""
        shutil.rmtree(self.state / name, ignore_errors=True)
        _reap_ended()


def find_programs() -> list[str]:
    return [found for name in CANDIDATES if (found := shutil.which(name, path=search_path()))]


def run(command: list[str], channels: Sequence[int] = (), output: int | None = None, timeout_s: float = TIMEOUT_S) -> int:
    """Run a program with exactly these descriptors besides 0 to 2; kill it at the timeout. Returns its exit status.

    `output` is a descriptor for its output, which is discarded without one.
    """
    # First out of the way of the numbers they are to get, so that no dup2 overwrites the source of another.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_CHANNELS) for fd in channels]
    printed = 0 if output is None else output
    try:
        with _spawning:
            pid = os.posix_spawn(
                command[0],
                command,
                {"PATH": search_path(), **_user_environment()},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, printed, 1),
                    (os.POSIX_SPAWN_DUP2, printed, 2),
                    *((os.POSIX_SPAWN_DUP2, fd, FIRST_CHANNEL + index) for index, fd in enumerate(high)),
                ],
                setsigmask=[],
                setsigdef=[signal.SIGPIPE],
            )
            _awaited.add(pid)
    finally:
        for fd in high:
            os.close(fd)
    pidfd = os.pidfd_open(pid)
    try:
        if not linux.has_exited(pidfd, timeout_s):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        _awaited.discard(pid)
        os.close(pidfd)


def _reap_orphans(name: str) -> None:
    """Reap processes that a failed runtime left: this process is their subreaper, and they would stay zombies."""
    give_up = time.monotonic() + _ORPHANS_S
    while time.monotonic() < give_up:
        with _spawning:
            orphans = [pid for pid in _children() if pid not in _awaited and _name(pid).startswith(name)]
            for pid in orphans:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        if not orphans:
            return
        time.sleep(0.005)


def _reap_ended() -> None:
    """Reap what a successful runtime left: crun detaches by a fork of itself, which ends a moment later."""
    with _spawning, suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in _awaited or not _name(ended.si_pid).startswith(CANDIDATES):
                return  # somebody waits for this one; what is behind it is for the next time
            os.waitpid(ended.si_pid, os.WNOHANG)


def _children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def _user_environment() -> dict[str, str]:
    """Environment variables that a rootless runtime needs."""
    return {name: os.environ[name] for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "HOME") if name in os.environ}


def _reason(log: Path) -> str:
    """The runtime's last log message, without its decoration."""
    with suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1].partition("msg=")[2].strip('"') or lines[-1]
    return ""


def kill_leftovers(run_dir: Path) -> None:
    """SIGKILL helper processes that an earlier run left: OCI runtimes, jailers, pasta, fuse2fs."""
    marks = tuple(os.fsencode(run_dir / name) for name in ("state", "uplink", "volumes", "jails"))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if any(argument.startswith(marks) for argument in (entry / "cmdline").read_bytes().split(b"\0")):
                    os.kill(int(entry.name), signal.SIGKILL)
