"""A few cores on a table: nothing moves by itself, and every message and write is put on the table and named.

Writes are durable at once unless a test asks for `manual` ones; messages wait until they are delivered or dropped.
Used by the scripts beside this file and by the tests of the paper's sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableSequence, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from services.swarmd.raft.core import effects, events, messages
from services.swarmd.raft.core.membership import Config, Member, of_voters
from services.swarmd.raft.core.node import RaftCore
from services.swarmd.raft.core.pipeline import Pipeline
from services.swarmd.raft.core.types import (
    Entry,
    EntryKind,
    HardState,
    Recovered,
    Role,
    Settings,
    Snapshot,
    SnapshotMeta,
)
from tests.golden.raft import render

T = TypeVar("T")
SETTINGS = Settings(election_ticks_min=4, election_ticks_max=12)
ROUNDS_MAX = 1000


class FixedRng:
    """Draws the same every time: the lower end, plus a place in line."""

    def __init__(self, place: int) -> None:
        self._place = place

    def randrange(self, start: int, stop: int | None = None, /) -> int:
        low, high = (0, start) if stop is None else (start, stop)
        return low + self._place % (high - low)

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float, /) -> float:
        return a

    def choice(self, seq: Sequence[T], /) -> T:
        return seq[0]

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        pass


class Disk:
    """What of a member is durable, in its simplest form."""

    def __init__(self, recovered: Recovered) -> None:
        self.hard_state = recovered.hard_state
        self.snapshot = Snapshot(meta=recovered.snapshot, data=b"")
        self.entries = {entry.index: entry for entry in recovered.entries}

    def write(self, persists: Iterable[effects.Persist]) -> None:
        for persist in persists:
            self.hard_state = persist.hard_state
            if persist.snapshot is not None:
                self.snapshot = persist.snapshot
                index = persist.snapshot.meta.index
                kept = self.entries.get(index)
                agrees = kept is not None and kept.term == persist.snapshot.meta.term
                self.entries = {at: e for at, e in self.entries.items() if agrees and at > index}
            if persist.entries:
                first = persist.entries[0].index
                self.entries = {at: entry for at, entry in self.entries.items() if at < first}
                self.entries.update((entry.index, entry) for entry in persist.entries)

    def recovered(self) -> Recovered:
        meta = self.snapshot.meta
        entries = tuple(self.entries[at] for at in sorted(self.entries) if at > meta.index)
        last = entries[-1].index if entries else meta.index
        commit = max(meta.index, min(self.hard_state.commit, last))
        return Recovered(hard_state=replace(self.hard_state, commit=commit), snapshot=meta, entries=entries)


class Node:
    """One core, its pipeline and its disk."""

    def __init__(self, group: Group, node_id: int, recovered: Recovered, settings: Settings) -> None:
        self.id = node_id
        self._group = group
        self._settings = settings
        self.disk = Disk(recovered)
        self.manual = False
        self.applied: list[Entry] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew with what is on the disk."""
        self.core = RaftCore(
            own_id=self.id,
            recovered=self.disk.recovered(),
            settings=self._settings,
            rng=FixedRng(self.id),
        )
        self.pipeline = Pipeline()
        self._writing: tuple[effects.Persist, ...] = ()
        self.applied = []

    def step(self, event: events.Event) -> None:
        for effect in self.core.step(event):
            self._group.note(self.id, effect)
            match effect:
                case effects.Persist():
                    self.pipeline.persist(effect)
                case effects.Send():
                    self.pipeline.send(effect)
                case effects.SendSnapshot(to=to, term=term, meta=meta):
                    snapshot = Snapshot(meta=meta, data=b"snapshot")
                    self._group.post(
                        messages.InstallSnapshot(sender=self.id, to=to, term=term, snapshot=snapshot)
                    )
                case effects.Apply(entries=entries):
                    self.applied.extend(entries)
                case _:
                    pass
        self._post()
        self._writing = self._writing or self.pipeline.next_write()
        if not self.manual:
            self.write_all()

    def write(self) -> bool:
        """End the write that is under way, and begin the next; tell whether there was one."""
        if not self._writing:
            return False
        persists, self._writing = self._writing, ()
        self.disk.write(persists)
        sequence = self.pipeline.written()
        self._post()
        self.step(events.Persisted(sequence=sequence))
        return True

    def write_all(self) -> None:
        while self.write():
            pass

    def _post(self) -> None:
        for message in self.pipeline.take_messages():
            self._group.post(message)


