"""Extensions without I/O: who may register, who gets which event when, and what the host waits for."""

import json

import pytest

from hanabi.errors import ExtensionLaunchError
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.runtime.extension_states import ExtensionState
from hanabi.runtime.extensions import Extension, ExtensionRefusal, Extensions
from tests.unit.runtime.host import invocation

BOTH = b'{"events":["INVOKE","SHUTDOWN"]}'
VERSION = invocation().route.version
DEPRECATED = "configurationKeys are deprecated"


class Asking:
    """One request for the next event."""

    def __init__(self, *, hung_up: bool = False) -> None:
        self.got: list[dict[str, object]] = []
        self.hung_up = hung_up

    def __call__(self, event: dict[str, object]) -> bool:
        if not self.hung_up:
            self.got.append(event)
        return not self.hung_up


def extensions(*names: str) -> Extensions:
    made = Extensions(VERSION)
    for name in names:
        made.expect(name)
    return made


def refused(call: object, *arguments: object) -> tuple[str, str]:
    with pytest.raises(ExtensionRefusal) as refusal:
        call(*arguments)  # type: ignore[operator]
    return refusal.value.kind, str(refusal.value)


def test_the_runtime_may_start_when_all_external_ones_have_registered() -> None:
    made = extensions("one", "two")
    assert not made.are_registered
    made.register("one", BOTH)
    assert not made.are_registered
    made.register("inner", b'{"events":["INVOKE"]}')
    made.register("two", b"{}")
    assert made.are_registered and not made.are_ready
    for each in made:
        made.next(each.identifier, Asking())
    assert made.are_ready


def test_what_one_is_told_of_the_function() -> None:
    made = extensions("one", "two")
    told = {"functionName": "demo", "functionVersion": "$LATEST", "handler": "app.handler"}
    assert made.register("one", BOTH)[1] == told
    assert made.register("two", BOTH, "other, accountId")[1] == {**told, "accountId": "000000000000"}


@pytest.mark.parametrize(
    "name, body, kind, message",
    [
        ("", BOTH, "Extension.InvalidExtensionName", "Empty extension name"),
        ("one", b'{"events":["START"]}', "Extension.InvalidEventType", "START: ErrorInvalidEventType"),
        ("inner", BOTH, "Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"),
        (
            "one",
            b'{"configurationKeys":["K"]}',
            "InvalidRequestFormat",
            "configurationKeys are deprecated; use environment variables instead",
        ),
        ("one", b'{"events":"INVOKE"}', "InvalidRequestFormat", "events is not a list of strings"),
        ("one", b'{"events":[1]}', "InvalidRequestFormat", "events is not a list of strings"),
        ("one", b"[]", "InvalidRequestFormat", "not an object"),
    ],
)
def test_registrations_that_are_refused(name: str, body: bytes, kind: str, message: str) -> None:
    assert refused(extensions("one").register, name, body) == (kind, message)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    assert refused(extensions("one").register, "one", body)[0] == "InvalidRequestFormat"


def test_nobody_registers_twice() -> None:
    made = extensions("one")
    made.register("one", BOTH)
    kind, message = refused(made.register, "one", BOTH)
    assert kind == "Extension.InvalidExtensionState"
    assert message == ("State transition from Registered to Registered failed for extension one. Error: State transition is not allowed")
    made.register("inner", b"{}")
    assert refused(made.register, "inner", b"{}") == ("Extension.InvalidExtensionState", "Extension with this name already registered")


def test_no_more_than_the_limit_external_and_internal_together() -> None:
    made = extensions("one")
    for number in range(EXTENSIONS_MAX - 1):
        made.register(f"inner-{number}", b"{}")
    assert refused(made.register, "more", b"{}") == ("Extension.TooManyExtensions", "Extension limit (10) reached")
    with pytest.raises(ExtensionLaunchError, match="ErrTooManyExtensions"):
        made.expect("more")
    assert made.first_error == "Extension.LaunchError"


def test_after_the_init_of_the_runtime_nobody_registers() -> None:
    made = extensions()
    made.close_registration()
    assert refused(made.register, "late", b"{}") == ("Extension.RegistrationClosed", "Extension registration closed already")


