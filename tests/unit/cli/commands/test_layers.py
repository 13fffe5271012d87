"""`hanabi layers` and `hanabi deploy --layer`, against the API on a real port."""

import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.cli import main
from hanabi.cli.commands import layers
from hanabi.images.code.code_store import CodeStore
from tests.server import zip_of
from tests.unit.services.lambda_.support import Live, live_lambda

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers-cli")


@pytest.fixture(scope="module")
def live(directory: Path) -> Iterator[Live]:
    with live_lambda(directory) as live:
        yield live


@pytest.fixture
def hanabi(live: Live, directory: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    port = str(urllib.parse.urlsplit(live.client.meta.endpoint_url).port)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--data-dir", str(directory), "--port", port])
        return (status, *capsys.readouterr())

    return run


def test_a_folder_is_published_listed_and_deleted(hanabi: Command, live: Live, directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my tools"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tool").write_text("#!/bin/sh\n")
    (folder / "bin" / "tool").chmod(0o755)
    (folder / "bin" / "linked").symlink_to("tool")
    (folder / "python").mkdir()
    (folder / "python" / "a.py").write_text("")
    (folder / "python" / "outside.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "outside.py").write_text("outside")
    (folder / ".gitignore").write_text("python/\n")
    (folder / ".hanabiignore").write_text("*.txt\n")
    (folder / "notes.txt").write_text("")
    said = ["--description", "d", "--license", "MIT", "--runtime", "python3.13", "--runtime", "python3.11", "--architecture", "x86_64"]
    status, output, errors = hanabi("layers", "publish", str(folder), *said, "--json")
    assert status == 0 and "packing 4 files" in errors
    made = json.loads(output)
    assert (made["Version"], made["LayerArn"].rpartition(":")[2]) == (1, "my-tools")
    assert (made["Description"], made["LicenseInfo"]) == ("d", "MIT")
    assert (made["CompatibleRuntimes"], made["CompatibleArchitectures"]) == (["python3.13", "python3.11"], ["x86_64"])
    tree = CodeStore(directory / "code").place(made["Content"]["CodeSha256"])
    assert (tree / "bin" / "linked").readlink() == Path("tool") and (tree / "bin" / "tool").stat().st_mode & 0o111
    assert (tree / "python" / "outside.py").read_text() == "outside" and not (tree / "python" / "outside.py").is_symlink()
    status, output, _ = hanabi("layers", "publish", str(folder))
    assert output.splitlines()[0] == f"my-tools version 2 is published: {made['LayerArn']}:2"
    assert hanabi("layers")[1].splitlines()[-1].split()[:3] == ["my-tools", "2", "any"]
    (row,) = [each for each in json.loads(hanabi("layers", "list", "--runtime", "python3.11", "--json")[1])]
    assert (row["LayerName"], row["Version"], row["CodeSize"]) == ("my-tools", 1, made["Content"]["CodeSize"])
    assert [each["Version"] for each in json.loads(hanabi("layers", "list", "my-tools", "--json")[1])] == [2, 1]
    assert hanabi("layers", "delete", "my-tools", "1")[:2] == (0, "deleted version 1 of my-tools\n")
    assert hanabi("layers", "delete", "my-tools", "1")[0] == 1
    assert hanabi("layers", "delete", "my-tools", "all")[:2] == (0, "deleted version 2 of my-tools\n")
    assert hanabi("layers", "list", "my-tools")[1] == "there is no version of a layer my-tools\n"


def test_a_zip_file_is_published_as_it_is(hanabi: Command, tmp_path: Path) -> None:
    archive = tmp_path / "any.zip"
    archive.write_bytes(zip_of({"python/a.py": ""}))
    status, output, _ = hanabi("layers", "publish", str(archive), "--name", "zipped", "--json")
    assert status == 0 and json.loads(output)["Content"]["CodeSize"] == archive.stat().st_size


def test_what_is_refused(hanabi: Command, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no zip")
    (tmp_path / "empty").mkdir()
    for arguments, status, message in (
        (["publish"], 2, "what? A folder or a zip file"),
        (["publish", str(tmp_path / "text")], 2, "is no zip file"),
        (["publish", str(tmp_path / "nowhere")], 2, "is no directory, and no zip file"),
        (["publish", str(tmp_path / "empty")], 2, "has no files"),
        (["delete"], 2, "which? The name of a layer"),
        (["delete", "zipped"], 2, "which version?"),
        (["delete", "zipped", "one"], 2, "which version?"),
        (["delete", "nothing", "all"], 1, "there is no version of a layer nothing"),
        (["list", "a", "b"], 2, "no such argument of `hanabi layers list`"),
    ):
        found, output, errors = hanabi("layers", *arguments)
        assert (found, output) == (status, "") and message in errors, arguments


def test_a_folder_in_which_nothing_is_looked_for_is_told_of(hanabi: Command, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("")
    status, _, errors = hanabi("layers", "publish", str(tmp_path), "--name", "flat")
    assert status == 0 and "where runtimes look into python, nodejs" in errors
    assert all(each in errors for each in layers.SEARCHED)


def test_functions_are_deployed_with_layers(hanabi: Command, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arns = [live.client.publish_layer_version(LayerName="dep", Content={"ZipFile": zip_of({"python/a.py": ""})})["LayerVersionArn"]] * 2
    arns[1] = live.client.publish_layer_version(LayerName="dep", Content={"ZipFile": zip_of({"python/b.py": ""})})["LayerVersionArn"]
    folder = tmp_path / "with-layer"
    folder.mkdir()
    (folder / "app.py").write_text("def handler(event, context): return event")
    deploy = ["deploy", str(folder), "--role", "arn:aws:iam::000000000000:role/r", "--json"]

    def attached() -> list[str]:
        return [layer["Arn"] for layer in live.client.get_function_configuration(FunctionName="with-layer").get("Layers", ())]

    assert hanabi(*deploy, "--layer", arns[0])[0] == 0 and attached() == arns[:1]
    changes: Any = json.loads(hanabi(*deploy, "--layer", "dep")[1])["Changes"]
    assert changes == ["layers dep:1 -> dep:2"] and attached() == arns[1:]
    assert json.loads(hanabi(*deploy)[1])["Changes"] == [] and attached() == arns[1:]
    assert json.loads(hanabi(*deploy, "--layer", "dep:1")[1])["Changes"] == ["layers dep:2 -> dep:1"]
    assert json.loads(hanabi(*deploy, "--no-layers")[1])["Changes"] == ["layers dep:1 -> none"] and attached() == []
    assert "there is no layer nothing" in hanabi(*deploy, "--layer", "nothing")[2]
    assert "contradict each other" in hanabi(*deploy, "--layer", "dep", "--no-layers")[2]
