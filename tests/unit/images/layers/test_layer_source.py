"""Layers of other accounts: from a directory, and from a web server."""

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.layers.layer_source import LayerSource

ARN = "arn:aws:lambda:us-east-1:123456789012:layer:theirs:7"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(params=["directory", "URL"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LayerSource]:
    (tmp_path / "source").mkdir()
    (tmp_path / "scratch").mkdir()
    if request.param == "directory":
        yield LayerSource(str(tmp_path / "source"), tmp_path / "scratch")
        return
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "source"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield LayerSource(f"http://127.0.0.1:{server.server_port}/", tmp_path / "scratch")
        server.shutdown()
        thread.join()


async def test_a_layer_with_and_without_its_description(source: LayerSource, tmp_path: Path) -> None:
    (tmp_path / "source" / f"{ARN}.zip").write_bytes(b"zip")
    async with source.fetch(ARN) as found:
        assert found is not None and (found[0].read_bytes(), found[1]) == (b"zip", {})
    (tmp_path / "source" / f"{ARN}.json").write_text(json.dumps({"Description": "d"}))
    async with source.fetch(ARN) as found:
        assert found is not None and found[1] == {"Description": "d"}
    assert (tmp_path / "source" / f"{ARN}.zip").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_one_that_is_not_there(source: LayerSource) -> None:
    async with source.fetch(ARN) as found:
        assert found is None


async def test_a_damaged_description(source: LayerSource, tmp_path: Path) -> None:
    (tmp_path / "source" / f"{ARN}.zip").write_bytes(b"zip")
    for text, problem in (("{", "cannot be read"), ("[]", "")):
        (tmp_path / "source" / f"{ARN}.json").write_text(text)
        if problem:
            with pytest.raises(ImageError, match=problem):
                async with source.fetch(ARN):
                    pass
        else:
            async with source.fetch(ARN) as found:
                assert found is not None and found[1] == {}
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="could not be fetched"):
        async with LayerSource("http://127.0.0.1:1", tmp_path).fetch(ARN):
            pass
