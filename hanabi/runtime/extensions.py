"""The extensions of one environment, without I/O: registration, their events, and what the host waits for.

AWS Lambda developer guide, "Using the Lambda Extensions API to create extensions"; error types and texts as the Runtime Interface
Emulator's. An external extension is a process of its own, known by its file's name before it registers; an internal one registers from
the runtime's processes. Both are code of the function's: one can pretend to be the other, and gains nothing by it.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.invocation import Invocation
from hanabi.errors import ExtensionLaunchError
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.runtime.extension_states import EXTENSIONS, ExtensionEvent, ExtensionState
from hanabi.runtime.telemetry.subscription import Subscription

INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
INIT_ERROR, EXIT_ERROR, CRASH, LAUNCH_ERROR = "Extension.InitError", "Extension.ExitError", "Extension.Crash", "Extension.LaunchError"
INVALID_STATE = "Extension.InvalidExtensionState"
UNKNOWN = "Extension.UnknownExtensionIdentifier"
Deliver = Callable[[dict[str, object]], bool]
"""Hand an event to an extension that waits; False: it has hung up meanwhile."""


class ExtensionRefusal(Exception):
    """A request that is refused with 403: `kind` is the error type, the text its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Extension:
    """One extension. `pending` is an event that it has not taken yet."""

    __slots__ = ("deliver", "error_type", "events", "external", "identifier", "name", "pending", "state")

    def __init__(self, name: str, *, external: bool, identifier: str | None = None) -> None:
        self.name = name
        self.external = external
        self.identifier = identifier or str(uuid.uuid4())
        self.events: tuple[str, ...] = ()
        self.state = EXTENSIONS.initial
        self.error_type: str | None = None  # as it, or the start of its process, said
        self.pending: dict[str, object] | None = None
        self.deliver: Deliver | None = None

    def advance(self, event: ExtensionEvent) -> None:
        self.state = EXTENSIONS.advance(self.state, event)

    @property
    def is_done(self) -> bool:
        """Whether it waits for its next event, and has none."""
        return self.state is ExtensionState.READY and self.pending is None


