"""AWS's base images on this host: where they are looked for, which one of an index is taken, what is run of them, how they stay."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.containers import paths
from hanabi.images.runtimes.base_image_store import ASK_AGAIN_S, BaseImageStore
from hanabi.images.runtimes.sources import RuntimeSources
from hanabi.images.trash import UNUSED_S, Trash
from hanabi.testing import ManualClock
from tests.server import free_port
from tests.unit.images.layouts import ARCHITECTURE, Image, archive_layout, file, folder, layer, symlink, write_layout
from tests.unit.images.registries import Liar, liar
from tests.unit.images.runtimes.aws_images import SETTINGS, base_image, serve_base_image, text_of


@pytest.fixture
def registry() -> Iterator[Liar]:
    with liar() as made:
        yield made


def store_of(directory: Path, clock: ManualClock | None = None, mirror: str = "", layouts: Path | None = None) -> BaseImageStore:
    return BaseImageStore(directory / "images", RuntimeSources(mirror=mirror, layouts=layouts), clock or ManualClock())


async def test_the_image_of_this_architecture_is_pulled_once_and_pinned(tmp_path: Path, registry: Liar) -> None:
    image = serve_base_image(registry, "aws/lambda/python", "3.12")
    store, said = store_of(tmp_path, mirror=f"{registry.host}/aws"), list[str]()
    runtime = await store.ensure("python3.12", said.append)
    assert text_of(runtime) == f"one {ARCHITECTURE}"
    assert any(line.startswith("pulling AWS's base image: fetching layer 1 of 1") for line in said)
    assert (runtime.runtime, runtime.command, runtime.own_bootstrap, runtime.runtime_dir) == (
        "python3.12",
        (),
        "/var/runtime/bootstrap",
        None,
    )
    environment = runtime.environment
    assert (environment["OF_THE_IMAGE"], environment["TZ"]) == ("1", ":UTC")  # Lambda's own for zip files, above the image's
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12" and environment["PATH"].startswith("/var/lang/bin:/usr/local/bin:")
    assert runtime.version_arn == f"arn:aws:lambda:us-east-1::runtime:{runtime.digest}"
    named = store.pinned("python3.12")
    assert named is not None and named.image == f"{registry.host}/aws/lambda/python@{image.digest}"

    serve_base_image(registry, "aws/lambda/python", "3.12", "two")  # the tag moves
    asked = len(registry.requests)
    assert text_of(await store_of(tmp_path, mirror=f"{registry.host}/aws").ensure("python3.12", said.append)) == f"one {ARCHITECTURE}"
    assert len(registry.requests) == asked
    shutil.rmtree(runtime.root.parent)
    assert store.pinned("python3.12") is None
    assert text_of(await store.ensure("python3.12", said.append)) == f"one {ARCHITECTURE}"  # what is lost comes back as it was
    assert store.remove("python3.12") and not store.remove("python3.12")
    assert text_of(await store.ensure("python3.12", said.append)) == f"two {ARCHITECTURE}"


@pytest.mark.parametrize("fault", [None, ImageError("the bootstrap does not compile")])
async def test_python_has_a_bootstrap_beside_its_own_for_copies_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: ImageError | None
) -> None:
    def compile_nothing(directory: Path, names: list[Path], root: Path) -> None:
        if fault:
            raise fault

    monkeypatch.setattr("hanabi.images.runtimes.bootstraps._compile", compile_nothing)
    entries = [folder("var/task"), file("var/runtime/bootstrap", "#!", 0o755), symlink("var/lang/bin/python3", "python3.13")]
    layouts = write_layout(tmp_path / "layouts", {"python3.13": Image([layer(entries)], SETTINGS)})
    (tmp_path / "guest/python").mkdir(parents=True)
    (tmp_path / "guest/python/bootstrap.py").write_text("pass")
    store = BaseImageStore(tmp_path / "images", RuntimeSources(layouts=layouts), ManualClock(), tmp_path / "guest")
    runtime = await store.ensure("python3.13", print)
    assert (runtime.command, runtime.bootstrap_dir, runtime.clonable) == ((), None, False)
    copies = runtime.for_copies
    if fault:
        assert copies is None
        return
    assert copies is not None and copies.bootstrap_dir is not None and (copies.bootstrap_dir / "bootstrap.py").read_text() == "pass"
    assert (copies.root, copies.digest, copies.clonable, copies.own_bootstrap) == (runtime.root, runtime.digest, True, "")
    assert copies.command == ("/var/lang/bin/python3", "/.hanabi/bootstrap.py") and copies.environment["PYTHONPATH"] == "/var/runtime"


async def test_what_is_pinned_is_not_collected(tmp_path: Path, registry: Liar) -> None:
    serve_base_image(registry, "lambda/provided", "al2023")
    store, clock = store_of(tmp_path, mirror=registry.host), ManualClock()
    runtime = await store.ensure("provided.al2023", print)
    assert runtime.own_bootstrap == "" and "AWS_EXECUTION_ENV" not in runtime.environment  # /var/task/bootstrap, else /opt/bootstrap
    for _ in range(2):
        paths.sweep(tmp_path / "images", Trash(tmp_path / "images", clock), clock.time())
        await clock.advance(UNUSED_S + 1)
    assert runtime.root.is_dir()
    store.remove("provided.al2023")
    digest = runtime.root.parent.name.partition("-")[0]
    paths.sweep(tmp_path / "images", Trash(tmp_path / "images", clock), clock.time(), at_once={digest})
    assert not runtime.root.is_dir()


@pytest.mark.parametrize("form", ["one layout for all", "one for each", "a tar file"])
async def test_layouts_on_disk(tmp_path: Path, form: str) -> None:
    layouts = tmp_path / "layouts"
    layouts.mkdir()
    if form == "one layout for all":
        write_layout(layouts, {"java21": base_image("layout"), "java25": base_image("other")})
    elif form == "one for each":
        write_layout(layouts / "java21", {"any": base_image("layout")})
    else:
        archive_layout(write_layout(tmp_path / "work", {"any": base_image("layout")}), layouts / "java21.tar")
    store = store_of(tmp_path, layouts=layouts)
    assert text_of(await store.ensure("java21", print)) == f"layout {ARCHITECTURE}"
    assert store.address("ruby3.3") == ""
    with pytest.raises(ImageError, match=r"there is no image of ruby3.3 in .*layouts"):
        await store.find("ruby3.3")
    assert store_of(tmp_path, mirror="r.example", layouts=layouts).address("ruby3.3").startswith("r.example/lambda/ruby")


async def test_a_registry_out_of_reach_is_not_asked_for_each_runtime(tmp_path: Path) -> None:
    clock, port = ManualClock(), free_port()
    store = store_of(tmp_path, clock, mirror=f"127.0.0.1:{port}")
    with pytest.raises(ImageError, match="cannot be reached"):
        await store.find("java21")
    with liar() as registry:
        store._sources = RuntimeSources(mirror=registry.host)
        store._failed[registry.host] = store._failed.pop(f"127.0.0.1:{port}")
        serve_base_image(registry, "lambda/ruby", "3.3")
        with pytest.raises(ImageError, match=f"^127.0.0.1:{port} cannot be reached"):
            await store.find("ruby3.3")
        assert not registry.requests
        await clock.advance(ASK_AGAIN_S)
        assert (await store.find("ruby3.3")).startswith(f"{registry.host}/lambda/ruby@sha256:")
        with pytest.raises(ImageError, match="404"):
            await store.find("java21")  # this one is missing there, and says so at once the next time
        asked = len(registry.requests)
        with pytest.raises(ImageError, match="404"):
            await store.find("java21")
        assert len(registry.requests) == asked
    await store.close()


async def test_a_damaged_pin_says_what_to_remove(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    paths.prepare(tmp_path / "images")
    pin = tmp_path / "images/runtimes/java21.json"
    pin.write_text(json.dumps({"image": "r.example/i"}))
    with pytest.raises(ImageError, match=r"remove it, and the runtime is pulled again"):
        await store.ensure("java21", print)
