"""`/_hanabi/usage`: requests, GB-seconds and cost by function and period, as JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.contracts.usage import PERIODS, Usage, UsageReport, UsageRow
from hanabi.control.arns import AccountRegion
from hanabi.edge.own_endpoints import Access, OwnEndpoint
from hanabi.errors import StorageFailed


class UsageEndpoint:
    """The endpoint. Query: `period` (hour, day, month), `function`, `since` and `until` (Unix seconds, counted by whole hours)."""

    def __init__(self, usage: Usage, scope_of: Callable[[AccountRegion], str] = lambda place: "") -> None:
        """`scope_of` returns what precedes the names of an account and region in the record."""
        self._usage = usage
        self._scope_of = scope_of
        self.endpoints = (OwnEndpoint("usage", self.handle, access=Access.ACCOUNT),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        period = query.get("period", "day")
        if period not in PERIODS:
            return _answer(400, {"message": f"period is one of {', '.join(PERIODS)}"})
        try:
            bounds = {f"{name}_ms": int(query[name]) * 1000 for name in ("since", "until") if name in query}
            if not all(0 <= bound < 1 << 62 for bound in bounds.values()):
                raise ValueError
        except ValueError:
            return _answer(400, {"message": "since and until are Unix seconds"})
        scope = self._scope_of(AccountRegion(request.account, request.region))
        try:
            report = await self._usage.report(period, scope=scope, function=query.get("function"), **bounds)
        except StorageFailed as error:
            return _answer(503, {"message": f"the record of invocations cannot be read: {error}"})
        total = sum(report.rows, UsageRow("", "", 0, 0, 0, 0))
        body = {"period": period, "rows": [_describe(row) for row in report.rows], "total": _counts(total)}
        return _answer(200, body | {"lost": asdict(report.lost), "notes": _notes(report)})


def _notes(report: UsageReport) -> list[str]:
    """Describe what these sums leave out."""
    notes = [report.note] if report.note else []
    lost = report.lost
    if lost:
        first, last = (datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") for ms in (lost.since_ms, lost.until_ms))
        notes.append(f"{lost.describe()}, between {first} and {last}")
    return notes


def _describe(row: UsageRow) -> dict[str, Any]:
    return {"function": row.function, "period": row.period, **_counts(row)}


def _counts(row: UsageRow) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "errors": row.errors,
        "billed_ms": row.billed_ms,
        "gb_seconds": round(row.gb_seconds, 6),
        "cost_usd": round(row.cost, 10),
    }


def _answer(status: int, body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(status, [("content-type", "application/json")], json.dumps(body).encode())
