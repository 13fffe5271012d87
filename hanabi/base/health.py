"""What a node says of itself: counters and gauges, and the problems that stand until they are over.

Every room may report here; `/_hanabi/metrics`, `/_hanabi/problems` and `hanabi doctor` show it. Metric names are Prometheus's:
`hanabi_<what>_<unit>`, a counter ends in `_total`.
"""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hanabi.base.clock import Clock, SystemClock

PROBLEMS_MAX = 256  # kept at a time: what is reported for each of many functions must not fill the memory
_NAME = re.compile(r"hanabi_[a-z][a-z0-9_]*")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counter:
    """Only grows. To add is one addition: it may be done on the warm path."""

    name: str
    help: str
    value: int = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


@dataclass(frozen=True, slots=True)
class Gauge:
    """Read when it is asked for. `read` must be quick and must not raise."""

    name: str
    help: str
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody should know of, in words that say what to do. `since` is Unix seconds."""

    key: str
    text: str
    since: float


class Health:
    """One for each node. `report` and `clear` may be called from any thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._metrics: dict[str, Counter | Gauge] = {}
        self._problems: dict[str, Problem] = {}
        self._changing = threading.Lock()

    def counter(self, name: str, help: str) -> Counter:
        """The counter of that name: the same one for everybody who asks."""
        found = self._metrics.get(name)
        if isinstance(found, Counter):
            return found
        made = Counter(name, help)
        self._add(made)
        return made

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """`read` gives the value from now on, also where another did before."""
        self._metrics.pop(name, None)
        self._add(Gauge(name, help, read))

    def report(self, key: str, text: str) -> None:
        """A problem begins, or goes on with another text. It is logged when it begins."""
        with self._changing:
            known = self._problems.get(key)
            if known is None and len(self._problems) >= PROBLEMS_MAX:
                log.error("%s", text)
                return
            self._problems[key] = Problem(key, text, known.since if known else self._clock.time())
        if known is None:
            log.error("%s", text)

    def clear(self, key: str) -> None:
        """The problem is over, if there was one."""
        with self._changing:
            known = self._problems.pop(key, None)
        if known is not None:
            log.info("over: %s", known.text)

    @property
    def problems(self) -> list[Problem]:
        """Those that stand, oldest first."""
        with self._changing:
            return sorted(self._problems.values(), key=lambda problem: problem.since)

    def values(self) -> dict[str, float]:
        """Every metric's value now, by name."""
        return {name: metric.value if isinstance(metric, Counter) else metric.read() for name, metric in self._metrics.items()}

    def describe(self) -> str:
        """Prometheus's text format 0.0.4."""
        lines = []
        for name, metric in sorted(self._metrics.items()):
            kind, value = ("counter", metric.value) if isinstance(metric, Counter) else ("gauge", metric.read())
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {kind}", f"{name} {value:.17g}"]
        return "\n".join([*lines, ""])

    def _add(self, metric: Counter | Gauge) -> None:
        if not _NAME.fullmatch(metric.name) or isinstance(metric, Counter) != metric.name.endswith("_total") or "\n" in metric.help:
            raise ValueError(f"no name or text of a metric: {metric.name}: {metric.help}")
        if metric.name in self._metrics:
            raise ValueError(f"{metric.name} is there already, of another kind")
        self._metrics[metric.name] = metric
