"""`hanabi doctor --require firecracker` boots a guest, or says why none boots; it leaves nothing, and remembers what worked."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.cli import main
from hanabi.errors import SandboxError
from hanabi.node import microvm_check
from hanabi.node.config import NodeSettings
from hanabi.sandbox.firecracker.boot_check import bare_image, boot_once
from hanabi.sandbox.host import kvm
from hanabi.sandbox.host.doctor import Check
from hanabi.sandbox.oci.bundle_config import MOUNT_POINTS
from hanabi.testing.firecracker import Fault
from tests.system.firecracker.rig import Rig

ALWAYS = 1 << 20
LIMIT_S = 30.0


async def boots(rig: Rig) -> float:
    return await boot_once(rig.driver, rig.drives, rig.image, rig.clock, LIMIT_S)


async def test_a_guest_that_boots_is_timed_and_gone(rig: Rig) -> None:
    assert 0 < await boots(rig) < LIMIT_S
    await rig.nothing_left()
    assert "PUT /boot-source" in rig.asked("trial") and "PUT /snapshot/load" not in rig.asked("trial")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(on="CONNECT 5000", do="hang", times=ALWAYS), "no guest booted within 30 s"),
        (Fault(on="agent H", do="hang", times=ALWAYS), "no guest booted within 30 s"),
        (Fault(on="CONNECT 5000", do="crash-before"), "the VMM has ended"),
        (Fault(on="PUT /actions", do="refuse", message="no KVM today"), "no KVM today"),
    ],
    ids=str,
)
async def test_a_guest_that_does_not_boot_ends_in_time_and_leaves_nothing(rig: Rig, fault: Fault, words: str) -> None:
    rig.play(fault)
    said = await rig.fails(boots(rig), fault=0)
    assert words in said, said
    await rig.nothing_left()


async def test_whoever_goes_away_leaves_nothing(rig: Rig) -> None:
    rig.play(Fault(on="CONNECT 5000", do="hang", times=ALWAYS))
    task = asyncio.create_task(boots(rig))
    while not rig.struck():  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await rig.nothing_left()


def test_the_root_has_what_a_machine_mounts_on(tmp_path: Path) -> None:
    image = bare_image(tmp_path / "root")
    assert all((image.root / name).is_dir() for name in MOUNT_POINTS)


# --- what doctor makes of it -------------------------------------------------------------------------------------------


def settings(directory: Path) -> NodeSettings:
    (directory / "images").mkdir(exist_ok=True)
    return NodeSettings(data_dir=directory, images_dir=directory / "images")


async def test_what_booted_is_not_tried_again_until_something_changes(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, tried = rig.parts, list[Any]()
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("one")
    monkeypatch.setattr(microvm_check, "BOOT_ID", boot_id)
    monkeypatch.setattr(microvm_check, "find_parts", lambda settings: parts)

    def tries(parts: Any) -> float:
        tried.append(parts)
        return 1.25

    monkeypatch.setattr(microvm_check, "_try", tries)
    first = microvm_check.try_microvm(settings(tmp_path))
    again = microvm_check.try_microvm(settings(tmp_path))
    assert first.startswith("Firecracker 1.16.1 with the kernel ") and first.endswith("booted to the agent in 1.2 s")
    assert again == f"{first}, tried before since this host was started" and len(tried) == 1
    boot_id.write_text("two")
    microvm_check.try_microvm(settings(tmp_path))
    parts = replace(parts, kernel=replace(parts.kernel, digest="another"))
    microvm_check.try_microvm(settings(tmp_path))
    assert len(tried) == 3
    for note in (tmp_path / "images" / "trials").iterdir():
        note.write_text("[]")  # damaged
    microvm_check.try_microvm(settings(tmp_path))
    assert len(tried) == 4


async def test_what_did_not_boot_is_tried_again_and_says_why(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(parts: Any) -> float:
        raise SandboxError("no guest booted within 30 s (the kernel said this)")

    monkeypatch.setattr(microvm_check, "find_parts", lambda settings: rig.parts)
    monkeypatch.setattr(microvm_check, "_try", fails)
    monkeypatch.setattr(kvm, "is_hardware", lambda: False)
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"a microVM was tried: no guest booted within 30 s \(.*\): KVM here is nested in software"):
            microvm_check.try_microvm(settings(tmp_path))
    assert not (tmp_path / "images" / "trials").exists()


@pytest.mark.parametrize("boots", [True, False])
def test_doctor_is_as_good_as_the_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], boots: bool
) -> None:
    """All that microVMs need is there, and still no guest may boot."""

    def tries(settings: NodeSettings) -> str:
        if not boots:
            raise SandboxError("a microVM was tried: no guest booted within 30 s")
        return "booted to the agent in 0.3 s"

    monkeypatch.setattr("hanabi.sandbox.host.doctor.probe_microvm", lambda: [Check("kvm", True, "hardware-backed")])
    monkeypatch.setattr("hanabi.cli.commands.doctor._parts", lambda options, *, required: iter([Check("guest kernel", True, "there")]))
    monkeypatch.setattr(microvm_check, "try_microvm", tries)
    status = main(["doctor", "--require", "firecracker", "--json", "--data-dir", str(tmp_path / "data")])
    last = json.loads(capsys.readouterr().out)[-1]
    assert status == (0 if boots else 1)
    assert (last["name"], last["ok"], bool(last["fix"])) == ("microvm", boots, not boots)
