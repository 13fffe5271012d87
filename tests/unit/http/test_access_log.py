"""The access log: what a line has, what it never has, and what happens when it cannot be written."""

import asyncio
from pathlib import Path

from hanabi.base.health import Health
from hanabi.contracts.http import Answer, HttpRequest, HttpResponse
from hanabi.http.access_log import BUFFER_MAX_BYTES, INTERVAL_S, WORD_MAX_CHARS, AccessLog
from hanabi.testing import ManualClock
from hanabi.testing.body import Pieces


def request(path: str = "/2015-03-31/functions", query: str = "X-Amz-Signature=secret", peer: str = "127.0.0.1") -> HttpRequest:
    headers = [("authorization", "secret"), ("host", "localhost")]
    return HttpRequest("POST", f"{path}?{query}", path, query, headers, b"body", peer)


def at_once(request: HttpRequest, answer: Answer) -> None:
    request.operation, request.caller = "lambda:Invoke", "arn:aws:iam::000000000000:root"
    answer(HttpResponse(200, [("x-amzn-requestid", "r-1")], b"12345"))


def ignore(response: HttpResponse) -> None: ...


async def test_a_line_says_who_asked_for_what_and_never_a_signature(tmp_path: Path) -> None:
    clock, target = ManualClock(), tmp_path / "access.log"
    log = AccessLog(str(target), clock)
    running = asyncio.create_task(log.run())
    handle = log.wrap(at_once)
    handle(request(), ignore)
    assert target.read_text() == ""  # nothing is written where requests are handled
    await asyncio.sleep(0)
    await clock.advance(INTERVAL_S)
    async with asyncio.timeout(10):
        while not target.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    target.rename(tmp_path / "access.log.1")
    handle(request(peer=""), ignore)
    log.wrap_refusal(lambda request, size, limit: HttpResponse(413, [], b""))(request(), 5, 4)
    running.cancel()
    await log.close()
    assert target.stat().st_mode & 0o077 == 0
    first, inside, refused = [*(tmp_path / "access.log.1").read_text().splitlines(), *target.read_text().splitlines()]
    assert first.split()[1:] == [
        *("127.0.0.1", "POST", "/2015-03-31/functions", "200", "0.0", "5", "r-1", "lambda:Invoke"),
        "arn:aws:iam::000000000000:root",
    ]
    assert first.split()[0].endswith("Z") and inside.split()[1] == "inside"
    assert refused.split()[4] == "413" and refused.split()[7:] == ["-", "-", "-"]
    assert "secret" not in first + inside + refused and "body" not in first


async def test_nothing_that_a_client_sends_ends_a_line_or_speaks_to_a_terminal(tmp_path: Path) -> None:
    async def scenario() -> str:
        log = AccessLog(str(tmp_path / "log"), ManualClock())
        for path in ("/a b\n200 forged", "/\x1b[2J", "/\xff\u0666", "/" + "x" * 100_000):
            log.wrap(at_once)(request(path), ignore)
        await log.close()
        return (tmp_path / "log").read_text()

    lines = (await scenario()).splitlines()
    assert [line.split()[3][:21] for line in lines] == ["/a\\x20b\\x0a200\\x20for", "/\\x1b[2J", "/\\xff\\x666", "/" + "x" * 20]
    assert all(len(line.split()) == 10 for line in lines) and max(map(len, lines)) < WORD_MAX_CHARS + 300


async def test_a_streamed_answer_has_its_line_at_its_end(tmp_path: Path) -> None:
    clock = ManualClock()
    log, answers = AccessLog(str(tmp_path / "log"), clock), list[HttpResponse]()
    log.wrap(lambda request, answer: answer(HttpResponse(200, [], Pieces(b"x" * 100_000))))(request(), answers.append)
    body = answers[0].body
    assert not isinstance(body, bytes) and len(await anext(body)) == 65536
    await clock.advance(2)
    await log.close()
    assert (tmp_path / "log").read_text() == ""
    await body.aclose()
    await body.aclose()
    await log.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.split()[4:7] == ["200", "2000.0", "65536"]


async def test_what_cannot_be_written_is_counted_and_said(tmp_path: Path) -> None:
    clock = ManualClock()
    health, target = Health(clock), tmp_path / "there" / "log"
    target.parent.mkdir()
    log = AccessLog(str(target), clock, health)
    handle = log.wrap(at_once)
    target.unlink()
    target.parent.rmdir()
    handle(request(), ignore)
    await log.close()
    assert "No such file" in health.problems[0].text
    target.parent.mkdir()
    log._size = BUFFER_MAX_BYTES + 1
    handle(request(), ignore)  # more than may wait
    log._size = 0
    handle(request(), ignore)
    await log.close()
    assert not health.problems and len(target.read_text().splitlines()) == 1
    assert health.counter("hanabi_access_log_lost_total", "").value == 2
