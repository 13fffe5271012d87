"""Making a root from a Debian release: its packages, without files that functions never need, and the mount points.

Packages are unpacked, not configured: their scripts take three times as long, need Perl, and do little for a root that never
changes. This module does that part: alternatives, certificates, the locale, the loader's cache, the status file for scanners.
"""

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.programs import require_program, run, run_in_root

UNPRIVILEGED = "An ordinary user needs uidmap (sudo apt-get install uidmap) and a range of ids in /etc/subuid and /etc/subgid."
LOCALE = "en_US.UTF-8"  # LANG of every Lambda function

# Left out when the release's files are laid down. Perl is only there for package scripts; the dpkg status stays, for scanners.
_LEFT_OUT = [
    "dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "boot", "media", "mnt", "srv", "home/*", "root/.*",
    "var/cache/*", "var/log/*", "var/mail", "var/local", "var/backups", "var/opt", "var/lib/apt", "var/lib/dpkg/info", "var/lib/dpkg/*-old",
    "var/lib/systemd", "etc/apt", "etc/cron.daily", "etc/init.d", "etc/logrotate.d", "etc/rc?.d", "etc/systemd", "etc/sub[ug]id*", "etc/*-",
    "usr/games", "usr/include", "usr/src", "usr/lib/systemd", "usr/lib/apt", "usr/lib/dpkg", "usr/lib/init", "usr/lib/udev",
    *(f"usr/share/{name}" for name in ("bash-completion", "bug", "debconf", "dict", "doc", "doc-base", "gcc", "gdb", "i18n", "info",
      "lintian", "locale", "man", "menu", "perl*", "pixmaps", "polkit-1", "zsh")),
    "usr/bin/perl*", "usr/lib/*/perl*", "usr/lib/*/libperl.so*", "usr/lib/*/gconv/EBCDIC*", "usr/lib/*/gconv/IBM*",
]  # fmt: skip

_DIRECTORIES = (
    "dev", "proc", "sys", "run", "opt/bin", "opt/lib", "opt/nodejs", "opt/python", "tmp", ".hanabi",
    "var/lang/bin", "var/lang/lib", "var/runtime", "var/task/lib", "var/log", "var/cache", "home/sbx_user1051",
    *(f"usr/local/{name}" for name in ("bin", "etc", "lib", "sbin", "share")),
)  # fmt: skip
_FILES = {
    ".hanabi/init": "",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "",
    "etc/hostname": "localhost\n",
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "hanabi:x:992:990::/:/usr/sbin/nologin\n"
        "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": "root:x:0:\ntty:x:5:\nsbx_user1051:x:990:\nnogroup:x:65534:\n",
    "etc/shadow": "",
    "etc/gshadow": "",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n",
}


# What every root has besides what a recipe names: the essential packages that a program may call for.
_ALWAYS = (
    "base-files", "bash", "bsdutils", "coreutils", "debianutils", "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "mawk",
    "ncurses-base", "ncurses-bin", "sed", "tar", "util-linux",
)  # fmt: skip
_ALTERNATIVES = {"awk": "mawk", "nawk": "mawk", "which": "which.debianutils"}
# In the new root, before its packages are unpacked: /bin and the like are links, as the release's own installer makes them.
_MERGE_USR = 'for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done'
# And once its packages are unpacked: what the package manager would have noted of them, for scanners.
_NOTE_STATUS = (
    'mkdir -p "$1/var/lib/dpkg"; for deb in "$1"/var/cache/apt/archives/*.deb; do '
    'dpkg-deb --field "$deb" | sed "1a Status: install ok installed"; echo; done > "$1/var/lib/dpkg/status"'
)


def install_packages(root: Path, suite: str, packages: tuple[str, ...], work: Path, lock: int, *, rolling: bool = False) -> None:
    """Make `root` from a Debian release. A `rolling` one may be of a mirror that stands still for a while. Raises `ImageError`."""
    require_program("mmdebstrap", "mmdebstrap debian-archive-keyring")
    archive = work / "debian.tar"
    mode, environment = ("root", {"TMPDIR": str(work)}) if os.geteuid() == 0 else ("unshare", {})
    command = ["mmdebstrap", f"--mode={mode}", "--variant=extract", "--format=tar", f"--include={','.join((*_ALWAYS, *packages))}"]
    command += ["--aptopt=APT::Install-Recommends false", f"--setup-hook={_MERGE_USR}", f"--extract-hook={_NOTE_STATUS}"]
    command += ["--aptopt=Acquire::Check-Valid-Until false"] if rolling else []
    try:
        run([*command, suite], output=archive, environment=environment, lock=lock)
    except ImageError as error:
        hint = "" if mode == "root" else f"\n{UNPRIVILEGED}"
        raise ImageError(f"Debian {suite} could not be installed: {error}{hint}") from None
    root.mkdir()
    kept = [f"--exclude=./{pattern}" for pattern in _LEFT_OUT]
    run(["tar", "-C", root, "-x", "--no-same-owner", "--anchored", "--wildcards", *kept, "-f", archive], lock=lock)
    run(["tar", "-C", work, "-x", "--no-same-owner", "-f", archive, "./usr/share/i18n"], lock=lock)
    archive.unlink()
    _make_mount_points(root)
    _configure(root, work / "usr/share/i18n", lock)


def _configure(root: Path, sources: Path, lock: int) -> None:
    """Do what the packages' own scripts would have done."""
    for name, target in _ALTERNATIVES.items():
        link = root / "usr/bin" / name
        if not link.is_symlink() and (root / "usr/bin" / target).exists():
            link.symlink_to(target)
    certificates = root / "usr/share/ca-certificates"
    names = sorted(str(path.relative_to(certificates)) for path in certificates.rglob("*.crt"))
    (root / "etc/ca-certificates.conf").write_text("".join(f"{name}\n" for name in names))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    run_in_root(root, ["ldconfig"], lock=lock)
    shutil.copytree(sources, root / "usr/share/i18n")
    name, _, charset = LOCALE.partition(".")
    programs = (["/usr/sbin/update-ca-certificates"], ["localedef", "--no-archive", "-i", name, "-f", charset, LOCALE])
    with ThreadPoolExecutor(len(programs)) as pool:
        list(pool.map(lambda program: run_in_root(root, program, lock=lock), programs))
    shutil.rmtree(root / "usr/share/i18n")
    (root / "dev/null").unlink(missing_ok=True)  # the scripts wrote to it, and it was no device


def _make_mount_points(root: Path) -> None:
    """Make the mount points: none can be added to a read-only root later."""
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/localtime").unlink(missing_ok=True)
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (root / "etc/timezone").write_text("Etc/UTC\n")
    for name, text in _FILES.items():
        path = root / name
        path.unlink(missing_ok=True)  # it may be a symlink
        path.write_text(text)
    shell = root / "usr/bin/sh"
    shell.unlink(missing_ok=True)
    shell.symlink_to("bash")  # as in Amazon Linux: AWS's own tutorial has a bootstrap for /bin/sh that only bash can read


def open_to_all(root: Path) -> None:
    """Make everything world-readable, nothing writable by others, nothing set-id: containers run as mapped users."""
    for directory, _, files in os.walk(root):
        _set_mode(directory, 0o755)
        for name in files:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                _set_mode(path, 0o755 if mode & 0o111 else 0o644)
            elif not stat.S_ISLNK(mode):
                os.unlink(path)  # a device, socket or fifo has no place in a root
    os.chmod(root / "tmp", 0o1777)


def _set_mode(path: str, wanted: int) -> None:
    if stat.S_IMODE(os.lstat(path).st_mode) != wanted:
        os.chmod(path, wanted)
