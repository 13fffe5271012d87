"""Installing the bundled bootstrap and the agent, which every sandbox gets, where other uids may read them."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from hanabi.base.files import make_open_directory, write_whole
from hanabi.errors import ImageError
from hanabi.images.builders.programs import chroot_command
from hanabi.images.paths import make_readable

LINKS = {  # by language: what Lambda has in /var/runtime, too
    "node": {"ca-cert.pem": "/etc/pki/tls/certs/ca-bundle.crt", "node_modules": "/var/lang/lib/node_modules"},
}
BUILT = {"python": ("capture.so", "hanabi-restore")}  # by language: beside its bootstrap, what `make` builds of guest/process_snapshot
COMPILE = """
import base64, importlib.util, json, sys
from importlib import _bootstrap_external as external
made = []
for path, source in json.load(sys.stdin):
    code = compile(source, path, "exec", dont_inherit=True)
    content = external._code_to_hash_pyc(code, importlib.util.source_hash(source.encode()), False)
    made.append((importlib.util.cache_from_source(path), base64.b64encode(content).decode()))
json.dump(made, sys.stdout)
"""


def install_bootstrap(guest: Path, directory: Path, language: str, root: Path) -> Path:
    """Install the directory that becomes /var/runtime: the current `guest/<language>`, compiled by the root's own Python. Blocks."""
    source = guest / language if language else None
    files = {path.relative_to(source): path.read_bytes() for path in _sources(source)} if source else {}
    built = {Path(name): path.read_bytes() for name in BUILT.get(language, ()) if (path := guest / "build" / name).is_file()}
    links = LINKS.get(language, {})
    made_for = root.parent.name if language == "python" else language or "none"  # byte code belongs to one Python
    digest = hashlib.sha256(repr((made_for, sorted(files.items()), sorted(built.items()), links)).encode()).hexdigest()[:16]
    final = directory / f"{made_for.partition('-')[0]}-{digest}"
    if final.is_dir():
        return final
    make_open_directory(directory)
    incoming = directory / f"incoming-{uuid.uuid4().hex}"
    make_open_directory(incoming)
    try:
        for name, content in files.items():
            _write(incoming / name, content, 0o755 if source and os.access(source / name, os.X_OK) else 0o644)
        for name, content in built.items():
            _write(incoming / name, content, 0o755)
        for link, target in links.items():
            (incoming / link).symlink_to(target)
        if language == "python":
            _compile(incoming, [name for name in files if name.suffix == ".py"], root)
        with contextlib.suppress(OSError):  # another process may have been quicker
            incoming.rename(final)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    if not final.is_dir():
        raise ImageError(f"{final} could not be made")
    return final


def _sources(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    make_open_directory(path.parent)
    path.write_bytes(content)
    path.chmod(mode)


def _compile(directory: Path, names: list[Path], root: Path) -> None:
    """Write the .pyc files for the runtime's Python, which uses them without checking the sources."""
    sources = [(f"/var/runtime/{name}", (directory / name).read_text()) for name in names]
    done = subprocess.run(
        chroot_command(root, ["env", "LD_LIBRARY_PATH=/var/lang/lib", "/var/lang/bin/python3", "-I", "-c", COMPILE]),
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise ImageError(f"the bootstrap does not compile: {done.stderr[-800:]}")
    for cached, code in json.loads(done.stdout):
        _write(directory / Path(cached).relative_to("/var/runtime"), base64.b64decode(code))


def install_agent(source: Path, directory: Path) -> Path:
    """Install the agent's binary where sandboxes can use it. Blocks."""
    content = source.read_bytes()
    final = directory / f"hanabi-init-{hashlib.sha256(content).hexdigest()[:16]}"
    if not final.exists():
        make_open_directory(directory)
        write_whole(final, content, mode=0o755)
    make_readable(final, directory.parent)
    return final
