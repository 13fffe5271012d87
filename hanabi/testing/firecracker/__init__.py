"""A fake Firecracker for tests of faults, in this process or as the jailer and Firecracker of a driver.

    async with FakeFirecracker(tmp_path, faults=[Fault(on="PUT /snapshot/load", do="crash-after")]) as fake:
        api = FirecrackerApi(fake.api_path, clock=clock)

    firecracker, jailer = make_stand_ins(directory, script)  # two programs, which read the JSON file `script` at each start

These programs run `python -m hanabi.testing.firecracker`: see `__main__`.
"""

import shlex
import sys
from pathlib import Path

import hanabi
from hanabi.testing.firecracker.faults import ACTIONS as ACTIONS
from hanabi.testing.firecracker.faults import Fault as Fault
from hanabi.testing.firecracker.faults import Faults as Faults
from hanabi.testing.firecracker.guest import FakeAgent as FakeAgent
from hanabi.testing.firecracker.guest import FakeGuestProcess as FakeGuestProcess
from hanabi.testing.firecracker.guest import Guest as Guest
from hanabi.testing.firecracker.guest import IdleGuest as IdleGuest
from hanabi.testing.firecracker.server import FakeFirecracker as FakeFirecracker
from hanabi.testing.firecracker.server import RecordedRequest as RecordedRequest


def make_fakes(directory: Path, script: Path) -> tuple[Path, Path]:
    """Make (firecracker, jailer): executables in a directory, controlled by `script`, which may change but must exist."""
    made = []
    for name in ("firecracker", "jailer"):
        program = directory / name
        source = shlex.quote(str(Path(hanabi.__file__).parents[1]))
        program.write_text(
            "#!/bin/sh\n"
            f"export HANABI_FAKE_FIRECRACKER={shlex.quote(str(script))} HANABI_FAKE_AS={name}\n"
            f"export PYTHONPATH={source} PYTHONDONTWRITEBYTECODE=1\n"
            f'exec {shlex.quote(sys.executable)} -m hanabi.testing.firecracker "$@"\n'
        )
        program.chmod(0o755)
        made.append(program)
    return made[0], made[1]
