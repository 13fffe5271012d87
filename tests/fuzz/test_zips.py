"""Mutated zips: unpacked below their directory, or refused as `BadZip`; nothing else is written or raised."""

import random
import shutil
import stat
import zipfile
from pathlib import Path

from hanabi.images.code.unzip import BadZip, unpack
from tests.fuzz.mutate import SEED, mutations
from tests.unit.images.archives import Entry, link, make, simple

CORPUS = [
    simple(**{"index__js": b"js", "lib/deep/er__txt": b"x" * 300, "empty": b""}),
    make([Entry(name=b"a/"), Entry(name=b"a/b", data=b"abc" * 50, method=zipfile.ZIP_DEFLATED)]),
    make([Entry(name=b"bootstrap", data=b"#!", mode=stat.S_IFREG | 0o755), link(b"inner", b"bootstrap")]),
    make([Entry(name="é".encode(), data=b"1", flags=0x800, extra=b"UT\x05\x00\x01\0\0\0\0")], comment=b"a comment"),
]


def test_mutated_zips(tmp_path: Path) -> None:
    archive, target, outside = tmp_path / "code.zip", tmp_path / "task", tmp_path / "outside"
    outside.mkdir()
    for data in mutations(CORPUS, random.Random(SEED)):
        archive.write_bytes(data)
        try:
            unpack(archive, target)
        except BadZip:
            pass
        finally:
            assert set(tmp_path.iterdir()) <= {archive, target, outside} and not any(outside.iterdir()), data
            shutil.rmtree(target, ignore_errors=True)
