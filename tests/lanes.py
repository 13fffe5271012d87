"""All tests, in lanes that run side by side, then those that measure, alone: `python -m tests.lanes`, which `make test` calls.

The last line has the sum of all lanes, in pytest's words. What a lane printed is in `build/lanes/`,
what was covered in `build/coverage/`.
"""

import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "lanes"

# These make no sandboxes, or only doubles of them, so several processes share them.
SHARED = [
    "tests/unit",
    "tests/upgrades",
    "tests/fuzz",
    "tests/conformance",
    "tests/structure",
    "tests/security/test_escalation.py",
    "tests/security/test_json_of_many_values.py",
    "tests/security/test_spellings.py",
]
# Real sandboxes, one test after another, beside the lane `system`: drivers without a server, and what mostly waits.
BESIDE = [
    *("tests/system/firecracker", "tests/system/images", "tests/system/sandbox", "tests/security/test_walls.py"),
    *("tests/system/chaos", "tests/system/test_crash.py", "tests/system/test_full_disk.py", "tests/system/test_upgraded_data.py"),
]
# These measure shares of a CPU, or how time grows with input: nothing else may run.
ALONE = ["tests/system/test_limits.py", "tests/system/sandbox/test_limits.py", "tests/security/test_linear_work.py"]
ROOTS = ["make", "--no-print-directory", "roots"]


@dataclass
class Lane:
    """Runs of pytest, one after another."""

    name: str
    runs: list[list[str]]
    covered: bool = False  # the lines of hanabi/ that its first run executes are counted: no fewer than pyproject.toml says
    roots: bool = False  # its other runs need the roots of runtimes, built before
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    broken: list[str] = field(default_factory=list)  # tests that failed, and runs that ended otherwise than a test explains

    def run(self) -> None:
        began = time.monotonic()
        for number, arguments in enumerate(self.runs):
            counted = self.covered and number == 0
            if not counted and self.roots and self._spawn(ROOTS):
                self.broken.append(f"{self.name}: {' '.join(ROOTS)} failed")
                break
            self._pytest(OUT / f"{self.name}-{number}.xml", arguments, counted)
            if counted:
                self._check_coverage()
        self.seconds = time.monotonic() - began

    def _check_coverage(self) -> None:
        coverage = [sys.executable, "-m", "coverage"]
        if self._spawn([*coverage, "combine", "--quiet"]) or self._spawn([*coverage, "report", "--skip-covered", "--sort=-miss"]):
            self.broken.append("coverage: see the report, and `fail_under` in pyproject.toml")

    def _pytest(self, report: Path, arguments: list[str], counted: bool) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="hanabi-", dir="/tmp"))  # short, for sockets; pytest's own is tidied by all that run
        python = [sys.executable, "-m", *(["coverage", "run", "-m"] if counted else [])]
        options = ["--durations=15", f"--junit-xml={report}", f"--basetemp={scratch / 'tests'}"]
        try:
            status = self._spawn([*python, "pytest", *options, *arguments])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        failed = self._count(report) if report.exists() else 0
        if status and not failed:
            self.broken.append(f"{self.name}: pytest ended with {status}")

    def _count(self, report: Path) -> int:
        """Add what a run's report says; returns how many failed."""
        failed = 0
        for case in xml.parse(report).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                self.broken.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
                self.counts["failed"] += 1
            else:
                self.counts["skipped" if case.find("skipped") is not None else "passed"] += 1
        return failed

    def _spawn(self, command: list[str]) -> int:
        """Run a command, its lines going out under the lane's name and to its log; returns its exit status."""
        with (OUT / f"{self.name}.log").open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            _running.append(process)
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    log.write(line)
                    sys.stdout.write(f"{self.name:8}| {line}")
                    sys.stdout.flush()
            return process.wait()


_running: list["subprocess.Popen[str]"] = []


def _ignored(paths: list[str]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def lanes() -> tuple[list[Lane], Lane]:
    """Those side by side, and the last one. A new test is in the lane `system` until somebody moves it."""
    side_by_side = [
        Lane("shared", [["-n", "3", "--dist", "loadfile", *SHARED], [*BESIDE, *_ignored(ALONE)]], covered=True, roots=True),
        Lane("system", [["tests", *_ignored([*SHARED, *BESIDE, *ALONE])]], roots=True),
    ]
    return side_by_side, Lane("alone", [ALONE])


def main() -> int:
    began = time.monotonic()
    for directory in (OUT, ROOT / "build" / "coverage"):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    side_by_side, last = lanes()
    threads = [threading.Thread(target=lane.run, daemon=True) for lane in side_by_side]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last.run()
    finally:
        for process in _running:
            if process.poll() is None:
                process.terminate()
    return _summary([*side_by_side, last], time.monotonic() - began)


def _summary(all_lanes: list[Lane], seconds: float) -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("\n" + ", ".join(f"{lane.name} {lane.seconds:.0f} s" for lane in all_lanes) + f"; CPU {used.ru_utime + used.ru_stime:.0f} s")
    broken = [each for lane in all_lanes for each in lane.broken]
    for each in broken:
        print(f"FAILED {each}")
    counts = {name: sum(lane.counts[name] for lane in all_lanes) for name in ("failed", "passed", "skipped")}
    unexplained = len(broken) - counts["failed"]
    counts["failed"] += unexplained
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "passed")
    print(f"{f' {said} in {seconds:.2f}s ({seconds // 60:.0f}:{seconds % 60:02.0f}) ':=^80}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
