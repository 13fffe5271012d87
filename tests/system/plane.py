"""A client that changes one function over and over and knows at any moment what may be true of it: for tests that crash the server.

What was answered has happened. The one change that was asked for and not answered has happened whole, or not at all.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tests.server import ROLE, zip_of

NAME = "plane"


@dataclass(frozen=True)
class Facts:
    """What invocations show of the function: an answer is "setting/code", and both must be of the same state."""

    latest: str
    versions: dict[str, str] = field(default_factory=dict)  # number -> its answer
    alias: str | None = None  # the number that it names


class Plane:
    """`possible` is what may be there: None is a function that does not exist."""

    def __init__(self) -> None:
        self.client: Any = None
        self.possible: list[Facts | None] = [None]
        self.answered = 0
        self._serial = 0

    def change_until_it_fails(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Ends with the exception of the call that was not answered, or between two calls when `stop` says so."""
        while True:
            (now,) = self.possible
            for after, call in self._life(now):
                if stop():
                    return
                self.possible = [now, after]
                call()
                self.answered += 1
                now = after
                self.possible = [now]
                if now is not None:
                    self._settle()
                    assert self._invoke("$LATEST") == now.latest

    def check(self) -> None:
        """To be called when the server is back."""
        seen = self._observe()
        assert seen in self.possible, f"{seen} is none of {self.possible}"
        self.possible = [seen]

    def _observe(self) -> Facts | None:
        if NAME not in [each["FunctionName"] for each in self.client.list_functions()["Functions"]]:
            return None
        self._settle()
        numbers = [each["Version"] for each in self.client.list_versions_by_function(FunctionName=NAME)["Versions"]]
        aliases = self.client.list_aliases(FunctionName=NAME)["Aliases"]
        answers = {number: self._invoke(number) for number in numbers}
        if aliases:
            assert self._invoke("live") == answers[aliases[0]["FunctionVersion"]]
        return Facts(answers.pop("$LATEST"), answers, aliases[0]["FunctionVersion"] if aliases else None)

    def _life(self, now: Facts | None) -> Iterator[tuple[Facts | None, Callable[[], Any]]]:
        """From wherever it is, the next changes, up to the end of the function."""
        if now is None:
            now = Facts(f"s{self._next()}/c{self._next()}")
            yield now, partial(self._create, *now.latest.split("/"))
        for _ in range(2):
            setting, code = now.latest.split("/")
            setting = f"s{self._next()}"
            now = replace(now, latest=f"{setting}/{code}")
            yield now, partial(self.client.update_function_configuration, FunctionName=NAME, Environment=_environment(setting))
            code = f"c{self._next()}"
            now = replace(now, latest=f"{setting}/{code}")
            yield now, partial(self.client.update_function_code, FunctionName=NAME, ZipFile=_archive(code))
            number = str(max(map(int, now.versions), default=0) + 1)
            now = replace(now, versions={**now.versions, number: now.latest})
            yield now, partial(self.client.publish_version, FunctionName=NAME)
            point = self.client.update_alias if now.alias else self.client.create_alias
            now = replace(now, alias=number)
            yield now, partial(point, FunctionName=NAME, Name="live", FunctionVersion=number)
        yield None, partial(self.client.delete_function, FunctionName=NAME)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _create(self, setting: str, code: str) -> None:
        what = {"Runtime": "python3.11", "Handler": "lambda_function.lambda_handler", "Role": ROLE, "Timeout": 10}
        self.client.create_function(FunctionName=NAME, Code={"ZipFile": _archive(code)}, Environment=_environment(setting), **what)

    def _settle(self) -> None:
        """Wait until the last change is done: a function that stays Pending is one that a crash left half-made."""
        give_up = time.monotonic() + 30
        while True:
            now = self.client.get_function_configuration(FunctionName=NAME)
            if (now["State"], now.get("LastUpdateStatus")) == ("Active", "Successful"):
                return
            assert time.monotonic() < give_up, f"{now['State']}, {now.get('LastUpdateStatus')}"
            time.sleep(0.02)

    def _invoke(self, qualifier: str) -> str:
        answer = self.client.invoke(FunctionName=NAME, Qualifier=qualifier)
        said = str(json.loads(answer["Payload"].read()))
        assert "FunctionError" not in answer, said
        return said


def _archive(code: str) -> bytes:
    return zip_of({"lambda_function.py": f"import os\ndef lambda_handler(event, context):\n    return os.environ['SETTING'] + '/{code}'\n"})


def _environment(setting: str) -> dict[str, dict[str, str]]:
    return {"Variables": {"SETTING": setting}}
