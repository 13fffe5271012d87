"""Every error that Hanabi raises on purpose, in one tree, with the HTTP status and the AWS code that each one becomes.

Those in brackets are defined by the room named, which they are about. An exception that is not here is private to its room: it never
leaves it (`tests/structure/test_errors.py`). The tree is made by `python -m tests.structure.errors`.

    HanabiError                                 The root of the tree
      ApiError                                  500 ServiceException
        ServiceError                            500 ServiceException
          ShuttingDown                          500 ServiceException
          DocumentDamaged                       500 ServiceException
        ServiceUnavailable                      503 ServiceUnavailable
        ResourceNotFound                        404 ResourceNotFoundException
          CodeSigningConfigGone                 404 ResourceNotFoundException
        ProvisionedConcurrencyConfigNotFound    404 ProvisionedConcurrencyConfigNotFoundException
        CodeSigningConfigNotFound               404 CodeSigningConfigNotFoundException
        CodeVerificationFailed                  400 CodeVerificationFailedException
        InvalidCodeSignature                    400 InvalidCodeSignatureException
        SnapStartNotReady                       409 SnapStartNotReadyException
        SnapStartFailure                        400 SnapStartException
        SnapStartTimeout                        408 SnapStartTimeoutException
        EFSMountFailure                         403 EFSMountFailureException
        ResourceConflict                        409 ResourceConflictException
        ResourceInUse                           400 ResourceInUseException
        RecursiveInvocation                     400 RecursiveInvocationException
        InvalidParameterValue                   400 InvalidParameterValueException
          UntypedInvalidParameterValue          400 InvalidParameterValueException
        InvalidRequestContent                   400 InvalidRequestContentException
        ValidationError                         400 ValidationException
        TooManyRequests                         429 TooManyRequestsException
        RequestTooLarge                         413 RequestTooLargeException
        RequestEntityTooLarge                   413 RequestEntityTooLargeException
        PreconditionFailed                      412 PreconditionFailedException
        PolicyLengthExceeded                    400 PolicyLengthExceededException
        InvalidZipFile                          502 InvalidZipFileException
        AccessDenied                            403 AccessDeniedException
          ForeignAccount                        403 AccessDeniedException
        SerializationError                      400 SerializationException
        UnknownOperation                        404 UnknownOperationException
        AuthenticationError                     403 IncompleteSignatureException
          MissingAuthenticationToken            403 MissingAuthenticationTokenException
          IncompleteSignature                   403 IncompleteSignatureException
          UnrecognizedClient                    403 UnrecognizedClientException
          ExpiredToken                          403 ExpiredTokenException
          InvalidSignature                      403 InvalidSignatureException
        NotImplementedOperation                 501 NotImplementedException
        TooManyKeys [edge]                      409 LimitExceeded
        MalformedPolicyDocument [edge]          400 MalformedPolicyDocument
        Throttling [edge]                       400 Throttling
        MethodNotAllowed [edge]                 405 MethodNotAllowedException
        InvalidParameter [ledger]               400 InvalidParameterException
          InvalidPattern [ledger]               400 InvalidParameterException
        MutuallyExclusive [ledger]              400 ValidationException
        TooManyTags [ledger]                    400 TooManyTagsException
        LogLimitExceeded [ledger]               400 LimitExceededException
        LiveTailTimeout [ledger]                400 SessionTimeoutException
        NoSuchGroup [ledger]                    400 ResourceNotFoundException
        NoSuchStream [ledger]                   400 ResourceNotFoundException
        AlreadyExists [ledger]                  400 ResourceAlreadyExistsException
        LogsUnavailable [ledger]                503 ServiceUnavailableException
        NoSuchEntity [services.iam]             404 NoSuchEntity
        EntityAlreadyExists [services.iam]      409 EntityAlreadyExists
        DeleteConflict [services.iam]           409 DeleteConflict
        LimitExceeded [services.iam]            409 LimitExceeded
        ConcurrentModification [services.iam]   409 ConcurrentModification
        InvalidInput [services.iam]             400 InvalidInput
        UnmodifiableEntity [services.iam]       400 UnmodifiableEntity
        SessionTagsInvalid [services.sts]       400 InvalidParameterValue
      IsolationUnavailable                      The isolation asked for cannot be given here
      SandboxError                              A sandbox could not be made, or broke
        EntrypointError                         A process could not be executed inside a sandbox
        SnapshotUnusable                        A function's snapshot is not whole, or was made on another host
        SnapshotImpossible                      A function's process cannot be copied
        VmmError                                A call of a VMM's API that failed
          VmmUnresponsive                       A VMM that does not answer, hangs up, or answers malformed bytes
      ExtensionLaunchError                      An extension of a function could not be started
      SubscriptionRefused                       A subscription to telemetry that is refused, with its HTTP status, error type and message
      NotDelivered                              A batch of telemetry that its subscriber did not take
      ExtensionsNotReady                        The init has ended before all extensions had registered
      SnapshotFailed                            A version's init, or a hook before its snapshot, failed
      ImageError                                A runtime root or a container image could not be had; the message says why and how to get it
        NotThere [images]                       The server answers 404
      CodeError                                 Code that a function refers to is not there, or is damaged; the message says how to fix it
      BodyError                                 The bytes of a message did not come as they should
        BodyIncomplete                          Its sender broke off, or was too slow
        BodyTooLarge                            There are more bytes than its reader takes
      RevisionMismatch                          Compare-and-set lost
      StorageFailed                             What is to be kept cannot be written now, or what is kept cannot be read
      StateError                                Something on disk cannot be used as it is
        StateTooNew                             A newer Hanabi wrote it
        StateDamaged                            It is not what Hanabi wrote
          DatabaseDamaged                       No database, or one whose pages contradict each other
      SettingsError [node]                      An invalid value of a setting, which the message names

What rooms tell each other by raising, and no client ever sees:

    InitFailed [contracts]                      A failed init of a function

HTTP statuses are those of botocore's service models; `tests/unit/test_errors.py` compares them.
"""

