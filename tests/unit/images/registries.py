"""Registries to pull from: Docker's own, and one that does whatever a test wants it to."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests import toolchains
from tests.server import free_port
from tests.unit.images.layouts import Image
from tests.waiting import wait_for

USER, PASSWORD = "tester", "secret"
HTPASSWD = f"{USER}:$2b$04$9O0qU8ZImr.Szc53StMNCukQ3e5nnKdOy4HC2jjseajbrMrwRYXde\n"


@contextmanager
def docker_registry(login: bool = False) -> Iterator[str]:
    """`host:port` of a real one; with `login`, for a user with a password only."""
    program, port = toolchains.docker_registry(), free_port()
    with tempfile.TemporaryDirectory(prefix="hanabi-registry-") as name:
        directory = Path(name)
        (directory / "htpasswd").write_text(HTPASSWD)
        config = {
            "version": 0.1,
            "log": {"accesslog": {"disabled": True}, "level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        if login:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
        (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (directory / "log").open("w") as log:
            process = subprocess.Popen([program, "serve", directory / "config.yml"], stdout=log, stderr=log)
            try:
                wait_for(lambda: _answers(port) or process.poll() is not None)
                assert process.poll() is None, (directory / "log").read_text()
                yield f"127.0.0.1:{port}"
            finally:
                process.kill()
                process.wait()


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
    except HTTPError as error:
        error.close()
        return error.code == 401
    except URLError:
        return False
    return True


Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, Mapping[str, str]], Answer | None]


class Liar:
    """A registry on a port of its own: `answers` by path, `handle` first. Requests are kept as (method, path, headers)."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.handle: Handler = lambda path, headers: None
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._ending = threading.Event()
        liar = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                liar.requests.append((self.command, self.path, headers | ({"body": body.decode()} if body else {})))
                answer = liar.handle(self.path, headers) or liar.answers.get(self.path.partition("?")[0]) or (404, {}, b"")
                status, given, content = answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | given).items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                """Quietly."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def serve(self, image: Image, repository: str = "app", tag: str = "latest") -> str:
        """Have an image as an honest registry would; its reference."""
        base = f"/v2/{repository}"
        manifest: Answer = (200, {"Content-Type": image.types["manifest"]}, image.manifest)
        self.answers |= {f"{base}/manifests/{tag}": manifest, f"{base}/manifests/{image.digest}": manifest}
        self.answers |= {f"{base}/blobs/{name}": (200, {}, data) for name, data in image.blobs.items()}
        return f"{self.host}/{repository}:{tag}"

    def stall(self, part: str) -> None:
        """Requests for paths that end so are not answered until the registry is closed."""

        def handle(path: str, headers: Mapping[str, str]) -> Answer | None:
            if path.endswith(part):
                self._ending.wait(60)
            return None

        self.handle = handle

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def liar() -> Iterator[Liar]:
    made = Liar()
    try:
        yield made
    finally:
        made.close()
