"""What a hostile function would try inside a container, refused: each by the defence that is there for it."""

import asyncio
import os
from pathlib import Path

import pytest

from hanabi.base import linux
from hanabi.contracts.sandbox import Exit
from hanabi.errors import SandboxError
from hanabi.sandbox.host.host_ids import UID_BASE
from tests.system.sandbox.rig import Rig, has_landlock

REFUSED = """
    mount umount fsopen open_tree unshare-user unshare-net clone-user setns ptrace-agent process_vm_readv pidfd_getfd bpf perf_event_open
    userfaultfd io_uring keyctl add_key init_module kexec reboot swapon syslog acct quotactl name_to_handle_at open_by_handle_at settime
    chroot personality raw ping packet vsock alg sctp audit setuid-root setuid-agent kill-agent mknod sethostname
""".split()
OOM = "lower-oom lower-oom-to-agent lower-oom-of-a-child".split()

DEVICES = set("null zero full random urandom tty fd stdin stdout stderr ptmx core console".split())


async def test_system_calls_are_refused(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        said = await guest.probe("try", *REFUSED, "clone3", "lower-oom", "low-port")
        answers = dict(line.split(" ", 1) for line in said.splitlines())
    assert answers.pop("clone3") == "ENOSYS"
    assert answers.pop("lower-oom") == "EACCES"
    assert answers.pop("low-port") == "EACCES"
    assert answers == {name: "EPERM" for name in REFUSED}


async def test_what_programs_need_is_allowed(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        said = await guest.probe("try", "clone-plain", "tcp", "getifaddrs", "personality-query")
    assert said.splitlines() == ["clone-plain ok 0", "tcp ok 0", "getifaddrs ok 0", "personality-query ok 0"]


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock of version 2 or later (Linux 5.19)")
async def test_a_function_stays_the_first_that_is_killed_when_memory_runs_out(rig: Rig) -> None:
    """The agent has less than 1000; what may be written to beside /proc stays as it was."""

    async with rig.sandbox() as guest:
        assert oom_score_adj(guest.box._pid) < 1000
        assert await guest.probe("cat", "/proc/self/oom_score_adj") == "1000"
        said = await guest.probe("try", *OOM, "move-between-directories", "write-devices")
    *refused, moved, written = said.splitlines()
    assert refused == [f"{name} EACCES" for name in OOM]
    assert (moved, written) == ("move-between-directories ok 0", "write-devices ok 0")


async def test_no_descriptor_can_be_sent_to_the_host_and_linger_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last hold of a TCP socket waits for SO_LINGER: either the host never gets it, or there is no SO_LINGER."""

    async def work() -> list[str]:
        async with rig.sandbox() as guest:
            return (await guest.probe("try", "send-rights", "linger", "linger-wide", "keepalive")).splitlines()

    if linux.can_refuse_rights():
        assert await work() == ["send-rights EPERM", "linger ok 0", "linger-wide ok 0", "keepalive ok 0"]
    monkeypatch.setattr(linux, "can_refuse_rights", lambda: False)
    monkeypatch.setattr(linux, "refuse_rights", lambda receiver: False)
    assert await work() == ["send-rights ok 0", "linger EPERM", "linger-wide EPERM", "keepalive ok 0"]


async def test_a_function_has_no_capabilities(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        said = await guest.probe("cat", "/proc/self/status")
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert status["Uid"].split() == ["993"] * 4 and status["Gid"].split() == ["990"] * 4 and status["Groups"] == ""


async def test_each_sandbox_has_uids_of_its_own(rig: Rig) -> None:
    async with rig.sandbox() as one, rig.sandbox() as two:
        found = []
        for guest in (one, two):
            await guest.start("wait")
            await guest.said("ok")
            pids = rig.driver.tree.pids(guest.box.id)
            found += sorted(os.stat(f"/proc/{pid}").st_uid for pid in pids)
        agent_1, function_1, agent_2, function_2 = found
    assert min(agent_1, agent_2) >= UID_BASE
    assert (function_1 - agent_1, function_2 - agent_2) == (1, 1)
    assert agent_1 >> 16 != agent_2 >> 16


async def test_the_root_is_read_only(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        for path in ("/file", "/etc/hosts", "/var/task/file", "/var/runtime/file", "/opt/file", "/.hanabi/init", "/bin/probe"):
            assert await guest.probe("put", path) in ("EROFS", "EACCES"), path
        for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/dev/file", "/proc/1/oom_score_adj"):
            assert await guest.probe("put", path) in ("EROFS", "EACCES", "ENOENT"), path
        assert await guest.probe("put", "/tmp/file") == "ok 1"
        assert await guest.probe("cat", "/var/runtime/bootstrap.txt") == "bootstrap"


async def test_nothing_of_the_host_or_of_others_is_seen(rig: Rig) -> None:
    async with rig.sandbox() as guest, rig.sandbox():
        processes = [name for name in (await guest.probe("list", "/proc")).splitlines() if name.isdigit()]
        assert len(processes) == 2  # the agent and the probe
        assert set((await guest.probe("list", "/")).split()) == {"proc", "dev", "tmp", "opt", "var", "etc", "bin"}
        assert set((await guest.probe("list", "/dev")).split()) <= DEVICES
        for path in ("/proc/1/fd", "/proc/1/ns", "/proc/1/root", "/proc/1/cwd", "/proc/1/map_files", "/sys", "/dev/shm"):
            assert await guest.probe("list", path) in ("EACCES", "EPERM", "ENOENT"), path
        for path in ("/proc/1/environ", "/proc/1/mem", "/proc/1/maps"):
            assert await guest.probe("cat", path) in ("EACCES", "EPERM"), path
        for path in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/kallsyms"):
            assert await guest.probe("cat", path) in ("", "ENOENT"), path


async def test_mounting_into_a_running_sandbox(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("code")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "disk", 0o60666, os.makedev(7, 0))
    (tmp_path / "disk").chmod(0o666)
    tmp_path.chmod(0o755)

    async with rig.sandbox() as guest:
        await guest.start("wait", role="extension")  # running, as in a pool
        await guest.said("ok")
        await guest.box.mount(tmp_path, "/var/task")
        assert await guest.probe("cat", "/var/task/handler.py") == "code"
        assert await guest.probe("put", "/var/task/handler.py") in ("EROFS", "EACCES")
        assert await guest.probe("put", "/var/task/new") in ("EROFS", "EACCES")
        assert await guest.probe("cat", "/var/task/disk") == "EACCES"  # no device
        options = [line for line in (await guest.probe("cat", "/proc/self/mountinfo")).splitlines() if " /var/task " in line]
        assert len(options) == 1 and options[0].split()[5].startswith("ro,nosuid,nodev")
        for target in ("/etc", "/tmp", "/var/runtime", "/var/task/../../etc"):
            with pytest.raises(SandboxError):
                await guest.box.mount(tmp_path, target)
        with pytest.raises(SandboxError):
            await guest.box.mount(tmp_path / "absent", "/opt")


async def test_a_killed_agent_takes_all_with_it(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        await guest.start("wait")
        await guest.said("ok")
        guest.box.signal("runtime", 9)
        assert await guest.exits.get() == Exit("runtime", None, 9)
        pids = rig.driver.tree.pids(guest.box.id)
        assert len(pids) == 1
        os.kill(pids.pop(), 9)
        assert await asyncio.wait_for(guest.exits.get(), 5) == Exit("sandbox", None, 9)
        with pytest.raises(SandboxError):
            await guest.start("wait")
