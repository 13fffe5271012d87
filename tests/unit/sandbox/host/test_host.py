"""What a run leaves in its directory goes with it, what the fleet wrote there included."""

from pathlib import Path

from hanabi.sandbox.host.host import HIBERNATED, RUN_DIRECTORIES, SandboxHost


def test_the_directories_of_an_earlier_run_go(tmp_path: Path) -> None:
    for name in (*RUN_DIRECTORIES, "kept"):
        (tmp_path / name / "of" / "an environment").mkdir(parents=True)
    SandboxHost(tmp_path, slots=1, allow_net=(), network=False)._remove_made()
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert HIBERNATED in RUN_DIRECTORIES
