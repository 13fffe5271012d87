"""Becomes an ordinary user with ranges of uids, /dev/fuse, /dev/net/tun and delegated cgroups, as a desktop has; then runs a driver.

Started as root by test_rootless.py; all it changes is in its own mount namespace, but for the cgroups. Prints one JSON object.
Arguments: a directory with an image and the agent in it.
"""

import asyncio
import ctypes
import encodings.idna  # noqa: F401 (what Python would load later may be out of the user's reach)
import json
import os
import sys
from pathlib import Path
from typing import Any

from hanabi.base import linux
from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import Exit, SandboxSpec
from hanabi.sandbox.host import cgroup, mounts
from hanabi.sandbox.oci.container import Container
from hanabi.sandbox.oci.driver import OciDriver
from tests import leftovers
from tests.system.sandbox.rig import Guest, image_in

UID = 4242
NAME = "hanabi-tester"
_PR_SET_DUMPABLE = 4


def become_user(directory: Path) -> None:
    """Change what this process sees of /etc and /dev, then who it is."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    replace(directory, "/etc/passwd", Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{UID}::/:/bin/sh\n")
    for name in ("/etc/subuid", "/etc/subgid"):
        replace(directory, name, f"{NAME}:200000:65536\n")
    for name, device in (("/dev/fuse", os.makedev(10, 229)), ("/dev/net/tun", os.makedev(10, 200))):
        node = directory / name.replace("/", "-")
        os.mknod(node, 0o20666, device)
        node.chmod(0o666)
        linux.mount(str(node), name, "none", linux.MS_BIND)
    os.environ["XDG_RUNTIME_DIR"] = str(directory / "home")
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after an exec: /proc/self is its own


def replace(directory: Path, name: str, text: str) -> None:
    file = directory / name.replace("/", "-")
    file.write_text(text)
    Path(name).touch()
    linux.mount(str(file), name, "none", linux.MS_BIND)


async def use(directory: Path) -> dict[str, Any]:
    run_dir = directory / "home" / "run"
    driver = OciDriver(run_dir, agent=directory / "hanabi-init", slots=4, clock=SystemClock(), resolvers=[])
    await driver.open()
    found: dict[str, Any] = {"describe": driver.describe()}
    spec = SandboxSpec(id="env", image=image_in(directory), memory_mb=128, tmp_mb=16)
    box: Container = await driver.create(spec)
    guest = Guest(box)
    found["tried"] = await guest.probe("try", "tcp", "mount", "raw", "unshare-user", "kill-agent", "setuid-root")
    found["uids"] = (await guest.probe("cat", "/proc/self/uid_map")).split()
    found["filled"] = (await guest.probe("fill", "/tmp/file", "100")).split()[0]
    found["killed"] = (await guest.outcome("alloc", "300"))[0] == Exit("runtime", None, 9)
    found["oom_kills"] = box.oom_kills()
    await box.mount(directory / "runtime", "/var/task")
    found["mounted"] = await guest.probe("cat", "/var/task/bootstrap.txt")
    found["dns"] = await guest.probe("ask", "127.0.0.1")
    await guest.start("spin", "600000")
    box.freeze()
    await box.destroy()
    found["left"] = leftovers.of_sandbox(run_dir, "env")
    await driver.close()
    return found


if __name__ == "__main__":
    scene = Path(sys.argv[1])
    become_user(scene)
    if Path("/sys/fs/cgroup/memory").is_dir():  # version 1 is not delegated in life: the test has made the directories ours
        cgroup.check_delegation = lambda: None
    mounts.enter_private_mounts()
    print(json.dumps(asyncio.run(use(scene))))
