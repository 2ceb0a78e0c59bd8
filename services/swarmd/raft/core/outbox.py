"""Gathers what one step wants done, and gives each message the number of the write that it waits for."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from services.swarmd.raft.core.effects import Effect, Persist, Send

if TYPE_CHECKING:
    from services.swarmd.raft.core.log import RaftLog
    from services.swarmd.raft.core.messages import Message
    from services.swarmd.raft.core.types import HardState


class Needs(Enum):
    """What must be durable before a message may leave."""

    TERM = "term"
    """The term, and the vote in it: for whatever speaks in the name of a term."""
    LOG = "log"
    """The log as well: for acknowledgements of entries."""


class Outbox:
    """The effects of one step, in the order in which the shell gets them: the write, then all else as it was added."""

    __slots__ = ("_hard_state", "_log_sequence", "_sequence", "_staged", "term_sequence")

    def __init__(self, hard_state: HardState) -> None:
        self._hard_state = hard_state
        """As it was written last."""
        self._sequence = 0
        self.term_sequence = 0
        """The number of the write that has the current term and vote."""
        self._log_sequence = 0
        self._staged: list[Effect | tuple[Message, Needs]] = []

    def add(self, effect: Effect) -> None:
        """Add an effect that depends on nothing."""
        self._staged.append(effect)

    def send(self, message: Message, needs: Needs) -> None:
        """Add a message that leaves when what it needs is durable, all changes of this step included."""
        self._staged.append((message, needs))

    def take(self, hard_state: HardState, log: RaftLog, *, also_commit: bool) -> list[Effect]:
        """Return the effects of the step that ends now, beginning with the write of what it changed.

        A commit position alone is only written with `also_commit`: it may be lost.
        """
        effects: list[Effect] = []
        persist = self._persist(hard_state, log, also_commit=also_commit)
        if persist is not None:
            effects.append(persist)
        for staged in self._staged:
            if isinstance(staged, tuple):
                message, needs = staged
                after = self.term_sequence if needs is Needs.TERM else self._log_sequence
                effects.append(Send(message=message, after=after))
            else:
                effects.append(staged)
        self._staged = []
        return effects

    def _persist(self, hard_state: HardState, log: RaftLog, *, also_commit: bool) -> Persist | None:
        before = self._hard_state
        new_term = (hard_state.term, hard_state.vote) != (before.term, before.vote)
        snapshot = log.unsaved_snapshot()
        sync = new_term or snapshot is not None or log.saved < log.last_index
        if not sync and not (also_commit and hard_state.commit != before.commit):
            return None
        self._sequence += 1
        if new_term:
            self.term_sequence = self._sequence
        if sync:
            self._log_sequence = self._sequence
        self._hard_state = hard_state
        entries = log.hand_out(self._sequence)
        return Persist(
            sequence=self._sequence, hard_state=hard_state, entries=entries, snapshot=snapshot, sync=sync
        )
