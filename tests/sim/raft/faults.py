"""What goes wrong, at random: crashes, cuts of the network, pauses of members, and what an operator does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from services.swarmd.raft.core import events, membership
from services.swarmd.raft.core.membership import Change
from services.swarmd.raft.core.membership import Member as Peer

if TYPE_CHECKING:
    from tests.sim.raft.member import Member
    from tests.sim.raft.world import World

MEMBERS_MAX = 7


class Faults:
    """The source of all trouble of one run."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._stopped = False
        self._next_request = 0
        self._kinds: list[Callable[[], None]] = [
            self._crash,
            self._crash,
            self._crash_leader,
            self._crash_all,
            self._cut_in_two,
            self._cut_one_off,
            self._cut_one_way,
            self._heal,
            self._transfer,
            self._drift,
        ]
        if world.profile.membership_changes:
            self._kinds += [self._change_members] * 6

    def start(self) -> None:
        self._schedule()

    def stop(self) -> None:
        self._stopped = True

    def _schedule(self) -> None:
        pause = self._rng.expovariate(1 / (self._world.profile.fault_every_ticks * self._world.tick_ms))
        self._world.after(pause, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        fault = self._rng.choice(self._kinds)
        self._world.trace("fault", fault.__name__)
        fault()
        self._schedule()

    def elected(self, leader: Member) -> None:
        """Let a new leader fail before its term is settled: that is when logs come apart."""
        if self._stopped or self._rng.random() >= self._world.profile.turbulence:
            return
        term = leader.core.term
        crash = self._rng.random() < 0.5

        def fail() -> None:
            if self._stopped or not leader.leads or leader.core.term != term:
                return
            if crash:
                self._world.kill(leader)
            else:
                self._cut_off(leader.id)

        self._world.after(self._rng.uniform(0, 3 * self._world.network.delay_ms_max), fail)

    # ---- crashes

    def _crash(self) -> None:
        alive = [member for member in self._world.members.values() if member.running]
        if alive:
            self._world.kill(self._rng.choice(alive), orderly=self._rng.random() < 0.2)

    def _crash_leader(self) -> None:
        leader = self._world.leader()
        if leader is not None:
            self._world.kill(leader)

    def _crash_all(self) -> None:
        if self._rng.random() < 0.3:
            for member in list(self._world.members.values()):
                if member.running:
                    self._world.kill(member)

    # ---- cuts

    def _cut_in_two(self) -> None:
        ids = list(self._world.members)
        self._rng.shuffle(ids)
        at = self._rng.randrange(len(ids) + 1)
        for one in ids[:at]:
            for other in ids[at:]:
                self._world.network.cut |= {(one, other), (other, one)}
        self._heal_later()

    def _cut_one_off(self) -> None:
        leader = self._world.leader()
        self._cut_off(leader.id if leader is not None else self._rng.choice(list(self._world.members)))

    def _cut_off(self, one: int) -> None:
        for other in self._world.members:
            self._world.network.cut |= {(one, other), (other, one)}
        self._heal_later()

    def _cut_one_way(self) -> None:
        ids = list(self._world.members)
        for _ in range(self._rng.randrange(1, 4)):
            one, other = self._rng.choice(ids), self._rng.choice(ids)
            self._world.network.cut.add((one, other))
        self._heal_later()

    def _heal_later(self) -> None:
        self._world.after(self._rng.uniform(5, 60) * self._world.tick_ms, self._heal)

    def _heal(self) -> None:
        self._world.network.cut.clear()

    # ---- clocks, and the operator

    def _drift(self) -> None:
        most = self._world.profile.skew_max
        for member in self._world.members.values():
            member.skew = self._rng.uniform(1 / most, most)

    def _transfer(self) -> None:
        leader = self._world.leader()
        if leader is not None:
            to = self._rng.choice(list(self._world.members))
            leader.step(events.TransferLeadership(to=to))

    def _change_members(self) -> None:
        leader = self._world.leader()
        if leader is None:
            return
        config = leader.core.config
        kind = self._rng.choice(["add", "promote", "promote", "demote", "remove", "readdress"])
        change: Change
        if kind == "add":
            change = membership.AddLearner(member=self._newcomer(config))
        elif not config.members:
            return
        else:
            peer = self._rng.choice(config.members)
            match kind:
                case "promote":
                    change = membership.Promote(member_id=self._rng.choice(config.learners or (peer.id,)))
                case "demote":
                    change = membership.Demote(member_id=peer.id)
                case "remove":
                    change = membership.Remove(member_id=peer.id)
                case _:
                    change = membership.Readdress(
                        member_id=peer.id, address=f"moved:{self._rng.randrange(9)}"
                    )
        self._next_request += 1
        leader.step(events.ChangeMembers(request_id=-self._next_request, change=change))

    def _newcomer(self, config: membership.Config) -> Peer:
        """Return a member that runs but is not in the cluster; start one if there is none and room for it."""
        for member in self._world.members.values():
            if member.id not in config and member.id not in config.removed:
                return Peer(id=member.id, node_id=f"n{member.id}", address=f"n{member.id}:1")
        if len(self._world.members) < MEMBERS_MAX:
            member = self._world.new_member()
            member.start_new(None)
        return Peer(id=max(self._world.members), node_id="new", address="new:1")
