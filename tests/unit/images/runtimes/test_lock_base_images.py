"""The digests in the data file: of whole indexes, as a registry has them; kept where no registry can be reached."""

import shutil
from pathlib import Path

import pytest

from hanabi.images.runtimes import lock_base_images
from hanabi.images.runtimes.base_images import FILE, BaseImage, read_base_images, write_digests
from tests.server import free_port
from tests.unit.images.layouts import digest
from tests.unit.images.registries import liar
from tests.unit.images.runtimes.aws_images import serve_base_image


def test_the_digest_is_the_indexs() -> None:
    with liar() as registry:
        serve_base_image(registry, "lambda/python", "3.13")
        index = registry.answers["/v2/lambda/python/manifests/3.13"][2]
        image = BaseImage("lambda/python", "3.13", f"sha256:{'0' * 64}")  # what it was before does not matter
        assert lock_base_images.find_digest(image, registry.host) == digest(index)


def test_what_cannot_be_reached_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(FILE, tmp_path))
    monkeypatch.setattr(lock_base_images, "read_base_images", lambda: (f"127.0.0.1:{free_port()}", read_base_images(file)[1]))
    monkeypatch.setattr(lock_base_images, "write_digests", lambda digests: write_digests(digests, file))
    before = file.read_bytes()
    assert lock_base_images.main() == 0 and file.read_bytes() == before
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "its digest stays as it is" in said.err and said.out.startswith("0 of ")
