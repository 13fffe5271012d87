"""The open descriptors of a process that is copied: noted before, made again in a copy under the same numbers.

Files are opened again, at the same place. Connections are as if the other side had gone: a client that checks connects again.
"""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hanabi_runtime.standard import fetch

GONE = -1  # an end that this process does not have


class NotCopiable(Exception):
    """Why a process cannot be copied."""


class Pair(NamedTuple):
    """A pipe (its reading end first) or a pair of connected Unix sockets."""

    first: int
    second: int
    socket_type: int | None  # None: a pipe


class Descriptors:
    """All open descriptors but those that every process has. Raises `NotCopiable`."""

    def __init__(self, without: Iterable[int]) -> None:
        self._inheritable: dict[int, bool] = {}
        self._blocking: dict[int, bool] = {}
        self._makers: dict[int, Callable[[], int]] = {}  # each opens it again, under any number
        self._polls: dict[int, list[tuple[int, int]]] = {}  # epoll -> what it watches: (descriptor, events)
        self._pairs: list[Pair] = []
        pipes: dict[str, list[int]] = {}
        unix: list[int] = []
        for fd in sorted({int(name) for name in os.listdir("/proc/self/fd")} - set(without)):
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
            except FileNotFoundError:
                continue  # that of the listing
            self._inheritable[fd], self._blocking[fd] = os.get_inheritable(fd), os.get_blocking(fd)
            if target.startswith("pipe:"):
                pipes.setdefault(target, []).append(fd)
            elif target.startswith("socket:"):
                self._note_socket(fd, unix)
            elif target == "anon_inode:[eventpoll]":
                self._polls[fd] = _watched(fd)
            elif target == "anon_inode:[eventfd]":
                self._makers[fd] = _event(fd)
            elif target.startswith("/") and not target.endswith(" (deleted)"):
                self._makers[fd] = _file(fd, target)
            else:
                what = "a deleted file" if target.startswith("/") else target.partition(":")[2]
                raise NotCopiable(f"its init has left {what} open")
        for ends in pipes.values():
            self._pairs.append(_pipe(ends))
        self._pairs += _find_pairs(unix)

    def make_again(self) -> None:
        """Open them all, in a copy."""
        for fd, make in self._makers.items():
            self._place(make(), fd)
        for pair in self._pairs:
            aside = [_set_aside(made, max(self._inheritable)) for made in _make_pair(pair)]  # one may have the number of the other
            for made, fd in zip(aside, pair[:2], strict=True):
                self._place(made, fd)
        if not self._polls:
            return
        select = fetch("select")
        for fd in self._polls:
            with select.epoll() as poll:
                made = os.dup(poll.fileno())
            self._place(made, fd)
        for fd, watched in self._polls.items():  # after all are there: one may watch another
            with select.epoll.fromfd(os.dup(fd)) as poll:
                for each, events in watched:
                    poll.register(each, events)

    def _place(self, made: int, fd: int) -> None:
        """Give a descriptor the number that it had."""
        if made != fd:
            if fd != GONE:
                os.dup2(made, fd)
            os.close(made)
        if fd != GONE:
            os.set_inheritable(fd, self._inheritable[fd])
            os.set_blocking(fd, self._blocking[fd])

    def _note_socket(self, fd: int, unix: list[int]) -> None:
        socket = fetch("socket")
        with socket.socket(fileno=os.dup(fd)) as opened:
            family, kind, protocol = opened.family, opened.type, opened.proto
            listening = bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            address = opened.getsockname() if listening or kind == socket.SOCK_DGRAM else None
        if family == socket.AF_UNIX:
            if listening or kind == socket.SOCK_DGRAM:
                raise NotCopiable("its init has left a Unix socket open that others can connect to")
            unix.append(fd)
            return

        def make() -> int:
            made = socket.socket(family, kind, protocol)
            if address is not None and family != socket.AF_NETLINK:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(address)
            if listening:
                made.listen(128)
            return int(made.detach())

        self._makers[fd] = make


def _set_aside(made: int, above: int) -> int:
    """Give a descriptor a number that none had."""
    fcntl = fetch("fcntl")
    aside: int = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, above + 1)
    os.close(made)
    return aside


def _information(fd: int) -> list[list[str]]:
    """/proc/self/fdinfo, in words."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return [line.split() for line in file]


def _number(fd: int, name: str, base: int = 10) -> int:
    return next(int(words[1], base) for words in _information(fd) if words and words[0] == name)


def _file(fd: int, path: str) -> Callable[[], int]:
    flags, position = _number(fd, "flags:", 8), _number(fd, "pos:")

    def make() -> int:
        made = os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC))
        if position:
            os.lseek(made, position, os.SEEK_SET)
        return made

    return make


def _event(fd: int) -> Callable[[], int]:
    flags, count = _number(fd, "flags:", 8), _number(fd, "eventfd-count:", 16)
    semaphore = any(words == ["eventfd-semaphore:", "1"] for words in _information(fd))
    return lambda: os.eventfd(count, (flags & os.O_NONBLOCK) | (os.EFD_SEMAPHORE if semaphore else 0))


def _watched(fd: int) -> list[tuple[int, int]]:
    """`tfd: 5 events: 19 data: 5 ...`, a line each."""
    found = []
    for words in _information(fd):
        if words and words[0] == "tfd:":
            named = dict(zip(words[::2], words[1::2], strict=False))
            watched, data = int(named["tfd:"]), int(named["data:"], 16)
            if data & 0xFFFFFFFF != watched:
                raise NotCopiable("its init has left descriptors open that a library watches in a way of its own")
            found.append((watched, int(named["events:"], 16)))
    return found


def _refuse_unread(fd: int) -> None:
    buffer = bytearray(4)
    fetch("fcntl").ioctl(fd, fetch("termios").FIONREAD, buffer)
    if any(buffer):
        raise NotCopiable("its init has left bytes unread in a pipe or socket of its own")


def _pipe(ends: list[int]) -> Pair:
    fcntl = fetch("fcntl")
    readers = [fd for fd in ends if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY]
    writers = [fd for fd in ends if fd not in readers]
    if len(readers) > 1 or len(writers) > 1:
        raise NotCopiable("its init has left a pipe open several times")
    for fd in readers:
        _refuse_unread(fd)
    return Pair(readers[0] if readers else GONE, writers[0] if writers else GONE, None)


def _find_pairs(unix: list[int]) -> list[Pair]:
    """Find which Unix sockets are connected with each other, by a byte that is taken out again."""
    socket, select = fetch("socket"), fetch("select")
    for fd in unix:
        _refuse_unread(fd)
    found, left = [], list(unix)
    while left:
        first, other = left.pop(0), GONE
        with socket.socket(fileno=os.dup(first)) as opened:
            kind = opened.type
            try:
                opened.send(b"?", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                found.append(Pair(first, GONE, kind))
                continue
        ready: list[Any] = select.select(left, [], [], 0)[0] if left else []
        for fd in ready:
            with socket.socket(fileno=os.dup(fd)) as opened:
                if other == GONE and opened.recv(1, socket.MSG_DONTWAIT) == b"?":
                    other = fd
        if other != GONE:
            left.remove(other)
        found.append(Pair(first, other, kind))
    return found


def _make_pair(pair: Pair) -> tuple[int, int]:
    if pair.socket_type is None:
        return os.pipe()
    socket = fetch("socket")
    first, second = socket.socketpair(socket.AF_UNIX, pair.socket_type)
    return first.detach(), second.detach()
