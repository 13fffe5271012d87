"""The error tree agrees with the models it claims to speak for."""

from hanabi import errors
from hanabi.edge.protocols.model import load

# Codes that AWS uses everywhere and no service's model lists.
COMMON = {
    "ValidationException": 400,
    "SerializationException": 400,
    "UnknownOperationException": 404,
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "UnrecognizedClientException": 403,
    "InvalidSignatureException": 403,
    "ExpiredTokenException": 403,
    "AccessDeniedException": 403,
    "RequestEntityTooLargeException": 413,
    "NotImplementedException": 501,
    "ServiceUnavailable": 503,
}


def subclasses(base: type[errors.ApiError]) -> set[type[errors.ApiError]]:
    return {base}.union(*map(subclasses, base.__subclasses__()))


def test_codes_and_statuses_are_the_models() -> None:
    modelled = load("lambda").errors
    for error in subclasses(errors.ApiError):
        if error.__module__ != "hanabi.errors":
            continue
        if error.code in COMMON:
            assert error.status == COMMON[error.code] and error.code not in modelled, error
        else:
            assert error.code in modelled, f"{error.__name__}: {error.code} is not in the model"
            assert error.status == modelled[error.code].status, error


def test_iam_errors_are_iams() -> None:
    modelled = load("iam").errors
    for error in subclasses(errors.ApiError):
        if error.__module__ in ("hanabi.services.iam.errors", "hanabi.edge.auth.policy_documents"):
            assert error.code in modelled and error.status == modelled[error.code].status, error


def test_every_error_is_below_one_root() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.HanabiError) for kind in kinds) and len(kinds) > 15


def test_a_throttle_says_why() -> None:
    throttle = errors.TooManyRequests("CallerRateLimitExceeded")
    assert throttle.fields == {"Reason": "CallerRateLimitExceeded"} and throttle.message == "Rate Exceeded."
