"""Containers from creation to removal, and what they find inside."""

from __future__ import annotations

import os

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.containerd.kernel import syscalls
from services.kit import errors
from tests.component.containerd import groups
from tests.component.containerd.yard import Yard

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


async def test_runs_reports_and_leaves_nothing(each: Yard) -> None:
    container, ended = await each.run_to_end("sh", "-c", "echo out; echo err >&2; exit 7", labels={"a": "b"})
    assert ended.exit_code == 7
    lines = await each.logs(container)
    assert sorted((line.stream, line.data) for line in lines) == [
        (pb.OUTPUT_STREAM_STDOUT, b"out\n"),
        (pb.OUTPUT_STREAM_STDERR, b"err\n"),
    ]
    found = await each.get(container)
    assert found.status.state == pb.CONTAINER_STATE_EXITED
    assert (found.status.exit_code, found.status.pid, found.status.error) == (7, 0, "")
    assert found.status.started_at.ToNanoseconds() <= found.status.finished_at.ToNanoseconds()
    assert dict(found.spec.labels) == {"a": "b"}
    await each.remove(container, force=False)
    assert each.remains() == []
    assert each.state_left() == []
    with pytest.raises(errors.NotFound):
        await each.get(container)


async def test_starts_again_and_keeps_its_layer(each: Yard) -> None:
    container, first = await each.run_to_end("sh", "-c", "test -e /kept && exit 3; touch /kept")
    waiting = await each.armed_wait(container)
    await each.start(container)
    assert (first.exit_code, (await waiting).exit_code) == (0, 3)


async def test_removes_itself(each: Yard) -> None:
    container = await each.create("true", name="once", auto_remove=True)
    gone = await each.armed_wait(container, pb.WAIT_CONDITION_REMOVED)
    await each.start(container)
    assert (await gone).exit_code == 0
    assert each.remains() == []
    assert each.state_left() == []
    # The name is free for the next one, even while the last one is still going.
    for _ in range(3):
        container = await each.create("true", name="once", auto_remove=True)
        waiting = await each.armed_wait(container)
        await each.start(container)
        await waiting


@pytest.mark.parametrize(
    ("command", "code"),
    [("/no/such", "127"), ("nosuch", "127"), ("/usr/local/bin/plain", "126"), ("/etc", "126")],
)
async def test_a_program_that_cannot_be_executed(each: Yard, command: str, code: str) -> None:
    container = await each.create(command)
    with pytest.raises(errors.FailedPrecondition) as failed:
        await each.start(container)
    assert failed.value.reason == "START_FAILED"
    assert failed.value.metadata["exit_code"] == code, failed.value.message
    found = await each.get(container)
    assert found.status.state == pb.CONTAINER_STATE_CREATED
    assert found.status.exit_code == int(code)
    await each.remove(container, force=False)
    assert each.remains() == []
    assert each.state_left() == []


async def test_what_the_process_is_given(each: Yard) -> None:
    script = "id; pwd; env; cat /proc/self/status; cat /etc/hosts /etc/resolv.conf; hostname"
    container, ended = await each.run_to_end(
        "sh", "-c", script, user="alice", working_dir="/made/here", env=["A=1", "FROM_IMAGE"], name="inner"
    )
    text = await each.text(container)
    assert ended.exit_code == 0, text
    assert "uid=1000(alice) gid=1000(alice) groups=50(staff),1000(alice)" in text
    assert "/made/here\n" in text
    assert "A=1\n" in text
    assert "HOME=/home/alice\n" in text
    assert "FROM_IMAGE" not in text
    assert "Seccomp:\t2" in text
    assert "CapEff:\t0000000000000000" in text
    assert "CapBnd:\t00000000a80425fb" in text  # Docker's fourteen
    assert "CapInh:\t0000000000000000" in text
    assert "nameserver 10.0.0.1" in text
    assert text.endswith(f"{container[:12]}\n")


async def test_confinement(each: Yard) -> None:
    refused = {
        "mknod /tmp/x b 8 0; cat /tmp/x": "Operation not permitted",
        "mount -t tmpfs x /tmp": "mount",
        "echo x > /proc/sys/kernel/hostname": "Read-only",
        "echo 1 | tee /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/memory/cgroup.procs": "Read-only",
        "cat /proc/keys | grep -q .": "",  # masked: nothing to read
        "ls /sys/firmware | grep -q .": "",
        "mkdir /tmp/c; unshare -Urm sh -c 'mount -t cgroup -o memory c /tmp/c && echo /x > /tmp/c/release_agent'": "",
    }
    script = "; ".join(f"({command}) && echo 'ALLOWED: {command}'" for command in refused) + "; true"
    container, _ = await each.run_to_end("sh", "-c", script)
    text = await each.text(container)
    assert "ALLOWED: " not in text, text
    for expected in refused.values():
        assert expected in text, text


