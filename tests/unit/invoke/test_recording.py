"""The log lines of invocations whose function has JSON logs. Text: test_invoker.py."""

import json
from typing import Any

from hanabi.contracts.functions import JsonLogs
from hanabi.errors import EntrypointError
from tests.unit.fleet.rig import Rig


def events(rig: Rig) -> list[tuple[str, Any]]:
    """(type, record) of each line."""
    said = [json.loads(line) for line in rig.journal.lines]
    assert all([*event] == ["time", "type", "record"] for event in said)
    return [(event["type"].removeprefix("platform."), event["record"]) for event in said]


async def test_every_event_at_debug() -> None:
    async with Rig() as rig:
        version = rig.version(json_logs=JsonLogs(system="DEBUG"))
        for _ in range(2):
            await rig.invoke(version, b'"abc"')
        kinds = [kind for kind, _ in events(rig)]
        assert kinds == ["initStart", "initRuntimeDone", "initReport", *["start", "runtimeDone", "report"] * 2]
        told = dict(events(rig)[:6])
        first = rig.journal.records[0]
        assert told["initReport"] == {
            "initializationType": "on-demand", "phase": "init", "status": "success", "metrics": {"durationMs": first.init_ms},
        }  # fmt: skip
        assert told["start"] == {"requestId": first.request_id, "functionArn": version.arn, "version": "$LATEST"}
        assert told["runtimeDone"]["metrics"] == {"durationMs": first.duration_ms, "producedBytes": 5}
        assert told["report"]["metrics"]["initDurationMs"] == first.init_ms


async def test_info_is_the_default() -> None:
    async with Rig() as rig:
        result = await rig.invoke(rig.version(json_logs=JsonLogs()), tail=True)
        assert [kind for kind, _ in events(rig)] == ["initStart", "start", "report"]
        assert [json.loads(line)["type"] for line in result.log_tail.decode().splitlines()] == ["platform.start", "platform.report"]


async def test_warn_shows_only_failures() -> None:
    async with Rig() as rig:
        version = rig.version(json_logs=JsonLogs(system="WARN"))
        await rig.invoke(version)
        assert rig.journal.lines == []


async def test_an_init_that_fails() -> None:
    async with Rig() as rig:
        rig.driver.start_errors += [EntrypointError("/var/task/bootstrap", 2) for _ in range(4)]
        version = rig.version(json_logs=JsonLogs(system="WARN"), runtime="provided.al2023")
        result = await rig.invoke(version)
        assert result.function_error == "Unhandled"
        told = events(rig)
        assert [kind for kind, _ in told][-2:] == ["runtimeDone", "report"]
        assert told[0][0] == "initRuntimeDone" and told[0][1]["errorType"] == "Runtime.InvalidEntrypoint"
        assert told[-1][1]["status"] == "error"
