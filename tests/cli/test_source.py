"""A folder becomes a runtime, a handler and a zip file."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from hanabi.cli.failure import Failure
from hanabi.cli.source import Entry, detect, pack, refuse_template


def folder(root: Path, files: dict[str, str], executable: str = "") -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if name == executable else 0o640)
    return root


HANDLER = "def lambda_handler(event, context): ...\n"


@pytest.mark.parametrize(
    ("files", "entry"),
    [
        ({"lambda_function.py": HANDLER, "index.js": ""}, Entry("python3.13", "lambda_function.lambda_handler")),
        ({"app.py": "async def handler(event, context): ..."}, Entry("python3.13", "app.handler")),
        ({"main.py": "from core import run as handler"}, Entry("python3.13", "main.handler")),
        ({"handler.py": "import core\nhandler = core.make()"}, Entry("python3.13", "handler.handler")),
        ({"app.py": "x = 1", "index.mjs": ""}, Entry("nodejs22.x", "index.handler")),
        ({"index.js": ""}, Entry("nodejs22.x", "index.handler")),
        ({"app.cjs": ""}, Entry("nodejs22.x", "app.handler")),
        ({"bootstrap": "#!/bin/sh", "app.py": HANDLER}, Entry("provided.al2023", "bootstrap")),
        ({"template.yaml": "Resources: {}", "index.js": ""}, Entry("nodejs22.x", "index.handler")),
    ],
)
def test_files_tell_the_runtime(tmp_path: Path, files: dict[str, str], entry: Entry) -> None:
    assert detect(folder(tmp_path, files, executable="bootstrap")) == entry


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": ""}, "holds no handler"),
        ({"bootstrap": "#!/bin/sh"}, "is not executable: chmod"),
        ({"app.py": "def"}, "app.py: invalid syntax"),
        ({"template.yaml": "Transform: AWS::Serverless-2016-10-31", "app.py": HANDLER}, "SAM template, and deploying those is not yet"),
        ({"template.json": '{"Transform": "AWS::Serverless-2016-10-31"}'}, "SAM template"),
    ],
)
def test_what_cannot_be_deployed_says_why(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(Failure, match=message):
        detect(folder(tmp_path, files))


def test_a_template_is_refused_by_its_own_name_too(tmp_path: Path) -> None:
    made = folder(tmp_path, {"stack.yml": "Transform: AWS::Serverless-2016-10-31", "index.js": ""})
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
    assert pack(one) == pack(two)
    with zipfile.ZipFile(io.BytesIO(pack(two))) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert modes == {"bootstrap": 0o755, "lambda_function.py": 0o644, "lib/a.py": 0o644, "lib/b.py": 0o644}


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    folder(tmp_path, {"code/app.py": HANDLER, "shared/tool.py": "x"})
    (tmp_path / "code" / "shared").symlink_to("../shared")
    (tmp_path / "code" / "again").symlink_to(".")
    with zipfile.ZipFile(io.BytesIO(pack(tmp_path / "code"))) as archive:
        assert archive.namelist() == ["app.py", "shared/tool.py"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Failure, match="neither a file nor a directory"):
        pack(tmp_path)


def test_too_much_is_refused_before_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanabi.cli.source.MAX_ZIP", 100)
    with pytest.raises(Failure, match="Lambda takes 50 MB at most"):
        pack(folder(tmp_path, {"app.py": HANDLER}))
