"""What a guest kernel of the user's own may have told of it, in a file beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.node.drivers import _profile


def profile_of(directory: Path, content: Any) -> dict[str, Any]:
    (directory / "vmlinux.json").write_text(json.dumps(content))
    return _profile(directory / "vmlinux")


def test_what_a_profile_may_say(tmp_path: Path) -> None:
    assert _profile(tmp_path / "vmlinux") == {}
    for content in ({}, {"boot_args": "quiet", "environment": {"A": "b"}, "cpu_template": {}}, {"patience": 1}, {"patience": 2.5}):
        assert profile_of(tmp_path, content) == content


@pytest.mark.parametrize(
    "content", [[], {"other": 1}, *({"patience": each} for each in (0, -1, 101, "10", True, None, float("nan")))], ids=str
)
def test_what_a_profile_may_not_say(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ImageError, match="is no profile of a kernel: "):
        profile_of(tmp_path, content)
