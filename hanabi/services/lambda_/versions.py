"""Published versions."""

from typing import Any

from hanabi.control.functions import Functions
from hanabi.control.model import Version
from hanabi.control.settings import refuse_unsupported
from hanabi.control.versions import publish_settled, published_by
from hanabi.edge.service import Call
from hanabi.services.lambda_.describe import describe_listed, describe_version
from hanabi.services.lambda_.pages import take_page


class VersionOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def publish_version(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        refuse_unsupported(params)
        function = await self._functions.change(
            name,
            lambda function: publish_settled(
                function,
                sha256=params.get("CodeSha256"),
                revision_id=params.get("RevisionId"),
                description=params.get("Description"),
                unnumbered=bool(params.get("PublishTo")),
            ),
        )
        version = published_by(function, params)
        return describe_version(function, version, f"{function.arn}:{version.number}")

    async def list_versions_by_function(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        function = self._functions.find(name)
        page, more = take_page((function.latest, *function.versions.values()), sort_key, params)
        return {"Versions": [describe_listed(function, version, f"{function.arn}:{version.number}") for version in page], **more}


def sort_key(version: Version) -> str:
    """Sort `$LATEST` first, then the numbers."""
    return version.number if version.number[0] == "$" else version.number.zfill(12)
