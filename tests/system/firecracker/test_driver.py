"""The life of sandboxes of the firecracker driver, with stand-ins for its two programs."""

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.errors import EntrypointError, IsolationUnavailable, SandboxError
from hanabi.sandbox.firecracker import microvm
from hanabi.testing.firecracker import Fault
from hanabi.testing.firecracker.fork_server import ForkServer
from hanabi.testing.firecracker.guest import PEAK
from tests import leftovers
from tests.system.firecracker.rig import PRELOAD, Owner, Rig, frame, send
from tests.waiting import until

MB = 1024 * 1024
BOOT = [
    "PUT /cpu-config",
    "PUT /machine-config",
    "PUT /boot-source",
    "PUT /drives/root",
    "PUT /drives/task",
    "PUT /drives/opt",
    "PUT /drives/tmp",
    "PUT /network-interfaces/eth0",
    "PUT /vsock",
    "PUT /balloon",
    "PUT /actions",
]


def told(rig: Rig, id: str, type: str) -> list[bytes]:
    return [bytes.fromhex(each["body"]) for each in rig.requests(id) if (each["method"], each["path"]) == ("AGENT", type)]


async def test_boot_once_restore_ever_after(rig: Rig) -> None:
    boxes = [await rig.create(), *await asyncio.gather(*(rig.create() for _ in range(3)))]
    template = next(each["id"] for each in rig.requests() if each["path"] == "/snapshot/create")
    assert template.startswith("t")
    agent = ["AGENT V", "AGENT L", "AGENT S", "AGENT N"]
    assert rig.asked(template) == [*BOOT, *agent, "PATCH /vm", "PUT /snapshot/create"]
    restore = ["PUT /snapshot/load", "PATCH /drives/tmp", "PATCH /vm", "AGENT V", "AGENT D"]
    identities = set()
    for box in boxes:
        assert rig.asked(box.id) == restore
        assert box.preloaded and box.memory_limit_mb == 512
        assert (box.runtime_api_address, box.edge_address) == ("127.0.0.1:9001", "127.0.0.1:9002")
        (identity,) = told(rig, box.id, "V")
        time_ns, length = struct.unpack_from("<QH", identity)
        assert time_ns > 10**18 and length == 64
        identities.add(identity[10:74])
        (mount,) = told(rig, box.id, "D")
        assert mount[:2] == b"d\1" and b"/tmp" in mount  # writable, as large as its file
        size = struct.unpack_from("<Q", mount, 2)[0]
        assert size == os.stat(box.vmm.jail.root / "tmp").st_size >= 16 * MB
    assert len(identities) == len(boxes)  # entropy of its own for each
    assert (rig.snapshots / "x").parent.stat().st_mode & 0o777 == 0o711
    await asyncio.gather(*(box.destroy() for box in boxes))
    await rig.nothing_left(snapshots=1)


async def test_an_invocation_and_what_is_counted(rig: Rig) -> None:
    box = await rig.create()
    box.limit(memory_mb=256, vcpus=256 / 1769)
    with pytest.raises(SandboxError, match="up to 512 MB, not 513"):
        box.limit(memory_mb=513, vcpus=None)
    box.reset_peak()
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    await send(box, b"n", b"\3\0r\n0payload")
    assert await frame(box) == b"opayload"
    assert box.peak_memory() == PEAK and box.oom_kills() == 0 and box.cpu_usage() > 0
    assert os.read(box.logs, 100) == b"an invocation\n"
    box.reset_peak()
    assert box.peak_memory() == 0
    with pytest.raises(SandboxError, match="runtime is running"):
        await box.start("runtime", ["/x"], {}, "/")
    await box.start("watcher", ["/w"], {"B": "2"}, "/")
    owner = Owner(box)
    box.signal("watcher", 15)
    assert await owner.exits.get() == Exit("watcher", None, 15)
    await box.kill_processes()
    assert await owner.exits.get() == Exit("runtime", None, 9)
    assert [struct.unpack("<Q", each)[0] for each in told(rig, box.id, "L")] == [256 * MB]
    assert len(told(rig, box.id, "Z")) == 2
    await box.destroy()
    for gone in (box.peak_memory, box.cpu_usage, box.oom_kills, lambda: box.limit(memory_mb=1, vcpus=None)):
        with pytest.raises(SandboxError, match="has gone"):
            gone()
    with pytest.raises(SandboxError, match="has gone"):
        await box.start("runtime", ["/x"], {}, "/")
    await rig.nothing_left()


