"""What is fetched from S3, and what becomes of an endpoint that errs, cuts, stalls or sends too much."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hanabi.errors import AccessDenied, ApiError, InvalidParameterValue, ServiceError
from hanabi.images.code import s3_objects
from hanabi.images.code.s3_credentials import S3Credentials
from hanabi.images.code.s3_objects import S3Objects

KEYS = S3Credentials("AKIDEXAMPLE", "secret")


class Bucket:
    """Answers of an endpoint by the path with its query, and what it was asked with."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with _serve(Bucket()) as bucket:
        yield bucket


@contextmanager
def _serve(bucket: Bucket) -> Iterator[Bucket]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            bucket.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = bucket.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # they are waited for at the end
        bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()


async def fetch(bucket: Bucket, scratch: Path, key: str, version: str | None = None, credentials: S3Credentials | None = KEYS) -> bytes:
    objects = S3Objects(bucket.url, credentials, "us-east-1", scratch)
    try:
        async with objects.fetch("b", key, version) as found:
            return found.path.read_bytes() + f"|{found.version}".encode()
    finally:
        await objects.close()
        assert list(scratch.iterdir()) == []


async def test_an_object_is_fetched_signed_and_its_file_goes(bucket: Bucket, tmp_path: Path) -> None:
    bucket.answers["/b/a%20b/%C3%BC~%2B.zip?versionId=v%2F1"] = (200, {"x-amz-version-id": "v/1"}, b"zip" * 200_000)
    assert await fetch(bucket, tmp_path, "a b/ü~+.zip", "v/1") == b"zip" * 200_000 + b"|v/1"
    ((_, headers),) = bucket.asked
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") and "/us-east-1/s3/aws4_request" in str(headers)


async def test_without_credentials_nothing_is_signed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.answers["/b/k"] = (200, {"x-amz-version-id": "null"}, b"zip")
    assert await fetch(bucket, tmp_path, "k", credentials=None) == b"zip|"
    assert "authorization" not in bucket.asked[0][1]


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>",
         InvalidParameterValue,
         "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."),
        (404, b"<Error><Code>NoSuchBucket</Code><Message><![CDATA[The specified bucket does not exist]]></Message></Error>",
         InvalidParameterValue,
         "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        (301, b"<Error><Code>PermanentRedirect</Code><Message>elsewhere &amp; away</Message></Error>",
         InvalidParameterValue, "Error occurred while GetObject. S3 Error Code: PermanentRedirect. S3 Error Message: elsewhere & away"),
        (403, b"", AccessDenied, "Your access has been denied by S3, please make sure your request credentials have permission to GetObject"
         " for b/k. S3 Error Code: AccessDenied. S3 Error Message: "),
        (503, b"<Error><Code>SlowDown</Code></Error>", ServiceError, "Error occurred while GetObject. S3 Error Code: SlowDown."),
        (404, b"<" * 100_000, InvalidParameterValue, "S3 Error Code: NoSuchKey"),
    ],
)  # fmt: skip
async def test_errors_are_lambdas(bucket: Bucket, tmp_path: Path, status: int, body: bytes, error: type[ApiError], message: str) -> None:
    bucket.answers["/b/k"] = (status, {}, body)
    with pytest.raises(error) as caught:
        await fetch(bucket, tmp_path, "k")
    assert message in caught.value.message


async def test_a_redirect_is_not_followed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.answers["/b/k"] = (302, {"Location": f"{bucket.url}/b/other"}, b"")
    bucket.answers["/b/other"] = (200, {}, b"zip")
    with pytest.raises(InvalidParameterValue):
        await fetch(bucket, tmp_path, "k")
    assert len(bucket.asked) == 1


async def test_what_is_cut_or_too_large_is_no_code(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.answers["/b/cut"] = (200, {"Content-Length": "10"}, b"zip")
    with pytest.raises(ServiceError):
        await fetch(bucket, tmp_path, "cut")
    monkeypatch.setattr(s3_objects, "ZIP_LIMIT_BYTES", 5)
    bucket.answers["/b/large"] = (200, {}, b"123456")
    with pytest.raises(InvalidParameterValue, match="Unzipped size must be smaller than 262144000 bytes"):
        await fetch(bucket, tmp_path, "large")


async def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.url = "http://127.0.0.1:1"
    with pytest.raises(ServiceError, match="The S3 endpoint http://127.0.0.1:1 cannot be used now"):
        await fetch(bucket, tmp_path, "k")


async def test_one_that_is_too_slow_is_given_up(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "FETCH_S", -1.0)
    bucket.answers["/b/k"] = (200, {}, b"zip")
    with pytest.raises(ServiceError, match="is too slow"):
        await fetch(bucket, tmp_path, "k")


@pytest.mark.parametrize("key", ["../other/k", "a/../../admin", "./k", "a/.", ".."])
async def test_a_key_is_no_path_to_something_else(bucket: Bucket, tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidParameterValue, match="NoSuchKey"):
        await fetch(bucket, tmp_path, key)
    assert bucket.asked == []


async def test_one_that_sends_a_byte_now_and_then_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for the whole counts while bytes come, not only once a large piece is full."""
    gone = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            try:
                while not gone.wait(0.01):
                    self.wfile.write(b"z")
            except OSError:
                gone.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(s3_objects, "FETCH_S", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        slow = Bucket()
        slow.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(ServiceError, match="is too slow"):
                await fetch(slow, tmp_path, "k")
            assert gone.wait(30)
        finally:
            gone.set()
            server.shutdown()
            thread.join()
