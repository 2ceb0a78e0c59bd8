"""One member of the simulated cluster: the real core, pipeline and storage in a simulated world.

It does what the driver does, without asyncio: events in, effects performed in order, one write at a time. A crash takes
away everything but the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, TypeAlias, assert_never

from services.swarmd.raft.core import effects, events, messages
from services.swarmd.raft.core.membership import Config
from services.swarmd.raft.core.node import RaftCore
from services.swarmd.raft.core.pipeline import Pipeline
from services.swarmd.raft.core.types import EntryKind, Role, Settings, Snapshot, SnapshotMeta
from services.swarmd.raft.shell.sealing import KeyRing
from services.swarmd.raft.shell.storage import Identity, Storage
from tests.sim.raft.disk import PowerCut, SimDisk
from tests.sim.raft.machine import Registers

if TYPE_CHECKING:
    from tests.sim.raft.world import World

KEYS = KeyRing(bytes(range(32)))


class Outcome(Enum):
    """What became of a proposal, as far as its proposer can know."""

    EFFECT = "effect"
    NO_EFFECT = "no effect"
    """Applied, but the state machine had no use for it."""
    UNKNOWN = "unknown"
    NEVER = "never"
    """It is not in the log and never will be."""


Done: TypeAlias = Callable[[Outcome], None]


@dataclass(slots=True)
class Waiter:
    """A proposal in the log, and who waits for its outcome."""

    term: int
    done: Done


class Member:
    """A process that may be running or not, and its disk."""

    def __init__(self, world: World, member_id: int, settings: Settings, rng: Random) -> None:
        self.id = member_id
        self.world = world
        self.settings = settings
        self.rng = rng
        self.disk = SimDisk(rng, f"disk-{member_id}")
        self.skew = 1.0
        """How much longer its tick takes than it should."""
        self.incarnation = 0
        self.running = False
        self.removed = False
        self.core: RaftCore
        self.storage: Storage
        self.pipeline: Pipeline
        self.machine: Registers
        self.applied = 0
        self._proposals: dict[int, Done] = {}
        self._waiters: dict[int, Waiter] = {}
        self._reads: dict[int, Callable[[int], None]] = {}
        self._ready_reads: list[tuple[int, Callable[[int], None]]] = []
        self._next_request = 0
        self._snapshot_due: int | None = None
        self._snapshot_every = 0
        self._trailing = 0

    # ---- life and death

    def start_new(self, config: Config | None) -> None:
        """Start for the first time."""
        identity = Identity(cluster_id="sim", member_id=self.id)
        self._run(Storage.create(self.disk, KEYS, self.rng.randbytes, identity, config))

    def restart(self) -> None:
        """Start from what is on the disk."""
        self._run(Storage.open(self.disk, KEYS, self.rng.randbytes))

    def crash(self, *, orderly: bool = False) -> None:
        """Die, possibly in the middle of a write; or, if there is none and it is `orderly`, stop."""
        assert self.running
        self.running = False
        if self._write_under_way:
            self.disk.power_cut_after(self.rng.randrange(6))
            try:
                self.storage.write(self._write_under_way)
            except PowerCut:
                pass
            else:
                self.world.checkers.durable(self, self._write_under_way)
        elif orderly:
            self.storage.close()
        self.disk.crash()
        for done in [*self._proposals.values(), *(waiter.done for waiter in self._waiters.values())]:
            done(Outcome.UNKNOWN)

    def _run(self, storage: Storage) -> None:
        self.incarnation += 1
        self.running = True
        self.storage = storage
        self.core = RaftCore(
            own_id=self.id, recovered=storage.recovered, settings=self.settings, rng=self.rng
        )
        self.pipeline = Pipeline()
        self.machine = Registers()
        if storage.recovered_snapshot is not None:
            self.machine.restore(storage.recovered_snapshot.data)
        self.applied = storage.recovered.snapshot.index
        self._write_under_way: tuple[effects.Persist, ...] = ()
        self._proposals = {}
        self._waiters = {}
        self._reads = {}
        self._ready_reads = []
        self._next_request = self.incarnation * 1_000_000  # never one of an earlier life
        self._sharing = False
        self._snapshot_due = None
        self._snapshot_every = self.world.profile.snapshot_every
        self._trailing = self.world.profile.trailing
        self.world.checkers.started(self)
        self._schedule_tick()

    # ---- what happens to it

    def step(self, event: events.Event) -> None:
        """Let the core take in an event, and do what it asks for."""
        assert self.running
        done = self.core.step(event)
        self.world.checkers.stepped(self, done)
        for effect in done:
            self._perform(effect)
        self._pump()
        if self.core.commit_unshared and not self._sharing:
            self._share_commit_later()

    def propose(self, data: bytes, done: Done) -> None:
        """Propose; `done` hears the outcome, if that is ever known here."""
        request_id = self._request_id()
        self._proposals[request_id] = done
        self.step(events.Propose(proposals=(events.Proposal(request_id=request_id, data=data),)))

    def read(self, done: Callable[[], None]) -> None:
        """Read linearizably: `done` is called when the registers may be looked at; perhaps never."""
        request_id = self._request_id()
        committed = self.world.checkers.committed_index()

        def ready(index: int) -> None:
            self.world.checkers.read_served(self, index, committed)
            done()

        self._reads[request_id] = ready
        self.step(events.ReadIndex(request_id=request_id))

    # ---- inside

    def _request_id(self) -> int:
        self._next_request += 1
        return self._next_request

    def _share_commit_later(self) -> None:
        self._sharing = True
        incarnation = self.incarnation

        def share() -> None:
            if self.running and self.incarnation == incarnation:
                self._sharing = False
                self.step(events.ShareCommit())

        self.world.after(self.rng.uniform(0, 20), share)

    def _schedule_tick(self) -> None:
        incarnation = self.incarnation

        def tick() -> None:
            if self.running and self.incarnation == incarnation:
                self.world.trace("tick", self.id)
                self.step(events.Tick())
                self._schedule_tick()

        self.world.after(self.world.tick_ms * self.skew * self.rng.uniform(0.9, 1.1), tick)

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Persist():
                self.pipeline.persist(effect)
            case effects.Send():
                self.pipeline.send(effect)
            case effects.SendSnapshot(to=to, term=term, meta=meta):
                self._send_snapshot(to, term, meta)
            case effects.Apply(entries=entries):
                self.world.checkers.applying(self, entries)
                for entry in entries:
                    assert entry.index == self.applied + 1, f"{entry.index} applied after {self.applied}"
                    self.applied = entry.index
                    result = Outcome.NO_EFFECT
                    if entry.kind is EntryKind.COMMAND and self.machine.apply(entry.index, entry.data):
                        result = Outcome.EFFECT
                    self._settle(entry.index, entry.term, result)
                self._applied_more()
            case effects.Restore(snapshot=snapshot):
                self.machine.restore(snapshot.data)
                self.applied = snapshot.meta.index
                self.world.checkers.restored(self, snapshot.meta)
                self._lose_up_to(self.applied)
                self._applied_more()
            case effects.Accepted(request_id=request_id, index=index, term=term):
                done = self._proposals.pop(request_id, None)
                if done is not None:
                    replaced = self._waiters.pop(index, None)
                    if replaced is not None:
                        replaced.done(Outcome.UNKNOWN)
                    self._waiters[index] = Waiter(term, done)
            case effects.Refused(request_id=request_id):
                done = self._proposals.pop(request_id, None)
                if done is not None:
                    done(Outcome.NEVER)
                self._reads.pop(request_id, None)
            case effects.ReadReady(request_id=request_id, index=index):
                read = self._reads.pop(request_id, None)
                if read is not None:
                    self._ready_reads.append((index, read))
                    self._applied_more()
            case effects.RoleChanged(role=role, term=term, leader=leader):
                self.world.trace("role", self.id, role.value, term, leader)
                if role is Role.LEADER:
                    self.world.faults.elected(self)
            case effects.ConfigChanged(config=config):
                self.world.trace("config", self.id, config.voters, config.learners)
            case effects.Removed():
                self.removed = True
                self.world.trace("removed", self.id)
            case _:
                assert_never(effect)

    def _settle(self, index: int, term: int, outcome: Outcome) -> None:
        waiter = self._waiters.pop(index, None)
        if waiter is not None:
            waiter.done(outcome if waiter.term == term else Outcome.NEVER)

    def _lose_up_to(self, index: int) -> None:
        for at in [at for at in self._waiters if at <= index]:
            self._waiters.pop(at).done(Outcome.UNKNOWN)

    def _applied_more(self) -> None:
        ready = [(index, read) for index, read in self._ready_reads if index <= self.applied]
        self._ready_reads = [(index, read) for index, read in self._ready_reads if index > self.applied]
        for index, read in ready:
            read(index)
        if self._snapshot_due is None and self.applied - self.core.log.snapshot.index >= self._snapshot_every:
            self._take_snapshot()

    def _take_snapshot(self) -> None:
        index = self.applied
        term = self.core.log.term_at(index)
        assert term is not None
        meta = SnapshotMeta(index=index, term=term, config=self.core.log.config_at(index))
        snapshot = Snapshot(meta=meta, data=self.machine.snapshot())
        incarnation = self.incarnation
        self._snapshot_due = index

        def taken() -> None:
            if not self.running or self.incarnation != incarnation:
                return
            self._snapshot_due = None
            if self._write_under_way or index <= self.core.log.snapshot.index:
                return  # the disk is busy, or a newer one came from the leader; the next one will come
            dies = self.rng.random() < self.world.profile.die_in_snapshot
            if dies:
                self.disk.power_cut_after(self.rng.randrange(8))
            try:
                self.storage.save_snapshot(snapshot)
                self.storage.adopt_snapshot(meta)
            except PowerCut:
                self.world.kill(self)
                return
            self.disk.power_stays()
            self.world.trace("snapshot", self.id, index)
            self.step(events.SnapshotTaken(index=index, compact_to=max(0, index - self._trailing)))

        self.world.after(self.rng.uniform(1, 20), taken)

    def _send_snapshot(self, to: int, term: int, meta: SnapshotMeta) -> None:
        snapshot = self.storage.load_snapshot(meta)
        message = messages.InstallSnapshot(sender=self.id, to=to, term=term, snapshot=snapshot)
        incarnation = self.incarnation

        def report(ok: bool) -> None:
            if self.running and self.incarnation == incarnation:
                self.step(events.SnapshotDelivered(to=to, ok=ok))

        self.world.network.send(message, report)

    def _pump(self) -> None:
        """Send what may leave, and begin the next write."""
        for message in self.pipeline.take_messages():
            self.world.checkers.sent(self, message)
            self.world.network.send(message)
        if self._write_under_way:
            return
        write = self.pipeline.next_write()
        if not write:
            return
        self._write_under_way = write
        incarnation = self.incarnation

        def written() -> None:
            if not self.running or self.incarnation != incarnation:
                return
            self.storage.write(write)
            self._write_under_way = ()
            self.world.checkers.durable(self, write)
            self.step(events.Persisted(sequence=self.pipeline.written()))

        self.world.after(self.world.write_delay(self.rng), written)

    @property
    def leads(self) -> bool:
        return self.running and self.core.role is Role.LEADER
