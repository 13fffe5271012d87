"""Layers that are laid down: what a good one must become, and what a bad one must not reach."""

import gzip
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.errors import ImageError
from hanabi.images.containers import root_tree, unpack
from hanabi.quotas import IMAGE_BYTES
from hanabi.sandbox.oci import bundle_config
from tests.unit.images.layouts import Entry, digest, file, folder, hard_link, layer, special, symlink, tar_of

MOUNTS = {"proc", "dev", "tmp", "opt", "var", "etc", ".hanabi"}


class Unpacking:
    """A root beside a secret that must stay as it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.secret = directory / "secret"
        self.secret.write_text("secret")
        (directory / "outside").mkdir()
        (directory / "outside/kept").write_text("kept")

    def layers(self, *layers: list[Entry], limit: int = IMAGE_BYTES) -> Path:
        """Unpack these layers into a fresh root."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        given = []
        for number, entries in enumerate(layers):
            made = layer(entries)
            path = self.directory / f"layer-{number}"
            path.write_bytes(made.blob)
            given.append({"path": str(path), "compression": "gzip", "diff_id": made.diff_id})
        unpack.unpack(self.root, given, limit)
        return self.root

    def check(self) -> None:
        """Nothing outside of the root was touched."""
        assert self.secret.read_text() == "secret" and self.secret.stat().st_nlink == 1
        assert {path.name for path in (self.directory / "outside").iterdir()} == {"kept"}
        assert (self.directory / "outside/kept").read_text() == "kept"
        allowed = {"root", "secret", "outside", *(f"layer-{number}" for number in range(9))}
        assert {path.name for path in self.directory.iterdir()} <= allowed


@pytest.fixture
def unpacking(tmp_path: Path) -> Iterator[Unpacking]:
    unpacking = Unpacking(tmp_path)
    yield unpacking
    unpacking.check()


def content(root: Path) -> dict[str, str]:
    """Files and links of a root, what every root has aside."""
    found = {}
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(directory) / name
            inside = str(path.relative_to(root))
            if path.is_symlink():
                found[inside] = f"-> {os.readlink(path)}"
            elif path.is_file() and inside not in unpack.MOUNT_FILES:
                found[inside] = path.read_text()
    return found


# --- what must become of good layers ------------------------------------------------------------------------------------


def test_the_places_that_are_mounted_on_are_those_of_the_sandbox(unpacking: Unpacking) -> None:
    assert (unpack.MOUNT_POINTS, unpack.MOUNT_FILES) == (bundle_config.MOUNT_POINTS, bundle_config.MOUNT_FILES)
    root = unpacking.layers([file("app", "x")])
    for name in bundle_config.MOUNT_POINTS:
        assert stat.S_ISDIR((root / name).lstat().st_mode), name
    for name in bundle_config.MOUNT_FILES:
        assert stat.S_ISREG((root / name).lstat().st_mode), name
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_what_the_image_has_there_gives_way(unpacking: Unpacking) -> None:
    links = [
        symlink("etc/resolv.conf", "../run/resolve/stub"),
        symlink("etc/hosts", "/secret"),
        symlink("tmp", "var/tmp"),
        file("dev", "x"),
    ]
    root = unpacking.layers(
        [folder("etc"), *links, symlink(".hanabi", "../outside"), file("var/runtime/bootstrap", "rie"), folder("var/tmp")]
    )
    assert (root / "etc/resolv.conf").read_text() == (root / "etc/hosts").read_text() == (root / ".hanabi/init").read_text() == ""
    assert not (root / "tmp").is_symlink() and (root / "dev").is_dir()
    assert content(root) == {"var/runtime/bootstrap": "rie"}


def test_a_link_to_an_opt_elsewhere_stays(unpacking: Unpacking) -> None:
    root = unpacking.layers([file("usr/opt/tool", "x"), symlink("opt", "usr/opt"), symlink("var", "usr/var"), file("usr/var/log", "y")])
    assert os.readlink(root / "opt") == "usr/opt" and os.readlink(root / "var") == "usr/var"
    assert (root / "usr/var/task").is_dir() and (root / "usr/var/runtime").is_dir()


