"""`/_hanabi/metrics` and `/_hanabi/problems`: what the node says of itself, for Prometheus and for `hanabi doctor`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from hanabi.base.health import Health
from hanabi.contracts.http import HttpRequest, HttpResponse


class HealthEndpoints:
    """Both are `HttpHandler`s; who may call them is the edge's business. `choices` are how this node was told to differ from AWS;
    `look` reports what is seen only when one looks."""

    def __init__(self, health: Health, choices: Sequence[str] = (), look: Callable[[], None] = lambda: None) -> None:
        self._health = health
        self._choices = list(choices)
        self._look = look
        health.gauge("hanabi_problems", "Problems that stand; see hanabi doctor", lambda: len(health.problems))

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], self._health.describe().encode())

    async def problems(self, request: HttpRequest) -> HttpResponse:
        self._look()
        body = {"problems": [asdict(problem) for problem in self._health.problems], "choices": self._choices}
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(body).encode())
