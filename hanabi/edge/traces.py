"""The trace of an invocation: what `X-Amzn-Trace-Id` says of where a request came from, as Lambda hands it on to a function.

AWS X-Ray developer guide, "Tracing header"; the Runtime Interface Emulator for what is passed on. `Lineage` is Lambda's own: see
`contracts/lineage.py`.
"""

import random
import re
from functools import lru_cache

from hanabi.contracts.lineage import extend

TRACE_BYTES = 256  # of a caller's
_TRACE = re.compile(f"[!-~ ]{{1,{TRACE_BYTES}}}")
_PARTS = re.compile(r"(?:^|;)\s*(Root|Parent|Sampled|Lineage)=([^;]+)", re.IGNORECASE)


def begin_trace(given: str, now_s: float, function_arn: str, sampled: bool = False) -> str:
    """Return the trace that a function gets: the caller's with what it lacks, or a new one. `sampled`: where the caller does not say."""
    if not given or not _TRACE.fullmatch(given):
        digits = f"{random.getrandbits(160):040x}"  # not a secret
        return f"Root=1-{int(now_s):08x}-{digits[:24]};Parent={digits[24:]};Sampled={1 if sampled else 0}{_new_lineage(function_arn)}"
    parts = {name.lower(): value for name, value in _PARTS.findall(given)}
    if "root" not in parts:
        return begin_trace("", now_s, function_arn, sampled)
    if "parent" not in parts:
        given += f";Parent={random.getrandbits(64):016x}"
    if "sampled" not in parts:
        given += ";Sampled=1" if sampled else ";Sampled=0"
    return extend(given, function_arn)


def root_of(trace: str) -> str:
    """Return its first part alone: what a function URL's event shows of a new one."""
    return trace.partition(";")[0]


@lru_cache(maxsize=4096)
def _new_lineage(function_arn: str) -> str:
    return extend("", function_arn)
