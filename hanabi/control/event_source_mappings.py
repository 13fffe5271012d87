"""Event source mappings of one account in one region, over the registry: what is to be polled, for which function, and how.

What polls listens to the registry. A change by a user leaves a mapping in a transitional state, from which `settle` brings it on.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Document, Store
from hanabi.control import event_sources
from hanabi.control.arns import AccountRegion
from hanabi.control.event_sources import SOURCES, EventSource, Settings, find_source, make_settings
from hanabi.control.functions import Functions
from hanabi.control.model import Function
from hanabi.control.registry import Kind, Parts, Registry
from hanabi.control.tags import check_tags
from hanabi.control.values import build, need
from hanabi.errors import InvalidParameterValue, ResourceConflict, ResourceInUse, ResourceNotFound

STEADY = ("Enabled", "Disabled")
STATES = ("Creating", "Enabling", "Disabling", "Updating", "Deleting", *STEADY)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSourceMapping:
    uuid: str
    source: str  # EventSource.kind
    function: str  # its name
    qualifier: str | None
    settings: Settings
    enabled: bool  # as the user wants it
    state: str
    modified_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    result: str | None = None  # LastProcessingResult; None: nothing was processed yet

    @property
    def source_names(self) -> tuple[str, ...]:
        """What it reads from: an ARN, or the servers of a Kafka of one's own."""
        if "EventSourceArn" in self.settings:
            return (self.settings["EventSourceArn"],)
        return tuple(server for servers in self.settings["SelfManagedEventSource"].get("Endpoints", {}).values() for server in servers)

    @property
    def parts_of_source(self) -> tuple[Any, ...]:
        """What of the source it reads."""
        return tuple(self.settings.get(member) for member in ("Topics", "Queues", "DocumentDBEventSourceConfig"))


