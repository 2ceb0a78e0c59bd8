"""What the kernel says, parsed: mounts, hierarchies, processes; and control groups of version 2 from recorded files."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from services.containerd import hostfacts
from services.containerd.cgroups import attach_speed, hierarchy, parse, read
from services.containerd.cgroups.control import Control
from services.containerd.cgroups.hierarchy import Hierarchies
from services.containerd.kernel import mountinfo, processes, syscalls
from services.containerd.lifecycle import joining
from services.kit import errors

HYBRID = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
35 22 0:32 / /with\\040space rw,relatime shared:12 master:3 - tmpfs tmp\\011fs rw
36 35 0:33 / /with\\040space/below rw,relatime - tmpfs tmpfs rw
"""
PURE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""


def test_mountinfo() -> None:
    mounts = mountinfo.parse(HYBRID)
    assert mounts[6].target == "/with space"
    assert mounts[6].source == "tmp\tfs"
    assert [mount.shared for mount in mounts] == [False, False, True, False, False, False, True, False]
    below = mountinfo.below(mounts, "/with space")
    assert [mount.target for mount in below] == ["/with space/below"]
    for path, target in (
        ("/with space/x", "/with space"),
        ("/withspace", "/"),
        ("/with space", "/with space"),
    ):
        found = mountinfo.holding(mounts, path)
        assert found is not None
        assert found.target == target


def test_hierarchies() -> None:
    hybrid = hierarchy.find(mountinfo.parse(HYBRID))
    assert (hybrid.version, hybrid.hybrid) == (1, True)
    assert hybrid.directory("cpuacct", "/b/c") == Path("/sys/fs/cgroup/cpu,cpuacct/b/c")
    assert hybrid.directory("freezer", "/b/c") is None
    assert [str(path) for path in hybrid.directories("/b")] == [
        "/sys/fs/cgroup/cpu,cpuacct/b",
        "/sys/fs/cgroup/memory/b",
        "/sys/fs/cgroup/systemd/b",
        "/sys/fs/cgroup/unified/b",
    ]
    pure = hierarchy.find(mountinfo.parse(PURE))
    assert (pure.version, pure.hybrid) == (2, False)
    assert pure.directory("freezer", "b/c") == Path("/sys/fs/cgroup/b/c")


def test_quick_attach_keeps_the_other_options() -> None:
    text = PURE.replace("nosuid", "nosuid,nodev,noexec,relatime")
    assert attach_speed.plan(mountinfo.parse(text)) == attach_speed.Remount(
        target="/sys/fs/cgroup",
        flags=syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC | syscalls.MS_RELATIME,
        options="nsdelegate,memory_recursiveprot,favordynmods",
    )
    hybrid = attach_speed.plan(mountinfo.parse(HYBRID))
    assert hybrid is not None
    assert (hybrid.target, hybrid.options) == ("/sys/fs/cgroup/unified", "nsdelegate,favordynmods")
    assert attach_speed.plan(mountinfo.parse(PURE.replace("nsdelegate", "favordynmods"))) is None
    assert attach_speed.plan(()) is None