def test_modes_times_and_links(unpacking: Unpacking) -> None:
    made = [
        folder("bin", 0o700), file("bin/tool", "tool", 0o4750), file("secret", "s", 0o600, mtime=1_700_000_000.7), file("open", "o", 0o777),
        hard_link("bin/same", "bin/tool"), symlink("bin/absolute", "/bin/tool"), hard_link("bin/link", "bin/absolute"),
        file("empty"), file("deep/er/file", "d"),
    ]  # fmt: skip
    root = unpacking.layers(made)
    modes = {name: stat.S_IMODE((root / name).lstat().st_mode) for name in ("bin", "bin/tool", "secret", "open", "deep/er")}
    assert modes == {"bin": 0o755, "bin/tool": 0o755, "secret": 0o644, "open": 0o755, "deep/er": 0o755}
    assert (root / "secret").stat().st_mtime == 1_700_000_000
    assert (root / "bin/same").stat().st_ino == (root / "bin/tool").stat().st_ino
    assert os.readlink(root / "bin/link") == "/bin/tool"
    assert (root / "secret").stat().st_uid == os.getuid()


def test_devices_fifos_and_sockets_are_left_out(unpacking: Unpacking) -> None:
    kinds = {"fifo": tarfile.FIFOTYPE, "null": tarfile.CHRTYPE, "sda": tarfile.BLKTYPE}
    root = unpacking.layers([special(f"x/{name}", kind) for name, kind in kinds.items()] + [file("x/file", "f")])
    assert content(root) == {"x/file": "f"}


def test_later_layers_win(unpacking: Unpacking) -> None:
    first = [
        folder("a"),
        file("a/one", "1"),
        file("a/two", "1"),
        symlink("link", "a"),
        folder("gone"),
        file("gone/x", "1"),
        file("kind", "1"),
    ]
    second = [
        file("a/one", "2"),
        file("link/three", "2"),
        file("gone", "now a file"),
        folder("kind"),
        file("kind/x", "2"),
        symlink("a/two", "one"),
    ]
    root = unpacking.layers(first, second)
    expected = {"a/one": "2", "a/two": "-> one", "a/three": "2", "link": "-> a", "gone": "now a file", "kind/x": "2"}
    assert content(root) == expected


def test_a_file_over_a_link_does_not_write_through_it(unpacking: Unpacking) -> None:
    root = unpacking.layers(
        [file("real", "1"), symlink("link", "real"), hard_link("other", "real")], [file("link", "2"), file("other", "3")]
    )
    assert content(root) == {"real": "1", "link": "2", "other": "3"}


def test_whiteouts(unpacking: Unpacking) -> None:
    first = [file("a/one", "1"), file("a/two", "1"), file("b/one", "1"), file("b/sub/two", "1"), file("c", "1"), symlink("l", "c")]
    second = [
        file("a/.wh.one"), file("b/new", "2"), file("b/.wh..wh..opq"), file("b/sub/three", "2"), file(".wh.l"), file(".wh.never"),
        file("none/.wh.x"), file("c/.wh.x"), file(".wh..wh.plnk/1.2", "aufs"),
    ]  # fmt: skip
    assert content(unpacking.layers(first, second)) == {"a/two": "1", "b/new": "2", "b/sub/three": "2", "c": "1"}


def test_a_whiteout_spares_its_own_layer(unpacking: Unpacking) -> None:
    first = [file("a/old", "1"), file("f", "1")]
    for second in (
        [file("a/new", "2"), file(".wh.a"), file("f", "2"), file(".wh.f")],
        [file(".wh.a"), file("a/new", "2"), file(".wh.f"), file("f", "2")],
    ):
        assert content(unpacking.layers(first, second)) == {"a/new": "2", "f": "2"}


def test_opaque_root(unpacking: Unpacking) -> None:
    assert content(unpacking.layers([file("a/b", "1"), file("c", "1")], [file(".wh..wh..opq"), file("c", "2")])) == {"c": "2"}
    assert content(unpacking.layers([file("a/b", "1")], [file("./.wh..wh..opq")])) == {}


def test_every_compression(tmp_path: Path) -> None:
    tar = tar_of([file("a", "x" * 100_000)])
    halves = gzip.compress(tar[:5000]) + gzip.compress(tar[5000:])  # as tools that make layers seekable write them
    variants = {"": tar, "gzip": halves}
    if shutil.which("zstd"):
        variants["zstd"] = subprocess.run(["zstd", "-qc"], input=tar, capture_output=True, check=True).stdout
    for compression, blob in variants.items():
        root = tmp_path / f"root-{compression}"
        root.mkdir()
        (tmp_path / "blob").write_bytes(blob)
        unpack.unpack(root, [{"path": str(tmp_path / "blob"), "compression": compression, "diff_id": digest(tar)}])
        assert len((root / "a").read_text()) == 100_000


