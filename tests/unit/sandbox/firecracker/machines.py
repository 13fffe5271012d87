"""Small machines of the double, as several tests make them."""

from pathlib import Path

from hanabi.base.clock import SystemClock
from hanabi.sandbox.firecracker.vmm_api import FirecrackerApi
from hanabi.testing import ManualClock
from hanabi.testing.firecracker import FakeFirecracker


async def connected(fake: FakeFirecracker, clock: ManualClock | SystemClock | None = None) -> FirecrackerApi:
    api = FirecrackerApi(fake.api_path, clock=clock or SystemClock(), timeout_s=20)
    await api.connect(20)
    return api


def lay_out(root: Path) -> None:
    for name in ("kernel", "root", "task", "empty"):
        (root / name).write_bytes(bytes(4096))


async def boot(api: FirecrackerApi) -> None:
    await api.machine_config(vcpu_count=1, mem_size_mib=16)
    await api.boot_source("/kernel")
    await api.drive("root", "/root", is_root_device=True)
    await api.drive("task", "/empty")
    await api.network_interface("eth0", "tap0")
    await api.vsock(guest_cid=3, uds_path="/v.sock")
    await api.start()
