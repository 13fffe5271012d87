"""Volumes for /tmp: the sparse file of a microVM, and the loop device of a container, which others of the host may have next."""

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from hanabi.base import linux
from hanabi.errors import IsolationUnavailable
from hanabi.sandbox.host.volume import MB, Volumes, copy_sparse, in_use


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")
def test_a_volume_for_a_microvm() -> None:
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name:
        place = Path(name)
        volumes = Volumes(place / "volumes")
        try:
            volumes.open()
        except IsolationUnavailable as error:
            pytest.skip(str(error))
        image = place / "tmp.ext4"
        copy_sparse(volumes.template(512), image)
        facts = image.stat()
        assert facts.st_size > 512 * MB and facts.st_size % 4096 == 0
        assert facts.st_blocks * 512 < 16 * MB
        subprocess.run(["fsck.ext4", "-fn", image], check=True, capture_output=True, timeout=60, env={"PATH": "/usr/sbin:/sbin"})
        point = place / "mnt"
        point.mkdir()
        subprocess.run(["mount", "-o", "loop", image, point], check=True, timeout=60)
        try:
            root, room = point.stat(), os.statvfs(point)
            assert (root.st_uid, root.st_gid, stat.S_IMODE(root.st_mode)) == (0, 0, 0o1777)
            assert room.f_bavail * room.f_frsize >= 512 * MB
            assert list(point.iterdir()) == []
        finally:
            subprocess.run(["umount", point], check=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems")
def test_a_volume_has_ended_though_somebody_else_has_its_device() -> None:
    with tempfile.TemporaryDirectory(prefix="hanabi-test-", dir="/var/tmp") as name:
        place = Path(name)
        volumes = Volumes(place / "volumes")
        try:
            volumes.open()
        except IsolationUnavailable as error:
            pytest.skip(str(error))
        point = place / "mnt"
        point.mkdir()
        volume = volumes.mount("one", 16, point, (0, 0))
        try:
            assert in_use(volume.device, volume.image) and not in_use(volume.device, f"{volume.image}2")
        finally:
            linux.unmount(str(point))
        assert volume.await_end()
        (place / "two").write_bytes(bytes(MB))
        if subprocess.run(["losetup", volume.device, place / "two"], capture_output=True, timeout=60).returncode:
            return  # another sandbox of this host was quicker: that is the case itself
        try:
            assert volume.await_end()
        finally:
            subprocess.run(["losetup", "-d", volume.device], check=True, timeout=60)
