"""The lineage of a trace: the functions that led to an invocation, each as a hash with how often it came up again.

In `X-Amzn-Trace-Id` it is `Lineage=1:aae260cf:0|74085691:3`, as recorded on AWS: a version, then the functions in the order in which they
first ran. SDKs hand the header on from inside a function, and so a chain of requests that comes back to a function is seen.
"""

import re
import zlib
from functools import lru_cache

ENTRIES = 12  # of a lineage: a longer one loses those that came up least
_LINEAGE = re.compile(r"(?:^|;)\s*Lineage=(?:\d+:)?((?:[0-9a-f]{8}:\d{1,4}\|?)+)", re.IGNORECASE | re.ASCII)


@lru_cache(maxsize=4096)
def function_hash(function_arn: str) -> str:
    return f"{zlib.crc32(function_arn.encode()):08x}"


def recursions(trace: str, function_arn: str) -> int:
    """Return how often a chain of requests has come back to a function, by the trace that it gets."""
    return _read(trace).get(function_hash(function_arn), 0)


def extend(trace: str, function_arn: str) -> str:
    """Return a trace with a function in its lineage: the next one it comes up in, or the first."""
    entries, function = _read(trace), function_hash(function_arn)
    entries[function] = entries[function] + 1 if function in entries else 0
    while len(entries) > ENTRIES:
        del entries[min((entry for entry in entries if entry != function), key=entries.__getitem__)]
    lineage = f";Lineage=1:{'|'.join(f'{entry}:{count}' for entry, count in entries.items())}"
    match = re.search(r"(?:^|;)\s*Lineage=[^;]*", trace, re.IGNORECASE)
    return trace[: match.start()] + lineage.lstrip(";" if match.start() == 0 else "") + trace[match.end() :] if match else trace + lineage


def _read(trace: str) -> dict[str, int]:
    match = _LINEAGE.search(trace)
    entries = (entry.split(":") for entry in match[1].strip("|").split("|") if entry) if match else ()
    return {function: int(count) for function, count in entries}
