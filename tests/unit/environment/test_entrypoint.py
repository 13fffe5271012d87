"""What is started as a function's runtime, and what its wrapper script is given."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hanabi.environment.entrypoint import exec_wrapper
from hanabi.errors import EntrypointError
from hanabi.testing.sandbox import FakeProcess
from tests.unit.fleet.rig import IMAGE, Rig, obedient

WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
OS_ONLY = replace(IMAGE, runtime="provided.al2023", runtime_dir=None, command=())


class Started:
    """What was started, and then does what every runtime here does."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []

    async def __call__(self, process: FakeProcess) -> int | None:
        self.processes.append(process)
        return await obedient(process)

    @property
    def argv(self) -> tuple[str, ...]:
        return tuple(self.processes[-1].argv)


async def test_a_wrapper_is_given_the_bundled_command() -> None:
    started = Started()
    async with Rig(started) as rig:
        assert (await rig.invoke(rig.version(environment=WRAPPED), b"1")).payload == b"1"
    assert started.argv[:2] == ("/bin/sh", "-c") and started.argv[3:] == ("/opt/wrapper", *IMAGE.command)


async def test_os_only_runtimes_know_no_wrapper() -> None:
    """AWS Lambda developer guide, "Modifying the runtime environment"."""
    started = Started()
    async with Rig(started, image=OS_ONLY) as rig:
        rig.driver.start_errors.append(EntrypointError("/var/task/bootstrap", 2))
        assert (await rig.invoke(rig.version(runtime="provided.al2023", code=None, environment=WRAPPED), b"1")).payload == b"1"
    assert started.argv == ("/opt/bootstrap",)


async def test_an_empty_name_is_no_wrapper() -> None:
    async with Rig() as rig:
        assert exec_wrapper(rig.version(environment={"AWS_LAMBDA_EXEC_WRAPPER": ""})) is None
    assert exec_wrapper(None) is None


@pytest.mark.parametrize(
    ("mode", "said", "status"),
    [(None, "{}: does not exist\n", 127), (0o644, "{}: is not an executable\n", 126), (0o755, "wrapped a b {}\n", 0)],
)
async def test_what_the_shell_makes_of_a_wrapper(tmp_path: Path, mode: int | None, said: str, status: int) -> None:
    wrapper = tmp_path / "a wrapper"
    if mode is not None:
        wrapper.write_text('#!/bin/sh\necho wrapped "$@"\n')
        wrapper.chmod(mode)
    started = Started()
    async with Rig(started) as rig:
        await rig.invoke(rig.version(environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)}), b"1")
    words = [*started.argv[:-1], "a", "b", str(wrapper)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.returncode) == (said.format(wrapper), status)
