"""Lambda's runtime identifiers, and AWS's words for those it refuses: recorded on AWS in January 2026."""

import pytest
from botocore.session import get_session

from hanabi.images.runtimes.names import BLOCKED, NAMES, family_of, refusal


def test_each_identifier_of_the_model_is_known_but_for_those_without_a_date() -> None:
    enum = get_session().get_service_model("lambda").shape_for("Runtime").enum
    assert set(enum) - {*NAMES, *BLOCKED} <= {"nodejs26.x", "python3.15", "custom"}
    assert len({*NAMES, *BLOCKED}) == len(NAMES) + len(BLOCKED)


@pytest.mark.parametrize("runtime", ["java8", "go1.x", "provided", "ruby2.7", "nodejs14.x", "python3.7", "dotnetcore3.1", "nodejs12.x"])
def test_what_aws_no_longer_creates_is_refused_in_its_words(runtime: str) -> None:
    assert refusal(runtime) == (
        f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
        "We recommend you use a supported runtime while creating or updating functions."
    )


@pytest.mark.parametrize("runtime", ["non-existent-runtime", "PYTHON3.9"])
def test_what_aws_does_not_know_is_refused_in_its_words(runtime: str) -> None:
    assert refusal(runtime) == (
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, "
        "provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, "
        "ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2] "
        "or be a valid ARN"
    )


def test_current_and_deprecated_ones_are_not_refused() -> None:
    assert not [runtime for runtime in NAMES if refusal(runtime)]


@pytest.mark.parametrize(
    ("runtime", "parts"),
    [
        ("nodejs22.x", ("nodejs", "22")),
        ("python3.12", ("python", "3.12")),
        ("java8.al2", ("java", "8.al2")),
        ("java17.al2023", ("java", "17.al2023")),
        ("dotnet10", ("dotnet", "10")),
        ("provided.al2023", ("provided", "al2023")),
    ],
)
def test_language_and_version(runtime: str, parts: tuple[str, str]) -> None:
    assert family_of(runtime) == parts