def test_only_who_asked_for_invocations_is_told_of_them_and_waited_for() -> None:
    made = extensions("both", "end")
    both, end = made.register("both", BOTH)[0], made.register("end", b'{"events":["SHUTDOWN"]}')[0]
    asking = {each: Asking() for each in (both, end)}
    for each in made:
        made.next(each.identifier, asking[each])
    assert made.take_invocations and made.are_done
    made.invoke(invocation(trace="Root=1"))
    assert asking[end].got == [] and end.state is ExtensionState.READY
    assert asking[both].got == [
        {
            "eventType": "INVOKE",
            "deadlineMs": 4_000_000_000_000,
            "requestId": "id-1",
            "invokedFunctionArn": VERSION.arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
        }
    ]
    assert both.state is ExtensionState.RUNNING and not made.are_done
    made.next(both.identifier, Asking())
    assert made.are_done


def test_an_event_waits_for_one_that_has_hung_up() -> None:
    made = extensions("one")
    one = made.register("one", BOTH)[0]
    made.next(one.identifier, Asking(hung_up=True))
    made.invoke(invocation())
    assert (one.state.value, made.are_done) == ("Ready", False)  # it has not even had it
    again = Asking()
    made.next(one.identifier, again)
    assert (one.state.value, len(again.got)) == ("Running", 1)


def test_one_that_waits_already_may_not_ask_again() -> None:
    made = extensions("one")
    one = made.register("one", BOTH)[0]
    first = Asking()
    made.next(one.identifier, first)
    kind, message = refused(made.next, one.identifier, Asking())
    assert (kind, message.split(" failed")[0]) == ("Extension.InvalidExtensionState", "State transition from Ready to Ready")
    made.abandon(one, Asking())  # not the one that waits
    assert refused(made.next, one.identifier, Asking())[0] == "Extension.InvalidExtensionState"
    made.abandon(one, first)
    made.next(one.identifier, Asking())


def test_one_at_work_is_told_of_the_end_when_it_asks() -> None:
    made = extensions("one")
    one = made.register("one", BOTH)[0]
    made.next(one.identifier, Asking())
    made.invoke(invocation())
    made.shut_down(one, "timeout", 7)
    asking = Asking()
    made.next(one.identifier, asking)
    assert asking.got == [{"eventType": "SHUTDOWN", "deadlineMs": 7, "shutdownReason": "timeout"}]


def test_the_first_error_counts() -> None:
    made = extensions("one", "two")
    one, two = made.register("one", BOTH)[0], made.register("two", BOTH)[0]
    assert refused(made.fail_init, one.identifier, "")[0] == "Extension.MissingHeader"
    made.fail_init(one.identifier, "Tool.NoKey")
    made.fail_init(one.identifier, "Tool.Other")
    made.fail_exit(two.identifier, "Tool.Gone")
    assert (one.error_type, two.error_type, made.first_error) == ("Tool.NoKey", "Tool.Gone", "Extension.InitError")
    kind, message = refused(made.next, one.identifier, Asking())
    assert kind == "Extension.InvalidExtensionState" and message.startswith("State transition from InitError to Ready failed")
    made.exit("one")
    assert one.state is ExtensionState.EXITED
    made.exit("one")  # and again
    made.exit("nobody")


@pytest.mark.parametrize("identifier", ["", "9a8d4bf6-0000-0000-0000-000000000000"])
def test_identifiers_that_nobody_has(identifier: str) -> None:
    made = extensions("one")
    assert refused(made.next, identifier, Asking()) == ("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
    for fail in (made.fail_init, made.fail_exit):
        assert refused(fail, identifier, "T") == ("Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")


def test_one_that_has_not_registered_is_not_found() -> None:
    made = Extensions(VERSION)
    expected = made.expect("one")
    assert made.find(expected.identifier) is None
    made.register("one", BOTH)
    assert made.find(expected.identifier) is expected


def test_in_a_clone_they_wait_for_their_next_event() -> None:
    made = Extensions(VERSION)
    made.adopt("one", "3f2a0d0e-0000-4000-8000-000000000001", ["INVOKE"], external=True)
    assert made.are_ready and made.take_invocations
    made.invoke(invocation())
    asking = Asking()
    made.next("3f2a0d0e-0000-4000-8000-000000000001", asking)
    assert asking.got[0]["requestId"] == "id-1"


def test_every_change_is_told() -> None:
    story: list[tuple[str, str]] = []
    steps: list[int] = []

    def note(extension: Extension) -> None:
        story.append((extension.name, extension.state.value))

    made = Extensions(VERSION, lambda: steps.append(len(story)), note)
    one = made.expect("one")
    made.register("one", json.dumps({"events": ["INVOKE"]}).encode())
    made.next(one.identifier, Asking())
    made.invoke(invocation())
    made.exit("one")
    assert story == [("one", state) for state in ("Registered", "Ready", "Running", "Exited")]
    assert steps == [1, 2, 3, 4]
