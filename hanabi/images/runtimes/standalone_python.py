"""Versions of Python that no Debian release in use has: the relocatable builds of the JavaCPP presets, from Maven repositories."""

import platform
import shutil
import zipfile
from pathlib import Path

from hanabi.images.builders.programs import run_in_root
from hanabi.images.runtimes.maven import fetch_archives
from hanabi.images.runtimes.recipes import LOCKS

_CLASSIFIERS = {"x86_64": "linux-x86_64", "aarch64": "linux-arm64"}
# Not for functions: headers, editors, the build's own tests, and modules whose libraries no root has.
_LEFT_OUT = ("include/", "lib/pkgconfig/", "share/", "libs/", "bin/", "python3", "libjnipython.so", "libjvm")
_MODULES_LEFT_OUT = ("nis.", "ossaudiodev.", "_gdbm.", "_dbm.", "_tkinter.", "_test", "_xxtestfuzz", "xxlimited", "xxsubtype")
_PACKAGES_LEFT_OUT = ("test", "idlelib", "turtledemo", "lib2to3/tests", "tkinter", "site-packages")
# In the root: the modules that need its libraries, and its certificates where the build's OpenSSL looks for them.
_TRY_AND_TRUST = """
import bz2, ctypes, decimal, hashlib, os, ssl, uuid, zlib
place = ssl.get_default_verify_paths().openssl_cafile
os.makedirs(os.path.dirname(place), exist_ok=True)
os.symlink("/etc/ssl/certs/ca-certificates.crt", place)
"""
_SONAMES = {"libbz2.so.1": "libbz2.so.1.0"}  # as the build's distribution calls a library, and as Debian does


def fetch_cpython(version: str, target: Path, lock: int) -> None:
    """Fetch and unpack a build for `add_cpython`. This needs no root, so it may run while one is made. Raises `ImageError`."""
    archives = target.with_name(f"{target.name}-archives")
    machine = platform.machine()
    (archive,) = fetch_archives(LOCKS / f"cpython-{version}.txt", archives, lock, _CLASSIFIERS.get(machine, machine))
    with zipfile.ZipFile(archive) as jar:
        prefix = next(name for name in jar.namelist() if name.endswith(f"/lib/python{version}/os.py")).partition("lib/")[0]
        for name in jar.namelist():
            member = name.removeprefix(prefix)
            if member == name or name.endswith("/") or (_is_left_out(member, version) and member != f"bin/python{version}"):
                continue
            path = target / (f"lib/{member}" if "/" not in member else member)
            path.parent.mkdir(parents=True, exist_ok=True)
            with jar.open(name) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    (target / f"bin/python{version}").chmod(0o755)
    shutil.rmtree(archives)


def _is_left_out(member: str, version: str) -> bool:
    library = f"lib/python{version}/"
    inside = member.removeprefix(library)
    if inside == member:
        return member.startswith(_LEFT_OUT)
    if inside.startswith("lib-dynload/"):
        return inside.removeprefix("lib-dynload/").startswith(_MODULES_LEFT_OUT)
    return inside.startswith((*(f"{package}/" for package in _PACKAGES_LEFT_OUT), "config-")) or "/test/" in inside


def add_cpython(root: Path, version: str, fetched: Path, packages: Path, lock: int) -> None:
    """Put a build and boto3 where Lambda has them, in /var/lang, and compile them. Raises `ImageError`."""
    lang = root / "var/lang"
    shutil.copytree(fetched, lang, dirs_exist_ok=True)
    for name in ("python3", "python"):
        (lang / "bin" / name).symlink_to(f"python{version}")
    for wanted, there in _SONAMES.items():
        found = next((root / "usr/lib").glob(f"*/{there}"), None)
        if found is not None and not found.with_name(wanted).exists():
            (lang / "lib" / wanted).symlink_to(f"/{found.relative_to(root)}")
    shutil.move(packages, lang / f"lib/python{version}/site-packages")
    places = ("/var/lang/lib",)
    python = ["env", "LD_LIBRARY_PATH=/var/lang/lib", f"/var/lang/bin/python{version}", "-I"]
    run_in_root(root, [*python, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", *places], lock=lock)
    run_in_root(root, [*python, "-c", _TRY_AND_TRUST], lock=lock)
