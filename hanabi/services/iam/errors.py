"""IAM's errors. Statuses are those of botocore's model."""

from hanabi.errors import ApiError


class NoSuchEntity(ApiError):
    code = "NoSuchEntity"
    status = 404


class EntityAlreadyExists(ApiError):
    code = "EntityAlreadyExists"
    status = 409


class DeleteConflict(ApiError):
    code = "DeleteConflict"
    status = 409


class LimitExceeded(ApiError):
    code = "LimitExceeded"
    status = 409


class ConcurrentModification(ApiError):
    code = "ConcurrentModification"
    status = 409


class InvalidInput(ApiError):
    code = "InvalidInput"
    status = 400


class UnmodifiableEntity(ApiError):
    code = "UnmodifiableEntity"
    status = 400
