"""The data file of AWS's base images, and how digests get into it."""

import shutil
from pathlib import Path

from hanabi.images.containers.reference import parse
from hanabi.images.runtimes.base_images import FILE, read_base_images, write_digests
from hanabi.images.runtimes.names import NAMES

DIGEST = f"sha256:{'a' * 64}"


def test_each_runtime_has_a_base_image_whose_address_is_one() -> None:
    registry, images = read_base_images()
    assert set(images) == set(NAMES)
    assert images["java8.al2"].address(registry).startswith("public.ecr.aws/lambda/java")
    assert images["nodejs22.x"].address("mirror.example:5000/aws").startswith("mirror.example:5000/aws/lambda/nodejs")
    for image in images.values():
        parse(image.address(registry))


def test_digests_pin(tmp_path: Path) -> None:
    file = Path(shutil.copy(FILE, tmp_path))
    write_digests({"python3.13": DIGEST}, file)
    images = read_base_images(file)[1]
    assert images["python3.13"].address("r.example") == f"r.example/lambda/python@{DIGEST}"
    assert images["python3.12"].digest == read_base_images()[1]["python3.12"].digest
