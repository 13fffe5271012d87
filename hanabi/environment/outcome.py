"""How an init or an invocation ended inside an environment, in Lambda's words.

Error types and messages: AWS Lambda developer guide, "Troubleshoot invocation issues" and the Runtime Interface Emulator.
"""

import json
import os
import signal
from errno import ENOENT

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Outcome
from hanabi.contracts.sandbox import Exit
from hanabi.environment.entrypoint import BOOTSTRAPS, has_bootstrap
from hanabi.errors import EntrypointError

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


def error_outcome(error_type: str, message: str, request_id: str | None, *, status: str = "error", reported: str | None = None) -> Outcome:
    """Make the outcome of an error that the runtime did not report. `reported`: the type in REPORT where it differs from the answer's."""
    return Outcome(error_payload(error_type, message, request_id), status, reported or error_type, message)


def error_payload(error_type: str, message: str, request_id: str | None) -> bytes:
    """Make the error JSON that Lambda makes when the runtime could not."""
    prefix = f"RequestId: {request_id} Error: " if request_id else ""
    return json.dumps({"errorType": error_type, "errorMessage": prefix + message}, separators=(",", ":")).encode()


def timeout_outcome(timeout_s: float, request_id: str | None) -> Outcome:
    message = f"Task timed out after {timeout_s:.2f} seconds"
    return error_outcome("Sandbox.Timedout", message, request_id, status="timeout")


def stopped_outcome(request_id: str | None) -> Outcome:
    """Make the outcome of a run ended because the server stops."""
    outcome = error_outcome("Sandbox.Failure", STOPPED, request_id)
    outcome.aborted = True
    return outcome


def refused_outcome(error: EntrypointError, image: RuntimeImage, version: FunctionVersion, request_id: str | None) -> Outcome:
    """Make the outcome of an init whose runtime could not be started, in Lambda's words (Go's os/exec)."""
    error_type = "Runtime.InvalidWorkingDir" if error.step == "chdir" else "Runtime.InvalidEntrypoint"
    return error_outcome(error_type, _refusal(error, image, version), request_id)


def _refusal(error: EntrypointError, image: RuntimeImage, version: FunctionVersion) -> str:
    if image.command or image.own_bootstrap or version.container is not None:
        return str(error)
    if error.errno == ENOENT and not has_bootstrap(version):
        return f"Couldn't find valid bootstrap(s): [{' '.join(BOOTSTRAPS)}]"
    return f"fork/exec {BOOTSTRAPS[0]}: {os.strerror(error.errno).lower()}"


def name_request(outcome: Outcome, request_id: str) -> None:
    """Add the request id to an error that Lambda words itself: a failed init became the end of an invocation."""
    if outcome.message is not None and isinstance(outcome.payload, bytes):
        outcome.payload = error_payload(json.loads(outcome.payload)["errorType"], outcome.message, request_id)


def exit_outcome(exit: Exit | None, violation: str, request_id: str | None, *, out_of_memory: bool) -> Outcome:
    """Make the outcome of a runtime that exited."""
    if exit is not None:
        return error_outcome("Runtime.ExitError", exit_message(exit), request_id, reported="Runtime.OutOfMemory" if out_of_memory else None)
    if violation:
        return error_outcome("Runtime.ProtocolViolation", violation, request_id)
    return error_outcome("Runtime.ExitError", NO_REASON, request_id)


def exit_message(ended: Exit) -> str:
    words = ended_words(ended)
    return f"Runtime exited with error: {words}" if words else NO_REASON


def ended_words(ended: Exit) -> str:
    """Format an exit as Go's os/exec and Lambda do: `exit status 1`, `signal: killed`; empty for one without an error."""
    if ended.signal is not None:
        return f"signal: {SIGNAL_NAMES.get(ended.signal, f'signal {ended.signal}')}"
    return f"exit status {ended.status}" if ended.status else ""
