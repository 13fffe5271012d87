"""Filter patterns for space-delimited events: the documentation's examples."""

import pytest

from hanabi.ledger.patterns.delimited import DelimitedPattern, split_fields
from hanabi.ledger.patterns.scanner import InvalidPattern

ACCESS = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
EVENTS = [
    "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200",
    "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310",
    "WARNING 09/25/2014 12:00:02 Invalid user request",
    "ERROR 09/25/2014 12:00:02 Failed to process request",
]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("[w1=ERROR, w2]", [3]),
        ("[w1=ERROR]", []),  # the last field is all of the rest
        ("[w1=ERROR*]", [3]),
        ("[w1=ERROR || w1=WARNING, w2]", [2, 3]),
        ("[w1!=ERROR && w1!=WARNING, w2]", [0, 1]),
        ("[w1 = ERROR||w1 = WARNING, w2]", [2, 3]),
        ("[w1!=ERROR&&w1!=WARNING, w2]", [0, 1]),
        ("[w1 = ERROR && (w1 != FOO || w1 = WARNING), w2]", [3]),
        ("[(w1 = ERROR || w1 = INFO) && w1 != ERROR, w2]", [0, 1]),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", [0]),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", [1]),
        ("[level, date, time = %02%, method, url]", [2, 3]),
        ("[level = IN*, rest]", [0, 1]),
        ("[..., response_time > 1200]", [1]),
        ("[level, ..., response_time >= 1.2e3]", [0, 1]),
        ("[level = INFO, ...]", [0, 1]),
        ("[level, ...]", [0, 1, 2, 3]),
        ("[...]", [0, 1, 2, 3]),
        ("[a, b, c, d, e, f]", [0, 1, 2, 3]),
        ("[a, b, c, d, e, f, g]", [3]),
        ("[,,,method=POST,]", [1]),
        ('[level, date, time, "method"]', None),
    ],
)
def test_events(pattern: str, matched: list[int] | None) -> None:
    if matched is None:
        with pytest.raises(InvalidPattern):
            DelimitedPattern(pattern)
        return
    compiled = DelimitedPattern(pattern)
    assert [number for number, event in enumerate(EVENTS) if compiled.matches(event + "\n")] == matched


@pytest.mark.parametrize(
    "pattern",
    [
        "[ip, user, username, timestamp, request, status_code, bytes]",
        "[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        "[..., request =*.html*, status_code = 4*, bytes]",
        "[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]",
        "[ip, user, username, timestamp, request, status_code, bytes > 1000]",
        "[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]",
        "[ip, user, ..., status_code, bytes]",
        "[ip, user, ...]",
        '[ip, user = "Prod", ...]',
        "[ip, user, username, timestamp = 10*, ...]",
        "[..., status_code = 404.0, bytes]",
    ],
)
def test_access_logs(pattern: str) -> None:
    assert DelimitedPattern(pattern).matches(ACCESS)


@pytest.mark.parametrize("pattern", ["[..., status_code = 5*, bytes]", "[..., bytes < 1000]", "[ip > 1, ...]", "[a, b, c, d, e, f, g, h]"])
def test_access_logs_that_do_not_match(pattern: str) -> None:
    assert not DelimitedPattern(pattern).matches(ACCESS)


def test_fields_have_the_pattern_s_names_or_numbers() -> None:
    assert DelimitedPattern("[..., request=*.html*, status_code=4*,]").extract(ACCESS) == {
        "$1": "127.0.0.1",
        "$2": "Prod",
        "$3": "frank",
        "$4": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /index.html HTTP/1.0",
        "$status_code": "404",
        "$7": "1534",
    }
    assert DelimitedPattern("[level, rest]").extract(EVENTS[2]) == {
        "$level": "WARNING",
        "$rest": "09/25/2014 12:00:02 Invalid user request",
    }
    assert DelimitedPattern("[a, b]").extract("one") == {}


def test_fields() -> None:
    assert list(split_fields(' a [b c] "d e"f [g "h\n')) == ["a", "b c", "d e", "f", "[g", '"h']
    assert list(split_fields("a b  c d ", 2)) == ["a", "b  c d"]
    assert list(split_fields("a [b c]", 2)) == ["a", "b c"]
    assert list(split_fields("  ")) == []


@pytest.mark.parametrize(
    "pattern",
    [
        *("[a", "[..., a, ...]", "[a=]", "[a==b]", "[w1=ERROR !=== w1=WARNING, w2]", "[w1===ERROR, w2]", "[w1=ERROR && || w1=WARNING, w2]"),
        *("[w1!=ERROR AND w1!=WARNING, w2]", "[w1=ERROR OR w1=WARNING, w2]", "[status = 4* && bytes > 1000]", "[a > b]", "[= x]", "[a b]"),
        *("[a=%x%, b=%y%, c=%z%]", "[a, b] c", "[(a = 1, b]"),
    ],
)
def test_refusals(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        DelimitedPattern(pattern)
