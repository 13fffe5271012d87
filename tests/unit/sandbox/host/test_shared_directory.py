"""Folders that functions share: whose they must be, and whose what is made there is."""

import os
from pathlib import Path

import pytest

from hanabi.base import linux
from hanabi.errors import IsolationUnavailable
from hanabi.sandbox.host import host_ids
from hanabi.sandbox.host.shared_directory import SharedDirectory
from tests.conftest import needs_root

NUMBER, OWNER = 7, (1234, 1235)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@needs_root
def test_the_owner_on_disk_is_the_function_inside(folder: Path, tmp_path: Path) -> None:
    os.chown(folder, *OWNER)
    folder.chmod(0o700)
    (folder / "roots").write_text("not its own")
    SharedDirectory(folder).check()
    function = host_ids.ids(NUMBER).function
    target = tmp_path / "target"
    target.mkdir()
    tmp_path.chmod(0o755)
    if (pid := os.fork()) == 0:  # its mounts are its own
        status = 1
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
            linux.move_tree(SharedDirectory(folder).clone(host_ids.ids(NUMBER)), linux.open_directory(str(target)))
            os.chdir(target)
            found = os.stat(".")
            os.setgroups([])
            os.setgid(function[1])
            os.setuid(function[0])
            Path("made").write_text("by the function")
            status = 0 if (found.st_uid, found.st_gid) == function and os.stat("roots").st_uid == 65534 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    made = (folder / "made").stat()
    assert (made.st_uid, made.st_gid) == OWNER


@needs_root
def test_a_folder_of_roots_is_refused_unless_it_is_open_to_all(folder: Path) -> None:
    with pytest.raises(IsolationUnavailable, match="belongs to root"):
        SharedDirectory(folder).check()
    with pytest.raises(PermissionError):
        SharedDirectory(folder).clone(host_ids.ids(NUMBER))
    folder.chmod(0o777)
    SharedDirectory(folder).check()
    os.close(SharedDirectory(folder).clone(host_ids.ids(NUMBER)))


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailable, match="No such file"):
        SharedDirectory(tmp_path / "none").check()
    (tmp_path / "file").touch()
    with pytest.raises(IsolationUnavailable, match="is no directory"):
        SharedDirectory(tmp_path / "file").check()
