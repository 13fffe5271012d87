"""Bringing `base_images.json` up to date: `python -m hanabi.images.runtimes.lock_base_images`, called by `scripts/lock`.

Asks AWS's registry for the digest of each tag's index. Where it cannot be reached the file stays as it is.
"""

import hashlib
import sys

from hanabi.errors import ImageError
from hanabi.images.containers.pull import open_source
from hanabi.images.containers.reference import parse
from hanabi.images.runtimes.base_images import BaseImage, read_base_images, write_digests


def find_digest(image: BaseImage, registry: str) -> str:
    """Ask a registry what a tag means now. Raises `ImageError`."""
    with open_source(parse(BaseImage(image.repository, image.tag, "").address(registry)), []) as source:
        return f"sha256:{hashlib.sha256(source.top()).hexdigest()}"


def main() -> int:
    registry, images = read_base_images()
    digests: dict[str, str] = {}
    for runtime, image in images.items():
        try:
            digests[runtime] = find_digest(image, registry)
        except ImageError as error:
            print(f"{runtime}: its digest stays as it is: {error}", file=sys.stderr)
            if error.kind == "unavailable":
                break  # the others are in the same place
    if digests:
        write_digests(digests)
    print(f"{len(digests)} of {len(images)} base images have been looked up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
