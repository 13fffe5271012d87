"""Tags of every kind of resource that has them."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.control.tags import TaggedKind, Tags, add_tags, remove_tags
from hanabi.edge.service import Call
from hanabi.errors import ResourceNotFound

Kinds = Mapping[str, TaggedKind]  # by the word for it in ARNs


def kind_of(arn: str) -> str:
    """Return the kind of an ARN: the word after the account."""
    return arn.split(":", 6)[5]


class CodeSigningTags:
    """The tags of code signing configurations, as a `TaggedKind`."""

    def __init__(self, configs: CodeSigningConfigs) -> None:
        self._configs = configs
        self.change_tags = configs.change_tags

    def tags_of(self, arn: str) -> Tags:
        return self._configs.find(arn).tags


class NoneOfKind:
    """A kind of which there are no resources here, as a `TaggedKind`."""

    def __init__(self, noun: str) -> None:
        self._noun = noun

    def tags_of(self, arn: str) -> Tags:
        self._refuse(arn)

    async def change_tags(self, arn: str, change: Callable[[Tags], dict[str, str]]) -> None:
        self._refuse(arn)

    def _refuse(self, arn: str) -> NoReturn:
        raise ResourceNotFound(f"{self._noun} not found: {arn}")


class TagOperations:
    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds

    async def tag_resource(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        await self._kinds[kind_of(arn)].change_tags(arn, add_tags(params["Tags"]))
        return {}

    async def untag_resource(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        await self._kinds[kind_of(arn)].change_tags(arn, remove_tags(params["TagKeys"]))
        return {}

    async def list_tags(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        return {"Tags": dict(self._kinds[kind_of(arn)].tags_of(arn))}
