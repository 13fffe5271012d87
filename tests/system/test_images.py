"""Functions from container images, through the whole of Hanabi: boto3, a real registry, a layout on disk, real containers."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import toolchains
from tests.server import IMAGES, ROLE, Server, create_function
from tests.system.test_runtimes import call
from tests.unit.images.layouts import Image, Layer, archive_layout, file, folder, layer, push, symlink, write_layout
from tests.unit.images.registries import docker_registry
from tests.waiting import wait_for

WAITER = {"Delay": 0.05, "MaxAttempts": 1200}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The runtime, static."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler: the functions' runtime is a static program")
    path = tmp_path_factory.mktemp("program") / "runtime"
    source = Path(__file__).with_name("image_runtime.c")
    subprocess.run(["cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True, timeout=60)
    return path.read_bytes()


@pytest.fixture(scope="module")
def base(program: bytes) -> Layer:
    """What all images here are made on: the runtime, and places that Lambda's own images have something in."""
    return layer(
        [
            folder("bin"), file("bin/runtime", program, 0o700), folder("work"), file("var/task/app.txt", "app"),
            file("var/runtime/bootstrap", "ric"), symlink("etc/resolv.conf", "/run/resolv.conf"), file("etc/app.conf", "x", 0o600),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with docker_registry() as host:
        yield host


def image(base: Layer, name: str, **settings: Any) -> Image:
    defaults = {"Entrypoint": ["/bin/runtime"], "Cmd": ["app.handler", "more"], "Env": ["FROM=image", "BOTH=image"], "User": "nobody"}
    return Image([base, layer([file("image", name)])], defaults | settings)


def create(client: Any, name: str, uri: str, **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.create_function(
        FunctionName=name, PackageType="Image", Code={"ImageUri": uri}, Role=ROLE, Timeout=10, **options
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAITER)
    return made


def settle(client: Any, name: str) -> None:
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=WAITER)


def test_a_function_from_a_registry(lambda_client: Any, registry: str, base: Layer) -> None:
    """Create, invoke, update, publish, and invoke what was published."""
    client, uri = lambda_client, f"{registry}/team/app:live"
    first, second = image(base, "first"), image(base, "second")
    push(f"http://{registry}", "team/app", "live", first)
    made = create(client, "image-life", uri, Environment={"Variables": {"BOTH": "function", "OWN": "1"}})
    assert made["PackageType"] == "Image" and "Runtime" not in made and "Handler" not in made and "ImageConfigResponse" not in made
    assert (made["CodeSha256"], made["CodeSize"], made["State"]) == (first.hex, 0, "Pending")
    got = client.get_function(FunctionName="image-life")
    assert got["Code"] == {"RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": f"{registry}/team/app@{first.digest}"}
    assert got["Configuration"]["State"] == "Active" and "RuntimeVersionConfig" not in got["Configuration"]

    said, response, log = call(client, "image-life", {"n": 1})
    assert "FunctionError" not in response, said
    assert (said["image"], said["event"], said["cwd"]) == ("first", {"n": 1}, "/")
    assert said["argv"] == ["/bin/runtime", "app.handler", "more"]
    assert said["task"] == ["app.txt"] and said["runtime"] == ["bootstrap"]  # the image's own, under nothing
    assert (said["uid"], said["tmp"], said["root"]) == (993, True, False)
    env = said["env"]
    assert (env["FROM"], env["BOTH"], env["OWN"], env["_HANDLER"]) == ("image", "function", "1", "app.handler")
    assert env["AWS_EXECUTION_ENV"] == "AWS_Lambda_Image" and env["PATH"].startswith("/usr/local/sbin:")
    assert {"LANG", "TZ", "LD_LIBRARY_PATH"} & env.keys() == set() and env["AWS_LAMBDA_FUNCTION_NAME"] == "image-life"
    assert log[0].startswith("START") and "Init Duration" in log[-1]

    assert client.publish_version(FunctionName="image-life")["CodeSha256"] == first.hex
    push(f"http://{registry}", "team/app", "live", second)
    assert call(client, "image-life", {})[0]["image"] == "first"  # a tag that moves changes nothing
    updated = client.update_function_code(FunctionName="image-life", ImageUri=uri)
    assert (updated["CodeSha256"], updated["LastUpdateStatus"]) == (second.hex, "InProgress")
    settle(client, "image-life")
    assert call(client, "image-life", {})[0]["image"] == "second"
    assert call(client, "image-life", {}, Qualifier="1")[0]["image"] == "first"
    assert client.get_function(FunctionName="image-life", Qualifier="1")["Code"]["ResolvedImageUri"].endswith(first.hex)


def test_image_config(lambda_client: Any, base: Layer, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"1": image(base, "layout", WorkingDir="/work"), "2": image(base, "other")})
    made = create(lambda_client, "image-config", f"oci:{layout}:1", ImageConfig={"Command": ["one.handler"]})
    assert made["ImageConfigResponse"] == {"ImageConfig": {"Command": ["one.handler"]}}
    said = call(lambda_client, "image-config", {})[0]
    assert (said["argv"], said["cwd"], said["env"]["_HANDLER"]) == (["/bin/runtime", "one.handler"], "/work", "one.handler")
    config = {"EntryPoint": ["runtime", "-x"], "Command": [], "WorkingDirectory": "/etc"}
    lambda_client.update_function_configuration(FunctionName="image-config", ImageConfig=config)
    settle(lambda_client, "image-config")
    said = call(lambda_client, "image-config", {})[0]
    assert (said["argv"], said["cwd"]) == (["/bin/runtime", "-x", "app.handler", "more"], "/etc")  # found in the PATH
    shutil.rmtree(layout)  # an image that is here needs its source no more
    lambda_client.update_function_configuration(FunctionName="image-config", ImageConfig={})
    settle(lambda_client, "image-config")
    assert call(lambda_client, "image-config", {})[0]["argv"] == ["/bin/runtime", "app.handler", "more"]
    assert "ImageConfigResponse" not in lambda_client.get_function_configuration(FunctionName="image-config")


def test_extensions_of_an_image_are_started(lambda_client: Any, base: Layer, tmp_path: Path) -> None:
    tool = layer([folder("opt/extensions"), file("opt/extensions/tool", "#!/nowhere", 0o755)])
    layout = write_layout(tmp_path / "layout", {"1": Image([base, tool], {"Entrypoint": ["/bin/runtime"], "Cmd": ["app.handler"]})})
    create(lambda_client, "image-extension", f"oci:{layout}")
    error, _, log = call(lambda_client, "image-extension", {})
    assert error["errorType"] == "Extension.LaunchError"
    assert error["errorMessage"].endswith("Error: fork/exec /opt/extensions/tool: no such file or directory")
    assert any(line.startswith("EXTENSION\tName: tool\tState: LaunchError") for line in log), log


@pytest.mark.parametrize(
    ("config", "error_type", "message"),
    [
        ({"EntryPoint": ["/missing"]}, "Runtime.InvalidEntrypoint", "fork/exec /missing: no such file or directory"),
        ({"EntryPoint": ["/etc/app.conf"]}, "Runtime.InvalidEntrypoint", "fork/exec /etc/app.conf: permission denied"),
        ({"EntryPoint": ["/bin"]}, "Runtime.InvalidEntrypoint", "fork/exec /bin: permission denied"),
        ({"EntryPoint": ["missing"]}, "Runtime.InvalidEntrypoint", 'exec: "missing": executable file not found in $PATH'),
        ({"EntryPoint": [""]}, "Runtime.InvalidEntrypoint", "fork/exec : no such file or directory"),
        ({"WorkingDirectory": "/missing"}, "Runtime.InvalidWorkingDir", "the working directory doesn't exist: /missing"),
        ({"WorkingDirectory": "work"}, "Runtime.InvalidWorkingDir", "the working directory 'work' is invalid, it needs to be an absolute "
         "path"),
    ],
)  # fmt: skip
def test_what_cannot_be_started(lambda_client: Any, base: Layer, tmp_path: Path, config: Any, error_type: str, message: str) -> None:
    layout = write_layout(tmp_path / "layout", {"1": image(base, "broken")})
    name = f"image-broken-{hashlib.sha256(message.encode()).hexdigest()[:8]}"
    create(lambda_client, name, f"oci:{layout}", ImageConfig=config)
    error, answer, log = call(lambda_client, name, {})
    assert answer["FunctionError"] == "Unhandled" and error["errorType"] == error_type
    assert error["errorMessage"].endswith(f"Error: {message}") and log[-1].endswith(f"Error Type: {error_type}"), (error, log)


def test_images_that_are_refused(lambda_client: Any, registry: str, base: Layer, tmp_path: Path) -> None:
    def refused(uri: str) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            lambda_client.create_function(FunctionName="image-refused", PackageType="Image", Code={"ImageUri": uri}, Role=ROLE)
        return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]

    for uri, message in (
        (f"{registry}/nothing:1", f"Source image {registry}/nothing:1 does not exist. Provide a valid source image."),
        ("app:1", "Source image app:1 is not valid. Provide a valid source image."),
        ("oci:/etc", "Source image oci:/etc does not exist. Provide a valid source image."),
        ("http://192.0.2.1/app", "Source image http://192.0.2.1/app is not valid."),
    ):
        code, said = refused(uri)
        assert code == "InvalidParameterValueException" and said.startswith(message), said
    with docker_registry(login=True) as host:
        code, said = refused(f"{host}/app:1")
    assert code == "AccessDeniedException" and said.startswith("Lambda does not have permission to access the ECR image.")
    hostile = write_layout(
        tmp_path / "hostile", {"1": Image([base, layer([file("../../escaped", "x")])], {"Entrypoint": ["/bin/runtime"]})}
    )
    lambda_client.create_function(FunctionName="image-hostile", PackageType="Image", Code={"ImageUri": f"oci:{hostile}"}, Role=ROLE)
    failed = wait_for(lambda: _state(lambda_client, "image-hostile", "Failed"))
    assert failed["StateReasonCode"] == "InvalidImage" and "is no path that an image may have" in failed["StateReason"]
    assert not any((place / "escaped").exists() for place in (IMAGES, IMAGES / "building", IMAGES / "containers"))


