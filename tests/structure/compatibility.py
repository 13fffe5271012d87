"""Writes docs/compatibility.md from the services themselves: `python -m tests.structure.compatibility`."""

import inspect
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from hanabi.api.iam import IamService
from hanabi.api.lambda_ import LambdaService
from hanabi.api.logs import LogsService
from hanabi.api.model import load
from hanabi.api.sts import StsService

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
OTHERS = {"CloudWatch Logs": LogsService, "IAM": IamService, "STS": StsService}


def page() -> str:
    functions = operations_of(LambdaService)
    names = sorted(load("lambda").operation_names)
    assert functions <= set(names)
    lines = [
        "# Compatibility",
        "",
        "Generated from the code by `python -m tests.structure.compatibility`; `make check` fails when it is out of date.",
        "",
        f"## Lambda: {len(functions)} of {len(names)} operations",
        "",
        "An operation that is not here answers 501 and names itself.",
        "",
        "| operation | |",
        "|---|---|",
        *(f"| {name} | {'yes' if name in functions else '501'} |" for name in names),
        "",
        "## Other services",
        "",
        "Small parts, so that tools get past their first step.",
        "",
        "| service | operations |",
        "|---|---|",
        *(f"| {title} | {', '.join(sorted(operations_of(service)))} |" for title, service in OTHERS.items()),
        "",
    ]
    return "\n".join(lines)


def operations_of(service: Any) -> set[str]:
    """The operations of a service that is given nothing to work with."""
    return set(service(*(MagicMock() for _ in inspect.signature(service).parameters)).operations)


if __name__ == "__main__":
    PAGE.write_text(page())