import sqlite3
from pathlib import Path
from typing import Any, ClassVar


class HanabiError(Exception):
    """The root of the tree."""


class ApiError(HanabiError):
    """An answer to an AWS client. `code` is the error shape's name in the service model."""

    code: ClassVar[str] = "ServiceException"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "User"  # the `Type` member of Lambda's error bodies; empty: AWS's answer has none

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class ServiceError(ApiError):
    code = "ServiceException"
    status = 500
    type = "Service"


class ShuttingDown(ServiceError):
    """What was under way, or asked for, when the server stopped."""

    def __init__(self, message: str = "Hanabi is shutting down. Please try again.") -> None:
        super().__init__(message)


class ServiceUnavailable(ApiError):
    """The server takes nothing new, for now."""

    code = "ServiceUnavailable"
    status = 503
    type = "Service"


class DocumentDamaged(ServiceError):
    """A document in the store cannot be read. It is left as it is."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"The document {key} in state.db {reason}. It is kept as it is; docs/upgrades.md says what can be done.")
        self.key = key
        self.reason = reason


class ResourceNotFound(ApiError):
    code = "ResourceNotFoundException"
    status = 404


class ProvisionedConcurrencyConfigNotFound(ApiError):
    code = "ProvisionedConcurrencyConfigNotFoundException"
    status = 404


class CodeSigningConfigNotFound(ApiError):
    """A function is to have a code signing configuration that is not there."""

    code = "CodeSigningConfigNotFoundException"
    status = 404


class CodeSigningConfigGone(ResourceNotFound):
    """An operation on a code signing configuration that is not there. AWS's answer has no `Type`."""

    type = ""

    def __init__(self, arn: str) -> None:
        super().__init__(f"The Lambda code signing configuration {arn} can not be found.")


