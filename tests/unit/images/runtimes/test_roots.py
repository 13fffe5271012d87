"""Which source a runtime is had from: by the owner's choice, by what is there already, and by what can be reached."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.builders.worker import Priority
from hanabi.images.paths import describe, root_path
from hanabi.images.runtimes.roots import RuntimeImages, missing_of
from hanabi.images.runtimes.sources import AUTO, AWS, DISTRIBUTION, PENDING, RuntimeSources
from hanabi.testing import ManualClock
from tests.server import free_port
from tests.unit.images.layouts import ARCHITECTURE
from tests.unit.images.registries import Liar, liar
from tests.unit.images.runtimes.aws_images import serve_base_image, text_of

RUNTIME = "provided.al2023"


@pytest.fixture
def registry() -> Iterator[Liar]:
    with liar() as made:
        yield made


def images_of(directory: Path, mirror: str = "", **options: Any) -> RuntimeImages:
    """Without a mirror: no registry can be reached."""
    sources = RuntimeSources(mirror=mirror or f"127.0.0.1:{free_port()}", **options)
    return RuntimeImages(directory, directory, sources, ManualClock())


def build(directory: Path, runtime: str = RUNTIME) -> None:
    """As if a root had been built."""
    place = root_path(directory, {RUNTIME: "provided"}.get(runtime, runtime))
    (place / "root").mkdir(parents=True)
    describe(place, size=1)


async def test_auto_takes_what_is_there_then_aws_then_packages(tmp_path: Path, registry: Liar) -> None:
    unreached = images_of(tmp_path)
    assert await unreached.find_source(RUNTIME) == DISTRIBUTION and not unreached.is_there(RUNTIME)
    serve_base_image(registry, "lambda/provided", "al2023")
    assert await images_of(tmp_path, registry.host).find_source(RUNTIME) == AWS
    build(tmp_path)
    images = images_of(tmp_path, registry.host)
    assert await images.find_source(RUNTIME) == DISTRIBUTION and images.is_there(RUNTIME)
    assert text_of(await images.ensure(RUNTIME, source=AWS)) == f"one {ARCHITECTURE}"  # `hanabi images pull`
    assert await images_of(tmp_path).find_source(RUNTIME) == AWS  # from then on, reached or not
    assert await images_of(tmp_path, choice=DISTRIBUTION).find_source(RUNTIME) == DISTRIBUTION
    assert images.remove(RUNTIME) and not images.remove(RUNTIME)
    assert not images_of(tmp_path).is_there(RUNTIME)
    await images.close()


async def test_a_choice_is_kept(tmp_path: Path, registry: Liar) -> None:
    build(tmp_path)
    with pytest.raises(ImageError, match=r"packages are not asked for \(--runtimes aws\)"):
        await images_of(tmp_path, choice=AWS).find_source(RUNTIME)
    serve_base_image(registry, "lambda/provided", "al2023")
    assert await images_of(tmp_path, registry.host, choice=DISTRIBUTION).find_source(RUNTIME) == DISTRIBUTION
    assert not registry.requests
    assert await images_of(tmp_path, registry.host, choice=AWS).find_source(RUNTIME) == AWS


async def test_a_runtime_that_cannot_be_had_says_what_was_tried_and_what_to_do(tmp_path: Path, registry: Liar) -> None:
    reason = await images_of(tmp_path).why_missing("dotnet8")
    assert reason.startswith("there is no runtime root of dotnet8. AWS's base image: ") and "cannot be reached" in reason
    assert "--registry-mirror" in reason and "--runtime-images DIR" in reason
    serve_base_image(registry, "lambda/dotnet", "8")
    assert await images_of(tmp_path, registry.host).why_missing("dotnet8") == ""
    with pytest.raises(ImageError, match="no packages that Hanabi knows have dotnet8"):
        await images_of(tmp_path).ensure("dotnet8", source=DISTRIBUTION)


async def test_functions_stay_pending_only_if_the_owner_says_so(tmp_path: Path) -> None:
    assert await images_of(tmp_path).why_pending("dotnet8") == ""
    images = images_of(tmp_path, missing=PENDING)
    assert "--registry-mirror" in await images.why_pending("dotnet8") and await images.why_pending(RUNTIME) == ""


async def test_a_substitute_is_run_in_place_of_a_runtime(tmp_path: Path) -> None:
    build(tmp_path, "nodejs22.x")
    images = images_of(tmp_path, substitutes={"nodejs16.x": "nodejs22.x"})
    assert await images.why_missing("nodejs16.x") == "" and images.is_there("nodejs16.x")
    assert missing_of(images, ["nodejs16.x", "nodejs20.x", "no.such", "nodejs20.x"]) == ["nodejs20.x"]
    (tmp_path / "node").mkdir()
    image = await images.ensure("nodejs16.x")
    assert image is await images.ensure("nodejs22.x") and image.runtime == "nodejs22.x"


async def test_auto_builds_when_a_pull_breaks_off(tmp_path: Path, registry: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    image = serve_base_image(registry, "lambda/provided", "al2023")
    for path in [path for path in registry.answers if "/blobs/" in path]:
        del registry.answers[path]
    for choice in (AWS, AUTO):
        images, built = images_of(tmp_path, registry.host, choice=choice), list[str]()

        async def ensure(runtime: str, progress: Any, priority: Priority, built: list[str] = built) -> Any:
            built.append(runtime)
            return image

        monkeypatch.setattr(images.packages, "ensure", ensure)
        if choice == AWS:
            with pytest.raises(ImageError, match="404"):
                await images.ensure(RUNTIME)
        else:
            assert await images.ensure(RUNTIME) is image  # type: ignore[comparison-overlap]
        assert built == ([] if choice == AWS else [RUNTIME])
