"""Pulling from the nodes of the swarm, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from beeyard.image.v1 import content_pb2, image_pb2, snapshot_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.imaged.rig import ROOTFS, Daemon, tar
from tests.component.imaged.road import Fault, Road

pytestmark = pytest.mark.root

NOISE = random.Random(1).randbytes(3 << 20)


class Swarm:
    """A node that pulls, and two that have images."""

    def __init__(self, puller: Daemon, road: Road) -> None:
        self.puller = puller
        self.road = road

    @property
    def holder(self) -> Daemon:
        return self.road.nodes["node-a"]


@pytest.fixture
async def swarm(make_daemon: Callable[..., Daemon]) -> AsyncIterator[Swarm]:
    puller, first, second = (make_daemon(name) for name in ("p", "a", "b"))
    await asyncio.gather(puller.start(), first.start(), second.start())
    road = Road({"node-a": first, "node-b": second})
    server = road.server()
    server.listen_unix(puller.run / "swarmd.sock")
    await server.start()
    yield Swarm(puller, road)
    await server.drain(0)


async def give(*daemons: Daemon) -> str:
    """Put an image of several layers on daemons; return its manifest digest."""
    first, *others = daemons
    await first.import_(tar({"etc/": "", "etc/a": "a", "noise": NOISE}), "base:1")
    for number in range(3):
        await first.prepare(f"c{number}", "web:1" if number else "base:1")
        (mount,) = (
            await client.call(first.snapshots.GetMounts(snapshot_pb2.GetMountsRequest(key=f"c{number}")))
        ).mounts
        (Path(mount.upper_dir) / f"file{number}").write_bytes(NOISE[: 1 << 20])
        await client.call(
            first.snapshots.CommitImage(snapshot_pb2.CommitImageRequest(key=f"c{number}", reference="web:1"))
        )
    archive = await first.save("web:1")
    for other in others:
        await other.load(archive)
    return str((await first.get("web:1")).manifest_digest)


async def check(daemon: Daemon) -> None:
    (mount,) = (await daemon.prepare("check", "web:1")).mounts
    files = {name for lower in mount.lower_dirs for name in os.listdir(lower)}
    assert files >= {"etc", "noise", "file0", "file1", "file2"}
    assert (Path(mount.lower_dirs[-1]) / "noise").read_bytes() == NOISE
    await daemon.remove_snapshot("check")


async def test_an_image_of_one_node_runs_on_another(swarm: Swarm) -> None:
    digest = await give(swarm.holder)
    progress, done = await swarm.puller.pull("web:1")
    assert (done.reference, done.manifest_digest, done.fetched) == ("web:1", digest, True)
    assert {step.phase for step in progress} >= {"downloaded", "complete"}
    await check(swarm.puller)
    before = sum(swarm.road.reads.values())
    assert before == 6, "a manifest, a configuration and four layers, each read once"
    _, again = await swarm.puller.pull("web:1")
    assert not again.fetched
    assert sum(swarm.road.reads.values()) == before
    assert (await swarm.puller.list())[0].id == (await swarm.holder.get("web:1")).id
    (told,) = await swarm.puller.told()
    assert (told.action, told.id, told.attributes["name"]) == ("pull", "web:1", "web"), (
        "once: it was here then"
    )


async def test_layers_come_in_parallel_and_from_several_nodes(swarm: Swarm) -> None:
    await give(*swarm.road.nodes.values())
    swarm.road.faults = {node: Fault(slow_s=0.3) for node in swarm.road.nodes}
    await swarm.puller.pull("web:1")
    assert swarm.road.at_once_max >= 3
    assert min(swarm.road.reads[node] for node in swarm.road.nodes) >= 2


async def test_a_pull_by_digest_is_exact_and_known_by_it(swarm: Swarm) -> None:
    digest = await give(swarm.holder)
    await swarm.puller.pull(f"web:1@{digest}")
    (image,) = await swarm.puller.list()
    assert list(image.repo_tags) == []
    assert list(image.repo_digests) == [f"web@{digest}"]
    assert (await swarm.puller.get(f"web:1@{digest}")).id == image.id


async def test_many_pulls_of_one_image_share_the_work(swarm: Swarm) -> None:
    await give(swarm.holder)
    swarm.road.faults["node-a"] = Fault(slow_s=0.05)
    await asyncio.gather(*(swarm.puller.pull("web:1") for _ in range(8)))
    assert sum(swarm.road.reads.values()) == 6
    assert len(swarm.puller.directories()) == 4
    await check(swarm.puller)


async def test_a_broken_stream_goes_on_at_another_node(swarm: Swarm) -> None:
    await give(*swarm.road.nodes.values())
    swarm.road.faults["node-a"] = Fault(break_after_bytes=700_000)
    await swarm.puller.pull("web:1")
    assert 700_000 in swarm.road.offsets, "what had come was not asked for again"
    await check(swarm.puller)


async def test_a_node_that_sends_wrong_bytes_is_left(swarm: Swarm) -> None:
    await give(*swarm.road.nodes.values())
    swarm.road.faults["node-a"] = Fault(corrupt=True)
    await swarm.puller.pull("web:1")
    await check(swarm.puller)
    assert swarm.puller.ingests() == []


async def test_a_node_that_has_lost_a_blob_is_passed_over(swarm: Swarm) -> None:
    await give(*swarm.road.nodes.values())
    swarm.road.faults["node-a"] = Fault(absent=True)
    await swarm.puller.pull("web:1")
    await check(swarm.puller)


async def test_wrong_bytes_from_everybody_are_never_an_image(swarm: Swarm) -> None:
    await give(swarm.holder)
    swarm.road.faults["node-a"] = Fault(corrupt=True)
    with pytest.raises(errors.Unavailable) as caught:
        await swarm.puller.pull("web:1")
    assert caught.value.reason == "CONTENT_UNAVAILABLE"
    assert (await swarm.puller.list(), swarm.puller.blobs(), swarm.puller.ingests()) == ([], set(), [])


async def test_what_has_come_survives_the_death_of_the_puller(swarm: Swarm) -> None:
    await give(swarm.holder)
    swarm.road.faults["node-a"] = Fault(break_after_bytes=100_000)
    with pytest.raises(errors.Unavailable):
        await swarm.puller.pull("web:1")
    kept = {path.name: path.stat().st_size for path in (swarm.puller.state / "content/ingest").iterdir()}
    assert kept
    blobs = swarm.puller.blobs()
    assert blobs
    await swarm.puller.kill()
    await swarm.puller.start()
    assert swarm.puller.blobs() == blobs, "a resumable lease holds them"
    swarm.road.faults.clear()
    swarm.road.offsets.clear()
    await swarm.puller.pull("web:1")
    assert any(swarm.road.offsets), "the second attempt goes on"
    await check(swarm.puller)
    assert swarm.puller.ingests() == []


async def test_always_moves_the_name_and_falls_back_to_what_is_here(swarm: Swarm) -> None:
    old = await swarm.puller.import_(ROOTFS, "web:1")
    new = await swarm.holder.import_(tar({"new": "x"}), "web:1")
    _, done = await swarm.puller.pull("web:1")
    assert done.image_id == old.image_id
    _, done = await swarm.puller.pull("web:1", policy=image_pb2.PULL_POLICY_ALWAYS)
    assert (done.image_id, done.fetched) == (new.image_id, True)
    assert (await swarm.puller.get("web:1")).id == new.image_id
    swarm.road.refusal = errors.Unavailable("no leader", reason="NO_LEADER")
    _, done = await swarm.puller.pull("web:1", policy=image_pb2.PULL_POLICY_ALWAYS)
    assert (done.image_id, done.fetched) == (new.image_id, False)


@pytest.mark.parametrize(
    ("refusal", "kind", "reason", "says"),
    [
        (None, errors.NotFound, "IMAGE_NOT_FOUND", "no other node of the swarm has it"),
        (
            errors.FailedPrecondition("no swarm", reason="NOT_IN_SWARM"),
            errors.NotFound,
            "IMAGE_NOT_FOUND",
            "this node is in no swarm",
        ),
        (errors.Unavailable("no leader"), errors.Unavailable, "PEERS_UNAVAILABLE", "no leader"),
    ],
)
async def test_an_image_that_is_nowhere_is_missed_with_the_reason(
    swarm: Swarm, refusal: errors.BeeyardError | None, kind: type[errors.BeeyardError], reason: str, says: str
) -> None:
    swarm.road.refusal = refusal
    with pytest.raises(kind, match="image nope:1 is not on this node") as caught:
        await swarm.puller.pull("nope:1")
    assert caught.value.reason == reason
    assert says in caught.value.message


async def test_without_a_swarm_the_message_says_so(daemon: Daemon) -> None:
    with pytest.raises(errors.NotFound, match="not on this node; the swarm daemon does not run here"):
        await daemon.pull("nope:1")
    with pytest.raises(errors.NotFound):
        await daemon.pull("nope:1", policy=image_pb2.PULL_POLICY_NEVER)
    with pytest.raises(errors.NotFound, match="no such image"):
        await daemon.pull("ab" * 32)


# ContentService, which the peers read from.


async def test_content_is_read_in_ranges(daemon: Daemon) -> None:
    made = await daemon.import_(tar({"noise": NOISE}), "web:1")
    digest = (await daemon.get("web:1")).diff_ids[0]
    whole = tar({"noise": NOISE})

    async def read(**fields: int) -> bytes:
        request = content_pb2.ReadRequest(digest=digest, **fields)
        return b"".join([part.chunk async for part in client.stream(daemon.content.Read(request))])

    assert await read() == whole
    assert await read(offset=1_500_000) == whole[1_500_000:]
    assert await read(offset=10, length=20) == whole[10:30]
    assert await read(offset=len(whole)) == b""
    with pytest.raises(errors.Invalid) as caught:
        await read(offset=len(whole) + 1)
    assert caught.value.reason == "OFFSET_INVALID"
    request = content_pb2.StatRequest(digests=[made.image_id, "sha256:" + "0" * 64])
    (blob,) = (await client.call(daemon.content.Stat(request))).blobs
    assert blob.digest == made.image_id


async def test_a_write_is_resumed_and_checked(daemon: Daemon) -> None:
    import hashlib

    digest = f"sha256:{hashlib.sha256(NOISE).hexdigest()}"

    async def write(data: bytes, offset: int, *, cut_short: bool = False) -> content_pb2.WriteResponse:
        async def requests() -> AsyncIterator[content_pb2.WriteRequest]:
            yield content_pb2.WriteRequest(
                spec=content_pb2.WriteSpec(ref="r", digest=digest, size_bytes=len(NOISE), offset=offset)
            )
            for start in range(0, len(data), 500_000):
                yield content_pb2.WriteRequest(chunk=data[start : start + 500_000])
            if cut_short:
                await asyncio.sleep(60)

        return await client.call(daemon.content.Write(requests()))

    async def offset() -> int:
        return int(
            (await client.call(daemon.content.GetIngest(content_pb2.GetIngestRequest(ref="r")))).offset
        )

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await write(NOISE[:1_000_000], 0, cut_short=True)
    async with asyncio.timeout(5):
        while await offset() != 1_000_000:
            await asyncio.sleep(0.02)
    with pytest.raises(errors.FailedPrecondition):
        # Refused by its first message: grpc's client loses the answer if it comes while more is being sent.
        await write(b"", 5)
    assert (await write(NOISE[1_000_000:], 1_000_000)).blob.size_bytes == len(NOISE)
    assert await offset() == 0
    assert (await write(b"", 0)).blob.digest == digest, "what is here need not be sent"
    digest = "sha256:" + "1" * 64
    with pytest.raises(errors.Invalid) as caught:
        await write(NOISE, 0)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert daemon.ingests() == []
