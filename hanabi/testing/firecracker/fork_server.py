"""A fork server for fake programs: forking takes some milliseconds, starting Python a quarter of a second.

A program made by `make_client` hands its command line to the fork server, waits, and ends as its stand-in does. The stand-in runs in the
program's cgroups, with its output, in the fork server's mount namespace. What it leaves running goes to the nearest subreaper.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import hanabi
from hanabi.testing.firecracker import __main__ as stand_in

_MESSAGE_MAX_BYTES = 64 * 1024
# Nothing but what is built into Python: it starts ten times as fast.
_CLIENT = """#!{python} -IS
import _socket, posix, sys
line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
line.connect({address!r})
words = [str(posix.getpid()), {script!r}, {name!r}, *sys.argv[1:]]
rights = (1).to_bytes(4, sys.byteorder)
line.sendmsg(["\\0".join(words).encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
posix._exit((line.recv(1) or b"\\1")[0])
"""


class ForkServer:
    """`with ForkServer(directory) as fork_server`: one for all tests of a process, begun after it has chosen its mount namespace."""

    def __init__(self, directory: Path) -> None:
        self._address = directory / "fork_server"

    def __enter__(self) -> "ForkServer":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self._address))
        listener.listen(64)
        with listener:
            command = [sys.executable, "-m", "hanabi.testing.firecracker.fork_server", str(listener.fileno())]
            environment = {**os.environ, "PYTHONPATH": str(Path(hanabi.__file__).parents[1])}
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment, cwd="/")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # its end is the fork server's
        self._process.wait(30)
        self._address.unlink()

    def make_client(self, program: Path, script: Path) -> None:
        """Make an executable that behaves as `make_fakes` says."""
        program.write_text(_CLIENT.format(python=sys.executable, address=str(self._address), script=str(script), name=program.name))
        program.chmod(0o755)


def _serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the guardians are reaped by the kernel
    while True:
        readable, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in readable:
            return
        line, _ = listener.accept()
        with line:
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(_guard(line))


def _guard(line: socket.socket) -> int:
    """Fork the stand-in, wait for its end, and report it."""
    message, descriptors, _, _ = socket.recv_fds(line, _MESSAGE_MAX_BYTES, 1)
    if not message:  # the client was killed before it had said anything
        return 0
    client, script, name, *arguments = message.decode().split("\0")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _join_groups(int(client))
            if _has_gone(line):  # then these may have been no groups of its, and whoever killed it would not find this process
                os._exit(status)
            line.close()
            for fd in (1, 2):
                os.dup2(descriptors[0], fd)
            os.close(descriptors[0])
            os.environ |= {stand_in.SCRIPT: script, stand_in.AS: name}
            status = stand_in.main(arguments)
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(descriptors[0])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):  # it may have been killed
        line.send(bytes((status if status >= 0 else 1,)))
    return 0


def _has_gone(line: socket.socket) -> bool:
    """Whether the client has ended."""
    try:
        return not line.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _join_groups(client: int) -> None:
    """Join the client's cgroups, in every hierarchy."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for line in Path(f"/proc/{client}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        wanted = set(names.split(",")) if names else set()
        for mount in mounts:
            if mount[2] == ("cgroup" if names else "cgroup2") and wanted <= set(mount[3].split(",")):
                Path(mount[1] + path, "cgroup.procs").write_text("0")
                break


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
