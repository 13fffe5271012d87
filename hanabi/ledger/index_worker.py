"""The index writer's process: `python -m hanabi.ledger.index_worker RECORD.DB DIRECTORY`; one JSON line in, one out.

    {"work": "step", "end": [segment, offset], "now_ms": n}            -> the fields of an `IndexStep`
    {"work": "prune", "now_ms": n, "log_limit_bytes": n, "ledger_limit_records": n} -> {}
    what fails                                                         -> {"error": "damaged" | "sqlite" | "os", "message": s, "errno": n}

It ends at the end of its input, or with its parent; SQLite then rolls an open transaction back.
"""

import ctypes
import json
import logging
import os
import signal
import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hanabi.ledger.index import prune
from hanabi.ledger.indexer import index_step
from hanabi.store.schema import is_damage

BUSY_S = 60.0  # for another process that holds the database, perhaps at a low priority
_PR_SET_PDEATHSIG = 1


def main(path: Path, directory: Path) -> None:
    _end_with_parent()
    connection: sqlite3.Connection | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            connection = connection or _open(path)
            answer = _run(connection, directory, request)
        except sqlite3.Error as error:
            answer = {"error": "damaged" if is_damage(error) else "sqlite", "message": str(error)}
        except OSError as error:
            answer = {"error": "os", "message": str(error), "errno": error.errno or 0}
        print(json.dumps(answer), flush=True)
    if connection is not None:
        connection.close()


def _run(connection: sqlite3.Connection, directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run one request in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        answer = {}
        if request["work"] == "step":
            segment, offset = request["end"]
            answer = asdict(index_step(connection, directory, (segment, offset), request["now_ms"]))
        else:
            prune(connection, request["now_ms"], request["log_limit_bytes"], request["ledger_limit_records"])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return answer


def _open(path: Path) -> sqlite3.Connection:
    """Open an existing database; its owner has set up the schema."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", timeout=BUSY_S, isolation_level=None, uri=True)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _end_with_parent() -> None:
    """Ignore stop signals, and die with the parent, which waits for this process's work before it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main(Path(os.path.abspath(sys.argv[1])), Path(sys.argv[2]))
