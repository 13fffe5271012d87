"""Relocatable builds of Python: what is taken of the archive, and where it is put."""

import zipfile
from pathlib import Path

import pytest

from hanabi.images.runtimes import standalone_python
from hanabi.images.runtimes.standalone_python import add_cpython, fetch_cpython

PREFIX = "org/some/cpython/linux-x86_64/"
KEPT = ("bin/python3.12", "lib/python3.12/os.py", "lib/python3.12/lib-dynload/_ssl.so", "lib/libpython3.12.so.1.0", "lib/engines-3/x.so")
LEFT_OUT = (
    "bin/pip3", "include/python3.12/Python.h", "share/man/man1/python3.1", "python3.12", "libjnipython.so", "lib/python3.12/test/a.py",
    "lib/python3.12/lib-dynload/nis.so", "lib/python3.12/lib-dynload/_testcapi.so", "lib/python3.12/site-packages/pip/a.py",
    "lib/python3.12/unittest/test/a.py", "lib/python3.12/config-3.12-x86_64/a",
)  # fmt: skip


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def fetch(lock_file: Path, target: Path, lock: int, only: str) -> list[Path]:
        target.mkdir()
        with zipfile.ZipFile(target / "a.jar", "w") as jar:
            for member in (*KEPT, *LEFT_OUT):
                place = member.removeprefix("lib/") if member.startswith("lib/libpython") else member  # it is at the top there
                jar.writestr(PREFIX + place, member)
            jar.writestr("META-INF/maven/pom.xml", "")
        return [target / "a.jar"]

    monkeypatch.setattr(standalone_python, "fetch_archives", fetch)
    fetch_cpython("3.12", tmp_path / "cpython", 0)
    return tmp_path / "cpython"


def test_functions_get_what_they_need_of_it(fetched: Path) -> None:
    found = {str(path.relative_to(fetched)) for path in fetched.rglob("*") if path.is_file()}
    assert found == set(KEPT)
    assert (fetched / "bin/python3.12").stat().st_mode & 0o111 and not fetched.with_name("cpython-archives").exists()


def test_it_is_where_lambda_has_it(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, packages, ran = tmp_path / "root", tmp_path / "packages", list[list[str]]()
    (root / "var/lang").mkdir(parents=True)
    (root / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (root / "usr/lib/x86_64-linux-gnu/libbz2.so.1.0").touch()
    (packages / "boto3").mkdir(parents=True)
    monkeypatch.setattr(standalone_python, "run_in_root", lambda root, command, lock: ran.append(command))
    add_cpython(root, "3.12", fetched, packages, 0)
    lang = root / "var/lang"
    assert (lang / "bin/python").readlink() == Path("python3.12") and (lang / "lib/python3.12/site-packages/boto3").is_dir()
    assert (lang / "lib/libbz2.so.1").readlink() == Path("/usr/lib/x86_64-linux-gnu/libbz2.so.1.0")
    assert "compileall" in ran[0] and all("/var/lang/bin/python3.12" in command for command in ran)
