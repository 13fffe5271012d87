"""The fake machine behind Firecracker's API: known calls, allowed states, answers. Sans-IO but for files.

Source: src/firecracker/swagger/firecracker.yaml of Firecracker, and recorded answers of 1.12.1: the same tests run on both.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOT_STARTED, RUNNING, PAUSED = "Not started", "Running", "Paused"
MIB = 1024 * 1024
Version = tuple[int, int, int]

_LIMITER: dict[str, Any] = {"bandwidth": dict, "ops": dict}
# Of every call: its fields and their types; "*" marks the ones that must be there, "@1.16" since when there is such a field.
FIELDS: dict[str, dict[str, Any]] = {
    "PUT /boot-source": {"kernel_image_path*": str, "initrd_path": str, "boot_args": str},
    "PUT /machine-config": {
        "vcpu_count*": int,
        "mem_size_mib*": int,
        "smt": bool,
        "track_dirty_pages": bool,
        "huge_pages": str,
        "cpu_template": str,
    },
    "PUT /cpu-config": {
        "kvm_capabilities": list,
        "cpuid_modifiers": list,
        "msr_modifiers": list,
        "reg_modifiers": list,
        "vcpu_features": list,
    },
    "PUT /drives/{id}": {
        "drive_id*": str,
        "is_root_device*": bool,
        "path_on_host": str,
        "is_read_only": bool,
        "cache_type": str,
        "io_engine": str,
        "rate_limiter": _LIMITER,
        "partuuid": str,
        "socket": str,
    },
    "PATCH /drives/{id}": {"drive_id*": str, "path_on_host": str, "rate_limiter": _LIMITER},
    "PUT /network-interfaces/{id}": {
        "iface_id*": str,
        "host_dev_name*": str,
        "guest_mac": str,
        "mtu@1.16": int,
        "rx_rate_limiter": _LIMITER,
        "tx_rate_limiter": _LIMITER,
    },
    "PATCH /network-interfaces/{id}": {"iface_id*": str, "rx_rate_limiter": _LIMITER, "tx_rate_limiter": _LIMITER},
    "PUT /vsock": {"guest_cid*": int, "uds_path*": str, "vsock_id": str},
    "PUT /entropy": {"rate_limiter": _LIMITER},
    "PUT /balloon": {
        "amount_mib*": int,
        "deflate_on_oom*": bool,
        "stats_polling_interval_s": int,
        "free_page_hinting@1.14": bool,
        "free_page_reporting@1.14": bool,
    },
    "PATCH /balloon": {"amount_mib*": int},
    "PUT /logger": {"log_path": str, "level": str, "show_level": bool, "show_log_origin": bool, "module": str},
    "PUT /metrics": {"metrics_path*": str},
    "PUT /actions": {"action_type*": str},
    "PATCH /vm": {"state*": str},
    "PUT /snapshot/create": {"snapshot_path*": str, "mem_file_path*": str, "snapshot_type": str},
    "PUT /snapshot/load": {
        "snapshot_path*": str,
        "mem_backend": {"backend_type*": str, "backend_path*": str},
        "mem_file_path": str,
        "resume_vm": bool,
        "enable_diff_snapshots": bool,
        "network_overrides@1.12": list,
        "track_dirty_pages@1.13": bool,
        "vsock_override@1.16": {"uds_path*": str},
        "clock_realtime@1.16": bool,
    },
    **{f"GET {path}": {} for path in ("/", "/version", "/machine-config", "/vm/config", "/balloon", "/balloon/statistics")},
}
_BEFORE = {
    "PUT /" + name for name in "boot-source machine-config cpu-config drives/{id} network-interfaces/{id} vsock entropy balloon".split()
}
_BEFORE |= {"PUT /snapshot/load"}
_AFTER = {
    "PATCH /drives/{id}",
    "PATCH /network-interfaces/{id}",
    "PATCH /balloon",
    "PATCH /vm",
    "PUT /snapshot/create",
    "GET /balloon/statistics",
}


class Refused(Exception):
    """The refusal of a call: status 400 with this fault message."""


class FakeMachine:
    """A fake machine. `handle` takes a call; `root` is the VMM's `/`; `bind` makes the vsock's socket; `on_state` gets state changes."""

    def __init__(self, id: str, version: Version, root: Path, cwd: Path | None = None) -> None:
        self.id = id
        self.version = version
        self._root, self._cwd = root, cwd or root
        self.state = NOT_STARTED
        self.restored = False
        self.guest: Any = None  # what a snapshot keeps of the guest, as JSON
        self.config: dict[str, Any] = {
            "drives": [],
            "boot-source": None,
            "cpu-config": None,
            "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
            "network-interfaces": [],
            "vsock": None,
            "entropy": None,
            "balloon": None,
            "logger": None,
            "metrics": None,
        }
        self.bind: Callable[[Path], None] = lambda path: None
        self.on_state: Callable[[], None] = lambda: None
        self.fatal = False  # a snapshot could not be loaded: Firecracker answers, and ends
        self._patched: set[str] = set()

    def path(self, name: str) -> Path:
        """Resolve a path as the VMM sees it."""
        return self._root / name.lstrip("/") if name.startswith("/") else self._cwd / name

    def handle(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Handle a call: the answer's JSON, None for 204. Raises `Refused`."""
        call, name = _route(method, path)
        if call not in FIELDS:
            raise Refused(f"Invalid request method and/or path: {method} {path.lstrip('/')}.")
        given = self._check(call, body) if method != "GET" else {}
        if name is not None and name != given.get("drive_id", given.get("iface_id")):
            raise Refused("The id from the path does not match the id from the body!")
        started = self.state != NOT_STARTED
        action = given.get("action_type") if call == "PUT /actions" else None
        if (call in _BEFORE or action == "InstanceStart") and started:
            raise Refused("The requested operation is not supported after starting the microVM.")
        if (call in _AFTER or action == "FlushMetrics") and not started:
            raise Refused("The requested operation is not supported before starting the microVM.")
        return self._calls()[call](given)

    def _calls(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        version = ".".join(map(str, self.version))
        return {
            "GET /": lambda _: {"id": self.id, "state": self.state, "vmm_version": version, "app_name": "Firecracker"},
            "GET /version": lambda _: {"firecracker_version": version},
            "GET /machine-config": lambda _: dict(self.config["machine-config"]),
            "GET /vm/config": lambda _: dict(self.config),
            "GET /balloon": lambda _: self._balloon(),
            "GET /balloon/statistics": lambda _: self._statistics(),
            "PUT /boot-source": self._boot_source,
            "PUT /machine-config": self._machine_config,
            "PUT /cpu-config": self._cpu_config,
            "PUT /drives/{id}": self._drive,
            "PATCH /drives/{id}": self._patch_drive,
            "PUT /network-interfaces/{id}": self._network_interface,
            "PATCH /network-interfaces/{id}": lambda given: self._find("network-interfaces", "iface_id", given).update(given),
            "PUT /vsock": self._vsock,
            "PUT /entropy": lambda given: self._set("entropy", given),
            "PUT /balloon": self._put_balloon,
            "PATCH /balloon": lambda given: self._balloon().update(given),
            "PUT /logger": lambda given: self._output("logger", "log_path", given),
            "PUT /metrics": lambda given: self._output("metrics", "metrics_path", given),
            "PUT /actions": self._action,
            "PATCH /vm": self._vm,
            "PUT /snapshot/create": self._create_snapshot,
            "PUT /snapshot/load": self._load_snapshot,
        }

    # --- checking

    def _check(self, call: str, body: bytes) -> dict[str, Any]:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(f"An error occurred when deserializing the json body of a request: {error}.") from None
        return self._object(given, FIELDS[call])

    def _object(self, given: Any, known: dict[str, Any]) -> dict[str, Any]:
        wrong = "An error occurred when deserializing the json body of a request: "
        if not isinstance(given, dict):
            raise Refused(f"{wrong}invalid type, expected an object.")
        types = {}
        for marked, kind in known.items():
            name, _, since = marked.rstrip("*").partition("@")
            if not since or tuple(map(int, since.split("."))) <= self.version:
                types[name] = kind
        for name, value in given.items():
            if name not in types:
                raise Refused(f"{wrong}unknown field `{name}`, expected one of {', '.join(f'`{each}`' for each in types)}.")
            kind = types[name]
            if isinstance(kind, dict):
                self._object(value, kind)
            elif not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
                raise Refused(f"{wrong}invalid type of `{name}`.")
        for marked in known:
            if marked.endswith("*") and marked[:-1] not in given:
                raise Refused(f"{wrong}missing field `{marked[:-1]}`.")
        return given

    def _find(self, list_name: str, key: str, given: dict[str, Any]) -> dict[str, Any]:
        for entry in self.config[list_name]:
            if entry[key] == given[key]:
                found: dict[str, Any] = entry
                return found
        raise Refused(f"Invalid {key.removesuffix('_id')} ID: {given[key]}.")

    def _set(self, name: str, given: dict[str, Any]) -> None:
        self.config[name] = given

    # --- before the start

    def _boot_source(self, given: dict[str, Any]) -> None:
        for name, what in (("kernel_image_path", "kernel file"), ("initrd_path", "initrd file")):
            if given.get(name) is not None and not self.path(given[name]).is_file():
                raise Refused(f"Boot source error: The {what} cannot be opened: No such file or directory (os error 2)")
        self.config["boot-source"] = given

    def _machine_config(self, given: dict[str, Any]) -> None:
        count = given["vcpu_count"]
        if not 1 <= count <= 32 or (given.get("smt") and count > 1 and count % 2):
            raise Refused(
                "Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number "
                "if SMT is enabled."
            )
        if not given["mem_size_mib"]:
            raise Refused("Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.")
        self.config["machine-config"] = given

    def _need_file(self, name: str) -> None:
        if not self.path(name).is_file():
            raise Refused(
                "Drive config error: Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: "
                f"No such file or directory (os error 2) {name}"
            )

    def _cpu_config(self, given: dict[str, Any]) -> None:
        for leaf in given.get("cpuid_modifiers", ()):
            for modifier in leaf.get("modifiers", ()):
                if len(modifier["bitmap"]) > len("0b") + 32:
                    raise Refused(
                        "An error occurred when deserializing the json body of a request: "
                        f"Failed to parse string [{modifier['bitmap']}] as a bitmap - string is too long."
                    )
        self.config["cpu-config"] = given

    def _drive(self, given: dict[str, Any]) -> None:
        self._need_file(given.get("path_on_host", ""))
        others = [drive for drive in self.config["drives"] if drive["drive_id"] != given["drive_id"]]
        if given["is_root_device"] and any(drive["is_root_device"] for drive in others):
            raise Refused("Drive config error: A root block device already exists!")
        self.config["drives"] = [*others, given]

    def _network_interface(self, given: dict[str, Any]) -> None:
        others = [each for each in self.config["network-interfaces"] if each["iface_id"] != given["iface_id"]]
        if any(each["host_dev_name"] == given["host_dev_name"] for each in others):
            raise Refused("Network config error: Could not create the network device: Open tap device failed: Resource busy")
        self.config["network-interfaces"] = [*others, given]

    def _vsock(self, given: dict[str, Any]) -> None:
        try:
            self.bind(self.path(given["uds_path"]))
        except OSError as error:
            raise Refused(f"Vsock config error: Cannot create backend for vsock device: Error binding: {error.strerror}") from None
        self.config["vsock"] = given

    def _put_balloon(self, given: dict[str, Any]) -> None:
        if given["amount_mib"] > self.config["machine-config"]["mem_size_mib"]:
            raise Refused("Balloon config error: Amount of pages requested cannot be greater than the total memory.")
        self.config["balloon"] = given

    def _balloon(self) -> dict[str, Any]:
        balloon: dict[str, Any] | None = self.config["balloon"]
        if balloon is None:
            raise Refused("Balloon config error: Device not found.")
        return balloon

    def _output(self, name: str, key: str, given: dict[str, Any]) -> None:
        if self.config[name] is not None and name == "metrics":
            raise Refused("Metrics error: Reinitialization of metrics not allowed.")
        if given.get(key) is not None:
            path = self.path(given[key])
            if not path.exists() and (self.version < (1, 14, 0) or not path.parent.is_dir()):
                raise Refused(f"{name.capitalize()} error: Failed to open target file: No such file or directory (os error 2)")
            path.touch()
        self.config[name] = given

    # --- what happens

    def _action(self, given: dict[str, Any]) -> None:
        match given["action_type"]:
            case "InstanceStart":
                if self.config["boot-source"] is None:
                    raise Refused("Start microvm error: Cannot start microvm without kernel configuration.")
                self._turn(RUNNING)
            case "FlushMetrics":
                if self.config["metrics"] is not None:
                    with self.path(self.config["metrics"]["metrics_path"]).open("a") as file:
                        file.write(json.dumps({"patch_api_requests": {"drive_count": len(self._patched)}}) + "\n")
            case "SendCtrlAltDel":
                pass
            case other:
                raise Refused(f"An error occurred when deserializing the json body of a request: unknown variant `{other}`.")

    def _vm(self, given: dict[str, Any]) -> None:
        if given["state"] not in ("Paused", "Resumed"):
            raise Refused(f"An error occurred when deserializing the json body of a request: unknown variant `{given['state']}`.")
        self._turn(PAUSED if given["state"] == "Paused" else RUNNING)

    def _turn(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.on_state()

    def _patch_drive(self, given: dict[str, Any]) -> None:
        drive = self._find("drives", "drive_id", given)
        if "path_on_host" in given:
            self._need_file(given["path_on_host"])
        drive.update(given)
        self._patched.add(given["drive_id"])

    def _statistics(self) -> dict[str, Any]:
        amount = self._balloon()["amount_mib"]
        if not self._balloon().get("stats_polling_interval_s"):
            raise Refused("Balloon config error: Statistics for the balloon device are not enabled")
        return {"target_pages": amount * 256, "actual_pages": amount * 256, "target_mib": amount, "actual_mib": amount}

    # --- snapshots

    def write_state(self) -> bytes:
        """The content of a state file: JSON and its checksum."""
        content = json.dumps({"version": self.version, "config": self.config, "guest": self.guest}).encode()
        return content + b"\n%08x\n" % zlib.crc32(content)

    def _create_snapshot(self, given: dict[str, Any]) -> None:
        if self.state != PAUSED:
            raise Refused(
                "Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable while running"
            )
        try:
            self.path(given["snapshot_path"]).write_bytes(self.write_state())
            with self.path(given["mem_file_path"]).open("wb") as memory:
                memory.truncate(self.memory_bytes)
        except OSError as error:
            raise Refused(f"Create snapshot error: Cannot perform {error.strerror} on the memory backing file") from None

    @property
    def memory_bytes(self) -> int:
        return int(self.config["machine-config"]["mem_size_mib"]) * MIB

    def _load_snapshot(self, given: dict[str, Any]) -> None:
        if any(value for name, value in self.config.items() if name not in ("logger", "metrics", "machine-config")):
            raise Refused("Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.")
        if ("mem_backend" in given) == ("mem_file_path" in given):
            raise Refused("Load snapshot error: exactly one of mem_backend and mem_file_path must be given.")
        self.fatal = True  # from here on
        before = {name: self.config[name] for name in ("logger", "metrics")}
        saved = self._read_state(self.path(given["snapshot_path"]))
        self.config = {**saved["config"], **before}
        self._check_memory(self.path(given["mem_backend"]["backend_path"] if "mem_backend" in given else given["mem_file_path"]))
        for drive in self.config["drives"]:
            if not self.path(drive["path_on_host"]).is_file():
                raise _unrestorable(f"Failed to restore devices: Block: No such file or directory (os error 2) {drive['path_on_host']}")
        for override in given.get("network_overrides", ()):
            self._find("network-interfaces", "iface_id", override).update(override)
        if self.config["vsock"] is not None:
            self.config["vsock"].update(given.get("vsock_override", {}))
            try:
                self.bind(self.path(self.config["vsock"]["uds_path"]))
            except OSError as error:
                raise _unrestorable(f"Failed to restore devices: Vsock: Error binding: {error.strerror}") from None
        self.guest, self.restored, self.fatal = saved["guest"], True, False
        self._turn(RUNNING if given.get("resume_vm") else PAUSED)

    def _read_state(self, path: Path) -> dict[str, Any]:
        try:
            content, _, checksum = path.read_bytes().rstrip(b"\n").rpartition(b"\n")
        except OSError as error:
            raise _unrestorable(f"Failed to get snapshot state from file: Failed to open snapshot file: {error.strerror}") from None
        if checksum != b"%08x" % zlib.crc32(content):
            raise _unrestorable("Failed to get snapshot state from file: Failed to load snapshot state from file: CRC64 validation failed")
        saved: dict[str, Any] = json.loads(content)
        if saved["version"] > list(self.version):
            raise _unrestorable("Failed to get snapshot state from file: the snapshot's version is not supported")
        return saved

    def _check_memory(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise _unrestorable(f"Failed to load guest memory: {error.strerror}") from None
        if size < self.memory_bytes:
            raise _unrestorable("Failed to load guest memory: the file is too short")


def _unrestorable(reason: str) -> Refused:
    return Refused(f"Load snapshot error: Failed to restore from snapshot: {reason}")


def _route(method: str, path: str) -> tuple[str, str | None]:
    """("PUT /drives/{id}", "root")"""
    parts = path.strip("/").split("/")
    if len(parts) == 2 and parts[0] in ("drives", "network-interfaces"):
        return f"{method} /{parts[0]}/{{id}}", parts[1]
    return f"{method} {path}", None
