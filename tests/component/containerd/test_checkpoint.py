"""Checkpoint and restore: the way to the runtime and back. CRIU itself is played (see `as_if_criu_worked`)."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd import as_if_criu_worked
from tests.component.containerd.yard import Yard, yard

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path(as_if_criu_worked.RUNC).exists(), reason="runc is not installed"),
]
STATES = pb.ContainerState


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played_yard(module_dir: Path) -> AsyncIterator[Yard]:
    """A daemon whose runtime and CRIU are the stand-ins."""
    directory = module_dir / "c"
    directory.mkdir()
    runc, criu = as_if_criu_worked.install(directory)
    async with yard(directory, runtime=str(runc), criu_path=str(criu)) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def played(played_yard: Yard) -> AsyncIterator[Yard]:
    (played_yard.directory / as_if_criu_worked.CALLS).unlink(missing_ok=True)
    yield played_yard
    (played_yard.directory / as_if_criu_worked.FAIL).unlink(missing_ok=True)
    await played_yard.clear()


async def checkpoint(made: Yard, container: str, name: str, **fields: object) -> None:
    request = pb.CheckpointContainerRequest(container=container, checkpoint=name, **fields)  # type: ignore[arg-type]
    await client.call(made.stub.CheckpointContainer(request))


async def restore(made: Yard, container: str, name: str, **fields: object) -> int:
    request = pb.RestoreContainerRequest(container=container, checkpoint=name, **fields)  # type: ignore[arg-type]
    return (await client.call(made.stub.RestoreContainer(request))).pid


async def names(made: Yard, container: str) -> list[str]:
    found = await client.call(made.stub.ListCheckpoints(pb.ListCheckpointsRequest(container=container)))
    assert all(one.size_bytes > 4096 and one.HasField("created_at") for one in found.checkpoints)
    return [one.name for one in found.checkpoints]


async def test_a_checkpoint_ends_the_container_and_a_restore_goes_on(played: Yard) -> None:
    always = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    container = await played.create("sleep", "1000", restart=always)
    await played.start(container)
    await checkpoint(played, container, "one")
    found = await played.get(container)
    assert found.status.state == STATES.CONTAINER_STATE_EXITED, "no restart policy acts on that"
    assert played.remains() == []
    assert await names(played, container) == ["one"]
    pid = await restore(played, container, "one")
    found = await played.get(container)
    assert (found.status.state, found.status.pid) == (STATES.CONTAINER_STATE_RUNNING, pid)
    made, restored = as_if_criu_worked.calls(played.directory)
    run = played.run / "containerd"
    partial = played.root / "containerd/containers" / container / "checkpoints/.one.partial"
    options = ["--tcp-established", "--ext-unix-sk", "--file-locks"]
    assert made == [
        f"--root={run}/rt",
        "checkpoint",
        f"--image-path={partial}",
        f"--work-path={run}/c/{container}/criu",
        *options,
        container,
    ]
    assert restored[:2] == [f"--root={run}/rt", "restore"]
    assert restored[restored.index("--image-path") + 1] == str(partial.with_name("one"))
    assert set(options) <= set(restored)
    assert "--detach" in restored
    with pytest.raises(errors.FailedPrecondition) as refused:
        await restore(played, container, "one")
    assert refused.value.reason == "CONTAINER_RUNNING"


async def test_one_that_runs_on_is_still_restarted(played: Yard) -> None:
    policy = spec_pb2.RestartPolicy(condition=spec_pb2.RESTART_CONDITION_ALWAYS)
    container = await played.create("sleep", "1000", restart=policy)
    pid = await played.start(container)
    await checkpoint(played, container, "warm", leave_running=True)
    found = await played.get(container)
    assert (found.status.state, found.status.pid) == (STATES.CONTAINER_STATE_RUNNING, pid)
    with pytest.raises(errors.AlreadyExists) as refused:
        await checkpoint(played, container, "warm", leave_running=True)
    assert refused.value.reason == "CHECKPOINT_EXISTS"
    assert (await played.get(container)).status.pid == pid


async def test_a_failure_of_criu_is_told_and_the_container_runs_on(played: Yard) -> None:
    container = await played.create("sleep", "1000", name="stubborn")
    pid = await played.start(container)
    (played.directory / as_if_criu_worked.FAIL).touch()
    with pytest.raises(errors.FailedPrecondition) as failed:
        await checkpoint(played, container, "one")
    assert failed.value.reason == "CHECKPOINT_FAILED"
    assert failed.value.message == "container stubborn cannot be checkpointed: no such trick"
    assert (await played.get(container)).status.pid == pid
    assert await names(played, container) == []


async def test_bad_requests_are_refused(played: Yard) -> None:
    container = await played.create("sleep", "1000")
    for name, fields, reason in (
        ("../up", {}, "SPEC_INVALID"),
        ("", {}, "SPEC_INVALID"),
        ("x" * 200, {}, "SPEC_INVALID"),
        ("one", {"directory": "relative"}, "SPEC_INVALID"),
        ("one", {}, "CONTAINER_NOT_RUNNING"),
    ):
        with pytest.raises(errors.BeeyardError) as refused:
            await checkpoint(played, container, name, **fields)
        assert refused.value.reason == reason, name
    goes = await played.create("sleep", "1000", auto_remove=True)
    await played.start(goes)
    with pytest.raises(errors.FailedPrecondition) as lost:
        await checkpoint(played, goes, "one")
    assert lost.value.reason == "CHECKPOINT_WOULD_GO"
    with pytest.raises(errors.NotFound) as missing:
        await restore(played, container, "one")
    assert missing.value.reason == "CHECKPOINT_NOT_FOUND"
    request = pb.RemoveCheckpointRequest(container=container, checkpoint="one")
    with pytest.raises(errors.NotFound):
        await client.call(played.stub.RemoveCheckpoint(request))
    await played.start(container)
    await client.call(played.stub.PauseContainer(pb.PauseContainerRequest(container=container)))
    with pytest.raises(errors.FailedPrecondition) as paused:
        await checkpoint(played, container, "one")
    assert paused.value.reason == "CONTAINER_PAUSED"


async def test_a_checkpoint_is_carried_to_another_container(played: Yard, tmp_path: Path) -> None:
    first = await played.create("sleep", "1000")
    await played.start(first)
    elsewhere = str(tmp_path)
    await checkpoint(played, first, "out", directory=elsewhere, leave_running=True)
    assert (tmp_path / "out" / "pages-1.img").exists()
    await checkpoint(played, first, "one", leave_running=True)
    export = pb.ExportCheckpointRequest(container=first, checkpoint="one")
    tar = b"".join([part.chunk async for part in client.stream(played.stub.ExportCheckpoint(export))])
    second = await played.create("sleep", "1000")
    await import_(played, second, "moved", tar)
    assert await names(played, second) == ["moved"]
    assert await restore(played, second, "moved")
    removed = pb.RemoveCheckpointRequest(container=second, checkpoint="moved")
    await client.call(played.stub.RemoveCheckpoint(removed))
    assert await names(played, second) == []


async def import_(made: Yard, container: str, name: str, tar: bytes) -> None:
    async def requests() -> AsyncIterator[pb.ImportCheckpointRequest]:
        spec = pb.ImportCheckpointSpec(container=container, checkpoint=name)
        yield pb.ImportCheckpointRequest(spec=spec)
        for start in range(0, len(tar), 1 << 16):
            yield pb.ImportCheckpointRequest(chunk=tar[start : start + (1 << 16)])

    await client.call(made.stub.ImportCheckpoint(requests()))


async def test_archives_that_are_no_checkpoints_leave_nothing(played: Yard) -> None:
    container = await played.create("sleep", "1000")

    def tar(*members: tuple[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, kind in members:
                info = tarfile.TarInfo(path)
                content = b'{"runtime": "runc", "created_at": "yesterday"}' if kind == b"yesterday" else b""
                info.type, info.linkname = kind[:1] if not content else tarfile.REGTYPE, "/etc/passwd"
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    hostile = [
        b"no tar at all" * 100,
        tar(),
        tar(("../../escaped", tarfile.REGTYPE)),
        tar(("/etc/escaped", tarfile.REGTYPE)),
        tar(("link", tarfile.SYMTYPE)),
        tar(("hard", tarfile.LNKTYPE)),
        tar(("same", tarfile.REGTYPE), ("same", tarfile.REGTYPE)),
        tar(("beeyard.json", tarfile.REGTYPE)),
        tar(("beeyard.json", b"yesterday")),
    ]
    for number, data in enumerate(hostile):
        with pytest.raises(errors.Invalid) as refused:
            await import_(played, container, "one", data)
        assert refused.value.reason == "ARCHIVE_INVALID", number
    directory = played.root / "containerd/containers" / container / "checkpoints"
    assert list(directory.iterdir()) == []
    under_way = asyncio.Event()

    async def slow() -> AsyncIterator[pb.ImportCheckpointRequest]:
        spec = pb.ImportCheckpointSpec(container=container, checkpoint="late")
        yield pb.ImportCheckpointRequest(spec=spec)
        await under_way.wait()
        yield pb.ImportCheckpointRequest(chunk=tar(("beeyard.json", tarfile.REGTYPE)))

    importing = asyncio.ensure_future(client.call(played.stub.ImportCheckpoint(slow())))
    await played.get(container)
    await asyncio.sleep(0.05)
    await played.remove(container)
    under_way.set()
    with pytest.raises(errors.NotFound):
        await importing
    assert not directory.parent.exists(), "what is imported into a container that goes, goes with it"


async def test_a_killed_daemon_leaves_a_whole_checkpoint_or_none_and_loses_no_state(socket_dir: Path) -> None:
    runc, criu = as_if_criu_worked.install(socket_dir)
    async with yard(socket_dir, runtime=str(runc), criu_path=str(criu)) as made:
        for point in ("checkpoint.recorded", "checkpoint.made", "checkpoint.named"):
            container = await made.create("sleep", "1000")
            await made.start(container)
            await made.kill_daemon()
            await made.start_daemon(fault=point)
            with pytest.raises(errors.Unavailable):
                await checkpoint(made, container, "one")
            await made.daemon_gone()
            await made.start_daemon()
            ends = (
                STATES.CONTAINER_STATE_RUNNING
                if point.endswith("recorded")
                else STATES.CONTAINER_STATE_EXITED
            )
            await made.until_state(container, ends)
            assert await names(made, container) == ([] if point.endswith("recorded") else ["one"])
            directory = made.root / "containerd/containers" / container / "checkpoints"
            assert not [*directory.glob(".*")]
            async with asyncio.timeout(20):
                while ends == STATES.CONTAINER_STATE_EXITED and made.remains():
                    await asyncio.sleep(0.02)
            await made.clear()


async def test_without_criu_the_error_says_what_is_missing(socket_dir: Path) -> None:
    async with yard(socket_dir, runtime="runc", criu_path=str(socket_dir / "nothing")) as made:
        container = await made.create("sleep", "1000")
        await made.start(container)
        with pytest.raises(errors.Unsupported) as refused:
            await checkpoint(made, container, "one")
        assert refused.value.reason == "CHECKPOINT_UNSUPPORTED"
        assert "install the package criu" in refused.value.message


async def test_what_criu_says_is_passed_on(one: Yard) -> None:
    """Whichever CRIU is here, and whatever it thinks of this kernel."""
    found = await client.call(one.stub.GetCheckpointSupport(pb.GetCheckpointSupportRequest(runtime="runc")))
    if shutil.which("criu") is None:
        assert "CRIU is not installed" in found.reason
        return
    assert found.criu_version
    assert found.supported or "criu check" in found.reason
    crun = await client.call(one.stub.GetCheckpointSupport(pb.GetCheckpointSupportRequest(runtime="crun")))
    assert crun.supported or crun.reason
