"""Event source mappings, and the targets of their operations: the mapping, and the permission needed on it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hanabi.control.event_source_mappings import EventSourceMapping, EventSourceMappings, source_of
from hanabi.control.tags import Tags
from hanabi.edge.service import Call, Handler, Operation, Params, RequiredPermission
from hanabi.errors import ResourceNotFound
from hanabi.quotas import EVENT_SOURCE_PAGE_ITEMS
from hanabi.services.lambda_.pages import take_page
from hanabi.services.lambda_.targets import Qualified

Changed = tuple[str, Qualified | None]  # the UUID of a mapping, and the function that it is to have
NOTHING_PROCESSED = "No records processed"


class MappingTargets:
    """Makes the `Operation`s of mappings. `action` is without the service prefix. Mappings are looked up at each call only."""

    def __init__(self, mappings: EventSourceMappings) -> None:
        self._mappings = mappings

    def new_mapping(self, action: str, handler: Handler[Qualified]) -> Operation[Qualified]:
        """On a mapping that is made for a function: allowed on the account, with the function's ARN as a condition."""

        def permissions(function: Qualified, params: Params) -> Iterable[RequiredPermission]:
            tags = _tag_context(params)
            yield RequiredPermission(f"lambda:{action}", "*", {"lambda:FunctionArn": self._mappings.account_region.arn(*function)} | tags)
            if tags:
                yield RequiredPermission("lambda:TagResource", self._mappings.arn("*"), tags)

        return Operation(handler, self._parse_function, permissions, action=f"lambda:{action}", resource="*")

    def mapping(self, action: str, handler: Handler[str]) -> Operation[str]:
        """On a mapping, by its UUID, with the ARN of its function as a condition."""
        return Operation(
            handler,
            lambda params: params["UUID"],
            lambda mapping_id, params: [self._permission(action, mapping_id, {})],
            action=f"lambda:{action}",
            resource="event-source-mapping:UUID",
        )

    def changed_mapping(self, action: str, handler: Handler[Changed]) -> Operation[Changed]:
        """On a mapping that may get another function: allowed with either function's ARN as the condition."""

        def permissions(target: Changed, params: Params) -> Iterable[RequiredPermission]:
            mapping_id, function = target
            yield self._permission(action, mapping_id, {})
            if function is not None:
                yield self._permission(action, mapping_id, {"lambda:FunctionArn": self._mappings.account_region.arn(*function)})

        return Operation(
            handler,
            lambda params: (params["UUID"], self._parse_if_given(params)),
            permissions,
            action=f"lambda:{action}",
            resource="event-source-mapping:UUID",
        )

    def list_of_function(self, action: str, handler: Handler[Qualified | None]) -> Operation[Qualified | None]:
        """On the account; of a function, if one is named."""
        return Operation(
            handler,
            self._parse_if_given,
            lambda function, params: [RequiredPermission(f"lambda:{action}", "*")],
            action=f"lambda:{action}",
            resource="*",
        )

    def _permission(self, action: str, mapping_id: str, more: Mapping[str, str]) -> RequiredPermission:
        mapping = self._mappings.get(mapping_id)
        context: dict[str, str] = {}
        if mapping is not None:
            context = {f"aws:ResourceTag/{tag}": value for tag, value in mapping.tags.items()}
            context["lambda:FunctionArn"] = self._mappings.function_arn(mapping)
        return RequiredPermission(f"lambda:{action}", self._mappings.arn(mapping_id), {**context, **more})

    def _parse_function(self, params: Params) -> Qualified:
        return self._mappings.account_region.parse(params["FunctionName"])

    def _parse_if_given(self, params: Params) -> Qualified | None:
        return self._parse_function(params) if params.get("FunctionName") else None


def _tag_context(params: Params) -> dict[str, str | tuple[str, ...]]:
    tags = params.get("Tags") or {}
    context: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
    return context | ({"aws:TagKeys": tuple(tags)} if tags else {})


class MappingTags:
    """The tags of mappings, as a `TaggedKind`."""

    def __init__(self, mappings: EventSourceMappings) -> None:
        self._mappings = mappings

    def tags_of(self, arn: str) -> Tags:
        return self._mappings.find(self._find_id(arn)).tags

    async def change_tags(self, arn: str, change: Callable[[Tags], dict[str, str]]) -> None:
        await self._mappings.change_tags(self._find_id(arn), change)

    def _find_id(self, arn: str) -> str:
        mapping_id = arn.rpartition(":")[2]
        if self._mappings.get(mapping_id) is None:
            raise ResourceNotFound(f"Event source mapping not found: {arn}")
        return mapping_id


class MappingOperations:
    def __init__(self, mappings: EventSourceMappings) -> None:
        self._mappings = mappings

    async def create_event_source_mapping(self, call: Call, params: dict[str, Any], function: Qualified) -> dict[str, Any]:
        return self._describe(await self._mappings.create(params, function))

    async def get_event_source_mapping(self, call: Call, params: dict[str, Any], mapping_id: str) -> dict[str, Any]:
        return self._describe(self._mappings.find(mapping_id))

    async def update_event_source_mapping(self, call: Call, params: dict[str, Any], target: Changed) -> dict[str, Any]:
        mapping_id, function = target
        return self._describe(await self._mappings.change_settings(mapping_id, params, function))

    async def delete_event_source_mapping(self, call: Call, params: dict[str, Any], mapping_id: str) -> dict[str, Any]:
        return self._describe(await self._mappings.delete(mapping_id))

    async def list_event_source_mappings(self, call: Call, params: dict[str, Any], function: Qualified | None) -> dict[str, Any]:
        """List mappings: of a source, of a function as it is named, or all. What is not there has none."""
        listed = self._mappings.listed(params.get("EventSourceArn"), function)
        page, more = take_page(listed, lambda mapping: mapping.uuid, params, EVENT_SOURCE_PAGE_ITEMS)
        return {"EventSourceMappings": [self._describe(mapping) for mapping in page], **more}

    def _describe(self, mapping: EventSourceMapping) -> dict[str, Any]:
        """Make an EventSourceMappingConfiguration."""
        source = source_of(mapping)
        description = {
            "UUID": mapping.uuid,
            "EventSourceMappingArn": self._mappings.arn(mapping.uuid),
            "FunctionArn": self._mappings.function_arn(mapping),
            "LastModified": mapping.modified_ms / 1000,
            "State": mapping.state,
            "StateTransitionReason": source.reason,
            **mapping.settings,
        }
        return description | ({"LastProcessingResult": mapping.result or NOTHING_PROCESSED} if source.shows_result else {})
