"""The runtime identifiers of Lambda: those that functions are created of, and those that are refused in AWS's words.

AWS Lambda developer guide, "Lambda runtimes", August 2026. What is refused, and how, was recorded on AWS.
"""

import re

CURRENT = (
    "nodejs24.x", "nodejs22.x", "python3.14", "python3.13", "python3.12", "python3.11", "java25", "java21", "java17.al2023", "java17",
    "java11.al2023", "java11", "java8.al2023", "java8.al2", "dotnet10", "ruby4.0", "ruby3.4", "ruby3.3", "provided.al2023",
)  # fmt: skip
DEPRECATED = (  # functions of these may still be created
    "nodejs20.x", "nodejs18.x", "nodejs16.x", "python3.10", "python3.9", "python3.8", "dotnet8", "dotnet6", "ruby3.2", "provided.al2",
)  # fmt: skip
BLOCKED = (  # no longer
    "nodejs14.x", "nodejs12.x", "nodejs10.x", "nodejs8.10", "nodejs6.10", "nodejs4.3", "nodejs4.3-edge", "nodejs",
    "python3.7", "python3.6", "python2.7", "ruby2.7", "ruby2.5", "java8", "go1.x", "provided",
    "dotnetcore3.1", "dotnetcore2.1", "dotnetcore2.0", "dotnetcore1.0",
)  # fmt: skip
NAMES = (*CURRENT, *DEPRECATED)
_PARTS = re.compile(r"([a-z]+)\.?(.*?)(?:\.x)?")

# As AWS answers it, in its order. Identifiers that are newer than the recording (January 2026) are not among them.
ENUM = (
    "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, "
    "ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, "
    "java8.al2"
)


def refusal(runtime: str) -> str:
    """Return AWS's message for a runtime that no function can be created of or changed to; empty for the others."""
    if runtime in BLOCKED:
        return (
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
            "We recommend you use a supported runtime while creating or updating functions."
        )
    if runtime not in NAMES:
        return f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{ENUM}] or be a valid ARN"
    return ""


def family_of(runtime: str) -> tuple[str, str]:
    """Split an identifier into language and version, as AWS names its base images: ("nodejs", "22"), ("java", "8.al2")."""
    match = _PARTS.fullmatch(runtime)
    return (match[1], match[2]) if match else (runtime, "")