async def test_a_reset_ends_what_runs_and_keeps_the_machine(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    box = await rig.create()
    owner = Owner(box)
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    box.limit(memory_mb=256, vcpus=0.25)
    shares: list[float | None] = []
    of_cpu, kill = box._group.cpu, box.kill_processes
    limit = of_cpu.limit

    def note(vcpus: float | None) -> None:
        shares.append(vcpus)
        limit(vcpus)

    async def kill_at_full_speed() -> None:
        assert shares[-1] is None  # what ends is not at the function's share
        await kill()

    monkeypatch.setattr(of_cpu, "limit", note)
    monkeypatch.setattr(box, "kill_processes", kill_at_full_speed)
    for number in range(3):
        await box.reset()
        assert shares == [None, 0.25] * (number + 1)
        assert await owner.exits.get() == Exit("runtime", None, 9)
        await box.start("runtime", ["/x"], {}, "/")
        await send(box, b"i", b"{}")
        assert await frame(box) == b"r"
        await send(box, b"n", b"\3\0r\n0again%d" % number)
        assert await frame(box) == b"oagain%d" % number
    await box.destroy()
    with pytest.raises(SandboxError, match="has gone"):
        await box.reset()
    await rig.nothing_left()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(on="agent K", do="hang"),
        Fault(on="agent K", do="close"),
        Fault(on="agent C", do="hang"),
        Fault(on="agent C", do="close"),
        Fault(on="agent C", do="garbage"),
        Fault(on="agent C", do="crash-before"),
    ],
    ids=str,
)
async def test_a_reset_that_fails(rig: Rig, fault: Fault) -> None:
    await rig.create()  # its template is there
    rig.play(fault)
    box = await rig.create()
    await rig.fails(box.reset(), fault=0)
    await rig.destroy_all()
    await rig.nothing_left()


async def test_freeze_and_thaw_come_in_order(rig: Rig) -> None:
    box = await rig.create()
    rig.requests_file.write_bytes(b"")
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    box.freeze()
    box.thaw()
    box.freeze()  # all without waiting
    await until(lambda: len(rig.requests(box.id)) == 3)
    assert [each["body"]["state"] for each in rig.requests(box.id)] == ["Paused", "Resumed", "Paused"]
    await send(box, b"n", b"\3\0r\n0late")
    answer = asyncio.create_task(frame(box))
    done, _ = await asyncio.wait([answer], timeout=0.05)
    assert not done
    box.thaw()
    assert await answer == b"olate"
    box.freeze()
    await box.destroy()  # a frozen one as well
    await rig.nothing_left()


async def test_mounts(rig: Rig, tmp_path: Path) -> None:
    code, layer = tmp_path / "code", tmp_path / "layer"
    box = await rig.create(mounts=((code, "/var/task"),))
    await box.mount(layer, "/opt")
    bodies = {each["path"]: each["body"] for each in rig.requests(box.id) if each["path"].startswith("/drives/")}
    assert bodies["/drives/task"]["path_on_host"] == "/task-drive" and bodies["/drives/opt"]["path_on_host"] == "/opt-drive"
    _, task, opt = told(rig, box.id, "D")
    assert task[:2] == b"b\0" and b"erofs" in task and b"/var/task" in task
    assert opt[:2] == b"c\0" and struct.unpack_from("<Q", opt, 2)[0] == 12288
    for source, target, words in ((code, "/var/task", "twice"), (code, "/etc", "nothing can be mounted on /etc")):
        with pytest.raises(SandboxError, match=words):
            await box.mount(source, target)
    await box.destroy()
    gone = await rig.create()
    await gone.destroy()
    with pytest.raises(SandboxError, match="has gone"):
        await gone.mount(layer, "/opt")
    await rig.nothing_left()


@pytest.mark.parametrize("frozen", [False, True])
async def test_memory_is_given_back(rig: Rig, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microvm, "TRIM_S", 0.01)

    box = await rig.create()
    rig.requests_file.write_bytes(b"")
    if frozen:
        box.freeze()
    await box.trim()

    def asked(path: str, field: str) -> list[Any]:
        return [each["body"][field] for each in rig.requests(box.id) if each["path"] == path]

    await until(lambda: len(asked("/balloon", "amount_mib")) == 2 and len(asked("/vm", "state")) == (3 if frozen else 0))
    assert asked("/balloon", "amount_mib") == [512 - 32, 0]
    assert asked("/vm", "state") == (["Paused", "Resumed", "Paused"] if frozen else [])
    assert told(rig, box.id, "T")
    await box.destroy()


async def test_a_function_of_its_own_kept_and_cloned(rig: Rig, tmp_path: Path) -> None:
    kept = rig.directory / "kept"
    kept.mkdir(mode=0o711)
    box = await rig.create(mounts=((tmp_path / "code", "/var/task"),))
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    await box.snapshot(kept)
    await box.destroy()
    assert sorted(os.listdir(kept)) == ["about.json", "memory", "root", "state", "task", "tmp"]
    assert {(kept / name).stat().st_uid for name in os.listdir(kept)} == {0}
    await rig.nothing_left()
    clones = await asyncio.gather(*(rig.create(snapshot=kept, preload=None) for _ in range(2)))
    for clone in clones:
        assert not clone.preloaded
        assert rig.asked(clone.id) == ["PUT /snapshot/load", "PATCH /drives/tmp", "PATCH /vm", "AGENT V"]  # /tmp is mounted
        await send(clone, b"n", b"\3\0r\n0payload")
        assert await frame(clone) == b"opayload"
        with pytest.raises(SandboxError, match="twice"):
            await clone.mount(tmp_path, "/var/task")
        await clone.destroy()
    await rig.nothing_left()


