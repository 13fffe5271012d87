"""The stand-ins for the jailer and Firecracker, as processes, beside the real jailer where there is one."""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.errors import VmmUnresponsive
from hanabi.sandbox.firecracker.vmm_api import FirecrackerApi
from hanabi.testing.firecracker import make_fakes
from tests.unit.sandbox.firecracker.machines import boot, lay_out
from tests.unit.sandbox.firecracker.scripted import find_binary, on_both


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Jail:
    """The stand-ins in a directory, and what they are told."""

    def __init__(self, place: Path, **script: Any) -> None:
        self.base = place / "jails"
        self.base.mkdir(mode=0o711)
        self.record = place / "requests"
        (place / "script.json").write_text(json.dumps({"record": str(self.record), "guest": "idle", **script}))
        self.firecracker, self.jailer = make_fakes(place, place / "script.json")
        self.pid = 0

    def root(self, id: str) -> Path:
        return self.base / "firecracker" / id / "root"

    def start(self, id: str, *options: str) -> "subprocess.CompletedProcess[str]":
        owner = "31005" if os.geteuid() == 0 else str(os.getuid())
        # fmt: off
        command = [
            str(self.jailer), "--id", id, "--exec-file", str(self.firecracker), "--uid", owner, "--gid", owner,
            "--chroot-base-dir", str(self.base), "--new-pid-ns", "--resource-limit", "no-file=1024", *options,
            "--", "--log-path", "/log", "--level", "Warning",
        ]
        # fmt: on
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60)
            said.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, said.read())


async def test_the_stand_ins(place: Path) -> None:
    jail = Jail(place, faults=[{"on": "PATCH /vm", "do": "crash-before"}])
    for program, name in ((jail.firecracker, "Firecracker"), (jail.jailer, "Jailer")):
        assert subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout == f"{name} v1.16.1\n"
    lay_out(place)
    root = jail.root("one")
    root.mkdir(parents=True)
    lay_out(root)
    done = jail.start("one")
    assert done.returncode == 0, done.stdout
    pid = int((root / "firecracker.pid").read_text())
    pidfd = os.pidfd_open(pid)

    async def main() -> None:
        api = FirecrackerApi(root / "run/firecracker.socket", clock=SystemClock(), timeout_s=20)
        await api.connect(30)
        assert (await api.instance_info()).id == "one"
        await boot(api)
        with pytest.raises(VmmUnresponsive):
            await api.pause()
        api.close()

    await main()
    ended = await _ended(pidfd)
    assert ended
    requests = [json.loads(line) for line in jail.record.read_text().splitlines()]
    assert [f"{each['method']} {each['path']}" for each in requests][-2:] == ["PUT /actions", "PATCH /vm"]
    assert {each["id"] for each in requests} == {"one"}
    shutil.rmtree(root)
    root.mkdir(parents=True)
    lay_out(root)
    assert jail.start("one").returncode == 0  # the fault has hit once, and counts for all

    async def again() -> None:
        api = FirecrackerApi(root / "run/firecracker.socket", clock=SystemClock(), timeout_s=20)
        await api.connect(30)
        await boot(api)
        await api.pause()
        api.close()

    await again()
    pidfd = os.pidfd_open(int((root / "firecracker.pid").read_text()))
    await end(pidfd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes jails")
@on_both
async def test_a_jail(place: Path, which: str) -> None:
    """Who the VMM is, what it sees and where its number is written: the same of the jailer and of its stand-in."""
    jail = Jail(place)
    if which == "real":
        jail.firecracker, jail.jailer = place / "bin" / "firecracker", find_binary("jailer") or Path("jailer")
        (place / "bin").mkdir()
        shutil.copy(find_binary("firecracker") or "", jail.firecracker)
    root = jail.root("one")
    root.mkdir(parents=True)
    (root / "log").touch()
    os.chown(root / "log", 31005, 31005)
    done = jail.start("one")
    assert done.returncode == 0, done.stdout
    pid = int((root / "firecracker.pid").read_text())
    pidfd = os.pidfd_open(pid)

    api = FirecrackerApi(root / "run/firecracker.socket", clock=SystemClock(), timeout_s=20)
    await api.connect(30)
    assert (await api.instance_info()).id == "one"
    await api.vsock(guest_cid=3, uds_path="/v.sock")
    api.close()
    facts = os.stat(f"/proc/{pid}")
    assert (facts.st_uid, facts.st_gid) == (31005, 31005)
    assert os.stat(f"/proc/{pid}/root/v.sock").st_ino == os.stat(root / "v.sock").st_ino
    assert os.stat(f"/proc/{pid}/ns/pid").st_ino != os.stat("/proc/self/ns/pid").st_ino
    for path in (root, root / "run", root / "v.sock"):
        assert os.stat(path).st_uid == 31005
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")] == ["1024"]
    await end(pidfd)


async def _ended(pidfd: int) -> bool:
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, done.set)
    await asyncio.wait_for(done.wait(), 60)
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    return True


async def end(pidfd: int) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert await _ended(pidfd)


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"on": "jailer", "do": "crash-before", "message": "no more ids"}, "no more ids"), (None, "Invalid instance ID")],
)
def test_a_jailer_that_refuses(place: Path, fault: dict[str, str] | None, words: str) -> None:
    jail = Jail(place, faults=[fault] if fault else [])
    done = jail.start("bad_id" if fault is None else "one")
    assert done.returncode == 1
    assert words in done.stdout


async def test_a_vmm_that_ends_before_it_serves(place: Path) -> None:
    jail = Jail(place, faults=[{"on": "start", "do": "crash-before", "message": "no KVM today"}])
    done = jail.start("one")
    assert done.returncode == 0
    pid = int((jail.root("one") / "firecracker.pid").read_text())

    with pytest.raises(VmmUnresponsive, match="the VMM ended"):
        api = FirecrackerApi(jail.root("one") / "run/firecracker.socket", clock=SystemClock())
        await api.connect(60, lambda: _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
