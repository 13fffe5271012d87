"""Private bind mounts in a traversable directory, for containers of an ordinary user whose home bars other uids."""

from contextlib import suppress
from pathlib import Path

from hanabi.base import linux
from hanabi.errors import IsolationUnavailable

_PLACES = ("/media", "/mnt", "/srv", "/boot")


class BindMounts:
    """A tmpfs over an unused directory, visible in our mount namespace only."""

    def __init__(self, avoid: Path) -> None:
        for place in map(Path, _PLACES):
            if place.is_dir() and not avoid.is_relative_to(place):
                linux.mount("tmpfs", str(place), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=64m")
                self.directory = place
                return
        raise IsolationUnavailable(f"none of {', '.join(_PLACES)} is there to mount on; choose another --data-dir")

    def bind(self, source: Path, name: str) -> Path:
        """Bind a file or directory into the shared directory."""
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        linux.mount(str(source), str(target), "none", linux.MS_BIND)
        return target

    def unbind(self, name: str) -> None:
        """Unmount everything below a name of the shared directory."""
        directory = self.directory / name
        if directory.is_dir():
            for entry in sorted(directory.iterdir()):
                with suppress(OSError):
                    linux.unmount(str(entry))
                with suppress(OSError):
                    entry.rmdir() if entry.is_dir() else entry.unlink()
            with suppress(OSError):
                directory.rmdir()

    def close(self) -> None:
        with suppress(OSError):
            linux.unmount(str(self.directory))
