"""Raft over gRPC: to each other member one long stream of batches, and a stream of chunks for each snapshot.

Who may connect at all, the TLS layer decides. Here is checked that a caller speaks for the member that runs on its
node, and for no other; that the messages are for this member; and that the caller was not taken out of the cluster.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Self

from beeyard.swarm.v1 import raft_pb2 as pb
from beeyard.swarm.v1 import raft_pb2_grpc as pb_grpc
from services.kit import errors, log, tasks
from services.swarmd.raft.core.membership import Member
from services.swarmd.raft.core.messages import InstallSnapshot
from services.swarmd.raft.core.types import Snapshot
from services.swarmd.raft.shell import codec, wire
from services.swarmd.raft.shell.link import Link

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    import grpc.aio

    from services.kit.rpc.server import RpcServer
    from services.kit.rpc.types import Context
    from services.kit.seams import Clock, Rng
    from services.swarmd.raft.core.messages import Message
    from services.swarmd.raft.shell.ports import Receiver

_log = log.get(__name__)

SNAPSHOT_BYTES_MAX: Final = 1 << 30
LINGER_S: Final = 5.0
"""How long a member that left is still reached, so that it learns that it did."""
_MEMBER_ID: Final = "beeyard-raft-member"
_ADDRESS: Final = "beeyard-raft-address"


class GrpcTransport:
    """Implements `ports.Transport`; runs from entering to leaving the `async with` block.

    Args:
        open_channel: Returns a channel to a member, over mTLS.
        node_id_of: Returns the id of the node that a call's client certificate names.
        address: Where this member listens, for those who do not know it yet.
        clock: Paces attempts to connect.
        rng: Spreads them.
    """

    def __init__(
        self,
        open_channel: Callable[[Member], grpc.aio.Channel],
        node_id_of: Callable[[Context], str],
        address: str,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._open_channel = open_channel
        self._node_id_of = node_id_of
        self._address = address
        self._clock = clock
        self._rng = rng
        self._receiver: Receiver | None = None
        self._supervisor = tasks.Supervisor()
        self._links: dict[int, Link] = {}
        self._running: dict[Link, asyncio.Task[None]] = {}
        self._peers: dict[int, Member] = {}

    def register(self, server: RpcServer) -> None:
        """Let a server take what the others send."""
        server.add(
            pb_grpc.add_RaftServiceServicer_to_server,
            RaftServicer(self),
            follows={"Exchange"},
        )

    async def __aenter__(self) -> Self:
        await self._supervisor.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receiver = None
        await self._supervisor.__aexit__(kind, exc, trace)

    # ---- ports.Transport

    def attach(self, receiver: Receiver) -> None:
        """See `ports.Transport`."""
        self._receiver = receiver

    def set_peers(self, peers: Sequence[Member]) -> None:
        """See `ports.Transport`."""
        self._peers = {peer.id: peer for peer in peers}
        for peer in peers:
            link = self._links.get(peer.id)
            if link is not None and link.member.address != peer.address:
                self._close(link)
        for gone in [link for member_id, link in self._links.items() if member_id not in self._peers]:
            self._supervisor.spawn(self._close_later(gone), "raft-linger", critical=False)

    def send(self, to: int, messages: Sequence[Message]) -> None:
        """See `ports.Transport`."""
        link = self._link(to)
        if link is not None:
            link.put(messages)

    async def send_snapshot(self, message: InstallSnapshot) -> None:
        """See `ports.Transport`."""
        link = self._link(message.to)
        if link is None:
            raise errors.Unavailable(f"it is not known where manager {message.to:x} listens")
        await link.send_snapshot(message)

    # ---- what comes in

    @property
    def receiver(self) -> Receiver:
        """Who gets what arrives.

        Raises:
            Unavailable: Nobody; the member is not running (reason RAFT_NOT_RUNNING).
        """
        if self._receiver is None:
            raise errors.Unavailable("raft does not run on this node", reason="RAFT_NOT_RUNNING")
        return self._receiver

    def admit(self, context: Context) -> int:
        """Return which member a caller speaks for; learn where it listens, if nobody said so yet.

        Raises:
            Invalid: It does not say which.
            PermissionDenied: That member runs on another node (reason WRONG_NODE).
            FailedPrecondition: That member was taken out of the cluster (reason MEMBER_REMOVED).
        """
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        member_id = _member_id(metadata)
        node_id = self._node_id_of(context)
        known = self.receiver.member(member_id)
        if known is not None and known.node_id and known.node_id != node_id:
            raise errors.PermissionDenied(
                f"node {node_id} speaks for manager {member_id:x}, which runs on node {known.node_id}",
                reason="WRONG_NODE",
            )
        self.refuse_removed(member_id)
        address = metadata.get(_ADDRESS, "")
        if known is None and address and member_id not in self._links:
            self._start(Member(id=member_id, node_id=node_id, address=address))
        return member_id

    def refuse_removed(self, member_id: int) -> None:
        """Raise if this member was taken out of the cluster."""
        if self.receiver.was_removed(member_id):
            raise errors.FailedPrecondition(
                f"manager {member_id:x} was taken out of the swarm; it must join anew",
                reason="MEMBER_REMOVED",
            )

    # ---- links

    def _link(self, member_id: int) -> Link | None:
        link = self._links.get(member_id)
        if link is None and (peer := self._peers.get(member_id)) is not None:
            link = self._start(peer)
        return link

    def _start(self, member: Member) -> Link:
        metadata = ((_MEMBER_ID, f"{self.receiver.member_id:x}"), (_ADDRESS, self._address))
        link = Link(member, self._open_channel, metadata, self.receiver, self._clock, self._rng)
        self._links[member.id] = link
        self._running[link] = self._supervisor.spawn(link.run(), f"raft-link-{member.id:x}")
        return link

    def _close(self, link: Link) -> None:
        if self._links.get(link.member.id) is link:
            del self._links[link.member.id]
        task = self._running.pop(link, None)
        if task is not None:
            task.cancel()

    async def _close_later(self, link: Link) -> None:
        await self._clock.sleep(LINGER_S)
        if link.member.id not in self._peers:
            self._close(link)


class RaftServicer(pb_grpc.RaftServiceServicer):
    """Takes what the other members send."""

    def __init__(self, transport: GrpcTransport) -> None:
        self._transport = transport

    async def Exchange(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ExchangeRequest], context: Context
    ) -> pb.ExchangeResponse:
        """Hand on what comes; see the proto."""
        sender = self._transport.admit(context)
        async for batch in request_iterator:
            self._transport.refuse_removed(sender)
            receiver = self._transport.receiver
            messages = [wire.message_from_pb(message) for message in batch.messages]
            for message in messages:
                _check(message, sender, receiver)
            receiver.receive(messages)
        return pb.ExchangeResponse()

    async def InstallSnapshot(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.InstallSnapshotRequest], context: Context
    ) -> pb.InstallSnapshotResponse:
        """Gather a snapshot and hand it on whole; see the proto."""
        sender = self._transport.admit(context)
        head: pb.RaftMessage | None = None
        data = bytearray()
        async for part in request_iterator:
            if head is None:
                head = part.message
                _check_head(head)
            data += part.chunk
            if len(data) > head.snapshot.size_bytes:
                break
        if head is None or len(data) != head.snapshot.size_bytes:
            raise errors.Invalid("the snapshot did not arrive whole", reason="SNAPSHOT_DAMAGED")
        if hashlib.sha256(data).digest() != head.snapshot.sha256:
            raise errors.Invalid("the snapshot is not what its checksum says", reason="SNAPSHOT_DAMAGED")
        meta = codec.snapshot_meta_from_pb(head.snapshot)
        message = InstallSnapshot(
            sender=getattr(head, "from"),
            to=head.to,
            term=head.term,
            snapshot=Snapshot(meta=meta, data=bytes(data)),
        )
        receiver = self._transport.receiver
        _check(message, sender, receiver)
        receiver.receive([message])
        return pb.InstallSnapshotResponse()


def _member_id(metadata: Mapping[str, str]) -> int:
    try:
        return int(metadata[_MEMBER_ID], 16)
    except (KeyError, ValueError):
        raise errors.Invalid(f"the metadata {_MEMBER_ID} is missing or no member id") from None


def _check_head(head: pb.RaftMessage) -> None:
    if head.type != pb.RAFT_MESSAGE_TYPE_SNAPSHOT:
        raise errors.Invalid("the stream does not begin with a snapshot's message")
    if head.snapshot.size_bytes > SNAPSHOT_BYTES_MAX:
        raise errors.Invalid(
            f"a snapshot of {head.snapshot.size_bytes} bytes is larger than {SNAPSHOT_BYTES_MAX}",
            reason="SNAPSHOT_TOO_LARGE",
        )


def _check(message: Message, sender: int, receiver: Receiver) -> None:
    if message.sender != sender:
        raise errors.PermissionDenied(
            f"manager {sender:x} sends in the name of {message.sender:x}", reason="WRONG_NODE"
        )
    if message.to != receiver.member_id:
        raise errors.FailedPrecondition(
            f"a message is for manager {message.to:x}, but here is {receiver.member_id:x}",
            reason="WRONG_MEMBER",
        )
