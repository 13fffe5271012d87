"""Functions that are container images, in environments that are doubles: what is started, where, and with what."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hanabi.contracts.functions import ContainerCode, FunctionVersion
from hanabi.environment.container import start_container
from hanabi.errors import EntrypointError
from hanabi.testing.sandbox import FakeProcess
from tests.unit.fleet.rig import CONTAINER, Rig, obedient

IMAGE = replace(CONTAINER, entry_point=("runtime", "-x"), arguments=("app.handler",), working_directory="/app")
CODE = ContainerCode(image="r.example/a@sha256:0", digest="0")


class Started:
    """What was started, and then does what every runtime here does."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []

    async def __call__(self, process: FakeProcess) -> int | None:
        self.processes.append(process)
        return await obedient(process)


def container(rig: Rig, code: ContainerCode = CODE, **changes: Any) -> FunctionVersion:
    return rig.version(code=None, runtime="", handler="", container=code, **changes)


async def test_it_starts_as_the_image_says_or_as_the_function_says() -> None:
    """Nothing is mounted, nothing is kept in stock, and the log begins with the invocation."""

    started = Started()
    async with Rig(started, pool_size=2, image=IMAGE) as rig:
        rig.driver.start_errors.append(EntrypointError("/bin/runtime", 2))
        assert (await rig.invoke(container(rig, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/wrapper"}), b"1")).payload == b"1"
        process = started.processes[-1]
        assert (tuple(process.argv), process.cwd) == (("/usr/bin/runtime", "-x", "app.handler"), "/app")
        assert process.environment["_HANDLER"] == "app.handler" and process.environment["AWS_LAMBDA_EXEC_WRAPPER"] == "/wrapper"
        assert rig.sandbox.mounts == [] and rig.journal.lines[0].startswith("START ")
        own = replace(CODE, entry_point=("/x",), command=(), working_directory="/")
        await rig.invoke(container(rig, own, key="g"), b"1")
        process = started.processes[-1]
        assert (tuple(process.argv), process.cwd, process.environment["_HANDLER"]) == (("/x",), "/", "")
        assert len(rig.driver.sandboxes) == 2
        assert rig.fleet.images_in_use() == {"c"} and rig.fleet.code_in_use() == set()
        assert {row["runtime"] for row in rig.fleet.describe()} == {"image"}


async def test_variables_of_the_image_are_below_the_functions_own() -> None:
    started = Started()
    image = replace(IMAGE, environment={"PATH": "/bin", "A": "image", "B": "image", "AWS_REGION": "image"})
    async with Rig(started, image=image) as rig:
        await rig.invoke(container(rig, environment={"B": "function"}), b"1")
        variables = started.processes[-1].environment
        assert (variables["A"], variables["B"], variables["AWS_REGION"]) == ("image", "function", "us-east-1")


class Refusing:
    """A sandbox in which only `there` can be executed."""

    def __init__(self, there: str = "", errno: int = 2, step: str = "exec") -> None:
        self.tried: list[str] = []
        self._there, self._errno, self._step = there, errno, step

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, *, output: int | None = None) -> None:
        self.tried.append(argv[0])
        if argv[0] != self._there:
            raise EntrypointError(argv[0], self._errno, self._step)


@pytest.mark.parametrize(
    ("words", "path", "refusing", "message", "tried"),
    [
        (("/x",), "/bin", Refusing(), "fork/exec /x: no such file or directory", ["/x"]),
        (("/x",), "/bin", Refusing(errno=13), "fork/exec /x: permission denied", ["/x"]),
        (("/x",), "/bin", Refusing(errno=8), "fork/exec /x: exec format error", ["/x"]),
        (("x",), "/a:/b/", Refusing(), 'exec: "x": executable file not found in $PATH', ["/a/x", "/b/x"]),
        (("x",), "/a:/b", Refusing(errno=8), "exec format error", ["/a/x"]),
        (("x",), "", Refusing(), 'exec: "x": executable file not found in $PATH', ["./x"]),
        (("x",), "/a:/b", Refusing(there="/b/x"), "", ["/a/x", "/b/x"]),
        ((), "/bin", Refusing(), "the image has neither an entry point nor a command, and the function names none", []),
        (("/x",), "/bin", Refusing(step="chdir"), "the working directory doesn't exist: /", ["/x"]),
    ],
)
async def test_the_words_of_what_cannot_be_started(
    words: tuple[str, ...], path: str, refusing: Any, message: str, tried: list[str]
) -> None:
    image = replace(IMAGE, entry_point=words, arguments=(), working_directory="/")
    if not message:
        await start_container(refusing, image, CODE, {"PATH": path})
    else:
        with pytest.raises(EntrypointError) as caught:
            await start_container(refusing, image, CODE, {"PATH": path})
        assert message in str(caught.value)
    assert refusing.tried == tried
