"""Raft members over real disks, real mTLS and real gRPC, in one process: made, killed and started again by tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self, TypeVar

import grpc.aio

from beeyard.swarm.v1 import raft_pb2 as pb
from beeyard.swarm.v1 import raft_pb2_grpc as pb_grpc
from services.kit.rpc import client
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context
from services.kit.system import SystemClock
from services.swarmd.gateway.redialing import RedialingChannel
from services.swarmd.raft.core.membership import Member, of_voters
from services.swarmd.raft.core.messages import VoteRequest
from services.swarmd.raft.core.types import Settings
from services.swarmd.raft.shell import wire
from services.swarmd.raft.shell.config import RaftConfig
from services.swarmd.raft.shell.disk import FileDisk
from services.swarmd.raft.shell.driver import RaftNode
from services.swarmd.raft.shell.sealing import KeyRing
from services.swarmd.raft.shell.storage import Identity, Storage
from services.swarmd.raft.shell.transport import GrpcTransport
from tests.component.swarmd.raft.authority import SERVER_NAME, Authority

T = TypeVar("T")

QUICK = RaftConfig(
    tick_ms=20,
    settings=Settings(election_ticks_min=8, election_ticks_max=16),
    snapshot_entries=50,
    trailing_entries=5,
)


class Journal:
    """A state machine that remembers every command."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def apply(self, index: int, data: bytes) -> object:
        self.commands.append(data.decode())
        return len(self.commands)

    def snapshot(self) -> bytes:
        return json.dumps(self.commands).encode()

    def restore(self, data: bytes) -> None:
        self.commands = json.loads(data)


class Manager:
    """One member, and the task in which it runs."""

    def __init__(self, cluster: Cluster, member: Member, root: Path) -> None:
        self.member = member
        self._cluster = cluster
        self._root = root
        self.keys = KeyRing(bytes([member.id]) * 32)
        self.file_disk: FileDisk
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._credentials: grpc.ChannelCredentials
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.node: RaftNode
        self.journal: Journal

    async def start(self, storage: Storage | None = None) -> None:
        """Start it, from its disk or from what is given."""
        self._stop = asyncio.Event()
        ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(storage or self.open(), ready))
        await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self._task

    async def stop(self) -> None:
        """Stop it in order."""
        if self._task is not None:
            task, self._task = self._task, None
            self._stop.set()
            await task

    async def kill(self) -> None:
        """Take it away without a word: what it had not written is lost."""
        task, self._task = self._task, None
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @property
    def running(self) -> bool:
        return self._task is not None

    def disk(self) -> FileDisk:
        self.file_disk = FileDisk(self._root)
        return self.file_disk

    def open(self) -> Storage:
        return Storage.open(self.disk(), self.keys, os.urandom)

    def create(self, *, founder: bool) -> Storage:
        config = of_voters(*self._cluster.founders) if founder else None
        identity = Identity(cluster_id="test", member_id=self.member.id)
        return Storage.create(self.disk(), self.keys, os.urandom, identity, config)

    async def renew_certificate(self) -> None:
        """Close all channels, shared as they are, and let the next calls show another certificate."""
        self._credentials = self._cluster.authority.client(self.member.node_id)
        await self._hang_up()

    def _dial(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = client.channel_tls(address, self._credentials, SERVER_NAME)
            self._channels[address] = channel
        return channel

    async def _hang_up(self) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def _run(self, storage: Storage, ready: asyncio.Future[None]) -> None:
        authority = self._cluster.authority
        self._credentials = authority.client(self.member.node_id)
        transport = GrpcTransport(
            lambda peer: RedialingChannel(lambda: self._dial(peer.address)),
            _common_name,
            self.member.address,
            SystemClock(),
            random.Random(self.member.id),
        )
        self.journal = Journal()
        server = RpcServer(self.member.node_id)
        transport.register(server)
        server.listen_tls(self.member.address, authority.server(self.member.node_id))
        await server.start()
        try:
            async with (
                transport,
                RaftNode(
                    self._cluster.config,
                    storage,
                    transport,
                    self.journal,
                    SystemClock(),
                    random.Random(self.member.id),
                ) as self.node,
            ):
                ready.set_result(None)
                await self._stop.wait()
        finally:
            await server.drain(0.1)
            await self._hang_up()
            self.file_disk.close()


class Cluster:
    """Any number of members on loopback."""

    def __init__(self, root: Path, *, founders: int = 3, config: RaftConfig = QUICK) -> None:
        self.root = root
        self.config = config
        self.authority = Authority()
        self.server_name = SERVER_NAME
        self.founders = [self._member(at + 1) for at in range(founders)]
        self.managers: dict[int, Manager] = {}

    def _member(self, member_id: int) -> Member:
        return Member(id=member_id, node_id=f"node-{member_id}", address=self.free_address())

    @staticmethod
    def free_address() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"

    async def send_vote_request(self, channel: grpc.aio.Channel, *, sender: int, to: int) -> None:
        """Do as a member that stands for election in a far-off term would."""
        request = VoteRequest(sender=sender, to=to, term=1000, last_index=1000, last_term=999, transfer=True)

        async def batches() -> AsyncIterator[pb.ExchangeRequest]:
            yield pb.ExchangeRequest(messages=[wire.message_to_pb(request)])

        stub = pb_grpc.RaftServiceStub(channel)
        await client.call(stub.Exchange(batches(), metadata=(("beeyard-raft-member", f"{sender:x}"),)))

    async def __aenter__(self) -> Self:
        for member in self.founders:
            manager = Manager(self, member, self.root / str(member.id))
            self.managers[member.id] = manager
            await manager.start(manager.create(founder=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        for manager in self.managers.values():
            await manager.stop()

    async def newcomer(self) -> Manager:
        """Start a member that is in no cluster yet."""
        member = self._member(max(self.managers) + 1)
        manager = Manager(self, member, self.root / str(member.id))
        self.managers[member.id] = manager
        await manager.start(manager.create(founder=False))
        return manager

    @property
    def alive(self) -> list[Manager]:
        return [manager for manager in self.managers.values() if manager.running]

    async def leader(self) -> Manager:
        """Wait until all that run agree on a leader; return it."""
        return await eventually(self._agreed_leader)

    def _agreed_leader(self) -> Manager | None:
        leaders = {
            manager.node.leader_id for manager in self.alive if manager.member.id in manager.node.members
        }
        if len(leaders) != 1:
            return None
        leader = self.managers.get(leaders.pop())
        return leader if leader is not None and leader.running and leader.node.is_leader else None


async def eventually(condition: Callable[[], T | None], timeout_s: float = 20.0) -> T:
    """Wait until a condition holds; return what it gave."""
    async with asyncio.timeout(timeout_s):
        while not (result := condition()):
            await asyncio.sleep(0.01)
    return result


def _common_name(context: Context) -> str:
    (name,) = context.auth_context()["x509_common_name"]
    return name.decode()
