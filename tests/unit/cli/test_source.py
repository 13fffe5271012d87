"""A folder becomes a runtime, a handler and a zip file."""

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest

from hanabi.cli import dependencies, main
from hanabi.cli.archive import inspect_archive
from hanabi.cli.failure import Failure
from hanabi.cli.handlers import EntryPoint, detect, missing
from hanabi.cli.source import collect, pack, refuse_template


def folder(root: Path, files: dict[str, str], executable: str = "") -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if name == executable else 0o640)
    return root


def packed(source: Path, scratch: Path, built: Path | None = None) -> bytes:
    target = scratch / f"{source.name}.zip"
    pack(collect(source, built), target)
    return target.read_bytes()


def names(source: Path) -> list[str]:
    return sorted(collect(source))


HANDLER = "def lambda_handler(event, context): ...\n"


@pytest.mark.parametrize(
    ("files", "entry"),
    [
        ({"lambda_function.py": HANDLER, "index.js": ""}, EntryPoint("python3.13", "lambda_function.lambda_handler")),
        ({"app.py": "async def handler(event, context): ..."}, EntryPoint("python3.13", "app.handler")),
        ({"main.py": "from core import run as handler"}, EntryPoint("python3.13", "main.handler")),
        ({"handler.py": "import core\nhandler = core.make()"}, EntryPoint("python3.13", "handler.handler")),
        (
            {"app.py": "try:\n    from fast import handler\nexcept ImportError:\n    handler = None"},
            EntryPoint("python3.13", "app.handler"),
        ),
        ({"app.py": "handler: object = make()"}, EntryPoint("python3.13", "app.handler")),
        ({"app.py": "import core.entry as handler"}, EntryPoint("python3.13", "app.handler")),
        (
            {"app.py": "if True:\n    with open(__file__) as f:\n        def handler(event, context): ..."},
            EntryPoint("python3.13", "app.handler"),
        ),
        ({"app.py": "x = 1", "index.mjs": ""}, EntryPoint("nodejs22.x", "index.handler")),
        ({"index.js": ""}, EntryPoint("nodejs22.x", "index.handler")),
        ({"app.cjs": ""}, EntryPoint("nodejs22.x", "app.handler")),
        ({"bootstrap": "#!/bin/sh", "app.py": HANDLER}, EntryPoint("provided.al2023", "bootstrap")),
        ({"template.yaml": "Resources: {}", "index.js": ""}, EntryPoint("nodejs22.x", "index.handler")),
    ],
)
def test_files_tell_the_runtime(tmp_path: Path, files: dict[str, str], entry: EntryPoint) -> None:
    assert detect(folder(tmp_path, files, executable="bootstrap")) == entry


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": ""}, "holds no handler"),
        ({"app.py": "def"}, "app.py: invalid syntax"),
        ({"app.py": "handler: object"}, "holds no handler"),
    ],
)
def test_what_cannot_be_deployed_says_why(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(Failure, match=message):
        detect(folder(tmp_path, files))


def test_a_template_is_refused_by_its_own_name_too(tmp_path: Path) -> None:
    for name in ("template.yaml", "template.json"):
        with pytest.raises(Failure, match="SAM template, and deploying those is not yet"):
            refuse_template(folder(tmp_path / name, {name: "Transform: AWS::Serverless-2016-10-31", "app.py": HANDLER}))
    made = folder(tmp_path / "stack", {"stack.yml": "Transform: AWS::Serverless-2016-10-31", "index.js": ""})
    with pytest.raises(Failure, match="SAM template"):
        refuse_template(made / "stack.yml")
    refuse_template(made)
    refuse_template(made / "index.js")


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {"lambda_function.py": HANDLER, "lib/b.py": "b", "lib/a.py": "a", "bootstrap": "#!"}
    one = folder(tmp_path / "one", files, executable="bootstrap")
    two = folder(tmp_path / "two", dict(reversed(files.items())), executable="bootstrap")
    os.utime(two / "lib" / "a.py", (1, 1))
    folder(two, {".git/HEAD": "", "lib/__pycache__/a.pyc": "", ".venv/bin/python": "", ".DS_Store": ""})
    assert packed(one, tmp_path) == packed(two, tmp_path)
    with zipfile.ZipFile(tmp_path / "two.zip") as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert modes == {"bootstrap": 0o755, "lambda_function.py": 0o644, "lib/a.py": 0o644, "lib/b.py": 0o644}


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    folder(tmp_path, {"code/app.py": HANDLER, "shared/tool.py": "x"})
    (tmp_path / "code" / "shared").symlink_to("../shared")
    (tmp_path / "code" / "again").symlink_to(".")
    assert names(tmp_path / "code") == ["app.py", "shared/tool.py"]


def test_a_link_to_nowhere_goes_along_as_a_link(tmp_path: Path) -> None:
    folder(tmp_path / "code", {"app.py": HANDLER})
    (tmp_path / "code" / "latest").symlink_to("/opt/somewhere/else")
    packed(tmp_path / "code", tmp_path)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        info = archive.getinfo("latest")
        assert stat.S_ISLNK(info.external_attr >> 16) and archive.read(info) == b"/opt/somewhere/else"


def test_a_name_that_is_not_utf_8_is_refused_plainly(tmp_path: Path) -> None:
    folder(tmp_path, {"app.py": HANDLER})
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(Failure, match=r"the file name b'caf\\xe9.txt' is not UTF-8"):
        collect(tmp_path)


IGNORED = {"app.py": HANDLER, "notes.md": "", "keep.md": "", "data/big.bin": "", "lib/a.pyc": "", "lib/.gitignore": "*.pyc", "lib/b.py": ""}


def test_what_git_ignores_stays_here(tmp_path: Path) -> None:
    folder(tmp_path, {**IGNORED, ".gitignore": "*.md\n!keep.md\n/data/\n"})
    assert names(tmp_path) == ["app.py", "keep.md", "lib/b.py"]


def test_a_file_of_ones_own_goes_before_gits(tmp_path: Path) -> None:
    folder(tmp_path, {**IGNORED, ".gitignore": "*", ".hanabiignore": "data\n"})
    assert names(tmp_path) == ["app.py", "keep.md", "lib/a.pyc", "lib/b.py", "notes.md"]


def test_own_files_go_before_those_of_dependencies(tmp_path: Path) -> None:
    source = folder(tmp_path / "code", {"app.py": HANDLER, "six.py": "mine", "node_modules/a/index.js": "host's"})
    built = folder(tmp_path / "built", {"six.py": "theirs", "idna/core.py": "", "node_modules/a/index.js": "built"})
    packed(source, tmp_path, built)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert found == {"app.py": HANDLER, "six.py": "mine", "idna/core.py": "", "node_modules/a/index.js": "built"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (EntryPoint("python3.13", "app.handler"), None),
        (EntryPoint("python3.11", "src.deep.run"), None),
        (EntryPoint("python3.13", "src/deep.run"), None),
        (EntryPoint("python3.13", "star.anything"), None),  # `from x import *` may bring it
        (EntryPoint("python3.13", "app.other"), "app.py defines no other"),
        (EntryPoint("python3.13", "gone.handler"), "there is no gone.py"),
        (EntryPoint("python3.13", "handler"), "has not the form FILE.FUNCTION"),
        (EntryPoint("nodejs22.x", "index.handler"), None),
        (EntryPoint("nodejs22.x", "app.handler"), "there is no app.mjs or app.js or app.cjs"),
        (EntryPoint("provided.al2023", "x"), "is not executable: chmod"),
    ],
)
def test_a_handler_that_is_not_there_is_found_before_the_upload(tmp_path: Path, entry: EntryPoint, reason: str | None) -> None:
    files = {"app.py": "handler = 1", "src/deep.py": "def run(e, c): ...", "star.py": "from x import *", "index.cjs": "", "bootstrap": ""}
    folder(tmp_path, files)
    found = missing(entry, tmp_path, collect(tmp_path))
    assert found == reason if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (EntryPoint("python3.13", "datadog_lambda.handler.handler"), None),
        (EntryPoint("nodejs22.x", "wrapper.handler"), None),
        (EntryPoint("provided.al2023", "index.php"), None),
        (EntryPoint("python3.13", "app.other"), "app.py defines no other"),  # what is here is not looked for there
    ],
)
def test_what_the_package_lacks_may_be_in_a_layer(tmp_path: Path, entry: EntryPoint, reason: str | None) -> None:
    folder(tmp_path, {"app.py": "handler = 1", "index.php": ""})
    found = missing(entry, tmp_path, collect(tmp_path), layered=True)
    assert found == reason if reason is None else reason in str(found)


