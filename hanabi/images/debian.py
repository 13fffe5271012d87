"""A root from a Debian release: the packages, without what a function never needs, and with the places it is promised."""

import os
import stat
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.programs import enter, need, run

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


def lay_down(root: Path, suite: str, packages: tuple[str, ...], work: Path, lock: int) -> None:
    """Make `root` from a Debian release. Raises `ImageError`."""
    need("mmdebstrap", "mmdebstrap debian-archive-keyring")
    archive = work / "debian.tar"
    mode, environment = ("root", {"TMPDIR": str(work)}) if os.geteuid() == 0 else ("unshare", {})
    command = ["mmdebstrap", f"--mode={mode}", "--variant=essential", "--format=tar", f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "info")]
    charset = LOCALE.partition(".")[2]
    command += [f'--customize-hook=chroot "$1" localedef --no-archive -i {LOCALE.partition(".")[0]} -f {charset} {LOCALE}']
    try:
        run([*command, suite], output=archive, environment=environment, lock=lock)
    except ImageError as error:
        hint = (
            ""
            if mode == "root"
            else "\nAn ordinary user needs uidmap (sudo apt-get install uidmap) and a range of ids in /etc/subuid and /etc/subgid."
        )
        raise ImageError(f"Debian {suite} could not be installed: {error}{hint}") from None
    excludes = [f"--exclude=./{pattern}" for pattern in _LEFT_OUT]
    root.mkdir()
    run(["tar", "-C", root, "-x", "--no-same-owner", "--anchored", "--wildcards", *excludes, "-f", archive], lock=lock)
    archive.unlink()
    _furnish(root)
    enter(root, ["ldconfig"], lock=lock)


def _furnish(root: Path) -> None:
    """Make the places that are promised: a read-only root cannot be given mount points later."""
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        path = root / name
        path.unlink(missing_ok=True)  # it may be a symlink
        path.write_text(text)
    shell = root / "usr/bin/sh"
    shell.unlink()
    shell.symlink_to("bash")  # as in Amazon Linux: AWS's own tutorial has a bootstrap for /bin/sh that only bash can read


def open_to_all(root: Path) -> None:
    """Everything readable by every user, nothing writable by others, nothing set-id: containers run as mapped users."""
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
