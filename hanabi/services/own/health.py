"""Health of a node: `/_hanabi/health` for everybody, `metrics` for Prometheus, `problems` for `hanabi doctor`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from hanabi.base.health import Health
from hanabi.base.key_file import fingerprint
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.own_endpoints import Access, OwnEndpoint

_JSON = ("content-type", "application/json")


class AliveEndpoint:
    """The public endpoint: whether the node serves, its region, and the fingerprint of its owner's key."""

    def __init__(self, region: str, access_key: str, is_draining: Callable[[], bool]) -> None:
        self._body = {"region": region, "key": fingerprint(access_key)}
        self._is_draining = is_draining
        self.endpoints = (OwnEndpoint("health", self.handle, ("GET", "HEAD"), Access.OPEN),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        status, word = (503, "draining") if self._is_draining() else (200, "ok")
        return HttpResponse(status, [_JSON], json.dumps({"status": word, **self._body}).encode())


class HealthEndpoints:
    """The endpoints. `choices` are settings that differ from AWS; `look` updates problems that are only found by checking."""

    def __init__(self, health: Health, choices: Sequence[str] = (), look: Callable[[], None] = lambda: None) -> None:
        self._health = health
        self._choices = list(choices)
        self._look = look
        self.endpoints = (OwnEndpoint("metrics", self.metrics), OwnEndpoint("problems", self.problems))
        health.gauge("hanabi_problems", "Problems that stand; see hanabi doctor", lambda: len(health.problems))

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], self._health.describe().encode())

    async def problems(self, request: HttpRequest) -> HttpResponse:
        self._look()
        body = {"problems": [asdict(problem) for problem in self._health.problems], "choices": self._choices}
        return HttpResponse(200, [_JSON], json.dumps(body).encode())
