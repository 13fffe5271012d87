"""Zip functions on AWS's own base images, here of the test's making: an index in a real registry, its bootstrap, real containers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hanabi.images.paths import root_path
from tests import toolchains
from tests.server import IMAGES, ROLE, Server, create_function, zip_of
from tests.system.test_runtimes import call
from tests.unit.images.layouts import ARCHITECTURE, OCI, Image, file, folder, index_of, layer, layer_of, push, put_manifest, write_layout
from tests.unit.images.registries import docker_registry
from tests.unit.images.runtimes.aws_images import OTHER, SETTINGS
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A runtime interface client, static."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler: the bootstrap in the image is a static program")
    path = tmp_path_factory.mktemp("program") / "bootstrap"
    source = Path(__file__).with_name("image_runtime.c")
    subprocess.run(["cc", "-static", "-O2", "-o", path, source], check=True, timeout=60)
    return path.read_bytes()


def base_image(bootstrap: bytes, name: str, architecture: str = ARCHITECTURE) -> Image:
    """What AWS's have: a bootstrap in /var/runtime, an entry point for images made of it, an empty /var/task."""
    entries = [
        folder("var/task"), folder("opt"), folder("var/runtime"), file("var/runtime/bootstrap", bootstrap, 0o755),
        file("lambda-entrypoint.sh", "#!/bin/sh\nexec /var/runtime/bootstrap\n", 0o755), file("image", name),
    ]  # fmt: skip
    return Image([layer(entries)], SETTINGS, architecture=architecture)


@pytest.fixture(scope="module")
def registry(bootstrap: bytes) -> Iterator[str]:
    """A mirror of AWS's registry with java21 (of two architectures) and provided.al2023."""
    with docker_registry() as host:
        base = f"http://{host}"
        images = [base_image(bootstrap, "wrong", OTHER), base_image(bootstrap, "java")]
        for image in images:
            push(base, "aws/lambda/java", image.architecture, image)
        put_manifest(base, "aws/lambda/java", "21", index_of(images), OCI["index"])
        push(base, "aws/lambda/provided", "al2023", base_image(bootstrap, "os"))
        yield host


@pytest.fixture(scope="module")
def server(registry: str, tmp_path_factory: pytest.TempPathFactory, bootstrap: bytes) -> Iterator[Server]:
    layouts = write_layout(tmp_path_factory.mktemp("layouts"), {"ruby3.3": base_image(bootstrap, "ruby")})
    options = (
        "--runtimes",
        "aws",
        "--registry-mirror",
        f"{registry}/aws",
        "--runtime-images",
        str(layouts),
        "--runtimes-missing",
        "pending",
    )
    server = Server(*options)
    server.options = ("--images-dir", str(server.data_dir / "images"), *options)
    with server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda")


def test_a_zip_function_runs_on_awss_image_with_its_own_bootstrap(client: Any, server: Server) -> None:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/none", "OWN": "1"}
    create_function(client, "aws-java", {"app.txt": "x"}, Runtime="java21", Handler="app.Main::run", Environment={"Variables": variables})
    said, response, log = call(client, "aws-java", {"n": 1})
    assert "FunctionError" not in response, said
    assert (said["image"], said["argv"], said["cwd"], said["task"]) == ("java", ["/var/runtime/bootstrap"], "/var/task", ["app.txt"])
    environment = said["env"]
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_java21" and environment["_HANDLER"] == "app.Main::run"
    assert (environment["TZ"], environment["OF_THE_IMAGE"], environment["OWN"]) == (":UTC", "1", "1")
    assert said["uid"] == 993 and "INIT_START Runtime Version: java21" in log[0] or log[0].startswith("START")
    configuration = client.get_function_configuration(FunctionName="aws-java")
    assert configuration["RuntimeVersionConfig"]["RuntimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")
    row = next(line for line in server.hanabi("images", "list", "java21").splitlines() if line.startswith("java21"))
    assert "pulled" in row and " aws " in row


def test_an_os_only_runtime_runs_the_functions_own_bootstrap_on_it(client: Any, bootstrap: bytes) -> None:
    create_function(client, "aws-os", {"bootstrap": bootstrap}, Runtime="provided.al2023", Handler="any")
    said = call(client, "aws-os", {})[0]
    assert (said["image"], said["argv"]) == ("os", ["/var/task/bootstrap"]) and "AWS_EXECUTION_ENV" not in said["env"]


def test_a_layout_on_disk_is_used_before_the_registry(client: Any) -> None:
    create_function(client, "aws-ruby", {"app.rb": ""}, Runtime="ruby3.3", Handler="app.handler")
    assert call(client, "aws-ruby", {})[0]["image"] == "ruby"


def test_a_function_whose_runtime_is_not_to_be_had_is_stored_and_stays_pending(
    client: Any, server: Server, registry: str, bootstrap: bytes
) -> None:
    client.create_function(FunctionName="waits", Runtime="dotnet8", Handler="A::B", Role=ROLE, Code={"ZipFile": zip_of({"a": ""})})

    def state() -> dict[str, Any]:
        configuration: dict[str, Any] = client.get_function_configuration(FunctionName="waits")
        return configuration

    reason = wait_for(lambda: "dotnet8" in state().get("StateReason", "") and state()["StateReason"])
    assert state()["State"] == "Pending" and "404" in reason
    with pytest.raises(ClientError, match="state: Pending"):
        client.invoke(FunctionName="waits")
    assert "stay Pending (--runtimes-missing pending)" in server.hanabi("doctor", check=False)
    client.delete_function(FunctionName="waits")


@pytest.fixture(scope="module")
def python_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of AWS's image of Python: a whole root, AWS's client in /var/runtime, a bootstrap that starts it."""
    if os.environ.get("HANABI_TEST_APPS") != "1":
        pytest.skip("packs a whole root and AWS's client for Python: HANABI_TEST_APPS=1")
    root = root_path(IMAGES, "python3.11") / "root"
    tar = subprocess.run(["tar", "-C", root, "-c", "--exclude=./dev/*", "."], check=True, capture_output=True, timeout=120).stdout
    start = '#!/bin/bash\nexport PYTHONPATH=/var/runtime\nexec /var/lang/bin/python3.11 -m awslambdaric "$_HANDLER"\n'
    client = [file(f"var/runtime/{name}", data) for name, data in toolchains.python_client().items()]
    ours = layer([file("var/runtime/bootstrap", start, 0o755), *client])
    image = Image([layer_of(tar), ours], SETTINGS)
    return write_layout(tmp_path_factory.mktemp("python-layout"), {"python3.11": image})


def test_awss_own_client_runs_a_function_of_an_image_of_that_shape(python_layout: Path) -> None:
    server = Server("--runtimes", "auto", "--runtime-images", str(python_layout))
    server.options = ("--images-dir", str(server.data_dir / "images"), *server.options)
    code = "import sys\ndef lambda_handler(event, context):\n    if event: raise ValueError('no good')\n"
    code += "    return {'client': 'awslambdaric' in sys.modules, 'id': context.aws_request_id, 'version': sys.version_info[:2]}\n"
    with server:
        client = server.client("lambda")
        create_function(client, "ric", code, Runtime="python3.11", MemorySize=512)
        said, response, log = call(client, "ric", {})
        assert "FunctionError" not in response, said
        assert said["client"] and said["version"] == [3, 11] and said["id"] in log[0]
        failed = call(client, "ric", {"raise": 1})[0]
        assert (failed["errorType"], failed["errorMessage"]) == ("ValueError", "no good")
