"""What `hanabi images` says of each runtime: where it is from or would be, and what to do."""

from pathlib import Path
from typing import Any

from hanabi.images.runtimes.listing import RuntimeListing, list_runtimes
from hanabi.images.runtimes.names import BLOCKED, NAMES
from hanabi.images.runtimes.recipes import RUNTIMES
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.images.runtimes.sources import AWS, DISTRIBUTION, RuntimeSources
from tests.unit.images.registries import liar
from tests.unit.images.runtimes.aws_images import serve_base_image
from tests.unit.images.runtimes.test_roots import build


def rows_of(directory: Path, **options: Any) -> dict[str, RuntimeListing]:
    images = RuntimeImages(directory, directory, RuntimeSources(**options))
    return {row.runtime: row for row in list_runtimes(images, directory)}


def test_each_runtime_of_lambda_is_listed_once_and_no_registry_is_asked(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    assert rows.keys() == {*NAMES, *BLOCKED}
    assert {name for name, row in rows.items() if row.source == DISTRIBUTION} == set(RUNTIMES)
    assert rows["dotnet8"].source == AWS and rows["dotnet8"].how.startswith("pulled at first use from public.ecr.aws/lambda/dotnet")
    assert rows["python3.13"].how.startswith("built at first use, or by `hanabi images build python3.13`; AWS's own where")
    assert not rows["java8"].available and rows["java8"].how.startswith("AWS no longer creates functions of it")
    assert not any(row.built for row in rows.values()) and not list(tmp_path.iterdir())


def test_the_choice_shows(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, choice=DISTRIBUTION)
    assert (rows["dotnet8"].available, rows["dotnet8"].source) == (False, "") and "AWS's own where" not in rows["python3.13"].how
    rows = rows_of(tmp_path, choice=AWS, mirror="r.example/a")
    assert all(rows[name].source == AWS for name in NAMES) and "from r.example/a/lambda/python" in rows["python3.13"].how
    assert not rows_of(tmp_path, choice=AWS, layouts=tmp_path)["python3.13"].available
    row = rows_of(tmp_path, substitutes={"nodejs16.x": "nodejs20.x"})["nodejs16.x"]
    assert row.source == "substitute" and row.how.startswith("functions of it run on nodejs20.x, as --runtime-substitute says; built at")


async def test_what_is_here_has_a_size_and_a_place(tmp_path: Path) -> None:
    build(tmp_path)
    row = rows_of(tmp_path)["provided.al2023"]
    assert (row.built, row.size, row.source) == (True, 1, DISTRIBUTION) and row.path and row.how == ""
    with liar() as registry:
        serve_base_image(registry, "lambda/provided", "al2023")
        images = RuntimeImages(tmp_path, tmp_path, RuntimeSources(mirror=registry.host))
        await images.ensure("provided.al2023", source=AWS)
    row = rows_of(tmp_path)["provided.al2023"]
    assert row.built and row.source == AWS and row.size and row.path and "/containers/" in row.path