class EventSourceMappings(Registry[EventSourceMapping]):
    """The mappings. A document is `event-source-mappings/<uuid>`. They stay when their function is deleted, as on AWS."""

    def __init__(self, store: Store, functions: Functions, clock: Clock, health: Health | None = None) -> None:
        super().__init__(store, Kind("event source mapping", "event-source-mappings/", read_mapping, mapping_document), clock, health)
        self.account_region: AccountRegion = functions.account_region
        self._functions = functions
        self._clock = clock
        self._settling: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Load all mappings. What was in transition goes on."""
        await super().open()
        for mapping in self:
            if mapping.state not in STEADY:
                self._begin_settling(mapping.uuid)

    def find(self, mapping_id: str) -> EventSourceMapping:
        """Return a mapping. Raises `ResourceNotFound`."""
        mapping = self.get(mapping_id)
        if mapping is None:
            raise ResourceNotFound("The resource you requested does not exist.")
        return mapping

    def function_arn(self, mapping: EventSourceMapping) -> str:
        return self.account_region.arn(mapping.function, mapping.qualifier)

    def arn(self, mapping_id: str) -> str:
        place = self.account_region
        return f"arn:{place.partition}:lambda:{place.region}:{place.account}:event-source-mapping:{mapping_id}"

    def listed(self, source_arn: str | None, function: tuple[str, str | None] | None) -> Iterable[EventSourceMapping]:
        """List mappings in the order of their UUIDs; `function` is (name, qualifier)."""
        for mapping in self:
            if source_arn is not None and mapping.settings.get("EventSourceArn") != source_arn:
                continue
            if function is None or function == (mapping.function, mapping.qualifier):
                yield mapping

    async def create(self, params: Mapping[str, Any], function: tuple[str, str | None]) -> EventSourceMapping:
        """Make a mapping. `params` are CreateEventSourceMapping's."""
        mapping_id, source, now = str(uuid.uuid4()), find_source(params), self._clock.time()
        enabled = params.get("Enabled") is not False
        mapping = EventSourceMapping(
            uuid=mapping_id,
            source=source.kind,
            function=function[0],
            qualifier=function[1],
            settings=make_settings(source, params, mapping_id, now),
            enabled=enabled,
            state="Creating" if enabled else "Disabled",
            modified_ms=int(now * 1000),
            tags=check_tags(params.get("Tags") or {}),
        )
        self._check_function(function)
        return await self._change(mapping_id, lambda old: self._unique(mapping))

    async def change_settings(
        self, mapping_id: str, params: Mapping[str, Any], function: tuple[str, str | None] | None
    ) -> EventSourceMapping:
        """Change a mapping. `params` are UpdateEventSourceMapping's; `function`: another one."""
        await self._wait_settled(mapping_id)
        wanted, now_ms = params.get("Enabled"), int(self._clock.time() * 1000)

        def change(old: EventSourceMapping | None) -> EventSourceMapping:
            old = _require(old, "update")
            settings = event_sources.change_settings(SOURCES[old.source], old.settings, params)
            target = function or (old.function, old.qualifier)
            if function is not None:
                self._check_function(function)
            enabled = old.enabled if wanted is None else wanted
            state = "Updating" if enabled == old.enabled else "Enabling" if enabled else "Disabling"
            new = replace(old, function=target[0], qualifier=target[1], settings=settings, enabled=enabled, state=state, modified_ms=now_ms)
            return self._unique(new)

        return await self._change(mapping_id, change)

    async def delete(self, mapping_id: str) -> EventSourceMapping:
        """Begin to delete a mapping; returns it as it is meanwhile."""
        await self._wait_settled(mapping_id)
        now_ms = int(self._clock.time() * 1000)
        return await self._change(mapping_id, lambda old: replace(_require(old, "delete"), state="Deleting", modified_ms=now_ms))

    async def change_tags(self, mapping_id: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Replace the tags by what `change` makes of them. Raises `ResourceNotFound`."""
        self.find(mapping_id)

        def apply(old: EventSourceMapping | None) -> EventSourceMapping:
            if old is None:
                raise ResourceNotFound("The resource you requested does not exist.")
            return replace(old, tags=check_tags(change(old.tags)))

        await self.commit(mapping_id, apply)

    async def settle(self, mapping_id: str) -> None:
        """Bring a mapping from a transitional state to where the user wants it."""

        def apply(mapping: EventSourceMapping | None) -> EventSourceMapping | None:
            if mapping is None or mapping.state in STEADY:
                return mapping
            return None if mapping.state == "Deleting" else replace(mapping, state="Enabled" if mapping.enabled else "Disabled")

        await self.apply(mapping_id, apply)

    async def _change(self, mapping_id: str, change: Callable[[EventSourceMapping | None], EventSourceMapping]) -> EventSourceMapping:
        mapping = await self.commit(mapping_id, change)
        assert mapping is not None
        if mapping.state not in STEADY:
            self._begin_settling(mapping_id)
        return mapping

    def _begin_settling(self, mapping_id: str) -> None:
        async def settle() -> None:
            what = f"The event source mapping {mapping_id} cannot be brought to its next state"
            await self._retries.do(f"settle {mapping_id}", what, lambda: self.settle(mapping_id))

        task = self._own(settle(), f"settle event source mapping {mapping_id}")
        self._settling[mapping_id] = task
        task.add_done_callback(lambda done: self._settling.pop(mapping_id, None) if self._settling.get(mapping_id) is done else None)

    async def _wait_settled(self, mapping_id: str) -> None:
        """Wait for what is about to end by itself, so that a quick caller is not told that the mapping is in use."""
        if mapping_id in self._settling:
            await asyncio.wait([self._settling[mapping_id]], timeout=1.0)
        self.find(mapping_id)

    def _check_function(self, target: tuple[str, str | None]) -> None:
        name, qualifier = target
        function: Function | None = self._functions.get(name)
        if function is None or not (qualifier is None or function.version(qualifier) or qualifier in function.aliases):
            raise InvalidParameterValue("Function does not exist")

    def _unique(self, mapping: EventSourceMapping) -> EventSourceMapping:
        """Return the mapping, if no other one reads the same for the same function."""
        for other in self:
            same_function = (other.function, other.qualifier) == (mapping.function, mapping.qualifier)
            if other.uuid == mapping.uuid or not same_function or other.parts_of_source != mapping.parts_of_source:
                continue
            if set(other.source_names) & set(mapping.source_names):
                raise ResourceConflict(self._say_conflict(mapping, other.uuid))
        return mapping

    def _say_conflict(self, mapping: EventSourceMapping, other_id: str) -> str:
        name = f"{mapping.function}:{mapping.qualifier}" if mapping.qualifier else mapping.function
        update = f"already exists. Please update or delete the existing mapping with UUID {other_id}"
        names = ",".join(mapping.source_names)
        if mapping.source == "sqs":
            return f'An event source mapping with SQS arn (" {names} ") and function (" {name} ") {update}'
        if mapping.source in ("kinesis", "dynamodb"):
            return f'The event source arn (" {names} ") and function (" {name} ") provided mapping {update}'
        parts = next(
            (
                f', {member.lower()} ("{",".join(mapping.settings[member])}")'
                for member in ("Topics", "Queues")
                if member in mapping.settings
            ),
            "",
        )
        return f'An event source mapping with event source ("{names}"), function ("{self.function_arn(mapping)}"){parts} {update}'


def source_of(mapping: EventSourceMapping) -> EventSource:
    return SOURCES[mapping.source]


def _require(mapping: EventSourceMapping | None, doing: str) -> EventSourceMapping:
    if mapping is None:
        raise ResourceNotFound("The resource you requested does not exist.")
    if mapping.state not in STEADY:
        raise ResourceInUse(f"Cannot {doing} the event source mapping because it is in use.")
    return mapping


def mapping_document(mapping: EventSourceMapping) -> Document:
    return asdict(mapping)


def read_mapping(name: str, document: Document, parts: Parts) -> EventSourceMapping:
    """Read a mapping. Raises `ValueError` with what is wrong."""
    mapping = build(EventSourceMapping, document, "it")
    need(mapping.uuid == name == str(uuid.UUID(name)), "has another UUID")
    need(mapping.source in SOURCES, f"has a source that cannot be: {mapping.source!r}")
    need(mapping.state in STATES, f"has a state that cannot be: {mapping.state!r}")
    need("EventSourceArn" in mapping.settings or "SelfManagedEventSource" in mapping.settings, "has no source")
    need(all(isinstance(each, str) for each in mapping.source_names), "has a source whose name is none")
    return mapping
