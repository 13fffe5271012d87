"""The errors of CloudWatch Logs. Their status is always 400, where Lambda has 404 and 409."""

from hanabi.errors import ApiError


class InvalidParameter(ApiError):
    code = "InvalidParameterException"
    status = 400


class MutuallyExclusive(ApiError):
    """A group is named in two ways."""

    code = "ValidationException"
    status = 400


class TooManyTags(ApiError):
    code = "TooManyTagsException"
    status = 400


class LogLimitExceeded(ApiError):
    code = "LimitExceededException"
    status = 400


class LiveTailTimeout(ApiError):
    """A session of Live Tail has lasted three hours."""

    code = "SessionTimeoutException"
    status = 400


class NoSuchGroup(ApiError):
    code = "ResourceNotFoundException"
    status = 400

    def __init__(self) -> None:
        super().__init__("The specified log group does not exist.")


class NoSuchStream(ApiError):
    code = "ResourceNotFoundException"
    status = 400

    def __init__(self) -> None:
        super().__init__("The specified log stream does not exist.")


class AlreadyExists(ApiError):
    code = "ResourceAlreadyExistsException"
    status = 400

    def __init__(self, what: str) -> None:
        super().__init__(f"The specified log {what} already exists")


class LogsUnavailable(ApiError):
    """The record cannot be read or written."""

    code = "ServiceUnavailableException"
    status = 503
    type = "Service"
