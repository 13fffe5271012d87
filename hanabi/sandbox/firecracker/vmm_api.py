"""A typed client of Firecracker's API: one method per call, each with a timeout. Field names are Firecracker's own.

Source: src/firecracker/swagger/firecracker.yaml of Firecracker. What is newer than 1.12 says so. Sizes are MiB where a name says
`mib`, times are seconds where it says `_s`; token buckets count bytes or operations, and refill in milliseconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hanabi.base.clock import Clock
from hanabi.errors import VmmError, VmmUnresponsive
from hanabi.sandbox.firecracker.vmm_connection import TIMEOUT_S, ApiConnection

CONNECT_S = 5.0
SNAPSHOT_S = 120.0  # to create one: all of the guest's memory is written
OnDone = Callable[[VmmError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """A token bucket: `size` tokens are refilled every `refill_time` ms; `one_time_burst` more are available at first."""

    size: int
    refill_time: int
    one_time_burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter:
    bandwidth: TokenBucket | None = None  # bytes
    ops: TokenBucket | None = None

    def document(self) -> dict[str, Any]:
        return {name: asdict(bucket) for name in ("bandwidth", "ops") if (bucket := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    id: str
    state: str  # "Not started" | "Running" | "Paused"
    vmm_version: str


@dataclass(frozen=True, slots=True)
class BalloonStatistics:
    """Memory statistics reported by the guest, bytes; None until, or unless, the guest reports them."""

    target_mib: int
    actual_mib: int
    free_memory: int | None
    total_memory: int | None
    available_memory: int | None
    disk_caches: int | None


class FirecrackerApi:
    """One VMM's API. Call `connect` first and `close` last; used on one event loop.

    Every method raises `VmmError` with the fault message when the VMM refuses, `VmmUnresponsive` when it does not answer: kill it.
    """

    def __init__(self, path: Path, *, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._channel = ApiConnection(path, clock)
        self._timeout_s = timeout_s

    async def connect(self, deadline_s: float = CONNECT_S, alive: Callable[[], bool] = lambda: True) -> None:
        """See `ApiConnection.open`."""
        await self._channel.open(deadline_s, alive)

    @property
    def connected(self) -> bool:
        return not self._channel.closed

    def on_disconnected(self, callback: Callable[[VmmUnresponsive], None]) -> None:
        """Register a callback, called once when the connection ends by itself: the VMM has ended, or must be killed."""
        self._channel.on_disconnected = callback

    def close(self) -> None:
        self._channel.close()

    def send_nowait(self, method: str, path: str, body: dict[str, Any] | None, on_done: OnDone) -> None:
        """Send a request without waiting: at once when no other is pending, else in turn; answers come in order."""
        self._channel.send_nowait(method, path, body, on_done, timeout_s=self._timeout_s)

    async def _get(self, path: str) -> dict[str, Any]:
        return await self._channel.call("GET", path, timeout_s=self._timeout_s)

    async def _put(self, path: str, *, timeout_s: float | None = None, **fields: Any) -> None:
        await self._channel.call("PUT", path, _given(fields), timeout_s=timeout_s or self._timeout_s)

    async def _patch(self, path: str, **fields: Any) -> None:
        await self._channel.call("PATCH", path, _given(fields), timeout_s=self._timeout_s)

    # --- before the start

    async def boot_source(self, kernel_image_path: str, *, boot_args: str | None = None, initrd_path: str | None = None) -> None:
        await self._put("/boot-source", kernel_image_path=kernel_image_path, boot_args=boot_args, initrd_path=initrd_path)

    async def machine_config(
        self,
        *,
        vcpu_count: int,
        mem_size_mib: int,
        smt: bool = False,
        track_dirty_pages: bool = False,
        huge_pages: Literal["None", "2M"] | None = None,
    ) -> None:
        await self._put(
            "/machine-config",
            vcpu_count=vcpu_count,
            mem_size_mib=mem_size_mib,
            smt=smt,
            track_dirty_pages=track_dirty_pages,
            huge_pages=huge_pages,
        )

    async def cpu_config(self, template: Mapping[str, Any]) -> None:
        """A custom CPU template, as Firecracker's docs/cpu_templates describes it."""
        await self._put("/cpu-config", **template)

    async def drive(
        self,
        drive_id: str,
        path_on_host: str,
        *,
        is_root_device: bool = False,
        is_read_only: bool = True,
        cache_type: Literal["Unsafe", "Writeback"] = "Unsafe",
        io_engine: Literal["Sync", "Async"] = "Sync",
        rate_limiter: RateLimiter | None = None,
        partuuid: str | None = None,
    ) -> None:
        await self._put(
            f"/drives/{drive_id}",
            drive_id=drive_id,
            path_on_host=path_on_host,
            is_root_device=is_root_device,
            is_read_only=is_read_only,
            cache_type=cache_type,
            io_engine=io_engine,
            rate_limiter=rate_limiter,
            partuuid=partuuid,
        )

    async def network_interface(
        self,
        iface_id: str,
        host_dev_name: str,
        *,
        guest_mac: str | None = None,
        mtu: int | None = None,
        rx_rate_limiter: RateLimiter | None = None,
        tx_rate_limiter: RateLimiter | None = None,
    ) -> None:
        """`mtu` needs Firecracker 1.16."""
        await self._put(
            f"/network-interfaces/{iface_id}",
            iface_id=iface_id,
            host_dev_name=host_dev_name,
            guest_mac=guest_mac,
            mtu=mtu,
            rx_rate_limiter=rx_rate_limiter,
            tx_rate_limiter=tx_rate_limiter,
        )

    async def vsock(self, *, guest_cid: int, uds_path: str) -> None:
        """`guest_cid` is 3 or more; some versions take less, and break later."""
        await self._put("/vsock", guest_cid=guest_cid, uds_path=uds_path)

    async def entropy(self, *, rate_limiter: RateLimiter | None = None) -> None:
        await self._put("/entropy", rate_limiter=rate_limiter)

    async def balloon(
        self, *, amount_mib: int, deflate_on_oom: bool, stats_polling_interval_s: int = 0, free_page_reporting: bool | None = None
    ) -> None:
        """`free_page_reporting` needs Firecracker 1.14. Statistics cannot be turned on after the start."""
        await self._put(
            "/balloon",
            amount_mib=amount_mib,
            deflate_on_oom=deflate_on_oom,
            stats_polling_interval_s=stats_polling_interval_s,
            free_page_reporting=free_page_reporting,
        )

    async def logger(
        self, log_path: str, *, level: Literal["Error", "Warning", "Info", "Debug"] = "Warning", show_level: bool = True
    ) -> None:
        """Before 1.14 the file must be there."""
        await self._put("/logger", log_path=log_path, level=level, show_level=show_level, show_log_origin=False)

    async def metrics(self, metrics_path: str) -> None:
        """Before 1.14 the file must be there."""
        await self._put("/metrics", metrics_path=metrics_path)

    async def start(self) -> None:
        """InstanceStart: boots the guest."""
        await self._put("/actions", action_type="InstanceStart")

    # --- afterwards

    async def flush_metrics(self) -> None:
        await self._put("/actions", action_type="FlushMetrics")

    async def pause(self) -> None:
        await self._patch("/vm", state="Paused")

    async def resume(self) -> None:
        await self._patch("/vm", state="Resumed")

    def pause_nowait(self, on_done: OnDone) -> None:
        self.send_nowait("PATCH", "/vm", {"state": "Paused"}, on_done)

    def resume_nowait(self, on_done: OnDone) -> None:
        self.send_nowait("PATCH", "/vm", {"state": "Resumed"}, on_done)

    async def patch_drive(self, drive_id: str, path_on_host: str | None = None, *, rate_limiter: RateLimiter | None = None) -> None:
        """Replace a drive's file, or its rate limits; the guest is told the new size."""
        await self._patch(f"/drives/{drive_id}", drive_id=drive_id, path_on_host=path_on_host, rate_limiter=rate_limiter)

    async def patch_balloon(self, amount_mib: int) -> None:
        await self._patch("/balloon", amount_mib=amount_mib)

    async def balloon_statistics(self) -> BalloonStatistics:
        said = await self._get("/balloon/statistics")
        numbers = {name: said.get(name) for name in BalloonStatistics.__dataclass_fields__}
        for name, value in numbers.items():
            if not (isinstance(value, int) or (value is None and not name.endswith("_mib"))):
                raise VmmError("GET", "/balloon/statistics", 200, f"{name} is not a number")
        return BalloonStatistics(**numbers)  # type: ignore[arg-type]  # checked above

    async def snapshot_create(
        self, *, snapshot_path: str, mem_file_path: str, snapshot_type: Literal["Full", "Diff"] = "Full", timeout_s: float = SNAPSHOT_S
    ) -> None:
        """Make a snapshot of a paused VM. Both files are written anew; neither is synced."""
        await self._put(
            "/snapshot/create", timeout_s=timeout_s, snapshot_path=snapshot_path, mem_file_path=mem_file_path, snapshot_type=snapshot_type
        )

    async def snapshot_load(
        self,
        *,
        snapshot_path: str,
        memory_path: str,
        resume: bool,
        backend_type: Literal["File", "Uffd"] = "File",
        track_dirty_pages: bool | None = None,
        network_overrides: Sequence[tuple[str, str]] = (),
        vsock_uds_path: str | None = None,
        clock_realtime: bool | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Load a snapshot, before any other call but logger and metrics; after a failure the VMM cannot be used.

        `network_overrides` are (iface_id, host_dev_name), from 1.12 on. `track_dirty_pages` needs 1.13, `vsock_uds_path` and
        `clock_realtime` need 1.16.
        """
        await self._put(
            "/snapshot/load",
            timeout_s=timeout_s,
            snapshot_path=snapshot_path,
            mem_backend={"backend_type": backend_type, "backend_path": memory_path},
            resume_vm=resume,
            track_dirty_pages=track_dirty_pages,
            network_overrides=[{"iface_id": id, "host_dev_name": device} for id, device in network_overrides] or None,
            vsock_override={"uds_path": vsock_uds_path} if vsock_uds_path is not None else None,
            clock_realtime=clock_realtime,
        )

    # --- at any time

    async def version(self) -> str:
        return str((await self._get("/version")).get("firecracker_version", ""))

    async def instance_info(self) -> InstanceInfo:
        said = await self._get("/")
        return InstanceInfo(*(str(said.get(name, "")) for name in InstanceInfo.__dataclass_fields__))

    async def vm_config(self) -> dict[str, Any]:
        """The whole configuration, as Firecracker reports it."""
        return await self._get("/vm/config")


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Encode the given fields for JSON; absent ones keep Firecracker's default."""
    return {name: value.document() if isinstance(value, RateLimiter) else value for name, value in fields.items() if value is not None}
