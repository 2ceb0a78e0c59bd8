"""Whatever can be said can be read back, and nonsense is called nonsense."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beeyard.swarm.v1 import raft_pb2 as pb
from services.kit.errors import Invalid
from services.swarmd.raft.core import messages
from services.swarmd.raft.core.membership import ID_MAX, Config, Member
from services.swarmd.raft.core.types import Entry, EntryKind, HardState, Snapshot, SnapshotMeta
from services.swarmd.raft.shell import codec, wire

ids = st.integers(1, ID_MAX)
numbers = st.integers(0, (1 << 64) - 1)
flags = st.booleans()


@st.composite
def configs(draw: st.DrawFn) -> Config:
    everybody = sorted(draw(st.sets(ids, max_size=7)))
    roles = {at: draw(st.sampled_from(["voter", "learner", "outgoing", "both"])) for at in everybody}
    text = st.text(max_size=20)
    return Config(
        members=tuple(Member(id=at, node_id=draw(text), address=draw(text)) for at in everybody),
        voters=tuple(at for at in everybody if roles[at] in ("voter", "both")),
        learners=tuple(at for at in everybody if roles[at] == "learner"),
        outgoing=tuple(at for at in everybody if roles[at] in ("outgoing", "both")),
        removed=tuple(draw(st.lists(ids, max_size=3))),
    )


@st.composite
def entries(
    draw: st.DrawFn, index: st.SearchStrategy[int] = numbers, term: st.SearchStrategy[int] = numbers
) -> Entry:
    kind = draw(st.sampled_from(list(EntryKind)))
    config = draw(configs()) if kind is EntryKind.CONFIG else None
    data = draw(st.binary(max_size=50)) if kind is EntryKind.COMMAND else b""
    return Entry(draw(index), draw(term), kind, data, config)


@st.composite
def appends(draw: st.DrawFn) -> messages.AppendRequest:
    prev_index, prev_term = draw(st.integers(0, 1 << 40)), draw(st.integers(0, 1 << 40))
    term = prev_term + draw(st.integers(0, 100))
    count = draw(st.integers(0, 4))
    terms = sorted(draw(st.lists(st.integers(prev_term, term), min_size=count, max_size=count)))
    made = [draw(entries(st.just(prev_index + 1 + at), st.just(of))) for at, of in enumerate(terms)]
    return messages.AppendRequest(
        sender=draw(ids),
        to=draw(ids),
        term=term,
        prev_index=prev_index,
        prev_term=prev_term,
        commit=draw(numbers),
        entries=tuple(made),
    )


head = {"sender": ids, "to": ids, "term": numbers}
anything: st.SearchStrategy[messages.Message] = st.one_of(
    st.builds(messages.VoteRequest, **head, last_index=numbers, last_term=numbers, pre=flags, transfer=flags),
    st.builds(messages.VoteResponse, **head, granted=flags, pre=flags),
    appends(),
    st.builds(
        messages.AppendResponse, **head, index=numbers, rejected=flags, hint_index=numbers, hint_term=numbers
    ),
    st.builds(messages.Heartbeat, **head, commit=numbers, read_round=numbers),
    st.builds(messages.HeartbeatResponse, **head, read_round=numbers),
    st.builds(messages.TimeoutNow, **head),
    st.builds(messages.ReadRequest, **head, request_id=numbers),
    st.builds(messages.ReadResponse, **head, request_id=numbers, index=numbers),
)


@given(anything)
def test_messages_come_back(message: messages.Message) -> None:
    sent = wire.message_to_pb(message).SerializeToString()
    assert wire.message_from_pb(pb.RaftMessage.FromString(sent)) == message


@given(entries())
def test_entries_come_back(entry: Entry) -> None:
    assert codec.entry_from_pb(pb.RaftEntry.FromString(codec.entry_to_pb(entry).SerializeToString())) == entry


@given(numbers, numbers, configs())
def test_snapshots_come_back_by_name(index: int, term: int, config: Config) -> None:
    meta = SnapshotMeta(index=index, term=term, config=config)
    message = messages.InstallSnapshot(
        sender=1, to=2, term=term, snapshot=Snapshot(meta=meta, data=b"not in the message")
    )
    assert codec.snapshot_meta_from_pb(wire.message_to_pb(message).snapshot) == meta


@given(numbers, numbers, numbers)
def test_hard_states_come_back(term: int, vote: int, commit: int) -> None:
    state = HardState(term=term, vote=vote, commit=commit)
    assert codec.hard_state_from_pb(codec.hard_state_to_pb(state)) == state


@pytest.mark.parametrize(
    "nonsense",
    [
        pb.RaftMessage(),
        pb.RaftMessage(type=pb.RAFT_MESSAGE_TYPE_SNAPSHOT),  # comes another way
        pb.RaftMessage(type=99),  # type: ignore[arg-type]
        pb.RaftMessage(
            type=pb.RAFT_MESSAGE_TYPE_APPEND,
            term=1,
            entries=[pb.RaftEntry(index=1, type=9)],  # type: ignore[arg-type]
        ),
        pb.RaftMessage(  # a gap
            type=pb.RAFT_MESSAGE_TYPE_APPEND,
            term=1,
            entries=[pb.RaftEntry(index=2, type=pb.RAFT_ENTRY_TYPE_NOOP)],
        ),
        pb.RaftMessage(  # from the future
            type=pb.RAFT_MESSAGE_TYPE_APPEND,
            term=1,
            entries=[pb.RaftEntry(index=1, term=2, type=pb.RAFT_ENTRY_TYPE_NOOP)],
        ),
        pb.RaftMessage(  # a voter who is no member
            type=pb.RAFT_MESSAGE_TYPE_APPEND,
            term=1,
            entries=[
                pb.RaftEntry(
                    index=1,
                    type=pb.RAFT_ENTRY_TYPE_CONFIGURATION,
                    configuration=pb.RaftConfiguration(voters=[3]),
                )
            ],
        ),
    ],
)
def test_nonsense_is_refused(nonsense: pb.RaftMessage) -> None:
    with pytest.raises(Invalid):
        wire.message_from_pb(nonsense)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    parsed = pb.RaftMessage()
    try:
        parsed.MergeFromString(data)
    except Exception:
        return  # not even protobuf
    with contextlib.suppress(Invalid):
        wire.message_from_pb(parsed)
