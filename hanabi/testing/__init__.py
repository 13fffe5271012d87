"""Doubles for tests: a clock that moves only when told to, a sandbox driver and a Firecracker whose machines are imagined."""

from hanabi.testing.clock import ManualClock, ManualTimer
from hanabi.testing.firecracker import FakeFirecracker, Fault

__all__ = ["FakeFirecracker", "Fault", "ManualClock", "ManualTimer"]