class Extensions:
    """All extensions of an environment, from the start of its processes to their end.

    `on_change(extension)` is called after each change of a state, `on_progress` after it: then look at `are_registered`, `are_ready` and
    `are_done`.
    """

    def __init__(
        self,
        version: FunctionVersion,
        on_progress: Callable[[], None] = lambda: None,
        on_change: Callable[[Extension], None] = lambda extension: None,
    ) -> None:
        self.is_open = True  # for registration
        self.subscribe: Callable[[Subscription], bool] | None = None  # to telemetry; False: it had been done. Raises `SubscriptionRefused`
        self.first_error: str | None = None  # the first fatal error that one of them told of
        self._version = version
        self._on_progress = on_progress
        self._on_change = on_change
        self._by_name: dict[str, Extension] = {}
        self._by_identifier: dict[str, Extension] = {}

    def __iter__(self) -> Iterator[Extension]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, identifier: str) -> Extension | None:
        """Return the extension that has registered under an identifier."""
        found = self._by_identifier.get(identifier)
        return None if found is None or found.state is ExtensionState.STARTED else found

    # --- the host -----------------------------------------------------------------------------------------------------

    def expect(self, name: str) -> Extension:
        """Note that the process of an external one is about to be started. Raises `ExtensionLaunchError` when there are too many."""
        extension = Extension(name, external=True)
        self._add(extension)
        if len(self._by_name) > EXTENSIONS_MAX:
            self.fail_launch(extension, "TooManyExtensions")
            raise ExtensionLaunchError("ErrTooManyExtensions")
        return extension

    def adopt(self, name: str, identifier: str, events: Sequence[str], *, external: bool) -> None:
        """Note one that runs already, as in a clone: it waits for its next event."""
        extension = Extension(name, external=external, identifier=identifier)
        extension.events, extension.state = tuple(events), ExtensionState.READY
        self._add(extension)

    def fail_launch(self, extension: Extension, error_type: str) -> None:
        extension.error_type = error_type
        self.first_error = self.first_error or LAUNCH_ERROR
        self._advance(extension, ExtensionEvent.LAUNCH_ERROR)

    def close_registration(self) -> None:
        """The runtime's init is over: no more extensions are taken."""
        self.is_open = False

    @property
    def are_registered(self) -> bool:
        """Whether all external ones have registered: the runtime may start."""
        return not any(each.state is ExtensionState.STARTED for each in self._by_name.values())

    @property
    def are_ready(self) -> bool:
        """Whether all have ended their init."""
        return all(each.state is ExtensionState.READY for each in self._by_name.values())

    @property
    def are_done(self) -> bool:
        """Whether all have ended their work on the invocation."""
        return all(each.is_done for each in self._by_name.values() if INVOKE in each.events)

    @property
    def take_invocations(self) -> bool:
        return any(INVOKE in each.events for each in self._by_name.values())

    def invoke(self, invocation: Invocation) -> None:
        """Tell those that asked for INVOKE of an invocation."""
        event: dict[str, object] = {
            "eventType": INVOKE,
            "deadlineMs": invocation.deadline_ms,
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.route.invoked_arn,
        }
        if invocation.trace:
            event["tracing"] = {"type": "X-Amzn-Trace-Id", "value": invocation.trace}
        for extension in self:
            if INVOKE in extension.events:
                self._tell(extension, event)

    def shut_down(self, extension: Extension, reason: str, deadline_ms: int) -> None:
        """Tell one of the end. `reason`: "spindown" | "timeout" | "failure". One at work gets it when it asks for its next event."""
        self._tell(extension, {"eventType": SHUTDOWN, "deadlineMs": deadline_ms, "shutdownReason": reason})

    def exit(self, name: str) -> None:
        """Note the end of the process of an external one."""
        extension = self._by_name.get(name)
        if extension is not None and EXTENSIONS.allows(extension.state, ExtensionEvent.EXIT):
            extension.deliver = None
            self._advance(extension, ExtensionEvent.EXIT)

    def abandon(self, extension: Extension, deliver: Deliver) -> None:
        """Forget a request for the next event: its connection has gone."""
        if extension.deliver is deliver:
            extension.deliver = None

    # --- the extensions -----------------------------------------------------------------------------------------------

    def register(self, name: str, body: bytes, features: str = "") -> tuple[Extension, dict[str, str]]:
        """Register an extension; returns it and what it is told of the function. Raises `ExtensionRefusal`."""
        if not name:
            raise ExtensionRefusal("Extension.InvalidExtensionName", "Empty extension name")
        events = _events(body)
        known = self._by_name.get(name)
        external = known is not None and known.external
        for event in events:
            if event not in (INVOKE, SHUTDOWN):
                raise ExtensionRefusal("Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
            if event == SHUTDOWN and not external:
                message = f"{event}: ShutdownEventNotSupportedForInternalExtension"
                raise ExtensionRefusal("Extension.InvalidEventType", message)
        if known is None or not external:
            if not self.is_open:
                raise ExtensionRefusal("Extension.RegistrationClosed", "Extension registration closed already")
            if len(self._by_name) >= EXTENSIONS_MAX:
                raise ExtensionRefusal("Extension.TooManyExtensions", f"Extension limit ({EXTENSIONS_MAX}) reached")
            if known is not None:
                raise ExtensionRefusal(INVALID_STATE, "Extension with this name already registered")
            known = Extension(name, external=False)
            self._add(known)
        self._ask(known, ExtensionEvent.REGISTER, ExtensionState.REGISTERED, name)
        known.events = tuple(event for event in (INVOKE, SHUTDOWN) if event in events)
        self._changed(known)
        version = self._version
        told = {"functionName": version.name, "functionVersion": version.version, "handler": version.handler}
        if "accountId" in (feature.strip() for feature in features.split(",")):
            told["accountId"] = version.account
        return known, told

    def next(self, identifier: str, deliver: Deliver) -> Extension:
        """An extension asks for its next event; `deliver` gets it, at once or later. Raises `ExtensionRefusal`."""
        extension = self._named(identifier, f"Unknown extension {identifier}")
        if extension.deliver is not None:  # it waits already, on another connection
            raise _no_transition(extension, ExtensionState.READY, identifier)
        self._ask(extension, ExtensionEvent.NEXT, ExtensionState.READY, identifier)
        extension.deliver = deliver
        self._changed(extension)
        self._hand_over(extension)
        return extension

    def fail_init(self, identifier: str, error_type: str) -> None:
        """Raises `ExtensionRefusal`."""
        self._fail(identifier, error_type, ExtensionEvent.INIT_ERROR, ExtensionState.INIT_ERROR, INIT_ERROR)

    def fail_exit(self, identifier: str, error_type: str) -> None:
        """Raises `ExtensionRefusal`."""
        self._fail(identifier, error_type, ExtensionEvent.EXIT_ERROR, ExtensionState.EXIT_ERROR, EXIT_ERROR)

    def _fail(self, identifier: str, error_type: str, event: ExtensionEvent, to: ExtensionState, kind: str) -> None:
        extension = self._named(identifier, "Unknown Lambda-Extension-Identifier")
        if not error_type:
            raise ExtensionRefusal("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        self._ask(extension, event, to, identifier)
        extension.error_type = extension.error_type or error_type
        self.first_error = self.first_error or kind
        self._changed(extension)

    # --- both -----------------------------------------------------------------------------------------------------------

    def _add(self, extension: Extension) -> None:
        self._by_name[extension.name] = extension
        self._by_identifier[extension.identifier] = extension

    def _named(self, identifier: str, message: str) -> Extension:
        extension = self.find(identifier)
        if extension is None:
            raise ExtensionRefusal(UNKNOWN, message)
        return extension

    def _ask(self, extension: Extension, event: ExtensionEvent, to: ExtensionState, who: str) -> None:
        """Advance as an extension asks, if its state allows that."""
        if not EXTENSIONS.allows(extension.state, event):
            raise _no_transition(extension, to, who)
        extension.advance(event)

    def _advance(self, extension: Extension, event: ExtensionEvent) -> None:
        extension.advance(event)
        self._changed(extension)

    def _changed(self, extension: Extension) -> None:
        self._on_change(extension)
        self._on_progress()

    def _tell(self, extension: Extension, event: dict[str, object]) -> None:
        extension.pending = event
        self._hand_over(extension)

    def _hand_over(self, extension: Extension) -> None:
        """Give a waiting extension its event."""
        event, deliver = extension.pending, extension.deliver
        if event is None or deliver is None or extension.state is not ExtensionState.READY:
            return
        extension.deliver = None
        if deliver(event):  # else it asks again
            extension.pending = None
            self._advance(extension, ExtensionEvent.TAKE)


def _events(body: bytes) -> list[str]:
    """Read the body of a registration. Raises `ExtensionRefusal`."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, dict):
            raise ValueError("not an object")
        events = asked.get("events") or []
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            raise ValueError("events is not a list of strings")
    except (ValueError, RecursionError) as error:
        raise ExtensionRefusal("InvalidRequestFormat", str(error)) from None
    if asked.get("configurationKeys"):
        raise ExtensionRefusal("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
    return events


def _no_transition(extension: Extension, to: ExtensionState, who: str) -> ExtensionRefusal:
    message = (
        f"State transition from {extension.state.value} to {to.value} failed for extension {who}. Error: State transition is not allowed"
    )
    return ExtensionRefusal(INVALID_STATE, message)
