"""The core's messages as protobuf messages, and back. Reading is total: nonsense gives `errors.Invalid`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from beeyard.swarm.v1 import raft_pb2 as pb
from services.kit.errors import Invalid
from services.swarmd.raft.core import messages
from services.swarmd.raft.shell import codec

if TYPE_CHECKING:
    from services.swarmd.raft.core.messages import Message


def message_to_pb(message: Message) -> pb.RaftMessage:
    """Return the message to send; of a snapshot, without its data."""
    wire = pb.RaftMessage(to=message.to, term=message.term)
    setattr(wire, "from", message.sender)  # a keyword of Python
    match message:
        case messages.VoteRequest():
            wire.type = pb.RAFT_MESSAGE_TYPE_PRE_VOTE if message.pre else pb.RAFT_MESSAGE_TYPE_VOTE
            wire.index = message.last_index
            wire.log_term = message.last_term
            wire.transfer = message.transfer
        case messages.VoteResponse():
            wire.type = (
                pb.RAFT_MESSAGE_TYPE_PRE_VOTE_RESPONSE if message.pre else pb.RAFT_MESSAGE_TYPE_VOTE_RESPONSE
            )
            wire.reject = not message.granted
        case messages.AppendRequest():
            wire.type = pb.RAFT_MESSAGE_TYPE_APPEND
            wire.index = message.prev_index
            wire.log_term = message.prev_term
            wire.commit = message.commit
            wire.entries.extend(codec.entry_to_pb(entry) for entry in message.entries)
        case messages.AppendResponse():
            wire.type = pb.RAFT_MESSAGE_TYPE_APPEND_RESPONSE
            wire.index = message.index
            wire.reject = message.rejected
            wire.reject_hint = message.hint_index
            wire.reject_hint_term = message.hint_term
        case messages.Heartbeat():
            wire.type = pb.RAFT_MESSAGE_TYPE_HEARTBEAT
            wire.commit = message.commit
            wire.context = message.read_round
        case messages.HeartbeatResponse():
            wire.type = pb.RAFT_MESSAGE_TYPE_HEARTBEAT_RESPONSE
            wire.context = message.read_round
        case messages.InstallSnapshot():
            wire.type = pb.RAFT_MESSAGE_TYPE_SNAPSHOT
            wire.snapshot.CopyFrom(codec.snapshot_meta_to_pb(message.snapshot.meta))
        case messages.TimeoutNow():
            wire.type = pb.RAFT_MESSAGE_TYPE_TIMEOUT_NOW
        case messages.ReadRequest():
            wire.type = pb.RAFT_MESSAGE_TYPE_READ
            wire.context = message.request_id
        case messages.ReadResponse():
            wire.type = pb.RAFT_MESSAGE_TYPE_READ_RESPONSE
            wire.context = message.request_id
            wire.index = message.index
        case _:
            assert_never(message)
    return wire


def message_from_pb(wire: pb.RaftMessage) -> Message:
    """Return the message that was sent; a snapshot comes another way, with its data."""
    sender: int = getattr(wire, "from")
    to, term = wire.to, wire.term
    match wire.type:
        case pb.RAFT_MESSAGE_TYPE_PRE_VOTE | pb.RAFT_MESSAGE_TYPE_VOTE:
            return messages.VoteRequest(
                sender=sender,
                to=to,
                term=term,
                last_index=wire.index,
                last_term=wire.log_term,
                pre=wire.type == pb.RAFT_MESSAGE_TYPE_PRE_VOTE,
                transfer=wire.transfer,
            )
        case pb.RAFT_MESSAGE_TYPE_PRE_VOTE_RESPONSE | pb.RAFT_MESSAGE_TYPE_VOTE_RESPONSE:
            return messages.VoteResponse(
                sender=sender,
                to=to,
                term=term,
                granted=not wire.reject,
                pre=wire.type == pb.RAFT_MESSAGE_TYPE_PRE_VOTE_RESPONSE,
            )
        case pb.RAFT_MESSAGE_TYPE_APPEND:
            return _append_from_pb(wire, sender)
        case pb.RAFT_MESSAGE_TYPE_APPEND_RESPONSE:
            return messages.AppendResponse(
                sender=sender,
                to=to,
                term=term,
                index=wire.index,
                rejected=wire.reject,
                hint_index=wire.reject_hint,
                hint_term=wire.reject_hint_term,
            )
        case pb.RAFT_MESSAGE_TYPE_HEARTBEAT:
            return messages.Heartbeat(
                sender=sender, to=to, term=term, commit=wire.commit, read_round=wire.context
            )
        case pb.RAFT_MESSAGE_TYPE_HEARTBEAT_RESPONSE:
            return messages.HeartbeatResponse(sender=sender, to=to, term=term, read_round=wire.context)
        case pb.RAFT_MESSAGE_TYPE_TIMEOUT_NOW:
            return messages.TimeoutNow(sender=sender, to=to, term=term)
        case pb.RAFT_MESSAGE_TYPE_READ:
            return messages.ReadRequest(sender=sender, to=to, term=term, request_id=wire.context)
        case pb.RAFT_MESSAGE_TYPE_READ_RESPONSE:
            return messages.ReadResponse(
                sender=sender, to=to, term=term, request_id=wire.context, index=wire.index
            )
        case _:
            raise Invalid(f"a raft message of the type {wire.type}", reason="UNKNOWN_MESSAGE_TYPE")


def _append_from_pb(wire: pb.RaftMessage, sender: int) -> messages.AppendRequest:
    entries = tuple(codec.entry_from_pb(entry) for entry in wire.entries)
    term = wire.log_term
    for index, entry in enumerate(entries, wire.index + 1):
        if entry.index != index or not term <= entry.term <= wire.term:
            raise Invalid(
                f"entry {entry.index} of term {entry.term} where {index} of term {term} or later is due"
            )
        term = entry.term
    return messages.AppendRequest(
        sender=sender,
        to=wire.to,
        term=wire.term,
        prev_index=wire.index,
        prev_term=wire.log_term,
        commit=wire.commit,
        entries=entries,
    )
