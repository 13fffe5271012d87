"""What is said of a runtime without a root: never only that it is not there."""

from hanabi.images.runtimes.alternatives import alternative, explain_missing, runtimes_without_root
from hanabi.images.runtimes.names import BLOCKED, NAMES
from hanabi.images.runtimes.recipes import RUNTIMES


def test_each_runtime_of_lambda_without_a_root_has_an_alternative() -> None:
    ways = runtimes_without_root()
    assert ways.keys() == {*NAMES, *BLOCKED} - set(RUNTIMES) and all(ways.values())


def test_the_ways() -> None:
    assert alternative("dotnet8") == (
        "a container image FROM AWS's base image lambda/dotnet:8 (PackageType Image); "
        "or provided.al2023 with an interpreter and a `bootstrap` of your own"
    )
    assert "lambda/java:8.al2 " in alternative("java8.al2") and "lambda/nodejs:16 " in alternative("nodejs16.x")
    assert alternative("nodejs14.x").startswith("AWS no longer creates functions of it; use nodejs22.x")
    assert alternative("provided").endswith("use provided.al2023")
    assert explain_missing("dotnet8").startswith("There is no runtime root for dotnet8: ")
