"""The runtime's and the extensions' state tables together, model-checked: whatever order the messages come in, hostile ones included,
no invocation gets stuck, and no request that was accepted stays without an answer.

The rules are what the host, the runtime and any process inside may do next; the model is written down here once more, in its simplest form.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hanabi.contracts.invocation import Outcome
from hanabi.environment.extension_processes import EnvironmentExtensions
from hanabi.environment.states import EnvironmentState
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.runtime.extensions import Extension, ExtensionRefusal, Extensions
from hanabi.runtime.session import InvalidTransition, RuntimeSession
from hanabi.runtime.states import RuntimeState
from tests.unit.runtime.host import invocation

pytest.importorskip("hypothesis", reason="needs hypothesis: `make install` installs it")

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

VERSION = invocation().route.version
EXTERNAL = ("agent", "collector")
NAMES = st.sampled_from((*EXTERNAL, "inner", "other", ""))
EVENTS = st.sampled_from(('["INVOKE"]', '["SHUTDOWN"]', '["INVOKE","SHUTDOWN"]', "[]", '["NONSENSE"]'))
SELDOM = st.integers(0, 19)  # 0: this time
NOBODY = "00000000-0000-4000-8000-000000000000"


class Request:
    """One request for the next event: open, until it is answered or its connection has gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answers: list[dict[str, object]] = []
        self.gone = False

    def __call__(self, event: dict[str, object]) -> bool:
        if not self.gone:
            self.answers.append(event)
        return not self.gone

    @property
    def is_open(self) -> bool:
        return not self.gone and not self.answers