class CodeVerificationFailed(ApiError):
    """Code whose signature is missing, expired, or of nobody whose signatures are accepted."""

    code = "CodeVerificationFailedException"
    status = 400


class InvalidCodeSignature(ApiError):
    """Code that is not what was signed."""

    code = "InvalidCodeSignatureException"
    status = 400


class SnapStartNotReady(ApiError):
    code = "SnapStartNotReadyException"
    status = 409


class SnapStartFailure(ApiError):
    """A hook after the restore failed."""

    code = "SnapStartException"
    status = 400


class SnapStartTimeout(ApiError):
    code = "SnapStartTimeoutException"
    status = 408


class EFSMountFailure(ApiError):
    """A file system of a function cannot be mounted."""

    code = "EFSMountFailureException"
    status = 403


class ResourceConflict(ApiError):
    code = "ResourceConflictException"
    status = 409


class ResourceInUse(ApiError):
    code = "ResourceInUseException"
    status = 400


class RecursiveInvocation(ApiError):
    """A chain of requests that comes back to a function again and again."""

    code = "RecursiveInvocationException"
    status = 400


class InvalidParameterValue(ApiError):
    code = "InvalidParameterValueException"
    status = 400


class UntypedInvalidParameterValue(InvalidParameterValue):
    """Some refusals of AWS have no `Type`, as recorded."""

    type = ""


class InvalidRequestContent(ApiError):
    code = "InvalidRequestContentException"
    status = 400


class ValidationError(ApiError):
    """`1 validation error detected: Value ... at 'x' failed to satisfy constraint: ...`"""

    code = "ValidationException"
    status = 400


class TooManyRequests(ApiError):
    """A throttle. `Reason` is one of the model's ThrottleReason."""

    code = "TooManyRequestsException"
    status = 429

    def __init__(self, reason: str, message: str = "Rate Exceeded.") -> None:
        super().__init__(message, Reason=reason)
        self.reason = reason


class RequestTooLarge(ApiError):
    code = "RequestTooLargeException"
    status = 413


class RequestEntityTooLarge(ApiError):
    """A body over the edge's own bound, before any operation sees it."""

    code = "RequestEntityTooLargeException"
    status = 413


class PreconditionFailed(ApiError):
    code = "PreconditionFailedException"
    status = 412


class PolicyLengthExceeded(ApiError):
    code = "PolicyLengthExceededException"
    status = 400


class InvalidZipFile(ApiError):
    code = "InvalidZipFileException"
    status = 502


class AccessDenied(ApiError):
    code = "AccessDeniedException"
    status = 403


class ForeignAccount(AccessDenied):
    """What a request names belongs to another account: that account's policy decides."""

    def __init__(self, account: str, arn: str) -> None:
        super().__init__(f"The resource {arn} is of another account")
        self.account = account
        self.arn = arn


class SerializationError(ApiError):
    """A request whose bytes do not fit the operation's shapes."""

    code = "SerializationException"
    status = 400


class UnknownOperation(ApiError):
    """A path, target or action that the service does not have."""

    code = "UnknownOperationException"
    status = 404


class AuthenticationError(ApiError):
    """The signature says nothing, or something untrue. Query services use other codes: `hanabi/edge/protocols/query.py`."""

    code = "IncompleteSignatureException"
    status = 403


class MissingAuthenticationToken(AuthenticationError):
    code = "MissingAuthenticationTokenException"


class IncompleteSignature(AuthenticationError):
    code = "IncompleteSignatureException"


class UnrecognizedClient(AuthenticationError):
    code = "UnrecognizedClientException"

    def __init__(self, message: str = "The security token included in the request is invalid.") -> None:
        super().__init__(message)


class ExpiredToken(AuthenticationError):
    code = "ExpiredTokenException"


class InvalidSignature(AuthenticationError):
    code = "InvalidSignatureException"


class NotImplementedOperation(ApiError):
    """An operation of the model that has no handler; the message names it."""

    code = "NotImplementedException"
    status = 501


