"""ID-mapped mounts: root's files are the sandbox's root's, where that can be."""

import errno
import os
from pathlib import Path

import pytest

from hanabi.base import linux
from hanabi.sandbox.host import host_ids, user_namespaces
from hanabi.sandbox.host.user_namespaces import UserNamespaces

NUMBER = 7


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_root_files_are_the_sandboxs_roots(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").touch()
    namespaces = UserNamespaces()
    pid = os.fork()  # its mounts are its own
    if pid == 0:
        status = 1
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
            shown = namespaces.mount(NUMBER, source, target)
            base = host_ids.uid_base(NUMBER)
            same = os.stat(shown / "file").st_uid == base and os.stat(shown).st_gid == base and not os.access(shown / "file", os.W_OK)
            status = 0 if shown == target and same else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.stat(source / "file").st_uid == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_without_them_the_directory_itself_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    def refuse(source: str, namespace: int | None = None) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(user_namespaces, "make_user_namespace", lambda ids: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(linux, "clone_tree", refuse)
    namespaces = UserNamespaces()
    assert namespaces.mount(NUMBER, tmp_path, tmp_path / "target") == tmp_path
    assert not (tmp_path / "target").exists()
    namespaces.close()
