"""Mutated bytes for the parser of the agent's control messages, built with ASan and UBSan. HANABI_FUZZ_S sets the seconds."""

import os
import re
import struct
import subprocess
from pathlib import Path

from tests.fuzz.mutate import SECONDS, SEED
from tests.sanitizers import build_sanitized, sanitizer_options
from tests.unit.guest.agent.rig import string, strings


def frame(type: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<I", len(body) + 1) + type + body


MESSAGES = {
    "start": frame(b"S", b"\1" + string("/") + strings(["/bin/true", ""]) + strings(["A=b", "C="])),
    "signal": frame(b"G", b"\0\x0f"),
    "identify": frame(b"V", struct.pack("<QH32sIII", 1, 32, bytes(range(32)), 1, 2, 3) + string("host")),
    "drive": frame(b"D", b"c\1" + struct.pack("<Q", 1 << 20) + string("ext4") + string("/tmp")),
    "limit": frame(b"L", struct.pack("<Q", 1 << 28)),
    **{
        name: frame(type)
        for name, type in {"kill": b"K", "channel": b"C", "quiesce": b"N", "ping": b"Q", "peak": b"Z", "trim": b"T"}.items()
    },
}


def fuzz(work: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    program = build_sanitized() / "fuzz-messages"
    environment = {**os.environ, **sanitizer_options(work / "report")}
    return subprocess.run([program, *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=SECONDS + 120)


def test_mutated_messages(tmp_path: Path) -> None:
    corpus = {**MESSAGES, "all": b"".join(MESSAGES.values()), "body": MESSAGES["start"][4:]}
    for name, content in corpus.items():
        (tmp_path / name).write_bytes(content)
    done = fuzz(tmp_path, str(SECONDS), str(SEED), *(tmp_path / name for name in corpus))
    reports = "".join(each.read_text() for each in tmp_path.glob("report.*"))
    last = tmp_path / "fuzz-messages.input"
    assert done.returncode == 0, f"{done.stderr}{reports}\nthe input: {last.read_bytes().hex() if last.exists() else None}"
    match = re.fullmatch(r"(\d+) inputs\n", done.stdout)
    assert match and int(match[1]) >= 64


def test_one_input_again(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"".join(MESSAGES.values()))
    assert fuzz(tmp_path, tmp_path / "input").returncode == 0
