"""Body limits of those Lambda operations that take more than a document."""

from hanabi.contracts.http import HttpRequest
from hanabi.edge.service import RequestBody
from hanabi.errors import ApiError, RequestEntityTooLarge
from hanabi.quotas import CODE_REQUEST_BYTES, INVOKE_PAYLOAD_BYTES, ZIPPED_CODE_BYTES
from hanabi.services.lambda_.payload import describe_too_large, payload_limit

SLACK_BYTES = 256 * 1024  # beyond a limit whose error the handler words


def _check_zip(size: int) -> None:
    if size > ZIPPED_CODE_BYTES:
        raise RequestEntityTooLarge(f"Zipped size must be smaller than {ZIPPED_CODE_BYTES} bytes")


def _refuse_payload(request: HttpRequest, size: int | None) -> ApiError:
    return _too_large(size, request.header("x-amz-invocation-type") or "RequestResponse")


def _refuse_event(request: HttpRequest, size: int | None) -> ApiError:
    return _too_large(size, "Event")


def _too_large(size: int | None, invocation_type: str) -> ApiError:
    """Make the error by the declared size, which may differ from what exceeded the limit."""
    return describe_too_large(max(size or 0, payload_limit("") + 1), invocation_type)


CODE = RequestBody(CODE_REQUEST_BYTES, spool=True, check_blob=_check_zip)
PAYLOAD = RequestBody(INVOKE_PAYLOAD_BYTES + SLACK_BYTES, refuse=_refuse_payload)
EVENT = RequestBody(INVOKE_PAYLOAD_BYTES + SLACK_BYTES, refuse=_refuse_event)
