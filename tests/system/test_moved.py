"""A data directory goes to another place, comes back from a copy, or has lost a part: nothing that is still there is lost."""

import base64 as encoding
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import needs_root
from tests.server import IMAGES, Server, create_function, zip_of
from tests.system.test_images import base as base
from tests.system.test_images import create, image
from tests.system.test_images import program as program
from tests.system.test_process_isolation import UID, OrdinaryServer, interpreter
from tests.system.test_runtimes import call
from tests.unit.images.layouts import Layer, write_layout
from tests.waiting import wait_for

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


def code(answer: str) -> dict[str, str | bytes]:
    return {"lambda_function.py": f"def lambda_handler(event, context): return {answer!r}"}


class Moving(Server):
    """With its images in its data directory, which may be called anything."""

    def command(self) -> list[str]:
        return [*super().command(), "--images-dir", f"{self.data_dir}/images", "--pool-size", "0"]

    def at(self, place: Path | str) -> "Moving":
        """Started with that data directory."""
        assert self.process is None
        self.data_dir = Path(place)
        self.start()
        return self

    def problems(self) -> list[str]:
        """What `hanabi doctor` says of what is lost."""
        said = [check["detail"] for check in json.loads(self.hanabi("doctor", "--json", check=False)) if check["name"] == "problem"]
        return [text for text in said if "cannot run" in text or "state.db" in text]


