"""Event source mappings as the control plane keeps them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.store import Write
from hanabi.control.aliases import add_alias
from hanabi.control.event_source_mappings import EventSourceMapping
from hanabi.errors import InvalidParameterValue, ResourceConflict, ResourceInUse, ResourceNotFound
from tests.unit.control.support import ACCOUNT, ARN, REGION, Plane, open_plane
from tests.unit.control.test_event_sources import KINESIS, OWN, QUEUE


async def settle(plane: Plane) -> None:
    await plane.control.wait_idle()


async def test_the_life_of_a_mapping(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        mappings, states = plane.control.mappings, list[str | None]()
        mappings.listen(lambda old, new: states.append(new.state if new else None))
        mapping = await mappings.create({"EventSourceArn": QUEUE, "Tags": {"a": "b"}}, ("f", None))
        assert (mapping.state, mapping.enabled, mapping.tags, mappings.function_arn(mapping)) == ("Creating", True, {"a": "b"}, f"{ARN}:f")
        await settle(plane)
        assert mappings.find(mapping.uuid).state == "Enabled"
        assert (await mappings.change_settings(mapping.uuid, {"BatchSize": 3}, None)).state == "Updating"
        assert (await mappings.change_settings(mapping.uuid, {"Enabled": False}, None)).state == "Disabling"
        await settle(plane)
        assert (mappings.find(mapping.uuid).state, mappings.find(mapping.uuid).settings["BatchSize"]) == ("Disabled", 3)
        assert (await mappings.change_settings(mapping.uuid, {"Enabled": True}, None)).state == "Enabling"
        assert (await mappings.delete(mapping.uuid)).state == "Deleting"
        await settle(plane)
        assert mappings.get(mapping.uuid) is None
        ends = ["Creating", "Enabled", "Updating", "Enabled", "Disabling", "Disabled", "Enabling", "Enabled", "Deleting", None]
        assert states == ends
        disabled = await mappings.create({"EventSourceArn": QUEUE, "Enabled": False}, ("f", None))
        assert (disabled.state, disabled.enabled) == ("Disabled", False)
        for call in (mappings.delete(mapping.uuid), mappings.change_settings(mapping.uuid, {}, None)):
            with pytest.raises(ResourceNotFound, match="The resource you requested does not exist."):
                await call


async def test_what_was_in_transition_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        mapping = await plane.control.mappings.create({"EventSourceArn": QUEUE}, ("f", None))
        await settle(plane)
        await plane.store.write([written(plane, mapping, "Disabling", enabled=False)])
    async with open_plane(tmp_path) as plane:
        await settle(plane)
        assert plane.control.mappings.find(mapping.uuid).state == "Disabled"


def written(plane: Plane, mapping: EventSourceMapping, state: str, **changes: Any) -> Write:
    """What another process would write."""
    mappings = plane.control.mappings
    return Write(f"event-source-mappings/{mapping.uuid}", {**asdict(mapping), "state": state, **changes}, mappings.revision(mapping.uuid))


async def test_a_mapping_in_transition_is_in_use(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        mappings = plane.control.mappings
        mapping = await mappings.create({"EventSourceArn": QUEUE}, ("f", None))
        await settle(plane)
        await plane.store.write([written(plane, mapping, "Updating")])
        while mappings.find(mapping.uuid).state != "Updating":
            await settle(plane)
        with pytest.raises(ResourceInUse, match="Cannot update the event source mapping because it is in use."):
            await mappings.change_settings(mapping.uuid, {"BatchSize": 1}, None)
        with pytest.raises(ResourceInUse, match="Cannot delete the event source mapping because it is in use."):
            await mappings.delete(mapping.uuid)


async def test_functions(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Publish=True)
        await plane.create("g")
        await plane.functions.change("f", lambda f: add_alias(f, {"Name": "live", "FunctionVersion": "1"}))
        mappings = plane.control.mappings
        for target in (("nowhere", None), ("f", "2"), ("f", "none")):
            with pytest.raises(InvalidParameterValue, match="Function does not exist"):
                await mappings.create({"EventSourceArn": QUEUE}, target)
        made = [await mappings.create({"EventSourceArn": QUEUE}, ("f", qualifier)) for qualifier in (None, "$LATEST", "1", "live")]
        assert [mappings.function_arn(mapping) for mapping in made] == [f"{ARN}:f", f"{ARN}:f:$LATEST", f"{ARN}:f:1", f"{ARN}:f:live"]
        assert [mapping.uuid for mapping in mappings.listed(None, ("f", "live"))] == [made[3].uuid]
        assert {mapping.uuid for mapping in mappings.listed(QUEUE, None)} == {mapping.uuid for mapping in made}
        assert list(mappings.listed(KINESIS, None)) == list(mappings.listed(None, ("g", None))) == []
        moved = await mappings.change_settings(made[0].uuid, {}, ("g", None))
        assert mappings.function_arn(moved) == f"{ARN}:g"
        await settle(plane)
        await plane.deployment.delete("g")
        assert mappings.find(moved.uuid).state == "Enabled"  # as on AWS


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"EventSourceArn": QUEUE}, f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already exists.'),
        (
            {"EventSourceArn": KINESIS, "StartingPosition": "LATEST"},
            f'The event source arn (" {KINESIS} ") and function (" f ") provided mapping already exists.',
        ),
        (OWN, f'An event source mapping with event source ("k:1"), function ("{ARN}:f"), topics ("t") already exists.'),
    ],
)
async def test_a_source_is_mapped_to_a_function_once(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        await plane.create("g")
        mappings = plane.control.mappings
        mapping = await mappings.create(params, ("f", None))
        with pytest.raises(ResourceConflict) as caught:
            await mappings.create(params, ("f", None))
        assert caught.value.message == f"{message} Please update or delete the existing mapping with UUID {mapping.uuid}"
        other = await mappings.create(params, ("g", None))
        with pytest.raises(ResourceConflict):
            await mappings.change_settings(other.uuid, {}, ("f", None))
        await mappings.create({**OWN, "Topics": ["another"]}, ("f", None))


async def test_tags(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        mappings = plane.control.mappings
        mapping = await mappings.create({"EventSourceArn": QUEUE, "Tags": {"a": "1"}}, ("f", None))
        await mappings.change_tags(mapping.uuid, lambda tags: {**tags, "b": "2"})
        assert mappings.find(mapping.uuid).tags == {"a": "1", "b": "2"}
        with pytest.raises(InvalidParameterValue):
            await mappings.change_tags(mapping.uuid, lambda tags: {str(n): "" for n in range(51)})
        with pytest.raises(ResourceNotFound):
            await mappings.change_tags("nothing", lambda tags: tags)
        assert mappings.arn(mapping.uuid) == f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{mapping.uuid}"