async def test_mounts_files_and_a_read_only_root(each: Yard) -> None:
    host = each.directory / "data"
    host.mkdir()
    (host / "given").write_text("given\n")
    container, ended = await each.run_to_end(
        "sh", "-c",
        "cat /data/given /run/secrets/key; stat -c %a:%u /run/secrets/key; echo made > /data/made;"
        "echo no > /ro/given; echo no > /file; echo no > /run/secrets/key; mount | grep -E ' (/cache|/dev/shm) ';"
        "for file in hosts hostname resolv.conf; do test -e /etc/$file && echo no >> /etc/$file; done;"
        "echo no > /sys/fs/cgroup/file;"
        "echo fine > /cache/x && cat /cache/x",
        mounts=[
            spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source=str(host), target="/data"),
            spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source=str(host), target="/ro", read_only=True),
            spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target="/cache", tmpfs_size_bytes=1 << 20),
        ],
        files=[spec_pb2.InlineFile(path="/run/secrets/key", data=b"secret\n", mode=0o400)],
        security=spec_pb2.Security(read_only_root=True),
        resources=spec_pb2.Resources(shm_bytes=1 << 20),
    )  # fmt: skip
    text = await each.text(container)
    assert ended.exit_code == 0, text
    assert text.startswith("given\nsecret\n400:0\n")
    assert (host / "made").read_text() == "made\n"
    assert (host / "given").read_text() == "given\n"
    assert text.count("Read-only file system") == 7, text
    assert "fine\n" in text
    assert text.count("size=1024k") == 2, text
    await each.remove(container)
    assert each.remains() == []


async def test_a_bind_of_what_was_mounted_after_the_daemon_started(own_each: Yard) -> None:
    """The namespace in which a runtime may have to live is a copy: it must not be an old one."""
    late = own_each.directory / "late"
    late.mkdir()
    syscalls.mount("tmpfs", late, "tmpfs")
    try:
        (late / "file").write_text("seen\n")
        bind = spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_BIND, source=str(late), target="/late")
        container, ended = await own_each.run_to_end("cat", "/late/file", mounts=[bind])
        assert ended.exit_code == 0
        assert await own_each.text(container) == "seen\n"
        await own_each.remove(container)
        plain, ended = await own_each.run_to_end("true")
        assert ended.exit_code == 0
        await own_each.remove(plain)
        assert own_each.remains() == []
    finally:
        syscalls.umount(late)


async def test_limits_are_kept(each: Yard) -> None:
    resources = spec_pb2.Resources(memory_bytes=32 << 20, nano_cpus=500_000_000, pids_limit=20)
    if groups.VERSION == 1:
        files = "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
        seen = [str(32 << 20), str(64 << 20), "20", "50000"]
    else:
        files = "memory.max memory.swap.max pids.max cpu.max"
        seen = [str(32 << 20), str(32 << 20), "20", "50000", "100000"]
    container, _ = await each.run_to_end("sh", "-c", f"cd /sys/fs/cgroup; cat {files}", resources=resources)
    assert (await each.text(container)).split() == seen

    hog, ended = await each.run_to_end("sh", "-c", "tail /dev/zero", resources=resources)
    assert ended.oom_killed
    assert ended.exit_code == 137
    assert (await each.get(hog)).status.oom_killed

    bomb, ended = await each.run_to_end("sh", "-c", ":(){ :|:& };: ; sleep 1; exit 9", resources=resources)
    assert ended.exit_code in (2, 9), await each.text(bomb)


async def test_namespaces_of_the_host_and_of_another_container(each: Yard) -> None:
    owned = spec_pb2.Security(ipc="shareable", cgroupns="private")
    first = await each.create("sleep", "100", name="first", security=owned)
    pid = await each.start(first)
    shared = spec_pb2.Security(pid="container:first", ipc="container:first")
    second, ended = await each.run_to_end("sh", "-c", "ps | grep 'sleep 100' | grep -v grep", security=shared)
    assert ended.exit_code == 0, await each.text(second)
    named = spec_pb2.Security(pid="private", uts="container:first", cgroupns="container:first")
    script = "hostname; cat /etc/hostname; echo $HOSTNAME; stat -Lc %i /proc/self/ns/uts /proc/self/ns/cgroup"
    third, ended = await each.run_to_end("sh", "-c", script, security=named)
    theirs = [str(os.stat(f"/proc/{pid}/ns/{kind}").st_ino) for kind in ("uts", "cgroup")]
    assert (await each.text(third)).split() == [first[:12]] * 3 + theirs
    joined, ended = await each.run_to_end(
        "sh", "-c", "stat -Lc %i /proc/self/ns/net; cat /etc/hosts", network="container:first"
    )
    text = await each.text(joined)
    assert text.splitlines()[0] == str(os.stat(f"/proc/{pid}/ns/net").st_ino)
    assert first[:12] in text
    hosted, ended = await each.run_to_end("stat", "-Lc", "%i", "/proc/self/ns/net", network="host")
    assert (await each.text(hosted)).strip() == str(os.stat("/proc/self/ns/net").st_ino)


async def test_an_init_reaps(one: Yard) -> None:
    container, ended = await one.run_to_end("sh", "-c", "cat /proc/1/cmdline; exit 5", init=True)
    assert ended.exit_code == 5
    assert "docker-init" in await one.text(container)
