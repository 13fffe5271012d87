"""What goes wrong while the firecracker driver makes a machine or has one: a clear error, nothing left, and the next one works."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.health import Health
from hanabi.contracts.sandbox import Exit
from hanabi.errors import SandboxError
from hanabi.sandbox.firecracker import templates, vmm
from hanabi.sandbox.firecracker.microvm import MicroVm
from hanabi.testing import ManualClock
from hanabi.testing.firecracker import Fault
from tests.system.firecracker.rig import Owner, Rig, frame, outcomes, send
from tests.system.firecracker.test_driver import BOOT
from tests.waiting import until

ALWAYS = 1_000_000
MAKING = [*BOOT, "PATCH /vm", "PUT /snapshot/create"]
RESTORING = ["PUT /snapshot/load", "PATCH /drives/tmp", "PATCH /vm", "PATCH /drives/task", "PATCH /drives/opt"]
WORDS = {
    "refuse": "an injected fault (400)",
    "close": "the VMM hung up",
    "garbage": "the answer is not HTTP/1.1",
    "half-answer": "the VMM hung up",
    "crash-before": "the VMM hung up",
    "crash-after": "the VMM hung up",
}


async def works(rig: Rig, digest: str = "0", **fields: Any) -> None:
    box = await rig.create(digest, **fields)
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    await box.destroy()


def whole(rig: Rig) -> int:
    return len(list(rig.snapshots.glob("*/state")))


# --- every call of the API


@pytest.mark.parametrize("do", ["refuse", "garbage", "crash-before", "crash-after"])
async def test_a_fault_at_every_call_of_the_boot_path(rig: Rig, do: str) -> None:
    """So many templates at a time as there are calls that go wrong once, and one more: each call spoils one of them."""

    before = whole(rig)
    rig.play(*(Fault(on=call, do=do) for call in MAKING))
    made, errors = await outcomes([rig.create(f"{do}-{n}") for n in range(len(MAKING) + 1)])
    assert len(made) == 1, errors
    assert all(isinstance(each, SandboxError) for each in errors)
    for call in MAKING:
        (said,) = (str(each) for each in errors if f": {call}: " in str(each))
        assert WORDS[do] in said and "no snapshot of python3.11 could be made" in said
    await made[0].destroy()
    await rig.nothing_left(snapshots=before + 1)


@pytest.mark.parametrize("do", WORDS)
async def test_a_fault_at_every_call_of_the_restore_path(rig: Rig, do: str, tmp_path: Path) -> None:
    await rig.driver.prepare(rig.image, None)
    mounts = ((tmp_path / "code", "/var/task"), (tmp_path / "layer", "/opt"))
    rig.play(*(Fault(on=call, do=do) for call in RESTORING))
    made, errors = await outcomes([rig.create(preload=None, mounts=mounts) for _ in range(len(RESTORING) + 1)])
    assert len(made) == 1, errors
    for call in RESTORING:
        (said,) = (str(each) for each in errors if str(each).startswith(f"{call}: "))
        assert WORDS[do] in said
    await made[0].destroy()
    await rig.nothing_left(snapshots=whole(rig))


async def test_slow_calls_are_no_fault(rig: Rig) -> None:
    rig.play(Fault(on="* /*", do="delay", seconds=0.02, times=ALWAYS))
    await works(rig, "slow")
    await rig.nothing_left()


@pytest.mark.parametrize("call", ["PUT /boot-source", "PUT /snapshot/create", "PUT /snapshot/load", "PATCH /drives/tmp"])
async def test_calls_that_are_never_answered(rig: Rig, call: str) -> None:
    rig.play(Fault(on=call, do="hang"))
    said = await rig.fails(rig.create(call.replace("/", "-")), fault=0)
    assert f"{call}: no answer within" in said
    await rig.nothing_left()
    await works(rig, call.replace("/", "-"))


# --- before there is an API


async def test_a_jailer_that_fails_at_once(rig: Rig) -> None:
    rig.play(Fault(on="jailer", do="refuse", message="no more ids"))
    said = await rig.fails(rig.create())
    assert "the jailer ended with status 1" in said and "Jailer error: no more ids" in said
    await rig.nothing_left()
    await works(rig)


async def test_a_jailer_that_forgets_what_it_started(rig: Rig) -> None:
    """It fails when the VMM runs already: nobody knows its number."""

    rig.play(Fault(on="jailer", do="crash-after", times=3))
    for _ in range(3):
        assert "it forgets what it started" in await rig.fails(rig.create())
    await rig.nothing_left()
    await works(rig)


async def test_a_jailer_that_hangs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(Fault(on="jailer", do="hang", times=2))
    monkeypatch.setattr(vmm, "JAILER_S", 0.2)
    assert "the jailer ended with status -9" in await rig.fails(rig.create(preload=None))
    await rig.nothing_left()
    monkeypatch.undo()
    hung = asyncio.create_task(rig.create(preload=None))  # a caller that goes away does not wait for it
    await until(lambda: Path(f"{rig.script}.ledger").read_bytes()[:1] == b"\2")
    hung.cancel()
    done, _ = await asyncio.wait([hung], timeout=vmm.JAILER_S / 2)
    assert done
    await rig.nothing_left()
    await works(rig)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("crash-before", "no KVM today"),
        ("hang", "no API socket within 10 s (No such file or directory)"),
        ("deaf-socket", "no API socket within 10 s (Connection refused)"),
    ],
)
async def test_a_vmm_that_never_serves(rig: Rig, do: str, words: str) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(Fault(on="start", do=do, message="no KVM today"))
    said = await rig.fails(rig.create(preload=None), fault=0)
    assert words in said, said
    await rig.nothing_left()
    await works_without_preload(rig)


# --- the guest


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="CONNECT 5000", do="close", times=3),
        Fault(on="CONNECT 5000", do="hang", times=2),
        Fault(on="CONNECT 500[12]", do="hang", times=2),
        Fault(on="CONNECT *", do="garbage", times=3),
        Fault(on="CONNECT *", do="delay", seconds=0.02, times=9),
        Fault(on="agent H", do="hang"),  # a connection of a clone's first moments
        Fault(on="agent H", do="close", times=2),
        Fault(on="agent V", do="close", times=2),
        Fault(on="agent *", do="delay", seconds=0.02, times=9),
    ],
    ids=str,
)
async def test_first_connections_may_be_lost(rig: Rig, fault: Fault) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(fault)
    box = await rig.create(preload=None)
    await box.start("runtime", ["/x"], {}, "/")
    await box.destroy()
    assert rig.struck()
    await rig.nothing_left()


ANSWER_V, ANSWER_D = "0500000076" + "00000000", "0500000064" + "00000000"


LAST = "CONNECT 5000: no connection to the guest within"  # where the time ended with one more try


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(on="CONNECT 5000", do="hang", times=ALWAYS), "CONNECT 5000: no connection to the guest within"),
        (Fault(on="CONNECT 5000", do="close", times=ALWAYS), "CONNECT 5000: no connection to the guest within 20 s"),
        (Fault(on="CONNECT 5000", do="garbage", times=ALWAYS), "CONNECT 5000: no connection to the guest within 20 s"),
        (Fault(on="CONNECT 5000", do="crash-before"), "the VMM has ended"),
        (Fault(on="CONNECT 5001", do="hang", times=ALWAYS), "CONNECT 5001: no connection to the guest within 20 s"),
        (Fault(on="CONNECT 5001", do="crash-before"), "the VMM has ended"),
        (Fault(on="CONNECT 5002", do="close", times=ALWAYS), "CONNECT 5002: no connection to the guest within 20 s"),
        (Fault(on="CONNECT 5002", do="crash-before"), "the VMM has ended"),
        (Fault(on="agent H", do="hang", times=ALWAYS), f"the agent did not answer|{LAST}"),
        (Fault(on="agent H", do="close", times=ALWAYS), f"the agent (has gone|did not answer)|{LAST}"),
        (Fault(on="agent H", do="garbage", times=ALWAYS), f"the agent (sent a malformed message|did not answer)|{LAST}"),
        (Fault(on="agent H", do="lie", message=ANSWER_V, times=ALWAYS), f"the agent (sent a malformed message|did not answer)|{LAST}"),
        (Fault(on="agent H", do="crash-before"), "the VMM has ended"),
        (Fault(on="agent V", do="refuse", message="1"), "the machine cannot identify itself: Operation not permitted"),
        (Fault(on="agent V", do="hang"), "the agent did not answer"),
        (Fault(on="agent V", do="close", times=ALWAYS), f"the agent (has gone|did not answer)|{LAST}"),
        (Fault(on="agent V", do="garbage"), "the agent sent a malformed message"),
        (Fault(on="agent V", do="lie", message=ANSWER_D), "the agent sent a malformed message"),
        (Fault(on="agent V", do="lie", message="05000000764500ffff"), "the agent sent a malformed message"),  # no error has that number
        (Fault(on="agent V", do="crash-before"), "the (VMM has ended|agent has gone)"),
        (Fault(on="agent D", do="refuse", message="5"), "the machine cannot mount /tmp: Input/output error"),
        (Fault(on="agent D", do="hang"), "the agent did not answer"),
        (Fault(on="agent D", do="close"), "the agent has gone"),
        (Fault(on="agent D", do="lie", message=ANSWER_V), "the agent sent a malformed message"),
        (Fault(on="agent D", do="crash-before"), "the (VMM has ended|agent has gone)"),
    ],
    ids=lambda given: f"{given.on} {given.do}" if isinstance(given, Fault) else "",
)
async def test_a_guest_that_does_not_come_up(rig: Rig, fault: Fault, words: str) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(fault)
    said = await rig.fails(rig.create(preload=None), fault=0)
    assert re.search(words, said), said
    await rig.nothing_left()
    rig.play()
    await works_without_preload(rig)


async def works_without_preload(rig: Rig) -> None:
    box = await rig.create(preload=None)
    await box.start("runtime", ["/x"], {}, "/")
    await box.destroy()


async def test_a_bootstrap_that_never_loads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "LOAD_S", 0.1)

    before = whole(rig)
    rig.play(guest="silent")
    said = await rig.fails(rig.create("silent"))
    assert "the bootstrap did not load in a new microVM" in said
    await rig.nothing_left(snapshots=before)
    monkeypatch.undo()
    rig.play()
    await works(rig, "silent")


async def test_a_mount_that_goes_wrong_later(rig: Rig, tmp_path: Path) -> None:
    await rig.driver.prepare(rig.image, None)
    for fault, words in (
        (Fault(on="PATCH /drives/task", do="refuse", message="no such drive"), "PATCH /drives/task: no such drive"),
        (Fault(on="agent D", do="refuse", message="22", after=1), "cannot mount /var/task: Invalid argument"),
    ):
        rig.play(fault)
        box = await rig.create(preload=None)
        with pytest.raises(SandboxError, match=words):
            await box.mount(tmp_path / "code", "/var/task")
        await box.destroy()
    await rig.nothing_left()


# --- machines that live


async def told_of_the_end(rig: Rig, fault: Fault, act: Any) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(fault)
    box = await rig.create(preload=None)
    owner = Owner(box)
    await act(box)
    await until(rig.struck)
    rig.clock.stop_now = True
    exit = await owner.exits.get()
    rig.clock.stop_now = False
    assert exit.role == "sandbox" and exit in (Exit("sandbox", None, 9), Exit("sandbox", 1, None))
    await box.destroy()
    await rig.nothing_left()


@pytest.mark.parametrize("do", ["refuse", "hang", "garbage", "close", "crash-before", "crash-after"])
@pytest.mark.parametrize("after", [1, 2])  # 1 is the first pause, 2 what undoes it
async def test_a_machine_that_cannot_be_paused_or_resumed_is_killed(rig: Rig, do: str, after: int) -> None:
    async def act(box: MicroVm) -> None:
        box.freeze()
        if after == 2:
            box.thaw()

    await told_of_the_end(rig, Fault(on="PATCH /vm", do=do, after=after), act)


@pytest.mark.parametrize("frozen", [False, True])
async def test_an_unresponsive_vmm_is_found_by_the_watch(rig: Rig, frozen: bool) -> None:
    async def act(box: MicroVm) -> None:
        if frozen:
            box.freeze()
            await box.vmm.api.version()  # answered after it
        watch = asyncio.create_task(rig.driver._watch_over(rig.driver.host))
        await until(rig.struck_in_haste)
        watch.cancel()

    await told_of_the_end(rig, Fault(on="GET /", do="hang"), act)


async def test_the_watch_lets_frozen_and_slow_machines_live(rig: Rig) -> None:
    boxes = [await rig.create() for _ in range(2)]
    boxes[0].freeze()
    boxes[1].limit(memory_mb=128, vcpus=0.05)
    for _ in range(3):
        await asyncio.gather(*(box.check() for box in boxes))
    boxes[0].thaw()
    for box in boxes:
        await send(box, b"i", b"{}")
        assert await frame(box) == b"r"
        await box.destroy()


@pytest.mark.parametrize("fault", [Fault(on="agent T", do=do, message=ANSWER_V) for do in ("lie", "garbage", "close")], ids=str)
async def test_an_agent_that_lies_ends_its_machine(rig: Rig, fault: Fault) -> None:
    async def act(box: MicroVm) -> None:
        with pytest.raises(SandboxError):
            await box.trim()

    await told_of_the_end(rig, fault, act)


async def test_a_machine_that_dies_before_its_owner_looks(rig: Rig) -> None:
    """Between the resume and the first connection."""

    await rig.driver.prepare(rig.image, None)
    for deed in ("crash-answered", "crash-after"):
        rig.play(Fault(on="PATCH /vm", do=deed))
        said = await rig.fails(rig.create(preload=None))
        assert "the VMM has ended" in said or "PATCH /vm: the VMM hung up" in said
        await rig.nothing_left()


# --- the end


async def test_what_cannot_be_removed_with_its_machine_is_removed_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    health = Health(clock)
    releases = rig.driver.host.releases
    monkeypatch.setattr(releases, "_clock", clock)
    monkeypatch.setattr(releases, "_health", health)
    box = await rig.create()

    def fail(self: vmm.Vmm) -> None:
        raise SandboxError("cgroup env does not become empty")

    with monkeypatch.context() as faults:
        faults.setattr(vmm.Vmm, "_remove", fail)
        await box.destroy()
        await box.destroy()
        await clock.advance(5)
        assert [problem.key for problem in health.problems] == [f"sandbox.{box.id}"]
        assert box in rig.driver.host.microvms
    async with asyncio.timeout(30):
        while health.problems:
            await clock.advance(1)
            await asyncio.sleep(0.01)
    assert box not in rig.driver.host.microvms
    await rig.nothing_left()
    await works(rig)