@pytest.fixture
def home() -> Iterator[Path]:
    """A place where containers can go through, on the disk of the runtime roots."""
    with tempfile.TemporaryDirectory(prefix="hanabi-moved-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


def with_images(data: Path) -> Path:
    """A data directory with the root of one runtime in it."""
    (data / "images" / "roots").mkdir(parents=True)
    for directory in (data, data / "images", data / "images" / "roots"):
        directory.chmod(0o755)
    for root in (IMAGES / "roots").glob(f"{RUNTIME}-*"):
        subprocess.run(["cp", "-al", root, data / "images" / "roots"], check=True, timeout=120)
    return data


def check_all(server: Server) -> None:
    client = server.client("lambda")
    for qualifier, answer in (("$LATEST", "newer"), ("1", "older"), ("live", "older")):
        assert call(client, "zip", {}, Qualifier=qualifier)[0] == answer
    assert call(client, "layered", {})[0] == ["one", "two"]
    for qualifier in ("$LATEST", "1"):
        assert call(client, "image", {}, Qualifier=qualifier)[0]["image"] == "moved"


def make_all(server: Server, base: Layer, home: Path) -> None:
    client = server.client("lambda")
    create_function(client, "zip", code("older"), Runtime=RUNTIME, Publish=True)
    client.create_alias(FunctionName="zip", Name="live", FunctionVersion="1")
    client.update_function_code(FunctionName="zip", ZipFile=zip_of(code("newer")))
    client.get_waiter("function_updated_v2").wait(FunctionName="zip", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    layers = [
        client.publish_layer_version(LayerName=name, Content={"ZipFile": zip_of({f"python/{name}.py": f"VALUE = '{name}'"})})
        for name in ("one", "two")
    ]
    layered = "import one, two\ndef lambda_handler(event, context): return [one.VALUE, two.VALUE]"
    create_function(client, "layered", layered, Runtime=RUNTIME, Layers=[each["LayerVersionArn"] for each in layers])
    client.delete_layer_version(LayerName="one", VersionNumber=1)
    layout = write_layout(home / "layout", {"1": image(base, "moved")})
    create(client, "image", f"oci:{layout}")
    client.publish_version(FunctionName="image")
    shutil.rmtree(layout)  # nobody can pull it again


def refused(client: Any, name: str, **options: Any) -> str:
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName=name, **options)
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("ResourceConflictException", 409), error
    return str(error["Error"]["Message"])


@needs_root
def test_a_data_directory_that_is_moved_copied_and_damaged(home: Path, base: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    with Moving(data_dir=with_images(home / "a")) as server:
        make_all(server, base, home)
        check_all(server)
        server.stop()

        (home / "a").rename(home / "b")  # moved, and reached through a symbolic link
        (home / "link").symlink_to("b")
        check_all(server.at("link"))
        assert server.problems() == []
        server.stop()

        subprocess.run(["cp", "-a", home / "b", home / "c"], check=True, timeout=120)  # copied, the first one gone, a relative path
        shutil.rmtree(home / "b")
        check_all(server.at("c"))
        server.stop()

        (home / "aside").mkdir()  # no state at all, then that of before
        for path in (home / "c").glob("state.db*"):
            path.rename(home / "aside" / path.name)
        server.at(home / "c")
        assert server.client("lambda").list_functions()["Functions"] == []
        assert any("is not the one that the code in this directory was kept for" in text for text in wait_for(server.problems))
        server.stop()
        assert len(list((home / "c" / "code").glob("[0-9a-f]*/code.zip"))) == 2 + 3
        for path in (home / "c").glob("state.db*"):
            path.unlink()
        for path in (home / "aside").iterdir():
            path.rename(home / "c" / path.name)
        check_all(server.at(home / "c"))
        assert server.problems() == []

        client = server.client("lambda")  # a version's code, and an image, are gone; they come back while it runs
        sha256 = client.get_function(FunctionName="zip", Qualifier="1")["Configuration"]["CodeSha256"]
        server.stop()
        lost = home / "c" / "code" / _hex(sha256)
        pulled = next((home / "c" / "images" / "containers").glob("*-r1"))
        for path in (lost, pulled):
            path.rename(home / path.name)
        client = server.at(home / "c").client("lambda")
        configuration = client.get_function_configuration(FunctionName="zip", Qualifier="1")
        assert configuration["State"] == "Failed" and f"code/{lost.name}" in configuration["StateReason"]
        for qualifier in ("1", "live"):
            assert "in the following state: Failed" in refused(client, "zip", Qualifier=qualifier)
        assert call(client, "zip", {})[0] == "newer"
        failed = wait_for(lambda: _failed(client, "image"))
        assert failed["StateReasonCode"] == "ImageDeleted" and "Bring that image back" in failed["StateReason"]
        refused(client, "image")
        assert sorted(text.partition(" (")[0] for text in server.problems()) == ["Function image", "Function zip"]
        for path in (lost, pulled):
            (home / path.name).rename(path)
        wait_for(lambda: not server.problems(), 60)
        check_all(server)

        shutil.rmtree(lost)  # and when only an invocation finds out: it has no environment yet
        client.publish_version(FunctionName="zip")
        client.update_function_configuration(FunctionName="zip", MemorySize=256)
        shutil.rmtree(home / "c" / "code" / _hex(client.get_function_configuration(FunctionName="zip")["CodeSha256"]))
        client.get_waiter("function_updated_v2").wait(FunctionName="zip", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
        refused(client, "zip", Qualifier="2")
        client.update_function_code(FunctionName="zip", ZipFile=zip_of(code("newer")))
        client.get_waiter("function_updated_v2").wait(FunctionName="zip", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
        assert call(client, "zip", {})[0] == "newer"
        wait_for(lambda: client.get_function_configuration(FunctionName="zip", Qualifier="2")["State"] == "Active", 60)
        assert call(client, "zip", {}, Qualifier="2")[0] == "newer"


def _hex(sha256: str) -> str:
    return encoding.b64decode(sha256).hex()


def _failed(client: Any, name: str) -> Any:
    configuration = client.get_function_configuration(FunctionName=name)
    return configuration if configuration["State"] == "Failed" else None


def test_a_copy_of_an_ordinary_users_own_made_under_a_narrow_umask(home: Path) -> None:
    """Root's, by containers; then a user's, by processes; then copied back by root for containers."""
    interpreter()
    with Moving(data_dir=with_images(home / "roots")) as server:
        create_function(server.client("lambda"), "mine", code("here"), Runtime=RUNTIME)
        server.stop()
        (home / "user").mkdir()
        with_ordinary = OrdinaryServer(data_dir=home / "user")
        with_ordinary.images = home / "user" / "data" / "images"
        _copy(home / "roots", home / "user" / "data")
        subprocess.run(["chown", "-R", f"{UID}:{UID}", home / "user"], check=True, timeout=60)
        with with_ordinary:
            assert call(with_ordinary.client("lambda"), "mine", {})[0] == "here"
        _copy(home / "user" / "data", home / "again")
        assert call(server.at(home / "again").client("lambda"), "mine", {})[0] == "here"


def _copy(source: Path, target: Path) -> None:
    """As `cp -r` does for somebody whose files are nobody else's business."""
    subprocess.run(["sh", "-c", 'umask 077 && cp -r "$1" "$2"', "sh", source, target], check=True, timeout=300, env={**os.environ})
