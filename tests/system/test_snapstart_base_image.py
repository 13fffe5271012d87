"""SnapStart in containers on an image of the shape of AWS's Python image, which has a bootstrap of its own that cannot be copied."""

import os
import platform
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.images.paths import root_path
from hanabi.images.runtimes.recipes import RUNTIMES
from tests.server import IMAGES, Server
from tests.system.test_snapstart import invoke, publish
from tests.unit.images.layouts import Image, layer_of, write_layout
from tests.unit.images.runtimes.aws_images import SETTINGS

CODE = """
import os, uuid
INIT = str(uuid.uuid4())
def lambda_handler(event, context):
    return [INIT, os.environ["OF_THE_IMAGE"], os.listdir("/var/runtime")]
"""

pytestmark = [
    pytest.mark.skipif(os.environ.get("HANABI_TEST_APPS") != "1", reason="packs a whole runtime root: HANABI_TEST_APPS=1"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="process snapshots are for x86-64"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Its python3.13 is an image: a root of packages, with a bootstrap that does nothing in /var/runtime."""
    subprocess.run(["make", "--silent", "-C", str(Path(__file__).parents[2] / "guest/process_snapshot")], check=True, timeout=120)
    root = root_path(IMAGES, RUNTIMES["python3.13"].recipe) / "root"
    own = tmp_path / "bootstrap"
    own.write_text("#!/bin/sh\nexec sleep 600\n")
    own.chmod(0o755)
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add(root, ".")
        archive.add(own, "var/runtime/bootstrap")
    layouts = write_layout(tmp_path / "layouts", {"python3.13": Image([layer_of((tmp_path / "root.tar").read_bytes())], SETTINGS)})
    options = ("--isolation", "oci", "--runtimes", "aws", "--runtime-images", str(layouts), "--max-memory-mb", "4096")
    server = Server(*options)
    server.options = ("--images-dir", str(server.data_dir / "images"), *options)
    try:
        with server:
            yield server
    finally:
        server.remove()


def test_its_versions_are_copied_by_hanabis_own_bootstrap(server: Server) -> None:
    published = publish(server, "copied", CODE)
    assert (published["State"], published["SnapStart"]["OptimizationStatus"]) == ("Active", "On"), published
    answers = []
    for _ in range(2):
        answers.append(invoke(server, "copied:1"))
        server.crash()
        server.start()
    (first, log), (second, _) = answers
    assert first == second and first[1:] == ["1", ["bootstrap"]]
    assert "Restore Duration" in log