def _state(client: Any, name: str, wanted: str) -> dict[str, Any] | None:
    configuration: dict[str, Any] = client.get_function_configuration(FunctionName=name)
    return configuration if configuration["State"] == wanted else None


def test_zip_and_image_do_not_mix(lambda_client: Any, base: Layer, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"1": image(base, "x")})
    create(lambda_client, "image-only", f"oci:{layout}")
    create_function(lambda_client, "zip-only", "def lambda_handler(event, context): return 1")
    for name, given, message in (
        ("image-only", {"ZipFile": b"x"}, "Please provide ImageUri when updating a function with packageType Image."),
        ("zip-only", {"ImageUri": f"oci:{layout}"}, "Please don't provide ImageUri when updating a function with packageType Zip."),
    ):
        with pytest.raises(ClientError, match=message):
            lambda_client.update_function_code(FunctionName=name, **given)


@pytest.fixture
def images() -> Iterator[Path]:
    """An images directory of one's own, where containers can go through."""
    with tempfile.TemporaryDirectory(prefix="hanabi-images-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_names_and_what_becomes_of_images(base: Layer, tmp_path: Path, images: Path, hanabi_server: Server) -> None:
    """An image that was added by name; it stays while a name or a function needs it, in whatever data directory."""
    archive = archive_layout(write_layout(tmp_path / "layout", {"1": image(base, "named")}), tmp_path / "layout.tar")

    def hanabi(*words: str) -> str:
        return hanabi_server.hanabi("images", *words, "--images-dir", str(images))

    said = hanabi("add", "mine", f"oci-archive:{archive}")
    assert said.startswith(f"mine is oci-archive:{archive}@sha256:")
    rows = [row for row in json.loads(hanabi("--json")) if "image" in row]
    assert [row["names"] for row in rows] == [["mine"]] and "mine" in hanabi()
    archive.unlink()
    with Server("--pool-size", "0", "--images-dir", str(images)) as server:
        client = server.client("lambda")
        made = create(client, "named", "mine")
        assert made["CodeSha256"] == rows[0]["digest"]
        assert client.get_function(FunctionName="named")["Code"]["ImageUri"] == "mine"
        assert call(client, "named", {})[0]["image"] == "named"
        assert hanabi("remove", "mine") == "mine is removed\n"
        assert len([row for row in json.loads(hanabi("--json")) if "image" in row]) == 1  # a function needs it
        server.stop()
        server.start()
        assert call(server.client("lambda"), "named", {})[0]["image"] == "named"
        server.client("lambda").delete_function(FunctionName="named")
    hanabi("add", "another", f"oci:{tmp_path / 'layout'}")
    hanabi("remove", "another")  # the data directory has gone, and may have been moved
    assert len([row for row in json.loads(hanabi("--json")) if "image" in row]) == 1
    for ref in (images / "containers/refs").glob("*/*"):
        ref.unlink()
    hanabi("add", "another", f"oci:{tmp_path / 'layout'}")
    hanabi("remove", "another")
    assert [row for row in json.loads(hanabi("--json")) if "image" in row] == []
    assert (images / "trash" / f"{rows[0]['digest']}-r1" / "root").is_dir()


PYTHON = """
import os, sys

def handler(event, context):
    print("handling", event)
    return {"twice": 2 * event["n"], "requestId": context.aws_request_id, "client": "awslambdaric" in sys.modules, "cwd": os.getcwd(),
            "handler": os.environ["_HANDLER"], "version": sys.version_info[:2]}
"""


def test_awss_own_python_client_in_an_image(lambda_client: Any, registry: str) -> None:
    """A Debian with Python, AWS's runtime interface client and a function in it, as their documentation has one built."""
    root = next(path for path in (IMAGES / "roots").glob("python3.11-*") if (path / "about.json").is_file()) / "root"
    packed = subprocess.run(["tar", "-C", root, "-c", "."], capture_output=True, check=True, timeout=120).stdout
    function = [folder("function"), file("function/app.py", PYTHON)]
    function += [file(f"function/{name}", content) for name, content in toolchains.python_client().items()]
    settings = {"Entrypoint": ["python3.11", "-m", "awslambdaric"], "Cmd": ["app.handler"], "WorkingDir": "/function", "Env": []}
    from tests.unit.images.layouts import layer_of

    push(f"http://{registry}", "python", "3.11", Image([layer_of(packed), layer(function)], settings))
    create(lambda_client, "image-python", f"{registry}/python:3.11", MemorySize=256)
    for number in range(3):
        answer, response, log = call(lambda_client, "image-python", {"n": number})
        assert "FunctionError" not in response, (answer, log)
        assert (answer["twice"], answer["requestId"]) == (2 * number, response["ResponseMetadata"]["RequestId"])
        assert answer["client"] and answer["cwd"] == "/function" and answer["handler"] == "app.handler" and answer["version"] == [3, 11]
        assert any("handling" in line for line in log)