async def test_two_drivers_make_one_template(rig: Rig) -> None:
    other = rig.another_driver(rig.directory / "run2")
    await other.open()
    before = len(list(rig.snapshots.glob("*/state")))
    specs = [rig.spec("shared") for _ in range(4)]
    boxes = await asyncio.gather(*(driver.create(spec) for driver, spec in zip([rig.driver, other] * 2, specs, strict=True)))
    assert len([each for each in rig.requests() if each["path"] == "/snapshot/create"]) == 1
    assert len(list(rig.snapshots.glob("*/state"))) == before + 1
    for box in boxes:
        await box.destroy()
    await other.close()
    assert leftovers.of_run(rig.directory / "run2") == []
    await rig.nothing_left()


async def test_templates_differ_by_what_is_in_them(rig: Rig) -> None:
    await rig.driver.prepare(rig.image, PRELOAD)
    begun = len(list(rig.snapshots.glob("*/state")))
    boxes = [await rig.create(), await rig.create(preload=None), await rig.create(memory_mb=1769)]
    assert [box.memory_limit_mb for box in boxes] == [512, 512, 1769]
    assert len(list(rig.snapshots.glob("*/state"))) == begun + 2
    assert not boxes[1].preloaded
    for box in boxes:
        await box.destroy()
    await rig.nothing_left()


async def test_who_has_it_is_told_of_its_end(rig: Rig) -> None:
    box = await rig.create()
    owner = Owner(box)
    box.vmm.kill()
    assert await owner.exits.get() == Exit("sandbox", None, 9)
    with pytest.raises(SandboxError):
        await box.start("watcher", ["/w"], {}, "/")
    box.freeze()
    box.thaw()
    await box.destroy()
    assert owner.exits.empty()
    await rig.nothing_left()


async def test_a_program_that_cannot_be_executed(rig: Rig) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(Fault(on="agent S", do="refuse"))
    box = await rig.create(preload=None)
    with pytest.raises(EntrypointError, match="/nothing"):
        await box.start("runtime", ["/nothing"], {}, "/")
    await box.start("runtime", ["/x"], {}, "/")
    await box.destroy()


async def test_an_id_is_one_sandbox(rig: Rig) -> None:
    spec = rig.spec()
    results: list[Any] = await asyncio.gather(*(rig.driver.create(spec) for _ in range(3)), return_exceptions=True)
    boxes = [each for each in results if not isinstance(each, BaseException)]
    assert len(boxes) == 1
    assert all("in use" in str(each) for each in results if isinstance(each, SandboxError))
    await send(boxes[0], b"i", b"{}")
    assert await frame(boxes[0]) == b"r"  # unharmed
    await boxes[0].destroy()
    for id in ("", "a/b", "..", "x" * 41, "A"):
        with pytest.raises(SandboxError, match="no sandbox id"):
            await rig.driver.create(type(spec)(id=id, image=rig.image, memory_mb=128, tmp_mb=16))
    await rig.nothing_left()


async def test_fifty_sandboxes_leave_no_descriptor(rig: Rig) -> None:
    for _ in range(10):
        boxes = await asyncio.gather(*(rig.create() for _ in range(5)))
        await asyncio.gather(*(box.destroy() for box in boxes))
    await rig.nothing_left()


async def test_close_ends_all(fork_server: ForkServer) -> None:
    async with Rig(fork_server) as rig:
        alive = [await rig.create() for _ in range(2)]
        alive[0].freeze()
        under_way = [asyncio.create_task(rig.create(digest)) for digest in ("0", "0", "1")]
        await until(lambda: len(leftovers.of_machines(rig.run_dir)) > 0)
        await rig.driver.close()
        results = await asyncio.gather(*under_way, return_exceptions=True)
        assert all(isinstance(each, SandboxError) for each in results), results
        assert leftovers.of_run(rig.run_dir) == []
        await rig.driver.close()
        with pytest.raises(SandboxError, match="not open"):
            await rig.create()
        await rig.driver.open()  # and again
        box = await rig.create()
        await box.destroy()


async def test_a_run_directory_is_one_drivers(rig: Rig) -> None:
    box = await rig.create()
    with pytest.raises(IsolationUnavailable, match="another Hanabi"):
        await rig.another_driver(rig.run_dir).open()
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    await box.destroy()


async def test_drives_of_another_file_system_are_mounted(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A hard link cannot be made: the file is shown by a bind mount, which goes with the jail."""
    drives = Path("/dev/shm") / f"hanabi-test-{os.getpid()}"
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/var/tmp").stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    try:
        async with Rig(fork_server, drives=drives) as rig:
            box = await rig.create(mounts=((Path("/code"), "/var/task"),))
            jail = box.vmm.jail.root
            assert (jail / "root").read_bytes().startswith(b"python3.11-0")
            assert (jail / "task-drive").read_bytes().startswith(b"code")
            assert any(f"{jail}/root" in line for line in leftovers.of_machines(rig.run_dir))
            await box.destroy()
            await rig.nothing_left(snapshots=1)
            assert (drives / "code.erofs").stat().st_size == 12288  # what was shown is whole
    finally:
        for each in drives.iterdir():
            each.unlink()
        drives.rmdir()
