"""The identity of a data directory, and whether its state.db belongs to its code, snapshots and images.

`<data>/identity`: {"id", "directory": [device, inode], "store": id of state.db}. A directory that is renamed stays the same one; a copy is
another one, so that each keeps the images of its own functions. The id of state.db is one of its documents.
"""

import asyncio
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.files import write_whole
from hanabi.contracts.store import Store
from hanabi.errors import DocumentDamaged

FILE = "identity"
DOCUMENT = "node/identity"  # of state.db
_ANOTHER = "another"  # what was there before the first state.db with an id was not its own
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageOwner:
    """A data directory that needs images of an images directory, which it may share with others."""

    id: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Identity:
    owner: ImageOwner
    why_incomplete: str  # why nothing here may be taken for unused; empty: it may


async def identify(store: Store, data_dir: Path, keeps: bool) -> Identity:
    """Identify the data directory, once at the start. `keeps`: whether it has code or the like already."""
    known = await asyncio.to_thread(_read, data_dir / FILE)
    mine = known.get("store")
    store_id = await _read_document(store)
    if store_id is None:
        store_id = uuid.uuid4().hex
        is_new = not [each for each in await store.segments("") if each != "quarantine"]
        await store.put(DOCUMENT, {"id": store_id})
        mine = mine or (_ANOTHER if is_new and keeps else store_id)
    mine = mine or store_id
    id = await asyncio.to_thread(_settle, data_dir, known, mine)
    why_incomplete = ""
    if mine != store_id:
        why_incomplete = (
            f"{data_dir}/state.db is not the one that the code in this directory was kept for: it is new, or another one. Nothing is "
            f"collected. Stop Hanabi and restore state.db; or, if what was there before is no longer wanted, remove {data_dir / FILE}"
        )
    return Identity(ImageOwner(id, data_dir), why_incomplete)


async def _read_document(store: Store) -> Any:
    try:
        document = await store.get(DOCUMENT)
    except DocumentDamaged as error:
        log.error("%s", error)
        return None
    return document[0].get("id") if document else None


def _settle(data_dir: Path, known: dict[str, Any], store_id: Any) -> str:
    """Write the current identity; returns the directory's id, a new one for a copy."""
    status = data_dir.stat()
    here = [status.st_dev, status.st_ino]
    id = str(known["id"]) if known.get("directory") == here and known.get("id") else uuid.uuid4().hex
    now = {"id": id, "directory": here, "store": store_id}
    if now != known:
        write_whole(data_dir / FILE, json.dumps(now), mode=0o644)
    return id


def is_alive(owner_id: str, directory: Path) -> bool:
    """Whether that data directory still exists at its place."""
    return _read(directory / FILE).get("id") == owner_id


def _read(path: Path) -> dict[str, Any]:
    """Read the identity; empty when absent or damaged."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
