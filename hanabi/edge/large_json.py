"""Large JSON bodies, parsed in a separate process."""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from botocore.model import Shape

from hanabi.base.clock import Clock
from hanabi.errors import RequestEntityTooLarge, SerializationError

DOCUMENT_BYTES = 1 << 20  # what may remain of a document when its blobs are out
TIMEOUT_S = 60.0
_WORKER = Path(__file__).with_name("json_worker.py")


def blob_pointers(shape: Shape | None, prefix: str = "", depth: int = 2) -> list[str]:
    """List where an input has blobs in its JSON body: ["Code.ZipFile"]."""
    pointers: list[str] = []
    for name, member in shape.members.items() if shape is not None and "payload" not in shape.serialization else ():
        wire = prefix + member.serialization.get("name", name)
        if member.type_name == "blob":
            pointers.append(wire)
        elif member.type_name == "structure" and depth > 1:
            pointers += blob_pointers(member, f"{wire}.", depth - 1)
    return pointers


class JsonWorkers:
    """Runs the worker program, two at a time."""

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        self._clock = clock
        self._directory = directory or Path(tempfile.gettempdir())
        self._semaphore = asyncio.Semaphore(2)

    async def read(self, body: Path, pointers: list[str]) -> tuple[Any, list[Path]]:
        """Parse a file: (the document, with Paths in place of its blobs; those Paths). The caller must delete the Paths."""
        with body.open("rb") as file:
            answer = await self._run(file, "document", str(self._directory), ",".join(pointers), str(DOCUMENT_BYTES))
        if "error" in answer:
            if "too large" in answer["error"]:
                raise RequestEntityTooLarge(f"Request must be smaller than {DOCUMENT_BYTES} bytes without its code")
            raise SerializationError(f"Could not parse request body into json: {answer['error']}")
        document, paths = answer["document"], []
        for pointer, name in answer["blobs"].items():
            *parents, last = pointer.split(".")
            target = document
            for key in parents:
                target = target[key]
            target[last] = Path(name)
            paths.append(Path(name))
        return document, paths

    async def check(self, payload: bytes) -> str | None:
        """Return what is wrong with a large payload as JSON; None for valid JSON."""
        with await asyncio.to_thread(_to_file, payload) as file:
            answer = await self._run(file, "check")
        error: str | None = answer.get("error")
        return error

    async def _run(self, stdin: Any, *arguments: str) -> dict[str, Any]:
        async with self._semaphore:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_WORKER), *arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            timer = self._clock.call_later(TIMEOUT_S, process.kill)
            try:
                output, _ = await process.communicate()
            finally:
                timer.cancel()
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            answer: dict[str, Any] = json.loads(output)
        except ValueError:  # it was killed: out of memory or time
            return {"error": "too large"}
        return answer


def _to_file(payload: bytes) -> Any:
    file = tempfile.TemporaryFile()
    file.write(payload)
    file.seek(0)
    return file