def test_a_handler_may_be_a_program(tmp_path: Path) -> None:
    folder(tmp_path, {"run.sh": ""})
    assert missing(EntryPoint("python3.13", "run.sh"), tmp_path, collect(tmp_path)) is None


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Failure, match="neither a file nor a directory"):
        packed(tmp_path, tmp_path.parent)


def test_too_much_is_refused_before_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = folder(tmp_path / "code", {"app.py": HANDLER, "other.py": "x"})
    size = len(HANDLER) + 1
    monkeypatch.setattr("hanabi.cli.source.UNZIPPED_CODE_BYTES", size)
    with pytest.raises(Failure, match=f"Unzipped size must be smaller than {size} bytes"):
        packed(code, tmp_path)
    monkeypatch.setattr("hanabi.cli.source.UNZIPPED_CODE_BYTES", size + 1)
    packed(code, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_what_may_not_be_read_is_named() -> None:
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    place.chmod(0o755)
    code = folder(place / "code", {"app.py": HANDLER, "secret/key": "x", "own.txt": "x"})
    code.chmod(0o755)
    (code / "app.py").chmod(0o644)
    (code / "secret").chmod(0o700)
    (code / "own.txt").chmod(0o600)
    archive = place / "function.zip"
    archive.touch()
    archive.chmod(0o666)
    try:
        os.seteuid(4343)
        with pytest.raises(Failure, match=r"code/secret cannot be read: Permission denied; chmod it, or name it in \.hanabiignore"):
            collect(code)
        os.seteuid(0)
        (code / ".hanabiignore").write_text("secret/\n")
        os.seteuid(4343)
        files = collect(code)
        with pytest.raises(Failure, match=r"code/own\.txt cannot be read"):
            pack(files, archive)
    finally:
        os.seteuid(0)
        shutil.rmtree(place)


def test_a_folder_that_changes_meanwhile(tmp_path: Path) -> None:
    code = folder(tmp_path / "code", {"app.py": HANDLER, "gone/x.py": "", "link/target": ""})
    (code / "nowhere").symlink_to("/nonexistent")
    files = collect(code)
    for name, change in (("app.py", Path.mkdir), ("gone/x.py", None), ("nowhere", None)):
        path = files[name].path
        kept = path.readlink() if path.is_symlink() else path.read_bytes()
        path.unlink()
        if change is not None:
            change(path)
        failure = "changed while the folder was packed; deploy again" if change is None else "is neither a file nor a directory"
        with pytest.raises(Failure, match=failure):
            pack(files, tmp_path / "function.zip")
        if change is not None:
            path.rmdir()
        path.symlink_to(kept) if isinstance(kept, Path) else path.write_bytes(kept)
    pack(files, tmp_path / "function.zip")
    with pytest.raises(Failure, match="changed while the folder was packed"):
        collect(tmp_path / "nonexistent")


def test_submodules_and_work_trees_leave_their_git_behind(tmp_path: Path) -> None:
    folder(tmp_path, {"app.py": HANDLER, ".git": "gitdir: /elsewhere", "lib/.git": "gitdir: ../.git/modules/lib", "lib/a.py": ""})
    assert names(tmp_path) == ["app.py", "lib/a.py"]


def test_folders_whose_names_are_not_utf8(tmp_path: Path) -> None:
    outer = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(outer)
    code = folder(Path(os.fsdecode(outer)), {"app.py": HANDLER})
    assert names(code) == ["app.py"]
    assert detect(code) == EntryPoint("python3.13", "app.lambda_handler")
    pack(collect(code), tmp_path / "function.zip")
    os.mkdir(outer + b"/inner\xff")
    (code / os.fsdecode(b"inner\xff") / "x").touch()
    with pytest.raises(Failure, match="is not UTF-8, so no zip file can hold it"):
        collect(code)


def test_text_that_is_not_utf8_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"# caf\xe9\n")
    assert dependencies.install(tmp_path, "python3.13", lambda what: None) is None
    (tmp_path / "app.py").write_text(f"x = {'(' * 5000}\n")
    with pytest.raises(Failure, match=r"app\.py: "):
        detect(tmp_path)


