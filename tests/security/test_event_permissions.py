"""Event source mappings and destinations: who may reach which function by them."""

from pathlib import Path

from tests.security.names import MINE, THEIRS, functions_named
from tests.security.test_spellings import ALLOWED, BY_UUID, is_another, prepare
from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.world import FUNCTION, allow, deny, open_world


async def test_mappings_are_denied_by_their_uuid_and_by_their_function(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        owner, made = world.keys.root, {}
        for name in (MINE, THEIRS):
            source = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
            made[name] = (await world.ask(owner, "lambda", "CreateEventSourceMapping", FunctionName=name, EventSourceArn=source)).json
        await world.control.wait_idle()
        theirs, mine = made[THEIRS]["UUID"], made[MINE]["UUID"]
        functions = {"Condition": {"ArnLike": {"lambda:FunctionArn": [f"{FUNCTION}:{THEIRS}", f"{FUNCTION}:{THEIRS}:*"]}}}
        by_uuid = await world.session("not-that-uuid", allow("*"), deny("*", made[THEIRS]["EventSourceMappingArn"]))
        by_function = await world.session("not-that-function", allow("*"), deny("*", "*", **functions))
        for key in (by_uuid, by_function):
            for operation in sorted(BY_UUID):
                assert (await world.ask(key, "lambda", operation, UUID=theirs)).denied
                for spelling in (theirs.upper(), f"{theirs[:-1]} ", theirs.replace("-", "0"), f"%{ord(theirs[0]):02x}{theirs[1:]}"[:36]):
                    answer = await world.ask(key, "lambda", operation, UUID=spelling)
                    assert answer.status >= 400 or spelling == theirs, (operation, spelling, answer)
            assert (await world.ask(key, "lambda", "GetEventSourceMapping", UUID=mine)).status == 200
        source = f"arn:aws:sqs:{REGION}:{ACCOUNT}:another"
        for spelling in functions_named(THEIRS):
            for operation, more in (("UpdateEventSourceMapping", {"UUID": mine}), ("CreateEventSourceMapping", {"EventSourceArn": source})):
                answer = await world.ask(by_function, "lambda", operation, FunctionName=spelling, **more)
                assert answer.status >= 400 or is_another("FunctionName", spelling), (operation, spelling, answer)
        assert [mapping.function for mapping in world.control.mappings if mapping.uuid != theirs] == [MINE]


async def test_results_go_to_no_function_that_the_caller_may_not_invoke(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await prepare(world)
        denied = await world.session("all-but-theirs", allow("*"), deny("lambda:InvokeFunction", [f"{FUNCTION}:{THEIRS}*"]))
        only = await world.session("only-mine", allow("*", ALLOWED))
        for arn in (f"{FUNCTION}:{THEIRS}", f"{FUNCTION}:{THEIRS}:live", f"{FUNCTION}:{THEIRS}:$LATEST"):
            for side in ("OnSuccess", "OnFailure"):
                given = {"FunctionName": MINE, "MaximumRetryAttempts": 1, "DestinationConfig": {side: {"Destination": arn}}}
                for operation in ("PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig"):
                    for key in (denied, only):
                        assert (await world.ask(key, "lambda", operation, **given)).denied
        for spelling in functions_named(THEIRS):
            given = {"FunctionName": MINE, "DestinationConfig": {"OnSuccess": {"Destination": spelling}}}
            assert (await world.ask(denied, "lambda", "PutFunctionEventInvokeConfig", **given)).status >= 400, spelling
        mine = world.control.functions.find(MINE)
        assert mine.event_configs == {}
