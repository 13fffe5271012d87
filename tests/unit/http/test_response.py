"""Responses as bytes: no header can break into another line; the server's own headers are its own."""

import pytest

from hanabi.contracts.http import HttpResponse
from hanabi.http import response
from hanabi.http.response import render, render_trailers

DATE = "date: now\r\n"


def rendered(*headers: tuple[str, str]) -> bytes:
    (data,) = render(None, HttpResponse(200, list(headers), b"a"), DATE, keep_alive=True)
    return data


@pytest.mark.parametrize("text", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b", "\n"])
def test_line_breaks_cannot_be_sent(text: str) -> None:
    for header in (("x-a", text), (text, "a")):
        for _ in range(2):  # what was seen once is known
            with pytest.raises(ValueError, match="line break"):
                rendered(("content-type", "text/plain"), header)
            with pytest.raises(ValueError, match="line break"):
                render_trailers([header])


def test_the_servers_own_headers_are_dropped_whatever_is_in_them() -> None:
    expected = b"HTTP/1.1 200 OK\r\ndate: now\r\nx-a: b\r\ncontent-length: 1\r\n\r\na"
    assert rendered(("x-a", "b"), ("Connection", "close\r\nx: y"), ("DATE", "then"), ("content-length", "9")) == expected
    assert rendered(("x-a", "b"), ("Upgrade", "h2c")) == expected


def test_names_that_come_again_have_their_own_values() -> None:
    for value in ("b", "", "%s %d %%", "\u00fc"):
        for _ in range(2):
            expected = f"HTTP/1.1 200 OK\r\ndate: now\r\nx-%s: {value}\r\nx-%s: 2{value}\r\ncontent-length: 1\r\n\r\na".encode("latin-1")
            assert rendered(("x-%s", value), ("x-%s", f"2{value}")) == expected
    assert rendered() == b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 1\r\n\r\na"


def test_only_so_many_forms_are_kept() -> None:
    for number in range(2 * response._FORMS_MAX):
        assert b"x-%d: a\r\n" % number in rendered((f"x-{number}", "a"))
    assert len(response._forms) <= response._FORMS_MAX
    rendered(("x-" + "long" * 200, "a"))
    assert not any(len(form) > response._FORM_CHARS for form in response._forms.values())


def test_trailers() -> None:
    assert render_trailers([]) == b""
    assert render_trailers([("x-a", "b"), ("x-c", "ü")]) == b"x-a: b\r\nx-c: \xfc\r\n"
