"""Access of commands to the server: the owner's key, AWS clients, and signed requests to `/_hanabi/`."""

import argparse
import json
import os
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

from hanabi.base.key_file import OwnerKey, fingerprint, read_key
from hanabi.cli.failure import Failure
from hanabi.cli.server_file import data_dir_of, running_port
from hanabi.node.config import SettingsError, load_settings

TIMEOUT_S = 30.0
ASK_S = 5.0  # who is there
INVOKE_TIMEOUT_S = 960.0  # the longest function, 900 s, and its start


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is and the key it accepts."""

    port: int
    access_key: str
    secret_key: str
    region: str
    account: str
    owner: str = ""  # the access key of the server's owner, if this one is another account's

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, *, read_timeout: float = TIMEOUT_S) -> Any:
        """Make a client that signs and does not retry: the server is local, and its errors are final."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT_S, read_timeout=read_timeout, proxies={}),
        )

    def check_key(self) -> None:
        """Check that the server accepts the key. Raises `Failure` for another Hanabi or none, `OSError` without an answer."""
        status, body = fetch(self.port, "/_hanabi/health", {}, ASK_S)
        try:
            said = json.loads(body)
            if said["status"] not in ("ok", "draining"):
                raise ValueError(said)
        except (ValueError, KeyError, TypeError):
            raise Failure(f"what answers on port {self.port} (with status {status}) is no Hanabi; name another --port") from None
        own = fingerprint(self.owner or self.access_key)
        if said.get("key", own) != own:  # an older server does not say
            raise Failure(f"the Hanabi on port {self.port} is that of another data directory: name its --data-dir, or another --port")

    def get(self, path: str, query: dict[str, str]) -> Any:
        """Get the JSON of a path of Hanabi's own API."""
        return answered(*self.get_raw(path, query))

    def get_raw(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """Make a signed GET of Hanabi's own API; returns (status, body)."""
        target = f"{path}?{urlencode(query)}" if query else path
        return fetch(self.port, target, self.sign("GET", target))

    def send(self, method: str, path: str, body: BinaryIO) -> tuple[int, bytes]:
        """Make a signed request with a body to Hanabi's own API; returns (status, body)."""
        return fetch(self.port, path, self.sign(method, path, body), method=method, body=body.read())

    def sign(self, method: str, target: str, body: BinaryIO | None = None) -> dict[str, str]:
        """Make the signed headers of a request of Hanabi's own API."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest(method, self.endpoint + target, headers={"Host": f"127.0.0.1:{self.port}"}, data=body)
        SigV4Auth(Credentials(self.access_key, self.secret_key), "hanabi", self.region).add_auth(request)
        return dict(request.headers)


def answered(status: int, body: bytes) -> Any:
    """Return the JSON of an answer of Hanabi's own API. Raises `Failure` with the message of an error."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    if status == 403:
        raise Failure("the key is not that server's; name its --data-dir and --port")
    if status != 200:
        said = answer if isinstance(answer, dict) else {}
        raise Failure(said.get("message") or said.get("Message") or f"the server answered {status}")
    return answer


def fetch(
    port: int, target: str, headers: dict[str, str], timeout_s: float = TIMEOUT_S, *, method: str = "GET", body: bytes | None = None
) -> tuple[int, bytes]:
    """Make one request; returns (status, body). Raises `OSError` when nothing listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except HTTPException as error:
        raise OSError(f"port {port} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()


def find_server(options: argparse.Namespace, *, owner: bool = False) -> Server:
    """Find the server by the options. Creates nothing: the server creates the key at its first start.

    The key is the one in AWS_ACCESS_KEY_ID, in the region of AWS_REGION, if it is one of the server's; else, or with `owner`, the owner's.
    """
    key = _read_keys(options)
    given = os.environ.get("AWS_ACCESS_KEY_ID", "")
    mine = next((each for each in key.all if each.access_key == given and not owner), None)
    if mine is None:
        return Server(port_of(options), key.access_key, key.secret_key, key.region, key.account)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or key.region
    return Server(port_of(options), mine.access_key, mine.secret_key, region, mine.account, key.access_key)


def key_of_account(options: argparse.Namespace, account: str) -> Server:
    """As `find_server`, with the first key of an account."""
    key = _read_keys(options)
    mine = next((each for each in key.all if each.account == account), None)
    if mine is None:
        raise Failure(f"there is no key of account {account[:20]}: make one with `hanabi keys create --account {account[:20]}`")
    return Server(port_of(options), mine.access_key, mine.secret_key, key.region, mine.account, key.access_key)


def _read_keys(options: argparse.Namespace) -> OwnerKey:
    path = keys_file(options)
    try:
        return read_key(path)
    except FileNotFoundError:
        raise Failure(f"there is no key in {path.parent}: start Hanabi with `hanabi up`, or name its --data-dir") from None
    except PermissionError:
        raise Failure(f"{path} may be read by its owner only: use sudo, or name your own --data-dir") from None


def keys_file(options: argparse.Namespace) -> Path:
    return data_dir_of(options) / "keys.json"


def port_of(options: argparse.Namespace) -> int:
    """`--port`, else HANABI_PORT, else that of the data directory's server if one runs, else the default."""
    given = getattr(options, "port", None)
    if given is None and "HANABI_PORT" not in os.environ:
        given = running_port(data_dir_of(options))
    try:
        return load_settings({"port": given, "host": "127.0.0.1"}).port
    except SettingsError as error:
        raise Failure(str(error), 2) from None