class Group:
    """The cores, and the messages between them."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.nodes: dict[int, Node] = {}
        self.table: list[messages.Message] = []
        """The messages on their way, in the order in which they left."""
        self.notes: list[str] = []
        self.cut: set[int] = set()
        """Members to and from which nothing gets through."""
        self.on_post: Callable[[messages.Message], bool] = lambda _message: True

    # ---- founding

    def found(self, voters: int, learners: Sequence[int] = ()) -> None:
        """Make members 1 to `voters`, and learners, of one cluster."""
        members = [_member(at + 1) for at in range(voters)]
        config = of_voters(*members)
        if learners:
            everybody = sorted([*config.members, *map(_member, learners)], key=lambda member: member.id)
            config = Config(members=tuple(everybody), voters=config.voters, learners=tuple(learners))
        first = Entry(1, 1, EntryKind.CONFIG, config=config)
        recovered = Recovered(hard_state=HardState(term=1, commit=1), entries=(first,))
        for member in config.members:
            self.add(member.id, recovered)

    def add(self, node_id: int, recovered: Recovered | None = None) -> Node:
        """Add a member with what is on its disk; by default nothing."""
        node = Node(self, node_id, recovered or Recovered(), self.settings)
        self.nodes[node_id] = node
        node.step(events.Unreachable(to=0))  # applies what is committed already
        return node

    # ---- what happens

    def step(self, node_id: int, event: events.Event) -> None:
        self.nodes[node_id].step(event)

    def post(self, message: messages.Message) -> None:
        if self.on_post(message):
            self.table.append(message)

    def deliver(self, wanted: Callable[[messages.Message], bool] = lambda _message: True) -> int:
        """Deliver the messages on the table for which `wanted` holds, not those that they cause; return how many."""
        due = [message for message in self.table if wanted(message)]
        self.table = [message for message in self.table if not wanted(message)]
        for message in due:
            if message.to not in self.nodes or {message.sender, message.to} & self.cut:
                self.note_text(f"  lost {render.message(message)}")
                continue
            self.note_text(f"{message.to} < {render.message(message)}")
            self.nodes[message.to].step(events.Received(message=message))
        return len(due)

    def drop(self, wanted: Callable[[messages.Message], bool] = lambda _message: True) -> int:
        """Take messages off the table; return how many."""
        before = len(self.table)
        self.table = [message for message in self.table if not wanted(message)]
        return before - len(self.table)

    def stabilize(self, only: Iterable[int] = ()) -> None:
        """Write and deliver until nothing moves any more, between all or between these."""
        among = set(only) or set(self.nodes)
        for _ in range(ROUNDS_MAX):
            moved = sum(node.write() for node in self.nodes.values() if node.id in among) > 0
            for node in self.nodes.values():
                if node.id in among and node.core.commit_unshared and not self.table:
                    node.step(events.ShareCommit())
            moved = bool(self.deliver(lambda m: m.to in among and m.sender in among)) or moved
            if not moved:
                return
        raise AssertionError("it does not come to rest")

    def elect(self, node_id: int) -> None:
        """Let a member become leader, with everybody's help."""
        self.step(node_id, events.Campaign())
        self.stabilize()
        assert self.nodes[node_id].core.role is Role.LEADER, f"{node_id} was not elected"

    def propose(self, node_id: int, *data: str) -> None:
        proposals = tuple(events.Proposal(request_id=at, data=text.encode()) for at, text in enumerate(data))
        self.step(node_id, events.Propose(proposals=proposals))

    def take_snapshot(self, node_id: int, index: int, compact_to: int) -> None:
        core = self.nodes[node_id].core
        term = core.log.term_at(index)
        assert term is not None
        meta = SnapshotMeta(index=index, term=term, config=core.log.config_at(index))
        self.nodes[node_id].disk.snapshot = Snapshot(meta=meta, data=b"snapshot")
        self.step(node_id, events.SnapshotTaken(index=index, compact_to=compact_to))

    # ---- what was seen

    def note(self, node_id: int, effect: effects.Effect) -> None:
        self.note_text(f"{node_id}   {render.effect(effect)}")

    def note_text(self, text: str) -> None:
        self.notes.append(text)

    def terms(self, node_id: int) -> list[int]:
        """Return the terms of a member's log, from its first entry on."""
        log = self.nodes[node_id].core.log
        return [entry.term for entry in log.between(log.first_index, log.last_index)]


def _member(member_id: int) -> Member:
    return Member(id=member_id, node_id=f"n{member_id}", address=f"n{member_id}:1")
