"""The bill is the sum of the REPORT lines."""

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path

from hanabi.contracts.http import HttpRequest
from hanabi.quotas import GB_SECOND_PRICE_USD, REQUEST_PRICE_USD
from hanabi.services.own.usage import UsageEndpoint
from tests.unit.ledger.support import make_record, open_record, record_events

REPORT = re.compile(r"REPORT .*\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB")


async def test_sum_of_ledger_is_sum_of_reports_is_usage(tmp_path: Path) -> None:
    rng = random.Random(3)
    async with open_record(tmp_path) as store:
        for _ in range(500):
            name = rng.choice(["a", "b"])
            record = make_record(
                function=name,
                memory_mb=rng.choice([128, 1769]),
                started_ms=1_795_000_000_000 + rng.randrange(40 * 86_400_000),
                duration_ms=rng.random() * 1000,
                init_ms=rng.choice([None, rng.random() * 300]),
                status=rng.choice(["success", "error", "timeout"]),
            )
            store.journal.finish(record, f"/aws/lambda/{name}", "s", record_events(record))
        reports = []
        for name in "ab":
            messages = await store.messages(f"/aws/lambda/{name}", limit=10_000)
            reports += [(int(m[1]), int(m[2])) for message in messages if (m := REPORT.match(message))]
        billed, mb_ms = sum(ms for ms, _ in reports), sum(ms * mb for ms, mb in reports)
        assert await store.sum_ledger() == (500, billed)
        for period in ("hour", "day", "month"):
            rows = await store.usage.rows(period)
            assert (sum(row.requests for row in rows), sum(row.billed_ms for row in rows)) == (500, billed)
            assert sum(row.mb_ms for row in rows) == mb_ms
        only = await store.usage.rows("month", function="a")
        assert {row.function for row in only} == {"a"}
        gb_seconds = mb_ms / 1024 / 1000
        assert abs(sum(row.cost for row in rows) - (500 * REQUEST_PRICE_USD + gb_seconds * GB_SECOND_PRICE_USD)) < 1e-9


async def test_endpoint(tmp_path: Path) -> None:
    async with open_record(tmp_path) as store:
        noon = int(datetime(2026, 11, 24, 12, 30, tzinfo=UTC).timestamp() * 1000)
        for started in (noon, noon, noon + 86_400_000):
            record = make_record(started_ms=started, duration_ms=1000.0, memory_mb=1024)
            store.journal.finish(record, "g", "s", [])
        endpoint = UsageEndpoint(store.usage)

        async def get(query: str) -> tuple[int, dict[str, object]]:
            target = f"/_hanabi/usage?{query}"
            response = await endpoint.handle(HttpRequest("GET", target, "/_hanabi/usage", query, [], b""))
            assert isinstance(response.body, bytes)
            return response.status, json.loads(response.body)

        status, body = await get("period=day")
        row = {"function": "hello", "requests": 2, "errors": 0, "billed_ms": 2000, "gb_seconds": 2.0, "cost_usd": 0.0000337334}
        assert status == 200
        assert body["rows"] == [
            row | {"period": "2026-11-24"},
            row | {"period": "2026-11-25", "requests": 1, "billed_ms": 1000, "gb_seconds": 1.0, "cost_usd": 0.0000168667},
        ]
        assert body["total"] == {"requests": 3, "errors": 0, "billed_ms": 3000, "gb_seconds": 3.0, "cost_usd": 0.0000506001}
        _, body = await get(f"period=hour&since={noon // 1000 + 86_400}")
        assert [row["period"] for row in body["rows"]] == ["2026-11-25T12:00Z"]  # type: ignore[attr-defined]
        assert (await get("period=year"))[0] == 400
        assert (await get("since=x"))[0] == 400
        assert (await get("since=" + "9" * 30))[0] == 400
        assert [each.methods for each in endpoint.endpoints] == [("GET",)]
