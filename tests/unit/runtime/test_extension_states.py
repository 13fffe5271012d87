"""The table of an extension's life."""

from hanabi.runtime.extension_states import EXTENSIONS, ExtensionEvent, ExtensionState

ALLOWED = {
    "STARTED": "REGISTERED LAUNCH_ERROR EXITED",
    "REGISTERED": "READY INIT_ERROR EXIT_ERROR EXITED",
    "READY": "READY RUNNING EXIT_ERROR EXITED",
    "RUNNING": "READY EXIT_ERROR EXITED",
    "INIT_ERROR": "INIT_ERROR EXITED",
    "EXIT_ERROR": "EXIT_ERROR EXITED",
    "LAUNCH_ERROR": "",
    "EXITED": "",
}


def test_what_follows_what() -> None:
    got = {state.name: " ".join(dict.fromkeys(after.name for after in EXTENSIONS.transitions[state].values())) for state in ExtensionState}
    assert got == ALLOWED


def test_every_state_is_reached_and_every_event_used() -> None:
    assert EXTENSIONS.reachable == frozenset(ExtensionState)
    assert {event for after in EXTENSIONS.transitions.values() for event in after} == set(ExtensionEvent)


def test_the_states_have_the_names_that_aws_shows() -> None:
    assert [state.value for state in ExtensionState] == [
        "Started", "Registered", "Ready", "Running", "InitError", "ExitError", "LaunchError", "Exited",
    ]  # fmt: skip
