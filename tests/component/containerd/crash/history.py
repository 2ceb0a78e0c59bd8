"""What a container may be after a crash, given what was asked and answered. Pure.

A small automaton that does not know which of its states it is in: an answered call moves all of them, one that was cut
off by the crash may have happened or not and adds the moved ones. What is found afterwards must be among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from beeyard.container.v1 import spec_pb2
from tests.component.containerd.crash.script import Container


class Place(Enum):
    """Where a container can be, for a user."""

    ABSENT = auto()
    CREATED = auto()
    UP = auto()
    PAUSED = auto()
    DOWN = auto()
    AGAIN = auto()
    """Between two runs, by its restart policy."""


class Outcome(Enum):
    """How a call ended."""

    DONE = auto()
    REFUSED = auto()
    CUT = auto()
    """By the crash: nobody knows."""


_QUIET = frozenset(
    {
        *("exec", "exec_detached", "exec_missing", "attach", "wait", "rename", "update", "logs"),
        *("check", "commit", "copy_in", "copy_out"),
    }
)
"""Calls that do not end a run."""
_LIVE = frozenset({Place.UP, Place.PAUSED})


@dataclass(slots=True)
class History:
    """What is known of one container."""

    container: Container
    id: str = ""
    possible: set[Place] = field(default_factory=lambda: {Place.ABSENT})
    names: set[str] = field(default_factory=set)
    pid: int = 0
    """Of the init, as told by the last start, while nothing has happened that ends it."""
    ticks: int = 0
    told: int | None = None
    """The exit code that was told of the last run, while no other has been asked for."""
    starts: int = 0
    """How often a start was asked for."""
    hurt: bool = False
    """Something from outside may have ended a run, or a call has."""
    by_user: bool = False
    """The stop signal was sent: the restart policy does not apply any more."""

    def after(self, kind: str, outcome: Outcome) -> None:
        """Take a call into account."""
        if kind == "check" and self.container.fails_checks:
            self.harmed()
        if outcome is Outcome.REFUSED:
            if kind == "start":
                self.told = None  # a start that failed has an exit code of its own
                if self.container.auto_remove:
                    self.possible |= {Place.ABSENT}
            return
        if kind in ("start", "restart"):
            self.starts += 1
            self.told = None
        moved = {to for place in self.possible for to in self._moved(place, kind)}
        self.possible = moved if outcome is Outcome.DONE else self.possible | moved
        if outcome is Outcome.CUT and kind == "start" and self.container.auto_remove:
            self.possible.add(Place.ABSENT)
        if kind in ("terminate", "kill", "stop"):
            self.by_user = True
        if kind not in _QUIET and kind != "start" and kind not in ("pause", "unpause"):
            self.hurt = True
            self.pid = 0
        if self.container.program.ends:
            self.pid = 0
        self._settle()

    def harmed(self) -> None:
        """Its init or conmon was killed, perhaps."""
        self.hurt = True
        self.pid = 0
        self.told = None
        if self.possible & _LIVE:
            self.possible |= self._ends()
        self._settle()

    def _moved(self, place: Place, kind: str) -> set[Place]:
        if place is Place.ABSENT:
            return {Place.CREATED} if kind == "create" else {place}
        match kind:
            case "start" | "restart":
                return {Place.UP}
            case "stop" | "kill":
                alive = place in (Place.UP, Place.PAUSED, Place.AGAIN)
                return {self._down()} if alive else {place}
            case "terminate":
                if place is Place.PAUSED:
                    place = Place.UP  # it is thawed: a frozen process takes no signal
                return {place, self._down()} if place in (Place.UP, Place.AGAIN) else {place}
            case "pause":
                return {Place.PAUSED} if place is Place.UP else {place}
            case "unpause":
                return {Place.UP} if place is Place.PAUSED else {place}
            case "remove":
                return {Place.ABSENT}
            case _:
                return {place}

    def _settle(self) -> None:
        """Add what follows by itself."""
        if Place.UP in self.possible and (self.container.program.ends or not self.container.program.starts):
            self.possible |= self._ends()
        if Place.AGAIN in self.possible:
            self.possible |= {Place.UP}
        if self.container.auto_remove and Place.DOWN in self.possible:
            self.possible = (self.possible - {Place.DOWN}) | {Place.ABSENT}

    def _down(self) -> Place:
        return Place.ABSENT if self.container.auto_remove else Place.DOWN

    def _ends(self) -> set[Place]:
        """Return where a run's own end leads."""
        policy = self.container.restart
        if policy == spec_pb2.RESTART_CONDITION_NO:
            return {self._down()}
        return {Place.AGAIN, Place.UP, Place.DOWN}
