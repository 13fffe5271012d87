"""Java roots: where Java and AWS's client are put, of packages that lay it out in either way."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.runtimes import java
from hanabi.images.runtimes.java import add_java


@pytest.mark.parametrize(("version", "program"), [("21", "bin/java"), ("8", "jre/bin/java")])
def test_java_and_the_client_are_in_var_lang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, program: str) -> None:
    root, fetched, ran = tmp_path / "root", tmp_path / "client", list[list[str]]()
    home = root / f"usr/lib/jvm/java-{version}-openjdk-amd64"
    (home / program).parent.mkdir(parents=True)
    (home / program).touch()
    for place in (root / "var/lang/bin", root / "var/lang/lib", fetched):
        place.mkdir(parents=True)
    (fetched / "client.jar").touch()

    def run(root: Path, command: list[str], **options: Any) -> None:
        assert options["proc"]  # a JVM finds itself by it
        ran.append(command)

    monkeypatch.setattr(java, "run_in_root", run)
    add_java(root, version, fetched, 0)
    there = f"/usr/lib/jvm/java-{version}-openjdk-amd64/{program}"
    assert (root / "var/lang/bin/java").readlink() == Path(there) and (root / "var/lang/lib/lambda/client.jar").exists()
    assert ran[0][-1] == there  # the certificates
    assert [command[-1] for command in ran[1:]] == ([] if version == "8" else ["-Xshare:dump"])


def test_packages_without_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the packages have no Java 21"):
        add_java(tmp_path, "21", tmp_path, 0)
