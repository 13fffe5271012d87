"""Counts and times of lost records, in a file whose disk space is reserved from the start.

Shown by `hanabi usage`, whose sums lack them.
"""

import json
import os
import threading
from dataclasses import asdict, fields
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.usage import Losses

_SIZE = 512  # bytes: one block of any disk, written whole
VERSION = 1
SHOWN_MS = 7 * 86_400_000


class LossCounter:
    """The counter of losses. Adding is one pwrite to the page cache, cheap enough for any caller. Thread-safe."""

    def __init__(self, path: Path, health: Health, clock: Clock) -> None:
        self.lost = Losses()
        self._clock = clock
        self._path = path
        self._fd = -1
        self._changing = threading.Lock()
        self._health = health
        self._counters = (
            health.counter("hanabi_record_lost_invocations_total", "Invocations that ran and could not be recorded"),
            health.counter("hanabi_record_lost_log_lines_total", "Log lines that could not be recorded"),
            health.counter("hanabi_record_damaged_bytes_total", "Bytes of the journal that could not be read"),
        )

    def open(self) -> None:
        """Continue the last process's count. Without space for the file, the count lasts as long as the process."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            text = os.pread(self._fd, _SIZE, 0).strip(b"\0 ")
            if text:
                self.lost = _read(text)
                self._report()
            else:
                self._write()
        except (ValueError, TypeError, KeyError) as error:
            aside = self._path.with_suffix(".damaged")
            self._health.report(
                "record-tally", f"{self._path} is damaged ({error}), what was lost before is not known; it is kept as {aside}"
            )
            os.close(self._fd)
            self._fd = -1
            self._path.replace(aside)
            self.open()
        except OSError as error:
            self._health.report("record-tally", f"what the record loses can be counted in memory only: {self._path}: {error.strerror}")

    def add(self, now_ms: int, invocations: int = 0, log_lines: int = 0, damaged_bytes: int = 0) -> None:
        with self._changing:
            lost = self.lost
            lost.invocations += invocations
            lost.log_lines += log_lines
            lost.damaged_bytes += damaged_bytes
            lost.since_ms = lost.since_ms or now_ms
            lost.until_ms = now_ms
            self._report()
            for counter, amount in zip(self._counters, (invocations, log_lines, damaged_bytes), strict=True):
                counter.add(amount)
            if self._fd >= 0:
                try:
                    self._write()
                except OSError as error:
                    self._health.report(
                        "record-tally", f"what the record loses can be counted in memory only: {self._path}: {error.strerror}"
                    )

    def close(self) -> None:
        if self._fd >= 0:
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _report(self) -> None:
        """Report a loss as a problem for a week: a bill may be too low."""
        if self.lost and self._clock.time() * 1000 - self.lost.until_ms < SHOWN_MS:
            self._health.report("record-lost", f"the record is not whole: {self.lost.describe()}; `hanabi usage` says when")

    def _write(self) -> None:
        text = json.dumps({"version": VERSION, **asdict(self.lost)})
        os.pwrite(self._fd, text.encode().ljust(_SIZE), 0)


def _read(text: bytes) -> Losses:
    found = json.loads(text)
    if found["version"] > VERSION:
        raise ValueError(f"version {found['version']} is newer than this Hanabi's")
    return Losses(**{field.name: int(found[field.name]) for field in fields(Losses)})
