"""The runtime builder's process: `python -m hanabi.images.runtimes.builder DIRECTORY RECIPE`.

Standard output is progress, one line each; standard error is why it failed. One builder at a time makes a given root, whoever
started it: the others wait for its lock, then find the root. It is made in `building/` and published by a rename.
"""

import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hanabi.base.files import make_open_directory
from hanabi.images.builders.main import run_as_builder
from hanabi.images.builders.programs import all_or_none, forget, run
from hanabi.images.builders.staging import staged_directory
from hanabi.images.paths import describe, is_whole, measure, root_path
from hanabi.images.runtimes.debian import install_packages, open_to_all
from hanabi.images.runtimes.java import add_java, fetch_client
from hanabi.images.runtimes.languages import add_python, fetch_node, fetch_python, fetch_sdk
from hanabi.images.runtimes.recipes import RECIPES, Recipe
from hanabi.images.runtimes.standalone_python import add_cpython, fetch_cpython


class Builder:
    """Makes absent roots."""

    def __init__(self, directory: Path, progress: Callable[[str], None]) -> None:
        self._directory = directory
        self._progress = progress
        for name in ("", "building", "locks", "roots"):
            make_open_directory(directory / name)

    def build(self, name: str) -> None:
        """Make the root of a recipe, and its base. Raises `ImageError`."""
        place = root_path(self._directory, name)
        if is_whole(place):
            return
        with staged_directory(self._directory, place, self._progress) as (made, lock):
            if made is not None:
                self._fill(name, made, lock)

    def _fill(self, name: str, made: Path, lock: int) -> None:
        recipe, root, work = RECIPES[name], made / "root", made / "work"
        started = time.monotonic()
        work.mkdir()
        try:
            with ThreadPoolExecutor(3) as beside, all_or_none(lock):
                self._make(recipe, root, work, lock, beside)
        finally:
            forget(lock)
        open_to_all(root)
        shutil.rmtree(work)
        size = measure(root)
        describe(made, size=size, built_ms=int(time.time() * 1000))
        self._progress(f"{name}: {size / 2**20:.0f} MB, built in {time.monotonic() - started:.0f} s")

    def _make(self, recipe: Recipe, root: Path, work: Path, lock: int, beside: ThreadPoolExecutor) -> None:
        """Make a root. Downloads need no root, so they run in parallel with the packages or the base."""
        version = recipe.python or recipe.cpython
        python = beside.submit(fetch_python, version, work / "python", lock) if version else None
        cpython = beside.submit(fetch_cpython, recipe.cpython, work / "cpython", lock) if recipe.cpython else None
        client = beside.submit(fetch_client, work / "java", lock) if recipe.java else None
        sdk = beside.submit(fetch_sdk, work / "sdk", lock) if recipe.sdk else None
        node = beside.submit(fetch_node, recipe.node, work / "node", ("bin/node",), lock) if recipe.node else None
        self._begin(recipe, root, work, lock)
        if python:
            self._progress("installing boto3, compiling")
            python.result()
            if cpython:
                cpython.result()
                add_cpython(root, recipe.cpython, work / "cpython", work / "python", lock)
            else:
                add_python(root, recipe.python, work / "python", lock)
        if client:
            self._progress(f"setting up Java {recipe.java}")
            client.result()
            add_java(root, recipe.java, work / "java", lock)
        if sdk:
            self._progress("installing the AWS SDK for JavaScript")
            shutil.move(sdk.result(), root / "var/lang/lib/node_modules")
        if recipe.ruby:
            (root / "var/lang/bin/ruby").symlink_to(f"/usr/bin/ruby{recipe.ruby}")
        if node:
            self._progress(f"installing Node.js {recipe.node}")
            node.result()
            shutil.move(work / "node/bin/node", root / "var/lang/bin/node")

    def _begin(self, recipe: Recipe, root: Path, work: Path, lock: int) -> None:
        if recipe.base:
            self.build(recipe.base)
            run(["cp", "--archive", "--link", root_path(self._directory, recipe.base) / "root", root], lock=lock)
        else:
            self._progress(f"installing packages of Debian {recipe.suite}")
            install_packages(root, recipe.suite, recipe.packages, work, lock, rolling=recipe.rolling)


def main(arguments: list[str]) -> int:
    directory, recipe = arguments
    return run_as_builder(lambda progress: Builder(Path(directory), progress).build(recipe))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
