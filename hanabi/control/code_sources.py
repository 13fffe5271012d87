"""Where the code of functions and layers comes from: a zip in the request, or one in S3; stored either way."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.control.dependencies import CodeObjects, CodeStore
from hanabi.errors import InvalidParameterValue

REFERENCE = "REFERENCE"
_OF_S3 = ("S3Bucket", "S3Key", "S3ObjectVersion", "S3ObjectStorageMode")


@dataclass(frozen=True, slots=True)
class ReceivedCode:
    """Code that is stored. `object` is a ResolvedS3Object, of code that refers to one."""

    sha256: str  # of the zip, base64
    size: int
    object: Mapping[str, str] | None = None


class CodeSources:
    """The sources. Without `objects` there is no S3."""

    def __init__(self, code: CodeStore, objects: CodeObjects | None) -> None:
        self._code = code
        self._objects = objects

    async def receive(self, given: Mapping[str, Any], missing: str) -> ReceivedCode:
        """Store what a FunctionCode, or a LayerVersionContentInput, names; `missing` is the message for one that names nothing.

        A copy is kept whatever S3ObjectStorageMode is: a function must start when S3 does not answer.
        """
        blob: bytes | Path | None = given.get("ZipFile")
        if blob:
            if any(given.get(member) for member in _OF_S3):
                raise InvalidParameterValue("Please do not provide other FunctionCode parameters when providing a ZipFile.")
            stored = await self._code.store(blob)
            return ReceivedCode(stored.sha256, stored.size)
        bucket, key = given.get("S3Bucket"), given.get("S3Key")
        if not bucket or not key:
            raise InvalidParameterValue(missing)
        if self._objects is None:
            raise InvalidParameterValue("S3Bucket: this Hanabi knows no S3. Start it with --s3-endpoint URL, or give the zip in ZipFile.")
        async with self._objects.fetch(bucket, key, given.get("S3ObjectVersion")) as found:
            stored = await self._code.store(found.path)
        if given.get("S3ObjectStorageMode") != REFERENCE:
            return ReceivedCode(stored.sha256, stored.size)
        version = found.version or given.get("S3ObjectVersion")
        place = {"S3Bucket": bucket, "S3Key": key} | ({"S3ObjectVersion": version} if version else {})
        return ReceivedCode(stored.sha256, stored.size, place)
