"""Dependencies that lie on this machine: what of them counts, and what a function gets. npm is a double that does the same to files."""

import json
from pathlib import Path

import pytest

from hanabi.cli import dependencies, local_packages
from hanabi.cli.failure import Failure
from hanabi.cli.table import printable

NPM = """#!/bin/sh
# Links local packages, runs the folder's scripts, as npm does
set -e
echo "$1" > "$LOG"
mkdir -p node_modules/ms && echo "exports.ms = 1" > node_modules/ms/index.js
if grep -q '"lib"' package.json; then ln -s ../../shared/lib node_modules/lib; test -f ../shared/lib/i.js; fi
if grep -q gen.sh package.json; then sh gen.sh; fi
if grep -q '"prepare"' package.json; then
  echo "npm error code 127"; echo "npm error sh: husky: not found"; echo "npm error path /x"; exit 127
fi
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside a local package that depends on it in turn, with `npm` on PATH."""
    programs, made = tmp_path / "bin", tmp_path / "apps" / "one"
    programs.mkdir()
    made.mkdir(parents=True)
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    lib = tmp_path / "apps" / "shared" / "lib"
    lib.mkdir(parents=True)
    (lib / "package.json").write_text('{"name": "lib", "dependencies": {"one": "file:../../one"}}')
    (lib / "i.js").write_text("exports.v = 1")
    return made


def install(folder: Path, runtime: str = "nodejs22.x") -> Path:
    built = dependencies.install(folder, runtime, lambda _: None)
    assert built is not None
    return built


def test_a_local_package_goes_along_and_its_changes_count(folder: Path) -> None:
    (folder / "package.json").write_text('{"dependencies": {"lib": "file:../shared/lib"}}')
    built = install(folder)
    assert (built / "node_modules/lib/i.js").read_text() == "exports.v = 1" and not (built / "node_modules/lib").is_symlink()
    assert not (built / "package.json").exists() and install(folder) == built
    (folder.parent / "shared/lib/i.js").write_text("exports.v = 2")
    assert (install(folder) / "node_modules/lib/i.js").read_text() == "exports.v = 2"
    (folder / "package.json").write_text('{"dependencies": {"lib": "file:../nowhere"}}')
    with pytest.raises(Failure, match=r"file:\.\./nowhere is not there"):
        install(folder)


def test_packages_that_lead_to_each_other_end(folder: Path) -> None:
    (folder / "package.json").write_text('{"dependencies": {"lib": "file:../shared/lib"}}')
    modules = folder.parent / "shared/lib/node_modules"
    modules.mkdir()
    (modules / "one").symlink_to("../../../one")
    assert sorted(path.name for path in (install(folder) / "node_modules").iterdir()) == ["lib", "ms"]
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "self").symlink_to("..")
    assert local_packages._unusable(str(folder / "node_modules"), ["self"]) == ["self"]


def test_scripts_of_the_folder_run_on_its_files(folder: Path) -> None:
    (folder / "package.json").write_text('{"scripts": {"postinstall": "sh gen.sh"}, "dependencies": {"ms": "1"}}')
    (folder / "gen.sh").write_text("cat schema > generated.json")
    (folder / "schema").write_text("1")
    built = install(folder)
    assert sorted(path.name for path in built.iterdir()) == ["generated.json", "node_modules"]
    assert not (folder / "generated.json").exists()
    (folder / "schema").write_text("2")
    assert (install(folder) / "generated.json").read_text() == "2"


def test_scripts_for_developers_do_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "package.json").write_text('{"scripts": {"prepare": "husky", "test": "x"}, "dependencies": {"ms": "1"}}')
    (folder / "package-lock.json").write_text("{}")
    assert (install(folder) / "node_modules/ms/index.js").is_file()
    assert (tmp_path / "log").read_text() == "ci\n" and "husky" in (folder / "package.json").read_text()


def test_what_npm_says_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_packages, "drop_development_scripts", lambda _: None)
    (folder / "package.json").write_text('{"scripts": {"prepare": "husky"}, "dependencies": {"ms": "1"}}')
    with pytest.raises(Failure, match="npm could not install the dependencies: .*husky: not found$"):
        install(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"dependencies": []}', '{"dependencies": {"x": 1}, "scripts": "x"}', '{"optionalDependencies": null}']
)
def test_strange_manifests(folder: Path, text: str) -> None:
    (folder / "package.json").write_text(text)
    if text == "{":
        with pytest.raises(Failure, match=r"package\.json"):
            install(folder)
    else:
        dependencies.install(folder, "nodejs22.x", lambda _: None)


def test_local_requirements_count_for_the_cache(tmp_path: Path) -> None:
    for name in ("lib/setup.py", "wheels/a.whl", "b.whl", "absolute/pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    lines = [
        "./lib[extra,more]",
        "-e ./lib",
        f"x @ file://{tmp_path}/absolute ; python_version > '3'",
        "--find-links=wheels/",
        "b.whl # c",
        "requests==2",
    ]
    text = "\n".join(lines)
    found = local_packages.python_paths(tmp_path, [text])
    assert sorted({path.name for path in found}) == ["absolute", "b.whl", "lib", "wheels"]
    before = local_packages.digest(found)
    (tmp_path / "lib/__pycache__").mkdir()
    (tmp_path / "lib/__pycache__/x.pyc").write_text("made")
    assert local_packages.digest(found) == before
    (tmp_path / "lib/setup.py").write_text("2")
    assert local_packages.digest(found) != before


def test_a_changed_local_requirement_is_installed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done: list[str] = []
    monkeypatch.setattr(dependencies, "_run", lambda command, folder: done.append(json.dumps(list(command))))
    lib = tmp_path / "one" / "lib"
    lib.mkdir(parents=True)
    (lib / "lib.py").write_text("V = 1")
    (tmp_path / "one" / "requirements.txt").write_text("./lib\n")
    first = install(tmp_path / "one", "python3.13")
    assert install(tmp_path / "one", "python3.13") == first and len(done) == 1
    (lib / "lib.py").write_text("V = 2")
    assert install(tmp_path / "one", "python3.13") != first and len(done) == 2


def test_spaces_and_joined_emoji_are_shown() -> None:
    """The bootstrap indents stack traces by spaces that do not break; `str.isprintable` takes them for control characters."""
    assert printable("\u00a0\u00a0File \u3000 \U0001f469\u200d\U0001f680\t.") == "\u00a0\u00a0File \u3000 \U0001f469\u200d\U0001f680\t."
    assert printable("a\x1b[1m\u202e\u2028\x9b\x7f") == "a\ufffd[1m" + "\ufffd" * 4
