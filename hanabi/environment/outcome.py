"""How an init or an invocation ended inside an environment, in Lambda's words.

Error types and messages: AWS Lambda developer guide, "Troubleshoot invocation issues" and the Runtime Interface Emulator.
"""

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hanabi.contracts.sandbox import Exit

if TYPE_CHECKING:
    from hanabi.environment.environment import Environment

STOPPED = "Hanabi was stopped before the function had ended"
NO_REASON = "Runtime exited without providing a reason"
SIGNAL_NAMES: dict[int, str] = {  # those of Go's syscall package
    signal.SIGABRT: "aborted",
    signal.SIGALRM: "alarm clock",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGHUP: "hangup",
    signal.SIGILL: "illegal instruction",
    signal.SIGINT: "interrupt",
    signal.SIGKILL: "killed",
    signal.SIGPIPE: "broken pipe",
    signal.SIGQUIT: "quit",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGSYS: "bad system call",
    signal.SIGTERM: "terminated",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
    signal.SIGXCPU: "CPU time limit exceeded",
    signal.SIGXFSZ: "file size limit exceeded",
}


@dataclass(slots=True)
class Outcome:
    """The end of an init or an invocation. `payload` is the answer, or the error as JSON."""

    payload: bytes
    status: str  # "success" | "error" | "timeout"
    error_type: str | None = None
    message: str | None = None  # of an error that Lambda words itself: the runtime had no chance to
    reusable: bool = False  # whether the environment may serve the next invocation
    undelivered: bool = False  # the runtime never had the invocation: another environment may run it
    duration_ms: float = 0.0
    aborted: bool = False  # ended because the server stops


class InitFailed(Exception):
    """A function's init failed. `environment` is on its way out, its log stream still takes the record."""

    def __init__(self, environment: "Environment", outcome: Outcome) -> None:
        super().__init__(outcome.error_type)
        self.environment = environment
        self.outcome = outcome


def error_outcome(error_type: str, message: str, request_id: str | None, *, status: str = "error", reported: str | None = None) -> Outcome:
    """An end that the runtime could not word itself. `reported` is the type in REPORT where it differs from the answer's."""
    return Outcome(error_payload(error_type, message, request_id), status, reported or error_type, message)


def error_payload(error_type: str, message: str, request_id: str | None) -> bytes:
    """The error JSON that Lambda itself makes when the runtime could not."""
    prefix = f"RequestId: {request_id} Error: " if request_id else ""
    return json.dumps({"errorType": error_type, "errorMessage": prefix + message}, separators=(",", ":")).encode()


def exit_outcome(exit: Exit | None, violation: str, request_id: str | None, *, out_of_memory: bool) -> Outcome:
    """What a runtime died of."""
    if exit is not None:
        return error_outcome("Runtime.ExitError", exit_message(exit), request_id, reported="Runtime.OutOfMemory" if out_of_memory else None)
    if violation:
        return error_outcome("Runtime.ProtocolViolation", violation, request_id)
    return error_outcome("Runtime.ExitError", NO_REASON, request_id)


def timeout_message(timeout_s: float) -> str:
    return f"Task timed out after {timeout_s:.2f} seconds"


def exit_message(ended: Exit) -> str:
    """`exit status 1`, `signal: killed`: as Go's os/exec words it, and so Lambda."""
    if ended.signal is not None:
        return f"Runtime exited with error: signal: {SIGNAL_NAMES.get(ended.signal, f'signal {ended.signal}')}"
    if ended.status:
        return f"Runtime exited with error: exit status {ended.status}"
    return NO_REASON
