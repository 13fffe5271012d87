"""A file system of its own for a server's data, which can be filled and can stand still."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Disk:
    """An ext4 file system in a file, mounted at `directory`."""

    def __init__(self, directory: Path, size_mb: int) -> None:
        self.directory = directory
        self._image = directory.with_suffix(".img")
        with self._image.open("wb") as file:
            file.truncate(size_mb << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(self._image)], check=True)
        directory.mkdir()
        subprocess.run(["mount", "-o", "loop", str(self._image), str(directory)], check=True)
        directory.chmod(0o755)

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.directory)], check=False)
        self.directory.rmdir()
        self._image.unlink()

    @contextmanager
    def full(self) -> Iterator[None]:
        filling = self.directory / "filling"
        with filling.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        try:
            yield
        finally:
            filling.unlink()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Whoever writes waits: the slowest disk there is."""
        subprocess.run(["fsfreeze", "--freeze", str(self.directory)], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.directory)], check=True)
