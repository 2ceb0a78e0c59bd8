"""Containers on a node of real daemons: image, network and runtime together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.system.containerd.node import DAEMONS, Node, node
from tests.system.netd.world import CLIENT, NODE, Namespace, node_and_client

pytestmark = [pytest.mark.root, pytest.mark.slow]

SERVE = ("sh", "-c", "while :; do echo hello | nc -l -p 80; done")


@pytest.fixture
def namespaces(socket_dir: Path) -> Iterator[tuple[Namespace, Namespace]]:
    with node_and_client(socket_dir) as both:
        yield both


@pytest.fixture
async def real(socket_dir: Path, namespaces: tuple[Namespace, Namespace]) -> AsyncIterator[Node]:
    async with node(socket_dir, namespaces[0]) as made:
        yield made


async def reads(namespace: Namespace, address: str, port: int) -> str:
    """Read from a server; between two connections it does not listen for a moment."""
    command = ("timeout", "3", "bash", "-c", f"cat < /dev/tcp/{address}/{port}")
    async with asyncio.timeout(20):
        while not (text := await asyncio.to_thread(namespace.run, *command, check=False)):
            await asyncio.sleep(0.05)
    return text


async def test_a_container_on_the_network(real: Node, namespaces: tuple[Namespace, Namespace]) -> None:
    network = spec_pb2.Network(ports=[spec_pb2.PortBinding(host_port=8080, container_port=80)])
    server = await real.begin(*SERVE, network=network)
    (endpoint,) = server.status.network.endpoints
    assert [port.host_port for port in server.status.network.ports] == [8080]
    assert "hello" in await reads(namespaces[1], NODE, 8080)

    talker = await real.begin(
        "sh",
        "-c",
        f"until nc {endpoint.ip} 80; do sleep 0.1; done; cat /etc/hosts /etc/resolv.conf; hostname",
    )
    assert await real.ended(talker.id) == 0
    text = await real.text(talker.id)
    assert "hello" in text
    assert talker.id[:12] in text

    out = await real.begin("nc", "-z", "-w", "2", CLIENT, "9", network=spec_pb2.Network(mode="none"))
    assert await real.ended(out.id) != 0

    with pytest.raises(errors.FailedPrecondition) as taken:
        await real.begin(*SERVE, network=network)
    assert "8080" in taken.value.message
    for entry in (server, talker, out):
        await real.remove(entry.id)


async def test_every_daemon_may_die(real: Node, namespaces: tuple[Namespace, Namespace]) -> None:
    network = spec_pb2.Network(ports=[spec_pb2.PortBinding(host_port=8080, container_port=80)])
    server = await real.begin(*SERVE, network=network)
    for names in (("containerd",), ("netd",), ("imaged",), DAEMONS):
        await real.kill(*names)
        assert "hello" in await reads(namespaces[1], NODE, 8080)
        await real.start(*names)
        found = await real.get(server.id)
        assert (found.status.state, found.status.pid) == (pb.CONTAINER_STATE_RUNNING, server.status.pid)
    await real.remove(server.id)
    again = await real.begin("true", network=network)
    assert await real.ended(again.id) == 0
    await real.remove(again.id)
    assert real.remains() == []


async def test_diff_and_commit_know_what_is_the_containers_own(real: Node) -> None:
    mounts = [spec_pb2.Mount(type=spec_pb2.MOUNT_TYPE_TMPFS, target="/deep/er/point")]
    files = [spec_pb2.InlineFile(path="/run/secrets/word", data=b"word", mode=0o400)]
    script = "echo mine > /made; rm /bin/true; sleep 1000"
    container = (await real.begin("sh", "-c", script, mounts=mounts, files=files, init=True)).id
    async with asyncio.timeout(20):
        while len(changes := await real.changes(container)) < 3:
            await asyncio.sleep(0.05)
    assert changes == {
        (pb.CHANGE_KIND_ADDED, "/made"),
        (pb.CHANGE_KIND_MODIFIED, "/bin"),
        (pb.CHANGE_KIND_DELETED, "/bin/true"),
    }
    request = pb.CommitContainerRequest(container=container, reference="made:1", changes=["ENV NEW=1"])
    image = (await client.call(real.containers.CommitContainer(request))).image_id
    look = await real.begin("sh", "-c", "cat /made; echo $NEW; ls -d /deep /run/secrets", image=image)
    assert await real.ended(look.id) != 0
    assert (await real.text(look.id)).split()[:2] == ["mine", "1"]
    for each in (container, look.id):
        await real.remove(each)
    assert real.remains() == []


async def test_unknown_image_and_unknown_network(real: Node) -> None:
    with pytest.raises(errors.NotFound) as image:
        await real.create("true", image="nothing:1")
    assert image.value.reason == "IMAGE_NOT_FOUND"
    with pytest.raises(errors.FailedPrecondition, match="nowhere"):
        await real.begin("true", network=spec_pb2.Network(mode="nowhere"))
