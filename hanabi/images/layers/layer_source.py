"""Layers of other accounts, downloaded by somebody before: a directory, or a URL, that has them by their ARNs.

<source>/<ARN of the layer version>.zip     its zip file
<source>/<ARN of the layer version>.json    what GetLayerVersionByArn answered of it, if that is kept
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hanabi.errors import ImageError
from hanabi.images.builders.download import NotThere, receive
from hanabi.images.code.code_store import ZIP_LIMIT_BYTES

DESCRIPTION_BYTES = 1 << 20


class LayerSource:
    """The source. `location` is a directory's path or an http(s) URL; `scratch` is a directory for what is downloaded."""

    def __init__(self, location: str, scratch: Path) -> None:
        self._url = location.rstrip("/") if location.startswith(("http://", "https://")) else ""
        self._directory = Path(location)
        self._scratch = scratch

    @asynccontextmanager
    async def fetch(self, arn: str) -> AsyncIterator[tuple[Path, Mapping[str, Any]] | None]:
        """Yield a layer version's (zip file, description), which is empty if there is none; None: it is not there. Raises `ImageError`."""
        if not self._url:
            archive = self._directory / f"{arn}.zip"
            yield (
                (archive, await asyncio.to_thread(_read, archive.with_name(f"{arn}.json")))
                if await asyncio.to_thread(archive.is_file)
                else None
            )
            return
        archive, description = (self._scratch / f"{uuid.uuid4().hex}{suffix}" for suffix in (".zip", ".json"))
        try:
            found = await asyncio.to_thread(self._download, f"{arn}.zip", archive, ZIP_LIMIT_BYTES)
            if not found:
                yield None
                return
            await asyncio.to_thread(self._download, f"{arn}.json", description, DESCRIPTION_BYTES)
            yield archive, await asyncio.to_thread(_read, description)
        finally:
            for path in (archive, description):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    def _download(self, name: str, target: Path, largest: int) -> bool:
        """Download a file; returns whether it is there."""
        try:
            receive(f"{self._url}/{quote(name, safe=':')}", target, lambda done, total: None, largest)
        except NotThere:
            return False
        return True


def _read(path: Path) -> Mapping[str, Any]:
    """Read a description; empty when it is absent. Raises `ImageError`."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(DESCRIPTION_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path.name} cannot be read: {error}", "invalid") from None
    return found if isinstance(found, dict) else {}
