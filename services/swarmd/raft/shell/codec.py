"""What the log is made of, as protobuf messages, and back: for the wire and for the disk.

Reading is total: a message that says nothing sensible gives `errors.Invalid`.
"""

from __future__ import annotations

from beeyard.swarm.v1 import raft_pb2 as pb
from services.kit.errors import Invalid
from services.swarmd.raft.core.membership import Config, Member
from services.swarmd.raft.core.types import Entry, EntryKind, HardState, SnapshotMeta

_KINDS = {
    EntryKind.NOOP: pb.RAFT_ENTRY_TYPE_NOOP,
    EntryKind.COMMAND: pb.RAFT_ENTRY_TYPE_COMMAND,
    EntryKind.CONFIG: pb.RAFT_ENTRY_TYPE_CONFIGURATION,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}


def entry_to_pb(entry: Entry) -> pb.RaftEntry:
    """Return the message of an entry."""
    return pb.RaftEntry(
        term=entry.term,
        index=entry.index,
        type=_KINDS[entry.kind],
        data=entry.data,
        configuration=None if entry.config is None else config_to_pb(entry.config),
    )


def entry_from_pb(entry: pb.RaftEntry) -> Entry:
    """Return the entry of a message."""
    kind = _KINDS_BACK.get(entry.type)
    if kind is None:
        raise Invalid(f"entry {entry.index} has the unknown type {entry.type}", reason="UNKNOWN_ENTRY_TYPE")
    config = config_from_pb(entry.configuration) if kind is EntryKind.CONFIG else None
    return Entry(entry.index, entry.term, kind, entry.data, config)


def config_to_pb(config: Config) -> pb.RaftConfiguration:
    """Return the message of a configuration."""
    return pb.RaftConfiguration(
        members=[
            pb.RaftMember(raft_id=member.id, node_id=member.node_id, address=member.address)
            for member in config.members
        ],
        voters=config.voters,
        learners=config.learners,
        outgoing_voters=config.outgoing,
        removed=config.removed,
    )


def config_from_pb(configuration: pb.RaftConfiguration) -> Config:
    """Return the configuration of a message."""
    try:
        return Config(
            members=tuple(
                Member(id=member.raft_id, node_id=member.node_id, address=member.address)
                for member in configuration.members
            ),
            voters=tuple(configuration.voters),
            learners=tuple(configuration.learners),
            outgoing=tuple(configuration.outgoing_voters),
            removed=tuple(configuration.removed),
        )
    except AssertionError as error:
        raise Invalid(f"the configuration contradicts itself: {error}") from error


def hard_state_to_pb(state: HardState) -> pb.RaftHardState:
    """Return the message of a hard state."""
    return pb.RaftHardState(term=state.term, vote=state.vote, commit=state.commit)


def hard_state_from_pb(state: pb.RaftHardState) -> HardState:
    """Return the hard state of a message."""
    return HardState(term=state.term, vote=state.vote, commit=state.commit)


def snapshot_meta_to_pb(
    meta: SnapshotMeta, *, size_bytes: int = 0, sha256: bytes = b""
) -> pb.RaftSnapshotMeta:
    """Return the message that names a snapshot."""
    return pb.RaftSnapshotMeta(
        index=meta.index,
        term=meta.term,
        configuration=config_to_pb(meta.config),
        size_bytes=size_bytes,
        sha256=sha256,
    )


def snapshot_meta_from_pb(meta: pb.RaftSnapshotMeta) -> SnapshotMeta:
    """Return which snapshot a message names."""
    return SnapshotMeta(index=meta.index, term=meta.term, config=config_from_pb(meta.configuration))
