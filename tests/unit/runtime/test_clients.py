"""AWS's own runtime interface clients, unmodified, on the Runtime API."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanabi.runtime.session import TOO_LARGE
from tests.unit.runtime.host import PATIENCE_S, Story, invocation
from tests.unit.runtime.served import serving

PYTHON = os.environ.get("AWSLAMBDARIC_PYTHON") or (sys.executable if importlib.util.find_spec("awslambdaric") else None)
NODE, NODE_CLIENT = shutil.which("node"), os.environ.get("AWS_LAMBDA_RIC")

python_client = pytest.mark.skipif(
    PYTHON is None, reason="awslambdaric is not installed (or set AWSLAMBDARIC_PYTHON to a Python that has it)"
)
node_client = pytest.mark.skipif(
    not (NODE and NODE_CLIENT), reason="set AWS_LAMBDA_RIC to the bin/index.mjs of an installed aws-lambda-ric"
)


@asynccontextmanager
async def running(folder: Path, *command: str | None) -> AsyncIterator[tuple[Story, asyncio.subprocess.Process]]:
    async with serving() as (story, runtime):
        environment = {"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.connection.port}"}
        process = await asyncio.create_subprocess_exec(
            *[str(word) for word in command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield story, process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def converse(story: Story) -> None:
    """Results, with context, and errors; the environment serves on."""
    assert await story.happens() == ("ready",)
    for number in range(100):
        story.session.invoke(invocation(b"2", f"id-{number}", client_context='{"custom": {"k": "ü"}}'))
        kind, payload = await story.happens()
        assert (kind, json.loads(payload)) == ("result", {"got": 0.5, "id": f"id-{number}", "custom": {"k": "ü"}})  # type: ignore[arg-type]
    story.session.invoke(invocation(b"0"))
    happened = await story.happens()
    assert happened[0] == "error"
    assert json.loads(happened[1])["errorMessage"] == "division by zero"  # type: ignore[arg-type]
    story.session.invoke(invocation(b"4"))
    assert (await story.happens())[0] == "result"


@python_client
async def test_awslambdaric(tmp_path: Path) -> None:
    source = """
def handler(event, context):
    if event == "big":
        return "x" * 7_000_000
    return {"got": 1 / event, "id": context.aws_request_id, "custom": context.client_context.custom if context.client_context else None}
"""
    (tmp_path / "app.py").write_text(source)

    async with running(tmp_path, PYTHON, "-m", "awslambdaric", "app.handler") as (story, process):
        await converse(story)
        story.session.invoke(invocation(b'"big"'))
        await process.wait()  # it takes a 413 for the end; its answer is kept
        held = story.session.held_answer()
        assert held is not None and held[1] == TOO_LARGE


@python_client
async def test_awslambdaric_reports_a_failed_init(tmp_path: Path) -> None:
    async with running(tmp_path, PYTHON, "-m", "awslambdaric", "nothing.handler") as (story, process):
        happened = await story.happens()
        assert (happened[0], happened[2]) == ("init error", "Runtime.ImportModuleError")
        assert await process.wait() == 1


@node_client
async def test_aws_lambda_ric(tmp_path: Path) -> None:
    source = """
exports.handler = async (event, context) => {
  if (event === "lost") { Promise.reject(new Error("lost")); await new Promise((resolve) => setTimeout(resolve, 20_000)); }
  if (event === 0) throw new Error("division by zero");
  return { got: 1 / event, id: context.awsRequestId, custom: context.clientContext?.custom };
};
exports.stream = awslambda.streamifyResponse(async (event, stream) => { stream.write("one "); stream.end("two"); });
"""
    (tmp_path / "app.js").write_text(source)

    async with running(tmp_path, NODE, NODE_CLIENT, "app.handler") as (story, process):
        await converse(story)
        story.session.invoke(invocation(b'"lost"'))
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 128
        held = story.session.held_answer()
        assert held is not None and held[1] == "Runtime.UnhandledPromiseRejection"
    async with running(tmp_path, NODE, NODE_CLIENT, "app.stream") as (story, process):
        assert await story.happens() == ("ready",)
        for _ in range(3):
            story.session.invoke(invocation(b"1"))
            assert await story.happens() == ("result", b"one two")


@node_client
async def test_aws_lambda_ric_reports_a_failed_init(tmp_path: Path) -> None:
    async with running(tmp_path, NODE, NODE_CLIENT, "nothing.handler") as (story, process):
        happened = await story.happens()
        assert (happened[0], happened[2]) == ("init error", "Runtime.ImportModuleError")
        assert await process.wait() == 129
