"""Mutated requests for every operation of every service, behind the signature: each is answered, none with a 500, and nothing piles up.

`HANABI_FUZZ_S` is the time in seconds, of each test. What fails is printed with its seed and bytes.
"""

import gc
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.edge.protocols.model import load
from tests.conformance.answers import TABLE, Asker
from tests.conformance.requests import sample
from tests.conformance.test_requests import DATA, SERVICES, THERE
from tests.fuzz.mutate import SEED, mutations
from tests.unit.edge.world import World, make_request, open_world

GROWTH_BYTES = 64 << 20  # of the process's memory, at most, whatever comes
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1 << 31, 1 << 63, 1e308, 0.1, "", "a", "\x00", "é\ud800", "a" * 5000, "arn:aws:lambda", "$LATEST"),
    *([], {}, [[]], [None], {"a": None}, {"": {}}, [1, "a", {}], {"Key": "k"}),
)


class TrustingVerifier:
    """Takes every signature for the owner's."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def verify_small(self, request: HttpRequest, name: str, only: str | None = None) -> Principal:
        return self._principal

    async def verify(self, request: HttpRequest, name: str, *, only: str | None = None) -> Principal:
        return self._principal


def corpus(world: World, service: str) -> list[HttpRequest]:
    """Two requests for each operation: with what it needs, and with every member of its input."""
    requests = []
    for operation in sorted(world.edge.api.services.by_signing_name[service].operations):
        shape = load(service).operation(operation).input_shape
        for names in (shape.required_members, shape.members) if shape else ([],):
            params = {name: (THERE | DATA).get(name, sample(shape.members[name])) for name in names}
            requests.append(make_request(world.keys.root, service, operation, params))
    return requests


def changed(request: HttpRequest, dice: random.Random, pieces: Iterator[bytes]) -> HttpRequest:
    """A request with one part exchanged: its target, method, a header, or its body as bytes or as a document."""
    piece = next(pieces)
    match dice.randrange(8):
        case 0 | 1:
            target = "/" + "".join(chr(33 + byte % 94) for byte in piece)[:2000] if dice.random() < 0.3 else spliced(request.target, dice)
            path, _, query = target.partition("?")
            return copy(request, target=target, path=path, query=query)
        case 2:
            headers = list(request.headers)
            at = dice.randrange(len(headers))
            headers[at] = (headers[at][0], piece.decode("latin-1").replace("\r", "").replace("\n", "")[:4000])
            return copy(request, headers=headers)
        case 3:
            return copy(request, method=dice.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")))
        case 4 | 5 if isinstance(request.body, bytes) and request.body[:1] == b"{":
            return copy(request, body=json.dumps(disturbed(json.loads(request.body), dice)).encode())
        case 6 if isinstance(request.body, bytes) and b"Action=" in request.body:
            return copy(request, body=b"&".join(shuffled(request.body.split(b"&"), dice)))
        case _:
            return copy(request, body=piece)


def copy(request: HttpRequest, **changes: Any) -> HttpRequest:
    kept = {name: getattr(request, name) for name in ("method", "target", "path", "query", "headers", "body", "peer")}
    return HttpRequest(**kept | changes)


def spliced(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text))
    odd = dice.choice(("%00", "%2F", "/", "//", "?", "&", "=", "%", "..", ":", "%F0%9F%98%80", "?Qualifier=", "&MaxItems=x", "1" * 300, ""))
    return "/" + (text[:at] + odd + text[at + dice.randrange(3) :]).lstrip("/")


def disturbed(document: Any, dice: random.Random) -> Any:
    """A document with a value somewhere in it exchanged for an odd one, or an odd name added."""
    if isinstance(document, dict) and document and dice.random() < 0.8:
        name = dice.choice(sorted(document))
        return document | {name: disturbed(document[name], dice)} | ({"odd": dice.choice(ODD)} if dice.random() < 0.1 else {})
    if isinstance(document, list) and document and dice.random() < 0.8:
        at = dice.randrange(len(document))
        return [*document[:at], disturbed(document[at], dice), *document[at + 1 :]]
    return dice.choice(ODD)


def shuffled(fields: list[bytes], dice: random.Random) -> list[bytes]:
    """The fields of a form with one repeated, renamed or emptied."""
    at = dice.randrange(len(fields))
    name, _, value = fields[at].partition(b"=")
    end = dice.choice((b".1", b".member.1", b".member.x", b".member.99999999", b".entry.1.key", b"." * 20, b""))
    return [*fields, name + end + b"=" + dice.choice((value, b"", b"%00", b"-1", b"%zz", b"9" * 400))]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("service", SERVICES)
async def test_mutated_requests_of_every_operation(tmp_path: Path, service: str, caplog: pytest.LogCaptureFixture) -> None:
    dice, seen = random.Random(f"{SEED} {service}"), Counter[int]()
    async with open_world(tmp_path) as world:
        asker = Asker(world)
        for state in TABLE["states"]:
            await asker.make(state)
        requests = corpus(world, service)
        world.edge.api.verifier = TrustingVerifier(world.keys.root.principal)  # type: ignore[assignment]
        bodies = [request.body for request in requests if isinstance(request.body, bytes)]
        before = resident_bytes()
        pieces = mutations([*bodies, *(request.target.encode() for request in requests)], dice)
        try:
            while True:
                given = changed(dice.choice(requests), dice, pieces)
                answer = await world.send(given, service)
                seen[answer.status] += 1
                if answer.status >= 500 and answer.status != 501:
                    pytest.fail(f"seed {SEED}: {given.method} {given.target} {given.body!r}: {answer}")
        except StopIteration:
            pass
        print(f"{service}: seed {SEED}, {seen.total()} requests, {dict(sorted(seen.items()))}")
        assert seen[400] and seen.total() > len(requests)
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
        await world.control.wait_idle()
        assert resident_bytes() - before < GROWTH_BYTES
