"""A stand-in for the jailer and Firecracker: `python -m hanabi.testing.firecracker`, with the command line of either.

`HANABI_FAKE_FIRECRACKER` names a JSON file, read at each start: {"version": "1.16.1", "guest": "echo" | "silent" | "idle",
"faults": [...], "record": FILE}. Each request is a line of `record`, and so is each message to the agent, of method "AGENT". What faults
have hit is counted in `<file>.ledger`, for all together.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hanabi.testing.firecracker import jailer
from hanabi.testing.firecracker.faults import Fault, Faults
from hanabi.testing.firecracker.guest import FakeAgent, Guest, IdleGuest, echo, silent
from hanabi.testing.firecracker.machine import Refused
from hanabi.testing.firecracker.server import Crash, FakeFirecracker, RecordedRequest

SCRIPT = "HANABI_FAKE_FIRECRACKER"
AS = "HANABI_FAKE_AS"  # the program that it stands in for
GUESTS: dict[str, Callable[[], Guest]] = {"echo": lambda: FakeAgent(echo), "silent": lambda: FakeAgent(silent), "idle": IdleGuest}


class Script:
    """The script, with its files opened: in the jail they cannot be reached."""

    def __init__(self, path: str | None) -> None:
        said: dict[str, Any] = json.loads(Path(path).read_text()) if path else {}
        first, second, third = map(int, said.get("version", "1.16.1").split("."))
        self.version = (first, second, third)
        self.guest = GUESTS[said.get("guest", "echo")]
        self.faults = [Fault.of(each) for each in said.get("faults", ())]
        self.ledger = os.open(f"{path}.ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) if path else None
        record = said.get("record")
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666) if record else None

    def record(self, id: str) -> Callable[[RecordedRequest], None]:
        def write(request: RecordedRequest) -> None:
            if self._record is not None:
                os.write(self._record, json.dumps({"id": id, **asdict(request)}).encode() + b"\n")

        return write


def main(argv: Sequence[str]) -> int:
    script = Script(os.environ.get(SCRIPT))
    version = "v" + ".".join(map(str, script.version))
    if "--version" in argv:
        print(f"{os.environ.get(AS, 'firecracker').capitalize()} {version}")
        return 0
    if "--exec-file" not in argv:
        return _run(argv, script, Path("/"), Path.cwd(), Faults(script.faults, _id(argv), script.ledger))
    try:
        jailing = jailer.parse(argv)
        faults = Faults(script.faults, jailing.id, script.ledger)
        fault = faults.match("jailer")
        if fault is not None and fault.do == "hang":
            signal.pause()
        if fault is not None and fault.do != "crash-after":
            return jailer.fail(fault.message)
        root = jailer.jail(jailing, forget=fault is not None)
    except (OSError, ValueError, KeyError) as error:
        return jailer.fail(str(error))
    return _run(["--id", jailing.id, *jailing.arguments], script, root, root, faults)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firecracker", allow_abbrev=False)
    parser.add_argument("--id", default="anonymous-instance")
    parser.add_argument("--api-sock", default="/run/firecracker.socket")
    parser.add_argument("--log-path")
    parser.add_argument("--metrics-path")
    for name in ("--level", "--module", "--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us", "--http-api-max-payload-size"):
        parser.add_argument(name)
    for name in ("--show-level", "--show-log-origin", "--boot-timer", "--enable-pci"):
        parser.add_argument(name, action="store_true")
    return parser


def _id(argv: Sequence[str]) -> str:
    return str(_parser().parse_args(argv).id)


def _run(argv: Sequence[str], script: Script, root: Path, cwd: Path, faults: Faults) -> int:
    """Run as Firecracker until the end; a scripted end is abrupt, like a crash."""
    arguments = _parser().parse_args(argv)
    fake = FakeFirecracker(
        root,
        cwd=cwd,
        api_socket=arguments.api_sock,
        id=arguments.id,
        version=script.version,
        faults=faults,
        guest=script.guest,
        record=script.record(arguments.id),
    )

    async def serve() -> None:
        try:
            for name, option in (("log", arguments.log_path), ("metrics", arguments.metrics_path)):
                if option is not None:
                    fake.machine.handle("PUT", f"/{'logger' if name == 'log' else name}", json.dumps({f"{name}_path": option}).encode())
            await fake.open()
        except Exception as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            if not isinstance(error, (Crash, Refused, OSError)):
                raise
            os._exit(1)
        await fake.ended.wait()
        await asyncio.sleep(0)  # what was answered is written
        os._exit(fake.status or 1)

    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
