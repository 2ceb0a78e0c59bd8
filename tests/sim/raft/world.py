"""The simulated world: time, members, network, faults and clients, all from one integer.

`World(seed).run()` ends normally, or raises: `Violation` when a checker saw what must not be, `AssertionError` when a
member itself did.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from services.swarmd.raft.core import membership
from services.swarmd.raft.core.membership import Member as Peer
from services.swarmd.raft.core.types import Role, Settings
from tests.sim.raft.checkers import Checkers, Violation
from tests.sim.raft.clients import Clients
from tests.sim.raft.faults import Faults
from tests.sim.raft.linearizability import unexplained_key
from tests.sim.raft.member import Member, Outcome
from tests.sim.raft.network import SimNetwork

TICK_MS = 100.0
CALM_TICKS_MAX = 600
"""How long the cluster may take to be whole again once the faults have stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What kind of world a seed makes."""

    members: int
    chaos_ticks: int
    loss: float
    duplication: float
    delay_ms_max: float
    straggler: float
    fault_every_ticks: float
    skew_max: float
    slow_disk: float
    snapshot_every: int
    trailing: int
    die_in_snapshot: float
    clients: int
    think_ms_max: float
    membership_changes: bool
    turbulence: float
    """How likely a leader fails soon after its election."""
    settings: Settings

    @staticmethod
    def of(rng: Random) -> Profile:
        """Draw one: most worlds are bad in some ways and good in others."""
        harsh = rng.random() < 0.3
        election_min = rng.choice([6, 8, 10])
        return Profile(
            members=rng.choice([1, 2, 3, 3, 3, 3, 4, 5, 5]),
            chaos_ticks=rng.randrange(120, 280),
            loss=rng.choice([0.0, 0.0, 0.02, 0.1, 0.25 if harsh else 0.05]),
            duplication=rng.choice([0.0, 0.05, 0.3]),
            delay_ms_max=rng.choice([2.0, 10.0, 40.0, 250.0 if harsh else 80.0]),
            straggler=rng.choice([0.0, 0.01, 0.05]),
            fault_every_ticks=rng.choice([4.0, 10.0, 25.0]),
            skew_max=rng.choice([1.0, 1.1, 1.6]),
            slow_disk=rng.choice([0.0, 0.02, 0.1]),
            snapshot_every=rng.choice([5, 15, 40, 1000]),
            trailing=rng.choice([0, 3, 20]),
            die_in_snapshot=rng.choice([0.0, 0.1]),
            clients=rng.randrange(1, 6),
            think_ms_max=rng.choice([100.0, 300.0, 800.0]),
            membership_changes=rng.random() < 0.5,
            turbulence=rng.choice([0.0, 0.0, 0.4, 0.8]),
            settings=Settings(
                election_ticks_min=election_min,
                election_ticks_max=2 * election_min,
                message_bytes_max=rng.choice([1, 300, 1 << 20]),
                inflight_messages_max=rng.choice([1, 3, 64]),
                uncommitted_bytes_max=rng.choice([400, 1 << 20]),
                reads_max=rng.choice([2, 4096]),
            ),
        )


class World:
    """One run."""

    def __init__(self, seed: int, *, tracing: bool = False, ground: Mapping[str, Any] | None = None) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.profile = replace(Profile.of(self.rng), **(ground or {}))
        self.tick_ms = TICK_MS
        self.now_ms = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._tracing = tracing
        self._digest = hashlib.blake2b(digest_size=16)
        self.checkers = Checkers()
        self.network = SimNetwork(self, self._fork())
        self.members: dict[int, Member] = {}
        self.clients = Clients(self, self._fork())
        self.faults = Faults(self, self._fork())

    # ---- for those who live in it

    def after(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Let something happen later."""
        self._count += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._count, action))

    def trace(self, *what: object) -> None:
        """Note what happened: the sum of all notes is the run's fingerprint."""
        line = f"{self.now_ms:.3f} {what}"
        self._digest.update(line.encode())
        if self._tracing:
            print(line)

    def write_delay(self, rng: Random) -> float:
        """Return how long a disk takes to write."""
        if rng.random() < self.profile.slow_disk:
            return rng.uniform(50, 1500)
        return rng.uniform(0.1, 5)

    def new_member(self) -> Member:
        """Make a member that is not in the cluster yet."""
        member_id = max(self.members, default=0) + 1
        member = Member(self, member_id, self.profile.settings, self._fork())
        member.skew = self.rng.uniform(1 / self.profile.skew_max, self.profile.skew_max)
        self.members[member_id] = member
        return member

    def kill(self, member: Member, *, orderly: bool = False) -> None:
        """Crash a member; it comes back after a while."""
        self.trace("crash", member.id)
        member.crash(orderly=orderly)
        away_ticks = self.rng.uniform(0.1, 3) if self.rng.random() < 0.5 else self.rng.uniform(3, 60)
        self.after(away_ticks * TICK_MS, lambda: self.revive(member))

    def revive(self, member: Member) -> None:
        """Start a member that is down."""
        if not member.running:
            self.trace("restart", member.id)
            member.restart()

    def leader(self) -> Member | None:
        """Return the leader of the highest term, if there is one."""
        leading = [member for member in self.members.values() if member.leads]
        return max(leading, key=lambda member: member.core.term, default=None)

    @property
    def fingerprint(self) -> str:
        """The sum of everything that happened."""
        return self._digest.hexdigest()

    # ---- the run

    def run(self) -> None:
        """Found a cluster, let faults and clients loose, stop them, and see whether all is well in the end."""
        peers = [
            Peer(id=at + 1, node_id=f"n{at + 1}", address=f"n{at + 1}:1")
            for at in range(self.profile.members)
        ]
        config = membership.of_voters(*peers)
        for _ in peers:
            self.new_member().start_new(config)
        self.network.loss = self.profile.loss
        self.network.duplication = self.profile.duplication
        self.network.delay_ms_max = self.profile.delay_ms_max
        self.network.straggler = self.profile.straggler
        self.faults.start()
        self.clients.start()
        self._run_until(self.profile.chaos_ticks * TICK_MS)
        self.faults.stop()
        self.clients.stop()
        self._settle()
        self._judge()

    def _run_until(self, end_ms: float, enough: Callable[[], bool] | None = None) -> bool:
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._events)
            action()
            if enough is not None and enough():
                return True
        self.now_ms = end_ms
        return False

    def _settle(self) -> None:
        """The liveness phase: with a majority alive and the network whole, a write must succeed and reach everybody."""
        self.network.loss = self.network.duplication = self.network.straggler = 0.0
        self.network.delay_ms_max = min(self.network.delay_ms_max, 50.0)
        self.network.cut.clear()
        for member in self.members.values():
            self.revive(member)
        outcome: list[Outcome] = []
        end_ms = self.now_ms + CALM_TICKS_MAX * TICK_MS
        while Outcome.EFFECT not in outcome:
            if not self._run_until(end_ms, lambda: self.leader() is not None):
                raise Violation("liveness: there is no leader long after the last fault")
            leader = self.leader()
            assert leader is not None
            leader.propose(self.clients.last_command(), outcome.append)
            self._run_until(min(end_ms, self.now_ms + 10 * TICK_MS), lambda: Outcome.EFFECT in outcome)
        if not self._run_until(end_ms, self._all_equal):
            raise Violation("liveness: members do not catch up long after the last fault")

    def _all_equal(self) -> bool:
        leader = self.leader()
        if leader is None or leader.applied < self.checkers.committed_index():
            return False
        current = [self.members[peer.id] for peer in leader.core.config.members]
        return all(member.running and member.applied == leader.applied for member in current)

    def _judge(self) -> None:
        leader = self.leader()
        assert leader is not None
        for peer in leader.core.config.members:
            self.checkers.compare(self.members[peer.id])
        applied = leader.machine.applied
        doubled = len(applied) - len(set(applied))
        if doubled:
            raise Violation(f"exactly once: {doubled} operations were applied more than once")
        missing = [op for op in self.clients.acknowledged if op not in set(applied)]
        if missing:
            raise Violation(f"no acknowledged write is lost: {missing} are")
        undead = [op for op in self.clients.never if op in set(applied)]
        if undead:
            raise Violation(f"refused is refused: {undead} were applied after all")
        for member in self.members.values():
            if member.leads and member.core.role is Role.LEADER and member is not leader:
                raise Violation(f"liveness: {member.id} still leads an old term")
        key = unexplained_key(self.clients.history)
        if key is not None:
            raise Violation(f"linearizability: no order explains what was seen of register {key}")

    def _fork(self) -> Random:
        return Random(self.rng.getrandbits(64))