class IsolationUnavailable(HanabiError):
    """The isolation asked for cannot be given here. The message says what is missing and the fix."""


class SandboxError(HanabiError):
    """A sandbox could not be made, or broke."""


class EntrypointError(SandboxError):
    """A process could not be executed inside a sandbox: `errno` and the path. `step` is what failed: "exec", or "chdir" before it."""

    def __init__(self, message: str, errno: int, step: str = "exec") -> None:
        super().__init__(message)
        self.errno = errno
        self.step = step


class ExtensionLaunchError(HanabiError):
    """An extension of a function could not be started: the init fails with this text, which is Lambda's."""


class SubscriptionRefused(HanabiError):
    """A subscription to telemetry that is refused, with its HTTP status, error type and message."""

    def __init__(self, api: str, kind: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.kind = f"{api}.{kind}"


class NotDelivered(HanabiError):
    """A batch of telemetry that its subscriber did not take."""


class ExtensionsNotReady(HanabiError):
    """The init has ended before all extensions had registered: its outcome says why."""


class SnapshotUnusable(SandboxError):
    """A function's snapshot is not whole, or was made on another host: it is of no use here, and is to be made again."""


class SnapshotImpossible(SandboxError):
    """A function's process cannot be copied: its version starts without a snapshot."""


class SnapshotFailed(HanabiError):
    """A version's init, or a hook before its snapshot, failed. `code` is a StateReasonCode."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class VmmError(SandboxError):
    """A call of a VMM's API that failed. `status` is the HTTP status, 0 when there was no whole answer."""

    def __init__(self, method: str, path: str, status: int, fault_message: str) -> None:
        super().__init__(f"{method} {path}: {fault_message}" + (f" ({status})" if status else ""))
        self.method = method
        self.path = path
        self.status = status
        self.fault_message = fault_message


class VmmUnresponsive(VmmError):
    """A VMM that does not answer, hangs up, or answers malformed bytes: of no use any more."""

    def __init__(self, method: str, path: str, reason: str) -> None:
        super().__init__(method, path, 0, reason)


class ImageError(HanabiError):
    """A runtime root or a container image could not be had; the message says why and how to get it.

    `kind`: "malformed" (no name of an image), "missing", "denied", "unsupported" (a format that is not read here), "invalid" (not what
    it says it is, or hostile), or "unavailable" (anything else: no network, no disk, a program that failed).
    """

    def __init__(self, message: str, kind: str = "unavailable") -> None:
        super().__init__(message)
        self.kind = kind


class CodeError(HanabiError):
    """Code that a function refers to is not there, or is damaged; the message says how to fix it. `code` is a StateReasonCode."""

    def __init__(self, message: str, code: str = "InternalError") -> None:
        super().__init__(message)
        self.code = code


class BodyError(HanabiError):
    """The bytes of a message did not come as they should."""


class BodyIncomplete(BodyError):
    """Its sender broke off, or was too slow."""


class BodyTooLarge(BodyError):
    """There are more bytes than its reader takes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")


class RevisionMismatch(HanabiError):
    """Compare-and-set lost: somebody else wrote first."""


class StorageFailed(HanabiError):
    """What is to be kept cannot be written now, or what is kept cannot be read: a full disk, or the like."""


class StateError(HanabiError):
    """Something on disk cannot be used as it is. The message names the file and what to do."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f"{path} {problem}; {fix}")
        self.path = path
        self.problem = problem
        self.fix = fix


class StateTooNew(StateError):
    """A newer Hanabi wrote it: it is left as it is."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        problem = f"has version {version}, and this Hanabi knows versions up to {known}"
        super().__init__(path, problem, "run the Hanabi that wrote it, or a newer one (docs/upgrades.md)")
        self.version = version
        self.known = known


class StateDamaged(StateError):
    """It is not what Hanabi wrote: it is left as it is."""


class DatabaseDamaged(StateDamaged, sqlite3.DatabaseError):
    """No database, or one whose pages contradict each other."""