class World(RuleBasedStateMachine):
    """An environment whose host does what `Environment` and `Execution` do; phases: "init", "idle", "busy", "over"."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "init"
        self.count = 0  # invocations
        self.runtime_done = False
        self.told: dict[str, int] = {}  # INVOKE events by extension, as sent
        self.model: dict[str, str] = dict.fromkeys(EXTERNAL, "Started")
        self.subscribed: dict[str, str] = {}
        self.owed: set[str] = set()  # extensions that have not had the event of the current invocation
        self.was = "init"  # the phase after the last step
        self.requests: list[Request] = []
        self.extensions = EnvironmentExtensions(cast(Any, None), cast(Any, None), EnvironmentState(), cast(Any, Silent()), self.on_progress)
        self.current: Extensions = self.extensions.begin(VERSION)
        for name in EXTERNAL:
            self.current.expect(name)
        self.session = RuntimeSession(
            on_ready=self.on_ready,
            on_init_error=lambda payload, kind: self.end(),
            on_result=lambda payload: self.on_answer(),
            on_error=lambda payload, kind: self.on_answer(),
            on_violation=lambda reason: self.end(),
        )
        self.session.deliver = lambda invocation: None

    # --- the host -----------------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        if self.phase == "init" and self.extensions.note_runtime_ready():
            self.phase = "idle"

    def on_answer(self) -> None:
        self.runtime_done = True
        self.on_progress()

    def on_progress(self) -> None:
        if self.phase == "init" and self.extensions.end_init:
            self.phase = "idle"
        elif self.phase == "busy" and self.runtime_done and self.extensions.are_done:
            self.phase = "idle"

    def end(self) -> None:
        self.phase = "over"

    @precondition(lambda self: self.phase == "idle" and self.session.state is RuntimeState.READY)
    @rule()
    def invoke(self) -> None:
        self.count += 1
        self.phase, self.runtime_done = "busy", False
        sent = invocation(request_id=f"id-{self.count}")
        waiting = {each.name: each for each in self.requests if each.is_open}
        if self.extensions.take_invocations:
            self.extensions.invoke(sent)
        self.session.invoke(sent)
        for name, events in self.subscribed.items():
            if "INVOKE" in events:
                self.told[name] = self.told.get(name, 0) + 1
                if name in waiting and self.model[name] == "Ready":
                    self.model[name] = "Running"
                else:
                    self.owed.add(name)

    @precondition(lambda self: self.phase == "init")
    @rule(events=st.sampled_from(('["INVOKE"]', '["INVOKE","SHUTDOWN"]')))
    def come_up(self, events: str) -> None:
        """As good ones do, so that there are invocations."""
        for name in EXTERNAL:
            if self.model[name] == "Started":
                self.register(name, events)
        if self.current.is_open and self.runtime_may_start():
            self.runtime_says("next")
        for name in list(self.model):
            self.next(name, False)

    # --- the runtime --------------------------------------------------------------------------------------------------

    def runtime_may_start(self) -> bool:
        return self.current.are_registered

    @precondition(lambda self: self.runtime_may_start() and self.phase != "over")
    @rule(what=st.sampled_from(("next", "answer", "fail", "start", "fail init")))
    def runtime_says(self, what: str) -> None:
        before = self.session.state
        try:
            if what == "next":
                self.session.next()
            elif what == "start":
                self.session.start()
            elif what == "answer":
                self.session.answer(b"{}")
                self.session.release_answer()
            elif what == "fail":
                self.session.fail(b"{}")
                self.session.release_answer()
            elif before is not RuntimeState.STARTING or self.count == 0:
                self.session.fail_init(b"{}")
        except InvalidTransition:
            assert self.session.state is before

    # --- the extensions, and who pretends to be one ---------------------------------------------------------------------

    @rule(name=NAMES, events=EVENTS)
    def register(self, name: str, events: str) -> None:
        external = name in EXTERNAL
        may = bool(name) and "NONSENSE" not in events and (external or "SHUTDOWN" not in events)
        if external:
            may = may and self.model[name] == "Started"
        else:
            may = may and self.current.is_open and name not in self.model
        try:
            self.current.register(name, f'{{"events":{events}}}'.encode())
        except ExtensionRefusal:
            assert not may
        else:
            assert may
            self.model[name], self.subscribed[name] = "Registered", events

    @rule(name=NAMES, hung_up=st.booleans())
    def next(self, name: str, hung_up: bool) -> None:
        known = self.find(name)
        request = Request(name)
        waits = any(each.is_open and each.name == name for each in self.requests)
        may = self.model.get(name) in ("Registered", "Ready", "Running") and not waits
        try:
            self.current.next(NOBODY if known is None else known.identifier, request)
        except ExtensionRefusal:
            assert not may
            return
        assert may
        self.requests.append(request)
        self.model[name] = "Running" if name in self.owed else "Ready"
        self.owed.discard(name)
        if hung_up and request.is_open:
            request.gone = True
            if known is not None:
                self.current.abandon(known, request)

    @rule(name=NAMES, when=st.sampled_from(("init", "exit")), error_type=st.sampled_from(("Tool.Bad", "")), seldom=SELDOM)
    def fail(self, name: str, when: str, error_type: str, seldom: int) -> None:
        if seldom and error_type:
            return
        known, state = self.find(name), self.model.get(name)
        states = {"init": ("Registered", "InitError"), "exit": ("Registered", "Ready", "Running", "ExitError")}
        may = bool(error_type) and state in states[when]
        call = self.current.fail_init if when == "init" else self.current.fail_exit
        try:
            call(NOBODY if known is None else known.identifier, error_type)
        except ExtensionRefusal:
            assert not may
        else:
            assert may
            self.model[name] = "InitError" if when == "init" else "ExitError"

    @precondition(lambda self: self.phase != "over")
    @rule(name=st.sampled_from(EXTERNAL), seldom=SELDOM)
    def exit(self, name: str, seldom: int) -> None:
        """Its process ends: the host ends the run, and resets the environment."""
        if seldom:
            return
        self.current.exit(name)
        self.model[name] = "Exited"
        self.end()

    @rule()
    def hang_up(self) -> None:
        for request in self.requests:
            if request.is_open:
                known = self.find(request.name)
                request.gone = True
                if known is not None:
                    self.current.abandon(known, request)
                return

    def find(self, name: str) -> Extension | None:
        return next((each for each in self.current if each.name == name and self.model.get(name) != "Started"), None)

    # --- what is always true --------------------------------------------------------------------------------------------

    @invariant()
    def the_states_are_those_of_the_model(self) -> None:
        assert {each.name: each.state.value for each in self.current} == self.model
        assert len(self.current) <= EXTENSIONS_MAX

    @invariant()
    def a_phase_ends_when_all_have_done_their_part_and_not_before(self) -> None:
        was, self.was = self.was, self.phase
        done = all(self.model[name] == "Ready" and name not in self.owed for name, events in self.subscribed.items() if "INVOKE" in events)
        if (was, self.phase) == ("busy", "idle"):
            assert self.runtime_done and done
        elif (was, self.phase) == ("init", "idle"):
            assert not self.current.is_open and set(self.model.values()) <= {"Ready"}
        elif self.phase == "busy":
            assert not (self.runtime_done and done)
        elif self.phase == "init":
            assert self.current.is_open or not set(self.model.values()) <= {"Ready"}

    @invariant()
    def who_is_owed_an_event_will_get_it(self) -> None:
        assert {each.name for each in self.current if each.pending is not None} == self.owed

    @invariant()
    def an_open_request_waits_for_an_event_that_has_not_come(self) -> None:
        for request in self.requests:
            if request.is_open and self.model[request.name] in ("Ready", "Running"):
                extension = self.find(request.name)
                assert extension is not None and extension.deliver is request and extension.pending is None
            assert len(request.answers) <= 1

    @invariant()
    def nobody_gets_more_than_was_sent_nor_less(self) -> None:
        for name, sent in self.told.items():
            got = sum(1 for request in self.requests if request.name == name for event in request.answers if event["eventType"] == "INVOKE")
            assert got + (name in self.owed) == sent or self.model[name] in ("ExitError", "Exited")

    def teardown(self) -> None:
        """From wherever it stands: if everybody does now what a good one does, the invocation under way ends."""
        if self.phase == "over" or any(state.endswith("Error") for state in self.model.values()):
            return  # the host's deadline, or the exit that is to follow, ends it
        for name, state in list(self.model.items()):
            if state == "Started":
                self.register(name, '["INVOKE"]')
        if self.session.state is RuntimeState.STARTING:
            self.session.next()
        for _ in range(3):
            if self.session.state is RuntimeState.INVOKING:
                self.session.answer(b"{}")
                self.session.release_answer()
            if self.session.state is RuntimeState.ANSWERED:
                self.session.next()
            for name in list(self.model):
                if not any(each.is_open and each.name == name for each in self.requests):
                    self.next(name, False)
        assert self.phase == "idle"
        for extension in self.current:
            self.current.shut_down(extension, "spindown", 1)
        for request in self.requests:
            assert not request.is_open  # nobody waits in vain


class Silent:
    """A log that nobody reads, nor subscribes to."""

    telemetry = SimpleNamespace(subscribe=None)

    def close_extensions(self) -> None: ...


def test_an_outcome_of_extensions_is_an_outcome() -> None:
    """What the host makes of an end that the machine above only calls `over`."""
    state = EnvironmentState()
    extensions = EnvironmentExtensions(cast(Any, None), cast(Any, None), state, cast(Any, Silent()), lambda: None)
    assert extensions.failure(None, "id") is None and isinstance(extensions.are_done, bool)
    assert Outcome(b"", "success").extensions_us is None


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
