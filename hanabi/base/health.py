"""A node's health: counters, gauges and current problems.

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
    """A number that only grows. Adding is one addition, cheap enough for the warm path."""

    name: str
    help: str
    value: int = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that is read on request. `read` must be quick and must not raise."""

    name: str
    help: str
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that an operator should know of; the text says what to do. `since` is Unix seconds."""

    key: str
    text: str
    since: float


class Health:
    """Metrics and problems of one node. `report` and `clear` may be called from any thread."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._metrics: dict[str, Counter | Gauge] = {}
        self._problems: dict[str, Problem] = {}
        self._changing = threading.Lock()

    def counter(self, name: str, help: str) -> Counter:
        """Return the counter of that name: the same object on every call."""
        found = self._metrics.get(name)
        if isinstance(found, Counter):
            return found
        made = Counter(name, help)
        self._add(made)
        return made

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a gauge: `read` gives its value, and replaces an earlier `read` of that name."""
        self._metrics.pop(name, None)
        self._add(Gauge(name, help, read))

    def report(self, key: str, text: str, *, level: int = logging.ERROR) -> None:
        """Report a problem, or change its text. It is logged when it begins, at `level`."""
        with self._changing:
            known = self._problems.get(key)
            if known is None and len(self._problems) >= PROBLEMS_MAX:
                log.log(level, "%s", text)
                return
            self._problems[key] = Problem(key, text, known.since if known else self._clock.time())
        if known is None:
            log.log(level, "%s", text)

    def clear(self, key: str) -> None:
        """End a problem, if there is one."""
        with self._changing:
            known = self._problems.pop(key, None)
        if known is not None:
            log.info("over: %s", known.text)

    def within(self, part: str) -> "Health":
        """Return what a part of the node reports to: its problems are told with its name."""
        return _PartHealth(self, part) if part else self

    @property
    def problems(self) -> list[Problem]:
        """Current problems, oldest first."""
        with self._changing:
            return sorted(self._problems.values(), key=lambda problem: problem.since)

    def values(self) -> dict[str, float]:
        """Every metric's value now, by name."""
        return {name: metric.value if isinstance(metric, Counter) else metric.read() for name, metric in self._metrics.items()}

    def describe(self) -> str:
        """Metrics in Prometheus's text format 0.0.4."""
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


class _PartHealth(Health):
    """A node's health as one part of it reports to it."""

    def __init__(self, whole: Health, part: str) -> None:
        super().__init__()
        self._whole = whole
        self._part = part
        self.counter = whole.counter  # type: ignore[method-assign]
        self.gauge = whole.gauge  # type: ignore[method-assign]

    def report(self, key: str, text: str, *, level: int = logging.ERROR) -> None:
        self._whole.report(f"{self._part} {key}", f"{self._part}: {text}", level=level)

    def clear(self, key: str) -> None:
        self._whole.clear(f"{self._part} {key}")
