"""Running the programs that build images; a failure becomes an `ImageError` that quotes their output."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hanabi.base import processes
from hanabi.base.processes import ANSWER_MAX_BYTES, search_path
from hanabi.errors import ImageError

TIMEOUT_S = 1800.0  # for one program; a slow mirror is slow
SEARCHED = search_path()
QUOTED = 1500  # characters of what a failed program said
_changing = threading.Lock()
_running: "defaultdict[int, set[subprocess.Popen[bytes]]]" = defaultdict(set)  # by the lock that they hold
_ended: set[int] = set()


def run(
    command: Sequence[str | Path],
    *,
    lock: int,
    cwd: Path | None = None,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end, with its standard output in a file if one is given. Raises `ImageError`.

    `lock` stays open in the program, so that the lock outlives a builder that was killed while its program runs on.
    """
    with tempfile.TemporaryFile() as said, open(output or os.devnull, "wb") as stdout:
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout if output else said, "stderr": said}
        _execute(lock, command, lambda program: None, lambda: _end_of(said), environment=environment, cwd=cwd, **options)


def feed_file(
    source: Path, command: Sequence[str | Path], *, lock: int, counted: Callable[[int, int | None], None], cwd: Path | None = None
) -> None:
    """Feed a file to a program's standard input, counting bytes. Raises `ImageError`."""

    def feed(program: "subprocess.Popen[bytes]") -> None:
        assert program.stdin
        done, size = 0, source.stat().st_size
        with contextlib.suppress(BrokenPipeError):  # its status says why
            while piece := file.read(1 << 20):
                program.stdin.write(piece)
                done += len(piece)
                counted(done, size)
            program.stdin.close()

    with tempfile.TemporaryFile() as said, source.open("rb") as file:
        _execute(lock, command, feed, lambda: _end_of(said), cwd=cwd, stdin=subprocess.PIPE, stdout=said, stderr=said)


def run_with_output(command: Sequence[str | Path], *, lock: int, cwd: Path, line: Callable[[str], None]) -> None:
    """Run a program, passing on each line of its output as progress. Raises `ImageError` with the last lines."""
    last: deque[str] = deque(maxlen=30)

    def follow(program: "subprocess.Popen[bytes]") -> None:
        assert program.stdout
        while text := program.stdout.readline(ANSWER_MAX_BYTES):
            last.append(text.decode(errors="replace").rstrip())
            line(last[-1])

    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    _execute(lock, command, follow, lambda: "\n".join(last)[-QUOTED:], cwd=cwd, **options)


def _execute(
    lock: int,
    command: Sequence[str | Path],
    work: Callable[["subprocess.Popen[bytes]"], None],
    quote: Callable[[], str],
    *,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Run a program while `work` reads or writes its streams, and wait for its end. Raises `ImageError` that has `quote()`."""
    name = os.path.basename(command[0])
    try:
        program = _begin(lock, command, env={**_environment(), **(environment or {})}, pass_fds=(lock,), **options)
    except FileNotFoundError:
        raise ImageError(f"{name} is not installed") from None
    with program:
        try:
            work(program)
            status = program.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            program.kill()
            raise ImageError(f"{name} did not end within {TIMEOUT_S:.0f} s") from None
        except BaseException:
            program.kill()
            raise
        finally:
            with _changing:
                _running[lock].discard(program)
                if not _running[lock]:
                    del _running[lock]
    if status:
        raise ImageError(f"{name} failed with status {status}:\n{quote()}")


def _end_of(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - QUOTED))
    return said.read().decode(errors="replace").strip()


def _begin(lock: int, command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[bytes]":
    with _changing:
        if lock in _ended:
            raise ImageError("the build was given up")
        program = subprocess.Popen(command, **options)
        _running[lock].add(program)
        return program


@contextmanager
def all_or_none(lock: int) -> Iterator[None]:
    """When the block fails, end the programs of `run` with this lock, in all threads, and start no others until it is left."""
    try:
        yield
    except BaseException:
        with _changing:
            _ended.add(lock)
            for program in _running.get(lock, ()):
                program.terminate()
        raise


def forget(lock: int) -> None:
    """Forget a lock whose build has ended, with all its threads."""
    with _changing:
        _ended.discard(lock)


def ask(command: Sequence[str | Path]) -> str | None:
    """Run a short program and return its output; None when it is absent or fails."""
    return processes.ask(command, environment=_environment())


def _environment() -> dict[str, str]:
    """The environment of programs: ours without variables that change the tools' behaviour, and with sbin on PATH."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NODE_OPTIONS", "LC_"))}
    return {**ours, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "PATH": SEARCHED}


def require_program(program: str, package: str) -> None:
    """Raise `ImageError` with the fix when a program is absent."""
    if not shutil.which(program, path=SEARCHED):
        raise ImageError(f"{program} is not installed: sudo apt-get install {package}")


def chroot_command(root: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs a root's program inside it; an ordinary user becomes root of a user namespace for it."""
    who = () if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user")
    chroot = shutil.which("chroot", path=SEARCHED) or "chroot"
    return [*who, chroot, str(root), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *command]


def run_in_root(root: Path, command: Sequence[str], *, lock: int, proc: bool = False) -> None:
    """Run a root's program inside it; with `proc`, one that needs a /proc. Raises `ImageError`."""
    if not proc:
        run(chroot_command(root, command), lock=lock)
        return
    who = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    unshare = ["unshare", *who, "--mount", "--pid", "--fork", "--kill-child"]
    chroot = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *command]
    run([*unshare, "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', str(root), *chroot], lock=lock)