# --- what bad ones must not reach ---------------------------------------------------------------------------------------

OUTSIDE = "../outside"


@pytest.mark.parametrize(
    "entries",
    [
        [file("../secret", "x")],
        [file("a/../../secret", "x")],
        [folder("..")],
        [symlink("../link", "x")],
        [file("a/..", "x")],
        [file("../.wh.secret")],
        [file("a/.wh...")],
        [file(".wh...")],
        [file(".wh..")],
        [file(".wh.")],
        [file("../.wh..wh..opq")],
        [file("a/../../.wh..wh..opq")],
        [hard_link("x", "../secret")],
        [hard_link("x", "a/../../secret")],
        [hard_link("x", "missing")],
        [folder("d"), hard_link("x", "d")],
        [symlink("x", "")],
        [file("a/" * 200 + "deep", "x")],
        [file("n" * 300, "x")],
        [file("file", "x"), file("file/below", "x")],
        [symlink("loop", "loop"), file("loop/x", "x")],
    ],
    ids=lambda entries: entries[-1][0].name[:24],
)
def test_what_cannot_be_is_refused(unpacking: Unpacking, entries: list[Entry]) -> None:
    with pytest.raises(ImageError) as caught:
        unpacking.layers([file("a/x", "1")], entries)
    assert caught.value.kind == "invalid", caught.value


@pytest.mark.parametrize("target", [OUTSIDE, "/", "../../../../../../../../..", "/proc/self/cwd", "/proc/self/root", "/dev/fd"])
def test_links_lead_to_nowhere_but_inside(unpacking: Unpacking, target: str) -> None:
    """By every way that a link can be stepped on: as a parent, as a parent's parent, for whiteouts and for hard links."""
    ways = [
        [file("link/new", "x")],
        [folder("link/new")],
        [file("link/outside/kept", "x"), file("link/secret", "x")],
        [file("link/.wh.kept")],
        [file("link/.wh..wh..opq")],
        [file("link/outside/.wh..wh..opq"), file("link/.wh.secret"), file("link/outside/.wh.kept")],
        [symlink("link/second", target), file("link/second/new", "x")],
        [folder("link"), file("link/new", "x")],
    ]
    for way in ways:
        for layers in ([[symlink("link", target), *way]], [[symlink("link", target)], way]):
            try:
                unpacking.layers(*layers)
            except ImageError as error:
                assert error.kind == "invalid"
            unpacking.check()


@pytest.mark.parametrize("target", ["secret", "link/secret", "link/outside/kept", "/link/secret"])
def test_hard_links_reach_no_file_outside(unpacking: Unpacking, target: str) -> None:
    for link in (OUTSIDE, "..", str(unpacking.directory)):
        with pytest.raises(ImageError):
            unpacking.layers([symlink("link", link), hard_link("mine", target)])
        unpacking.check()
    root = unpacking.layers(
        [symlink("link", "../secret"), hard_link("mine", "link"), file("mine", "x")]
    )  # a second name for the link itself
    assert not (root / "mine").is_symlink()


def test_absolute_names_are_inside(unpacking: Unpacking) -> None:
    root = unpacking.layers([file("/app/x", "x"), file(str(unpacking.secret), "not the secret"), hard_link("/app/y", "/app/x")])
    assert (root / "app/y").read_text() == "x"
    assert (root / str(unpacking.secret).lstrip("/")).read_text() == "not the secret"


def test_depth_by_links_is_bounded(unpacking: Unpacking) -> None:
    """Each link leads to the end of a chain of directories, so that no name of an entry is deep."""
    entries: list[Entry] = [folder("d0")]
    for number in range(1, 40):
        parent = f"l{number - 1}" if number > 1 else "d0"
        entries += [folder("/".join([parent, *("x" * 10)])), symlink(f"l{number}", "/".join([parent, *("x" * 10)]))]
    with pytest.raises(ImageError, match="below each other|symbolic links|name too long"):
        unpacking.layers(entries)


