"""What is mounted into every sandbox beside its root: the bundled bootstrap and the agent, copied to where other uids may read them."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.catalog import Recipe

COMPILE = """
import importlib.util, marshal, sys
from importlib import _bootstrap_external as external
source = sys.stdin.buffer.read()
code = compile(source, sys.argv[1], "exec")
sys.stdout.buffer.write(external._code_to_hash_pyc(code, importlib.util.source_hash(source), False))
"""


def install_bootstrap(guest: Path, directory: Path, recipe: Recipe, root: Path) -> Path:
    """The directory that becomes /var/runtime: `guest/<language>` as it is now, compiled by the root's own Python. Blocks."""
    source = guest / recipe.language if recipe.language else None
    files = {path.relative_to(source): path.read_bytes() for path in _sources(source)} if source else {}
    digest = hashlib.sha256(repr((recipe.language, recipe.version, sorted(files.items()))).encode()).hexdigest()[:16]
    final = directory / f"{recipe.language or 'none'}{recipe.version}-{digest}"
    if final.is_dir():
        return final
    incoming = directory / f"incoming-{uuid.uuid4().hex}"
    incoming.mkdir(parents=True, mode=0o755)
    try:
        for name, content in files.items():
            (incoming / name).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            (incoming / name).write_bytes(content)
            (incoming / name).chmod(0o644)
            if recipe.language == "python":
                _compile(incoming, name, content, root, recipe.version)
        with contextlib.suppress(OSError):
            incoming.rename(final)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return final


def _sources(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _compile(directory: Path, name: Path, content: bytes, root: Path, version: str) -> None:
    """Write the .pyc that the runtime's Python will look for; it trusts it without looking at the source again."""
    enter = ["chroot"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "chroot"]
    command = [*enter, str(root), f"/usr/bin/python{version}", "-I", "-c", COMPILE, f"/var/runtime/{name}"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60)
    if done.returncode:
        raise ImageError(f"the bootstrap does not compile: {done.stderr.decode('utf-8', 'replace')[-500:]}")
    cache = directory / name.parent / "__pycache__"
    cache.mkdir(exist_ok=True, mode=0o755)
    target = cache / f"{name.stem}.cpython-{version.replace('.', '')}.pyc"
    target.write_bytes(done.stdout)
    target.chmod(0o644)


def install_agent(source: Path, directory: Path) -> Path:
    """The agent's binary where sandboxes can be given it. Blocks."""
    content = source.read_bytes()
    final = directory / f"hanabi-init-{hashlib.sha256(content).hexdigest()[:16]}"
    if not final.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        incoming = directory / f"incoming-{uuid.uuid4().hex}"
        incoming.write_bytes(content)
        incoming.chmod(0o755)
        incoming.rename(final)
    return final