def test_a_kernel_without_swap_limits_memory_alone(tmp_path: Path) -> None:
    hierarchies = Hierarchies(unified=tmp_path)
    assert hostfacts.read(hierarchies).swap_limit, "no group says otherwise"
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "system.slice/memory.max").touch()
    assert not hostfacts.read(hierarchies).swap_limit
    (tmp_path / "system.slice/memory.swap.max").touch()
    assert hostfacts.read(hierarchies).swap_limit


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The files of one group of version 2, as recorded."""
    directory = tmp_path / "b/c"
    directory.mkdir(parents=True)
    (directory / "cgroup.freeze").write_text("0\n")
    (directory / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (directory / "cgroup.procs").write_text("")
    return directory


async def test_freezing_on_version_2(group: Path, tmp_path: Path) -> None:
    control = Control(Hierarchies(unified=tmp_path))
    assert not control.is_frozen("/b/c")

    async def kernel() -> None:
        while (group / "cgroup.freeze").read_text() != "1":
            await asyncio.sleep(0.001)
        assert control.is_frozen("/b/c"), "on its way counts"
        (group / "cgroup.events").write_text("populated 1\nfrozen 1\n")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kernel())
        await control.freeze("/b/c", frozen=True)
    assert control.is_frozen("/b/c")
    with pytest.raises(errors.NotFound):
        await control.freeze("/b/none", frozen=True)
    assert control.processes("/b/c") == frozenset()
    await control.remove("/b/none")


async def test_no_freezer() -> None:
    with pytest.raises(errors.Unsupported):
        await Control(Hierarchies(v1={"memory": Path("/x")})).freeze("/b", frozen=True)


def test_processes_are_told_apart_by_their_start() -> None:
    me = processes.reference(os.getpid())
    assert me is not None
    assert processes.alive(me)
    fd = processes.open_fd(me)
    assert fd is not None
    os.close(fd)
    other = type(me)(pid=me.pid, start_ticks=me.start_ticks + 1)
    assert not processes.alive(other)
    assert processes.open_fd(other) is None
    assert not processes.kill(other)
    assert processes.reference(2**22) is None
    assert processes.command_line(os.getpid()) != []


STAT_V2 = "anon 4096\nfile 20480\ninactive_file 12288\nactive_file 8192\n"
CPU_V2 = "usage_usec 123456\nuser_usec 100000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 789\n"
IO_V2 = (
    "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:0 rbytes=1 wbytes=2 rios=1 wios=1\n7:0 \n"
)
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     500       5    0    0    0     0          0         0      500       5    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0
  eth1:       1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0
"""  # noqa: E501 (as the kernel writes it)


def test_usage_on_version_2(group: Path, tmp_path: Path) -> None:
    recorded = {
        "memory.current": "20480\n",
        "memory.max": "67108864\n",
        "memory.stat": STAT_V2,
        "cpu.stat": CPU_V2,
        "pids.current": "3\n",
        "io.stat": IO_V2,
    }
    for name, text in recorded.items():
        (group / name).write_text(text)
    assert read.usage(Hierarchies(unified=tmp_path), "/b/c", 0) == read.Usage(
        cpu_ns=123_456_000,
        throttled_count=2,
        throttled_ns=789_000,
        memory_bytes=8192,
        memory_limit_bytes=67_108_864,
        pids=3,
        read_bytes=4097,
        written_bytes=8194,
    )
    (group / "memory.max").write_text("max\n")
    assert read.usage(Hierarchies(unified=tmp_path), "/b/c", 0).memory_limit_bytes == 0
    assert read.usage(Hierarchies(unified=tmp_path), "/none", 0) == read.Usage()


def test_a_number_that_is_another_process_now_is_not_killed() -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        processes.kill_those([child.pid], lambda: ())
        assert child.poll() is None
        found = processes.reference(child.pid)
        assert found is not None
        joining.check_owners((found,))
        with pytest.raises(errors.FailedPrecondition, match="has ended meanwhile"):
            joining.check_owners((replace(found, start_ticks=found.start_ticks - 1),))
        processes.kill_those([child.pid], lambda: [child.pid])
        assert child.wait() == -9
        processes.kill_those([child.pid], lambda: [child.pid])
    finally:
        child.kill()
        child.wait()


def test_usage_on_version_1(tmp_path: Path) -> None:
    recorded = {
        "memory/memory.usage_in_bytes": "20480\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 12288\n",
        "cpuacct/cpuacct.usage": "123456789\n",
        "cpu/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 789\n",
        "pids/pids.current": "3\n",
        "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
    }
    for name, text in recorded.items():
        controller, _, file = name.partition("/")
        (tmp_path / controller / "b").mkdir(parents=True, exist_ok=True)
        (tmp_path / controller / "b" / file).write_text(text)
    hierarchies = Hierarchies(
        v1={name.partition("/")[0]: tmp_path / name.partition("/")[0] for name in recorded}
    )
    assert read.usage(hierarchies, "/b", 0) == read.Usage(
        cpu_ns=123_456_789,
        throttled_count=2,
        throttled_ns=789,
        memory_bytes=8192,
        memory_limit_bytes=0,
        pids=3,
        read_bytes=10,
        written_bytes=20,
    )


def test_network_and_machine() -> None:
    assert parse.network(NET_DEV) == (1001, 2002)
    assert parse.network("") == (0, 0)
    assert parse.system_ticks("cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2\n") == 360
    assert parse.system_ticks("intr 5") == 0
