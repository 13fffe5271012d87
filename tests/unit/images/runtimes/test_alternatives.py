"""What is said of a runtime without a root: never only that it is not there."""

from hanabi.images.runtimes.alternatives import alternative, explain_missing, nearest
from hanabi.images.runtimes.names import BLOCKED, NAMES
from hanabi.images.runtimes.sources import AUTO, AWS, DISTRIBUTION


def test_each_runtime_of_lambda_has_an_alternative() -> None:
    assert all(alternative(runtime) for runtime in (*NAMES, *BLOCKED))


def test_the_ways() -> None:
    assert alternative("dotnet8") == (
        "a copy of AWS's base image lambda/dotnet:8 (--registry-mirror, or --runtime-images DIR for a layout on disk); "
        "or provided.al2023 with an interpreter and a `bootstrap` of your own"
    )
    assert "use nodejs18.x" in alternative("nodejs16.x") and "--runtime-substitute nodejs16.x=nodejs18.x" in alternative("nodejs16.x")
    assert alternative("nodejs14.x").startswith("AWS no longer creates functions of it; use nodejs18.x")
    assert alternative("provided").endswith("use provided.al2023")


def test_the_nearest_is_the_next_newer_one() -> None:
    assert (nearest("nodejs16.x"), nearest("nodejs26.x"), nearest("dotnet8")) == ("nodejs18.x", "nodejs24.x", "")


def test_the_reason_says_what_was_tried() -> None:
    said = explain_missing("dotnet8", AUTO, "no answer")
    assert said.startswith(
        "there is no runtime root of dotnet8. AWS's base image: no answer; no packages that Hanabi knows have it. What to do: a copy"
    )
    assert "(--runtimes distribution)" in explain_missing("dotnet8", DISTRIBUTION, "")
    assert "(--runtimes aws)" in explain_missing("python3.13", AWS, "it does not answer")
