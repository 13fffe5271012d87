"""Two minutes of faults under mixed load. At the end all that was acknowledged is there, and nothing is left on the host.

HANABI_CHAOS_SEED repeats a run's choices, HANABI_CHAOS_S makes it longer.
"""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leftovers import of_run
from tests.server import Server, create_function
from tests.system.chaos.disk import Disk
from tests.system.chaos.load import CODE, NAME, Load, problems, record_of
from tests.waiting import wait_for

HERE = Path(__file__).parent
LASTS_S = float(os.environ.get("HANABI_CHAOS_S", "100"))
DATABASES = ("state.db", "events.db", "record.db")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers, a file system of its own that stands still")


class Chaos:
    """One server, its disk and its clock, and the faults."""

    def __init__(self, server: Server, disk: Disk, dice: random.Random, clock: Path) -> None:
        self.server = server
        self.happened: Counter[str] = Counter()
        self._disk = disk
        self._dice = dice
        self._clock = clock
        self._faults = [self.kill, self.stop, self.stand_still, self.lock, self.fill, self.slow, self.move, self.jump]

    def one(self) -> None:
        fault = self._dice.choice(self._faults)
        self.happened[fault.__name__] += 1
        print(f"{time.strftime('%H:%M:%S')} {fault.__name__}", flush=True)
        fault()
        self.check_alive(fault.__name__)

    def check_alive(self, after: str) -> None:
        process = self.server.process
        assert process is not None and process.poll() is None, f"the server has gone after {after}"

    def say(self) -> None:
        """What the server logged last, for whoever reads of a failure."""
        print((self.server.data_dir / "server.log").read_text()[-6000:])

    def kill(self) -> None:
        self.server.crash()
        if self._dice.random() < 0.3:  # and again, while the next one cleans up after it
            with (self._disk.directory / "again.log").open("a") as log:
                process = subprocess.Popen(self.server.command(), stdout=subprocess.DEVNULL, stderr=log)
                time.sleep(self._dice.uniform(0.1, 1.0))
                process.kill()
                process.wait(30)
        self.server.start()

    def stop(self) -> None:
        assert self.server.stop() == 0
        self.server.start()

    def stand_still(self) -> None:
        process = self.server.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(self._dice.uniform(0.5, 4.0))
        process.send_signal(signal.SIGCONT)

    def lock(self) -> None:
        """Another process holds a database, for longer than SQLite waits."""
        connection = sqlite3.connect(self.server.data_dir / self._dice.choice(DATABASES), timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(self._dice.uniform(1.0, 8.0))
            if self._dice.random() < 0.3:
                self.server.crash()
        finally:
            connection.close()
        if self.server.process is None:
            self.server.start()

    def fill(self) -> None:
        with self._disk.full():
            time.sleep(self._dice.uniform(1.0, 5.0))
            if self._dice.random() < 0.3:
                self.server.crash()
        if self.server.process is None:
            self.server.start()

    def slow(self) -> None:
        with self._disk.still():
            time.sleep(self._dice.uniform(0.5, 3.0))

    def move(self) -> None:
        """The directory gets another name, or is reached by another spelling of it."""
        if self._dice.random() < 0.5:
            self.server.crash()
        else:
            assert self.server.stop() == 0
        real = self.server.data_dir.resolve()
        for link in self._disk.directory.glob("link-*"):
            link.unlink()
        to = real.with_name(f"data-{self._dice.randrange(1 << 30)}")
        real.rename(to)
        if self._dice.random() < 0.5:
            link = to.with_name(f"link-{to.name}")
            link.symlink_to(to)
            to = link
        self.server.data_dir = to
        self.server.start()

    def jump(self) -> None:
        """The wall clock, by what signatures still allow."""
        with self._clock.open("r+b") as file:  # never truncated: it is mapped into the server
            file.write(struct.pack("i", self._dice.randint(-200, 200)))
        time.sleep(self._dice.uniform(0.2, 1.0))


@pytest.fixture
def chaos(capsys: pytest.CaptureFixture[str]) -> Iterator[Chaos]:
    seed = int(os.environ.get("HANABI_CHAOS_SEED") or int.from_bytes(os.urandom(4)))
    with capsys.disabled():
        print(f"\nHANABI_CHAOS_SEED={seed}, {LASTS_S:.0f} s", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix="hanabi-chaos-", dir="/var/tmp"))
    scratch.chmod(0o755)
    clock, preload = scratch / "clock", scratch / "clock.so"
    clock.write_bytes(struct.pack("i", 0))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(preload), str(HERE / "clock.c")], check=True)
    disk = Disk(scratch / "disk", 600)
    data = disk.directory / "data"
    data.mkdir()
    server = Server("--pool-size", "1", data_dir=data, variables={"LD_PRELOAD": str(preload), "CHAOS_CLOCK": str(clock)})
    try:
        made = Chaos(server, disk, random.Random(seed), clock)
        yield made
        made.say()
    finally:
        if server.process is not None:
            server.crash()
        disk.remove()
        shutil.rmtree(scratch, ignore_errors=True)


def test_what_was_acknowledged_is_there_after_two_minutes_of_faults(chaos: Chaos) -> None:
    server = chaos.server
    server.start()
    create_function(server.client("lambda"), NAME, CODE, Timeout=30)
    load = Load(server)
    load.begin()
    ends = time.monotonic() + LASTS_S
    try:
        while time.monotonic() < ends and not load.defects:
            time.sleep(0.7)
            chaos.one()
    finally:
        load.end()
    print(
        dict(chaos.happened),
        len(load.answered),
        "answered,",
        len(load.accepted),
        "accepted,",
        load.plane.answered,
        "changes; refused:",
        load.refused,
    )
    chaos.check_alive("all")
    assert not load.defects, load.defects
    load.plane.check()
    assert load.answered and load.accepted and load.plane.answered

    wait_for(lambda: load.accepted <= record_of(server).keys(), 120)  # everything accepted ran
    wait_until_over(server)
    usage = json.loads(server.hanabi("usage", "--function", NAME, "--json"))["total"]
    record = record_of(server)
    assert load.answered <= record.keys()  # everything answered is in the record
    runs = [run for each in record.values() for run in each]
    assert (usage["requests"], usage["billed_ms"]) == (len(runs), sum(billed_ms for _, billed_ms in runs))
    reported = reports(server)
    assert reported.keys() <= record.keys()
    if not chaos.happened["fill"]:  # log lines may be given up for the record when the disk is full
        assert reported == {request_id: len(each) for request_id, each in record.items()}

    assert server.stop() == 0
    assert of_run(server.data_dir.resolve() / "run") == []
    assert list((server.data_dir / "spool").iterdir()) == []


def wait_until_over(server: Server) -> None:
    """What was wrong is over, though nobody asks for anything."""
    left: list[str] = []

    def over() -> bool:
        left[:] = problems(server)
        return not left

    try:
        wait_for(over, 120)
    except AssertionError:
        raise AssertionError(f"still problems: {left}") from None


def reports(server: Server) -> Counter[str]:
    lines = [json.loads(line)["message"] for line in server.hanabi("logs", NAME, "--since", "1h", "--json").splitlines()]
    return Counter(match[1] for line in lines if (match := re.match(r"REPORT RequestId: (\S+)", line)))
