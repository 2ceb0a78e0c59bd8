"""The network of the simulation: loses, repeats, delays and reorders messages, and is cut both ways or one way."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from services.swarmd.raft.core import events, messages

if TYPE_CHECKING:
    from tests.sim.raft.world import World


class SimNetwork:
    """Between all members. Each message takes its own time, so that they overtake each other."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.loss = 0.0
        self.duplication = 0.0
        self.delay_ms_max = 10.0
        self.straggler = 0.0
        """How likely a message takes very long."""
        self.cut: set[tuple[int, int]] = set()
        """Directed links on which nothing arrives."""

    def send(self, message: messages.Message, report: Callable[[bool], None] | None = None) -> None:
        """Send a message; `report` hears whether it arrived, some time later."""
        copies = 1
        if self._rng.random() < self.loss:
            copies = 0
            if self._rng.random() < 0.2:
                self._world.after(self._delay(), lambda: self._tell_of_loss(message))
        elif self._rng.random() < self.duplication:
            copies = 2
        if copies == 0 and report is not None:
            self._world.after(self._delay(), lambda: report(False))
        for copy in range(copies):
            self._world.after(self._delay(), self._arrival(message, report if copy == 0 else None))

    def _arrival(
        self, message: messages.Message, report: Callable[[bool], None] | None
    ) -> Callable[[], None]:
        def arrive() -> None:
            member = self._world.members.get(message.to)
            arrived = member is not None and member.running and (message.sender, message.to) not in self.cut
            if arrived:
                assert member is not None
                self._world.trace("in", message.to, message.sender, type(message).__name__, message.term)
                member.step(events.Received(message=message))
            if report is not None:
                report(arrived)

        return arrive

    def _tell_of_loss(self, message: messages.Message) -> None:
        sender = self._world.members[message.sender]
        if sender.running:
            sender.step(events.Unreachable(to=message.to))

    def _delay(self) -> float:
        if self._rng.random() < self.straggler:
            return self._rng.uniform(self.delay_ms_max, 2000)
        return self._rng.uniform(0.2, self.delay_ms_max)
