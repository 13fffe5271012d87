"""Exceptions of a request mapped to AWS errors; internal ones are logged and hidden from the client."""

import errno
import logging

from hanabi.contracts.http import HttpRequest
from hanabi.errors import ApiError, ServiceError

log = logging.getLogger(__name__)


def to_api_error(error: Exception, request: HttpRequest, request_id: str) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("request %s: %s %s failed: %s", request_id, request.method, request.path, error)
        return ServiceError("There is no room left on the disk of this Hanabi.")
    log.error("request %s: %s %s failed", request_id, request.method, request.path, exc_info=error)
    return ServiceError("An internal error occurred. Please try again.")
