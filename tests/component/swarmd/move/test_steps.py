"""Steps of a move against nodes that answer over sockets: what is asked of them, and what is written down of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc, spec_pb2
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.swarmd.move.core import names
from services.swarmd.move.core.move import Facts, Move, Step, Wanted
from services.swarmd.move.journal import MoveJournal
from services.swarmd.move.steps import Steps

SECRET = b"hush-hush-hush"
KEY = spec_pb2.InlineFile(path="/run/key", data=SECRET, mode=0o400)


class Containers(container_pb2_grpc.ContainerServiceServicer):
    """A node with one container, which takes another."""

    def __init__(self) -> None:
        self.holders: list[str] = []
        self.made: list[spec_pb2.ContainerSpec] = []

    async def HoldContainer(self, request: pb.HoldContainerRequest, _: Any) -> pb.HoldContainerResponse:
        self.holders.append(request.holder)
        return pb.HoldContainerResponse(
            id=request.container, running=True, spec=spec_pb2.ContainerSpec(name="web", files=[KEY])
        )

    async def CreateContainer(self, request: pb.CreateContainerRequest, _: Any) -> pb.CreateContainerResponse:
        self.made.append(request.spec)
        return pb.CreateContainerResponse(id="new")


class Dialer:
    """Reaches the same node whoever is asked for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def channel(self, _node: str, /) -> grpc.aio.Channel:
        return self._channel


async def test_secrets_go_along_and_into_no_journal(socket_dir: Path) -> None:
    node = Containers()
    server = RpcServer("node")
    server.add(container_pb2_grpc.add_ContainerServiceServicer_to_server, node)
    server.listen_unix(socket_dir / "node.sock", "")
    await server.start()
    channel = client.channel_unix(socket_dir / "node.sock")
    steps = Steps(Dialer(channel))
    wanted = Wanted(
        move_id="m",
        request_id="",
        container_id="c",
        name="web",
        source="s",
        target="t",
        base_digest="b",
        base_image_id="i",
    )
    try:
        held = await steps.do(Move(wanted=wanted), Step.HOLD, lambda *_: None)
        assert held.running
        known = Facts(layer_image_id="l").over(held)
        path = socket_dir / "moves.db"
        async with await MoveJournal.open(path) as journal:
            await journal.save(Move(wanted=wanted, step=Step.CREATE, facts=known))
            (move,) = await journal.load()
        assert SECRET not in (move.facts.spec or b"")
        made = await steps.do(move, Step.CREATE, lambda *_: None)
    finally:
        await channel.close()
        await server.drain(1.0)
    assert made.target_container_id == "new"
    assert [list(spec.files) for spec in node.made] == [[KEY]]
    assert node.holders == [names.holder("m")] * 2