# --- a zip file in place of a folder


def test_a_zip_file_is_looked_into(tmp_path: Path) -> None:
    archive = tmp_path / "made.zip"
    pack(collect(folder(tmp_path / "code", {"src/core.py": HANDLER, "index.js": "", "data.bin": "x" * 100})), archive)
    view = tmp_path / "view"
    view.mkdir()
    inside = inspect_archive(archive, view, ["src/core.lambda_handler", "../../etc/passwd.x", "/etc/passwd.x"])
    assert sorted(inside) == ["data.bin", "index.js", "src/core.py"]
    assert sorted(str(path.relative_to(view)) for path in view.rglob("*") if path.is_file()) == ["index.js", "src/core.py"]
    assert detect(view) == EntryPoint("nodejs22.x", "index.handler")
    assert missing(EntryPoint("python3.13", "src/core.lambda_handler"), view, inside) is None
    assert "defines no nothing" in str(missing(EntryPoint("python3.13", "src/core.nothing"), view, inside))


def test_a_hostile_zip_file_is_not_followed(tmp_path: Path) -> None:
    archive, view = tmp_path / "bad.zip", tmp_path / "view"
    view.mkdir()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../app.py", "x")
        file.writestr("/app.py", "x")
        file.writestr("app.py", b"#" * (3 << 20))  # it would not be a program that somebody wrote
    inspect_archive(archive, view, ["../../app.handler", "/app.handler"])
    assert [(path.name, path.stat().st_size) for path in view.iterdir()] == [("app.py", 0)]
    assert not (tmp_path.parent / "app.py").exists()
    archive.write_bytes(archive.read_bytes().replace(b"PK\x01\x02", b"PK\x00\x00"))
    with pytest.raises(Failure, match="is no zip file that can be read"):
        inspect_archive(archive, view, [])


@pytest.mark.parametrize("name", ["app.py", "text.zip"])
def test_another_file_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(HANDLER)
    assert main(["deploy", str(tmp_path / name)]) == 2
    assert f"{name} is no zip file; to deploy the folder that holds it: hanabi deploy {tmp_path}" in capsys.readouterr().err
