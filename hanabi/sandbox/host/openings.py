"""Networks that single sandboxes may reach, as elements of the firewall's set `attached`: (address of the slot, network)."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress

from hanabi.sandbox.host.firewall import find_nft
from hanabi.sandbox.host.uplink import Uplink

_TIMEOUT_S = 10.0
Pairs = Sequence[tuple[str, str]]  # (address, CIDR)


class Openings:
    """The set, in the namespace of the uplink. All of it blocks, for some milliseconds."""

    def __init__(self, table: str, uplink: Uplink) -> None:
        self.table = table
        self._uplink = uplink

    def open(self, pairs: Pairs) -> None:
        """Add pairs that are not there. Raises `OSError`."""
        if pairs:
            self._change("add", pairs)

    def close(self, pairs: Pairs) -> None:
        """Remove pairs; those that are gone with the whole table are no error."""
        with suppress(OSError):
            self._change("delete", pairs)

    def _change(self, verb: str, pairs: Pairs) -> None:
        program = find_nft()
        if program is None:
            raise OSError("no nft command")
        elements = ", ".join(f"{address} . {network}" for address, network in pairs)
        command = [program, f"{verb} element inet {self.table} attached {{ {elements} }}"]
        try:
            done = self._uplink.run(lambda: subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S))
        except subprocess.TimeoutExpired:
            raise OSError(f"nft has not ended after {_TIMEOUT_S:.0f} s") from None
        if done.returncode:
            raise OSError(f"nft: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else done.returncode}")
