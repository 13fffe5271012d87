"""The kernel builder's process: `python -m hanabi.images.kernels.builder DIRECTORY own|cloud|file [FILE]`.

Standard output is progress; standard error is why it failed. Downloads are resumed; everything else starts anew.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.builders.main import run_as_builder
from hanabi.images.builders.progress import ProgressReporter
from hanabi.images.builders.staging import staged_directory
from hanabi.images.kernels import cloud, kernel_source
from hanabi.images.kernels.bzimage import MAX_BYTES, check_elf
from hanabi.images.kernels.paths import FILES, VMLINUX, choose, kernel_path
from hanabi.images.paths import describe, is_whole

Fill = Callable[[Path, Path, int], None]  # (directory that is made, work directory, lock)


class KernelBuilder:
    """Makes a kernel unless it exists, and chooses it: `find_kernel` returns the one built last."""

    def __init__(self, directory: Path, progress: Callable[[str], None]) -> None:
        self._directory = directory
        self._downloads = directory / "downloads"
        self._reporter = ProgressReporter(progress)

    def build_own(self) -> Path:
        """Build from the distribution's kernel source. Returns its place; raises `ImageError`."""
        package, fragments = kernel_source.find_source(), [kernel_source.FRAGMENT.read_text()]  # read once: the digest is of what is built

        def fill(made: Path, work: Path, lock: int) -> None:
            kernel_source.need_tools()
            tree = kernel_source.unpack_source(package, self._downloads, work, lock, self._reporter)
            kernel_source.configure(tree, fragments, lock)
            kernel_source.compile_kernel(tree, made / VMLINUX, lock, self._reporter)

        return self._make("own", package.version, kernel_source.digest_inputs(package, fragments), fill)

    def build_cloud(self) -> Path:
        """Use the distribution's kernel for virtual machines. Returns its place; raises `ImageError`."""
        package = cloud.find_package()

        def fill(made: Path, work: Path, lock: int) -> None:
            cloud.make(package, self._downloads, made, work, lock, self._reporter)

        return self._make("cloud", package.version, cloud.digest_inputs(package), fill, cloud.BOOT_ARGS)

    def build_file(self, given: Path) -> Path:
        """Copy a kernel file of the user's. Returns its place; raises `ImageError`."""
        if not given.is_file() or given.stat().st_size > MAX_BYTES:
            raise ImageError(f"{given} is no file of at most {MAX_BYTES >> 20} MB")
        check_elf(given)

        def fill(made: Path, work: Path, lock: int) -> None:
            shutil.copyfile(given, made / VMLINUX)
            check_elf(made / VMLINUX)

        return self._make("file", given.name, digest_file(given), fill)

    def _make(self, name: str, version: str, digest: str, fill: Fill, boot_args: str = "") -> Path:
        place, started = kernel_path(self._directory, name, digest), time.monotonic()
        if not is_whole(place):
            with staged_directory(self._directory, place, self._reporter.say) as (made, lock):
                if made is not None:
                    work = made / "work"
                    work.mkdir()
                    fill(made, work, lock)
                    shutil.rmtree(work)
                    files = [file for file in FILES if (made / file).is_file()]
                    for file in files:
                        (made / file).chmod(0o644)
                    describe(
                        made,
                        name=name,
                        version=version,
                        boot_args_extra=boot_args,
                        sha256={file: digest_file(made / file) for file in files},
                        size=sum((made / file).stat().st_size for file in files),
                        built_ms=int(time.time() * 1000),
                    )
                    self._reporter.say(f"{version} built in {time.monotonic() - started:.0f} s")
        choose(self._directory, place)
        return place


def main(arguments: list[str]) -> int:
    directory, way, *rest = arguments

    def build(progress: Callable[[str], None]) -> None:
        builder = KernelBuilder(Path(directory), progress)
        match way, rest:
            case "own", []:
                builder.build_own()
            case "cloud", []:
                builder.build_cloud()
            case "file", [given]:
                builder.build_file(Path(given))
            case _:
                raise ImageError(f"there is no kernel {' '.join([way, *rest])}")

    return run_as_builder(build)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
