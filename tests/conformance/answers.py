"""The table of answers that AWS gives: `answers.json`, a case a line, and how a case is asked of an edge.

In its texts `<functions>`, `<layers>`, `<region>`, `<account>`, `<role>` and the names of "texts" stand for what they say. `<zip>` is
code, `<sha256>` its hash in base64, `<trust>` the trust policy of `<role>`; `<now>` and `<before>` are times in milliseconds; `<not a
zip>` is what the double of the code store refuses.
"""

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.edge.protocols.model import load
from tests.server import zip_of
from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.signing import sign
from tests.unit.edge.world import ENDPOINT, TRUST_LAMBDA, Answer, World

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("answers.json").read_text())
ROLE = f"arn:aws:iam::{ACCOUNT}:role/lambda-role"
CODE = zip_of({"app.py": "def handler(event, context): return event"})
WORDS = {
    "functions": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function",
    "layers": f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer",
    "region": REGION,
    "account": ACCOUNT,
    "role": ROLE,
    "sha256": base64.b64encode(hashlib.sha256(CODE).digest()).decode(),
    "trust": json.dumps(TRUST_LAMBDA),
    **TABLE["texts"],
}
NOW_MS = round(time.time() * 1000)
VALUES = {"<zip>": CODE, "<not a zip>": b"bad", "<now>": NOW_MS, "<before>": NOW_MS - 1000}


@dataclass(frozen=True)
class Case:
    """One call, and AWS's answer to it."""

    number: int  # of its line among the cases
    service: str
    operation: str
    params: dict[str, Any]
    request: dict[str, Any]  # "method", "path" and "body", where it is not the one that botocore makes of `params`
    given: tuple[str, ...]  # states that there must be
    status: int
    code: str
    message: str | None  # None: it was not recorded
    body_type: str | None  # the member `Type` of a Lambda error; None: it has none
    source: str

    def __str__(self) -> str:
        return f"{self.number} {self.service}.{self.operation} {self.source}"


def cases() -> list[Case]:
    return [_case(number, line) for number, line in enumerate(TABLE["cases"], 1)]


def _case(number: int, line: dict[str, Any]) -> Case:
    service, operation = line["operation"].split(".")
    return Case(
        number=number,
        service=service,
        operation=operation,
        params=fill(line["params"]),
        request=line.get("request", {}),
        given=tuple(line["given"]),
        status=line["status"],
        code=line["code"],
        message=line["message"] and fill(line["message"]),
        body_type=line.get("type"),
        source=line["source"],
    )


def fill(value: Any) -> Any:
    """Replace what stands in `<...>`."""
    if isinstance(value, dict):
        return {fill(key): fill(each) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each) for each in value]
    if not isinstance(value, str):
        return value
    if value in VALUES:
        return VALUES[value]
    for name, text in WORDS.items():
        value = value.replace(f"<{name}>", text)
    return value


class Asker:
    """Asks cases of one edge; states are made when a case is the first to need them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: set[str] = set()

    def serves(self, case: Case) -> bool:
        return case.operation in self._world.edge.api.services.by_signing_name[case.service].operations

    async def ask(self, case: Case) -> Answer:
        for state in case.given:
            await self.make(state)
        if not case.request:
            return await self._world.ask(self._world.keys.root, case.service, case.operation, **case.params)
        body = b"" if case.request["body"] is None else json.dumps(case.request["body"]).encode()
        prefix = load(case.service).target_prefix
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{prefix}.{case.operation}"} if prefix else {}
        url = ENDPOINT + case.request["path"]
        request = sign(self._world.keys.root, case.request["method"], url, body, service=case.service, headers=headers)
        return await self._world.send(request, case.service)

    async def make(self, state: str) -> None:
        if state in self._made:
            return
        self._made.add(state)
        for name, params in TABLE["states"][state]:
            service, operation = name.split(".")
            answer = await self._world.ask(self._world.keys.root, service, operation, **fill(params))
            assert answer.status < 300, (state, name, answer)
            await self._world.control.wait_idle()


def differences(case: Case, answer: Answer) -> list[str]:
    """What of an answer is not AWS's, in words."""
    found = []
    if (answer.status, answer.code) != (case.status, case.code):
        found.append(f"{answer.status} {answer.code} for {case.status} {case.code}")
    if case.message is not None and answer.message != case.message:
        found.append(f"{answer.message!r} for {case.message!r}")
    if case.service == "lambda" and answer.status >= 400 and answer.json.get("Type") != case.body_type:
        found.append(f"Type {answer.json.get('Type')!r} for {case.body_type!r}")
    return found
