"""Downloads over HTTP: resumed after a break, and published only with the right checksum."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import hanabi
from hanabi.errors import ImageError

TIMEOUT_S = 60.0  # without a byte
PIECE_BYTES = 1 << 18
MAX_BYTES = 1 << 30  # bytes
TEXT_MAX_BYTES = 1 << 16
Counted = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


class NotThere(ImageError):
    """The server answers 404."""


def fetch(url: str, target: Path, sha256: str, counted: Counted, *, largest: int = MAX_BYTES) -> None:
    """Download `url` to `target` and check its SHA-256; return at once when the file exists. Raises `ImageError`.

    An incomplete file is `<name>.part`; the next call resumes it if the server can. The caller holds a lock.
    """
    if target.is_file() and digest_file(target) == sha256:
        return
    part = target.with_name(f"{target.name}.part")
    resumed = part.is_file() and part.stat().st_size > 0
    receive(url, part, counted, largest)
    found = digest_file(part)
    if found != sha256:
        part.unlink()
        if resumed:  # the old beginning may be of another file
            receive(url, part, counted, largest)
            found = digest_file(part)
        if found != sha256:
            part.unlink(missing_ok=True)
            raise ImageError(f"{url} has the wrong checksum: SHA-256 {found}, expected {sha256}")
    os.replace(part, target)


def receive(url: str, part: Path, counted: Counted, largest: int) -> None:
    """Download `url` to a file, or the rest of it to one that has its beginning. Raises `ImageError`."""
    begun = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": f"hanabi/{hanabi.__version__}"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            if answer.status != 206 or not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {begun}-"):
                begun = 0  # all of it
            length = answer.headers.get("Content-Length", "")
            total = begun + int(length) if length.isdecimal() else None
            if (total or 0) > largest:
                raise ImageError(f"{url} is too large: {total} bytes")
            with part.open("ab" if begun else "wb") as file:
                while piece := answer.read(PIECE_BYTES):
                    begun += len(piece)
                    if begun > largest:
                        raise ImageError(f"{url} is too large: more than {largest} bytes")
                    file.write(piece)
                    counted(begun, total)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing is left to fetch: the checksum decides
                return
            if error.code == 404:
                raise NotThere(f"{url} answers 404 {error.reason}") from None
            raise ImageError(f"{url} answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ImageError(f"{url} could not be fetched: {error}") from None
    if total is not None and begun < total:
        raise ImageError(f"{url} was cut after {begun} of {total} bytes; the next try goes on from there")


def fetch_text(url: str) -> str:
    """Download a small text. Raises `ImageError`."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return str(answer.read(TEXT_MAX_BYTES).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            raise ImageError(f"{url} answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ImageError(f"{url} could not be fetched: {error}") from None


def parse_sha256(text: str) -> str:
    """Parse a SHA-256 in hexadecimal, given alone or as the first word of a checksum file. Raises `ImageError`."""
    first = (text.split() or [""])[0].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", first):
        raise ImageError(f"{first[:80]!r} is no SHA-256")
    return first


def digest_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
