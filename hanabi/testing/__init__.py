"""Doubles for tests, one for each protocol of Hanabi's that is not tried on the real thing: nothing in here does any work.

`clock` moves when told to, `sandbox` and `firecracker` imagine sandboxes and machines, `store`, `event_log`, `journal` and `ledger`
forget. Only what the processes of the imagined Firecracker import as well is given here by name.
"""

from hanabi.testing.clock import ManualClock, ManualTimer
from hanabi.testing.firecracker import FakeFirecracker, Fault

__all__ = ["FakeFirecracker", "Fault", "ManualClock", "ManualTimer"]
