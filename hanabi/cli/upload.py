"""Upload of a zip file: a small one within the API call, a large one before it, with a progress bar."""

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.server import Server, answered
from hanabi.cli.terminal import Terminal

INLINE_MAX_BYTES = 10 * 1024 * 1024  # from here on: Lambda itself takes 50 MB at most in a call
UPLOAD_MAX_BYTES = 300 * 1024 * 1024  # more than what unpacks to Lambda's 250 MB ever has
BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 300.0
PATH = "/_hanabi/uploads"


def source_of(server: Server, archive: Path, terminal: Terminal) -> dict[str, Any]:
    """Make the `Code` of CreateFunction, which are also parameters of UpdateFunctionCode."""
    size = archive.stat().st_size
    if size > UPLOAD_MAX_BYTES:
        raise Failure(f"the zip file has {size / 2**20:.0f} MB; what unpacks to Lambda's 250 MB has less: use a container image")
    if size <= INLINE_MAX_BYTES:
        terminal.doing(f"uploading {size / 1e6:.1f} MB")
        return {"ZipFile": archive.read_bytes()}
    answer = answered(*_put(server, archive, size, terminal))
    return {"S3Bucket": answer["S3Bucket"], "S3Key": answer["S3Key"]}


def _put(server: Server, archive: Path, size: int, terminal: Terminal) -> tuple[int, bytes]:
    with archive.open("rb") as file:
        headers = {**server.sign("PUT", PATH, file), "Content-Length": str(size)}
        file.seek(0)

        def blocks() -> Iterator[bytes]:
            sent = 0
            terminal.count("uploading", sent, size)
            while block := file.read(BLOCK_BYTES):
                yield block
                sent += len(block)
                terminal.count("uploading", sent, size)

        connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        try:
            connection.request("PUT", PATH, body=blocks(), headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except ConnectionRefusedError:
            raise
        except (ConnectionError, HTTPException) as error:  # BrokenPipeError means something else to `main`
            raise Failure(f"the server broke the upload off: {error}") from None
        finally:
            connection.close()
