"""Test doubles of Hanabi's protocols, for tests without the real implementation.

`clock` is manual, `sandbox` and `firecracker` fake sandboxes and machines, `store`, `event_log`, `journal` and `ledger`
are in memory. This module exports only what the fake Firecracker's processes import as well.
"""

from hanabi.testing.clock import ManualClock, ManualTimer
from hanabi.testing.firecracker import FakeFirecracker, Fault

__all__ = ["FakeFirecracker", "Fault", "ManualClock", "ManualTimer"]
