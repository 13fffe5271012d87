"""What a Debian release is asked for: the lists of one that changes daily may be older than they say they are good for."""

import os
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.builders import programs
from hanabi.images.runtimes.debian import install_packages
from tests.system.images.test_roots import fake_mmdebstrap


@pytest.mark.parametrize("rolling", [False, True])
def test_only_a_rolling_release_may_be_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rolling: bool) -> None:
    fake_mmdebstrap(tmp_path, 'echo "$@" >&2; exit 1', monkeypatch)
    monkeypatch.setattr(programs, "SEARCHED", os.environ["PATH"])
    lock = os.open(tmp_path / "lock", os.O_CREAT)
    try:
        with pytest.raises(ImageError) as caught:
            install_packages(tmp_path / "root", "forky", ("python3.14",), tmp_path, lock, rolling=rolling)
    finally:
        os.close(lock)
    assert "Debian forky could not be installed" in str(caught.value) and "python3.14 " in str(caught.value)
    assert ("Check-Valid-Until false" in str(caught.value)) == rolling