def test_bombs(unpacking: Unpacking, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="is larger than"):
        unpacking.layers([file("a", b"\0" * 3_000_000)], [file("b", b"\0" * 3_000_000)], limit=5_000_000)
    monkeypatch.setattr(unpack, "OVERHEAD_BYTES", 1_000_000)
    with pytest.raises(ImageError, match="is larger than"):  # of headers alone
        unpacking.layers([folder("same") for _ in range(4000)], limit=1_000_000)
    monkeypatch.setattr(root_tree, "NODE_LIMIT", 1000)
    with pytest.raises(ImageError, match="more than 1000 files"):
        unpacking.layers([file(f"f{number}") for number in range(600)], [file(f"g{number}") for number in range(600)])
    with pytest.raises(ImageError, match="more than 1000 files"):  # those replaced count
        unpacking.layers([file("same") for number in range(1200)])


def test_sparse_files_count_in_full(unpacking: Unpacking, tmp_path: Path) -> None:
    """A few bytes in the archive that are gigabytes in the file."""
    sparse = tmp_path / "outside/kept"
    header = tarfile.TarInfo("hole")
    header.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "hole", "GNU.sparse.size": str(20 << 30)}
    header.pax_headers |= {"GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1"}
    header.size = 1
    with pytest.raises(ImageError, match="is larger than"):
        unpacking.layers([(header, b"x")])
    assert sparse.read_text() == "kept"


@pytest.mark.parametrize("damage", ["digest", "truncated", "garbage", "no tar", "half", "empty"])
def test_damaged_layers(unpacking: Unpacking, damage: str) -> None:
    made = layer([file("a", os.urandom(100_000)), file("b", "x")])
    blobs = {
        "digest": layer([file("a", "other")]).blob,
        "truncated": made.blob[: len(made.blob) // 2],
        "garbage": made.blob[:2000] + b"garbage" + made.blob[2007:],
        "no tar": gzip.compress(b"no tar at all" * 100),
        "half": gzip.compress(gzip.decompress(made.blob)[:50_000]),
        "empty": b"",
    }
    path = unpacking.directory / "layer-0"
    path.write_bytes(blobs[damage])
    unpacking.root.mkdir()
    with pytest.raises(ImageError) as caught:
        unpack.unpack(unpacking.root, [{"path": str(path), "compression": "gzip", "diff_id": made.diff_id}])
    assert caught.value.kind == "invalid"


def test_mutated_tars_never_leave_the_root(unpacking: Unpacking) -> None:
    """Bytes of headers changed at random, checksums fixed: refused or unpacked inside, never anything else."""
    import random

    draw = random.Random(7)
    whole = bytearray(
        tar_of([folder("d"), file("d/f", "x"), symlink("d/l", "../.."), hard_link("d/h", "d/f"), file("d/l/g", "y"), file("d/.wh.f")])
    )
    headers = [offset for offset in range(0, len(whole) - 1024, 512) if whole[offset + 257 : offset + 262] == b"ustar"]
    for number in range(150):
        tar = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            start = draw.choice(headers)
            place = start + draw.choice((*range(100), 156, *range(157, 257), *range(345, 400), *range(124, 136)))
            tar[place] = draw.choice(b"./\0a0127xLKgS\xff")
            tar[start + 148 : start + 156] = b" " * 8
            tar[start + 148 : start + 156] = b"%06o\0 " % sum(tar[start : start + 512])
        path = unpacking.directory / "layer-0"
        path.write_bytes(tar)
        shutil.rmtree(unpacking.root, ignore_errors=True)
        unpacking.root.mkdir()
        try:
            unpack.unpack(unpacking.root, [{"path": str(path), "compression": "", "diff_id": digest(bytes(tar))}])
        except ImageError as error:
            assert error.kind == "invalid", number
        unpacking.check()


def test_as_a_command(unpacking: Unpacking) -> None:
    import json

    made = layer([file("../x", "x")])
    (unpacking.directory / "layer-0").write_bytes(made.blob)
    unpacking.root.mkdir()
    given = json.dumps([{"path": str(unpacking.directory / "layer-0"), "compression": "gzip", "diff_id": made.diff_id}])
    done = subprocess.run(
        [sys.executable, "-m", "hanabi.images.containers.unpack", unpacking.root], input=given, capture_output=True, text=True
    )
    assert done.returncode == unpack.EXIT and done.stderr == "'../x' is no path that an image may have\n"
