"""AWS's own base images of the runtimes, as data: `base_images.json`, which `scripts/lock` brings up to date.

    {"registry": HOST, "images": {RUNTIME: {"repository": "lambda/python", "tag": "3.13", "digest": "sha256:..." or ""}}}

Without a digest there the tag counts at the first pull; from then on the data directory has what was pulled, by digest.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("base_images.json")


@dataclass(frozen=True, slots=True)
class BaseImage:
    """One base image. `digest` is of the index of all architectures; empty: not known."""

    repository: str
    tag: str
    digest: str

    def address(self, registry: str) -> str:
        """Its reference in a registry: HOST[:PORT][/PREFIX]."""
        return f"{registry}/{self.repository}{f'@{self.digest}' if self.digest else f':{self.tag}'}"


@functools.cache
def read_base_images(file: Path = FILE) -> tuple[str, dict[str, BaseImage]]:
    """Read the data file: AWS's registry, and its images by runtime."""
    document = json.loads(file.read_bytes())
    return document["registry"], {runtime: BaseImage(**image) for runtime, image in document["images"].items()}


def write_digests(digests: dict[str, str], file: Path = FILE) -> None:
    """Write digests by runtime into the data file; the others stay."""
    document = json.loads(file.read_bytes())
    for runtime, digest in digests.items():
        document["images"][runtime]["digest"] = digest
    file.write_text(json.dumps(document, indent=2) + "\n")
    read_base_images.cache_clear()
