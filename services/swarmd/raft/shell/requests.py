"""Who waits for what: proposals for their index to be applied, reads for theirs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.kit import errors

if TYPE_CHECKING:
    from services.swarmd.raft.core.effects import Accepted

OUTCOME_UNKNOWN: Final = {"outcome": "unknown"}


@dataclass(frozen=True, slots=True)
class Applied:
    """A proposal that took effect: where in the log, and what the state machine said to it."""

    index: int
    result: object


@dataclass(slots=True)
class _InLog:
    request_id: int
    term: int


class Proposals:
    """Proposals that are not settled. Each has a future, which the caller awaits and cancels when it gives up."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[Applied]] = {}
        self._in_log: dict[int, _InLog] = {}

    def __len__(self) -> int:
        return len(self._futures)

    def open(self, request_id: int) -> asyncio.Future[Applied]:
        """Return the future of a new proposal; `close` it in the end."""
        future = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future
        return future

    def close(self, request_id: int) -> None:
        """Forget a proposal that nobody waits for any more."""
        self._futures.pop(request_id, None)

    def accepted(self, answer: Accepted) -> None:
        """Note where in the log a proposal is."""
        replaced = self._in_log.get(answer.index)
        if replaced is not None:
            # An own proposal of an earlier term was there. It may be in other logs, and come back.
            self._fail(replaced.request_id, _leadership_lost())
        self._in_log[answer.index] = _InLog(answer.request_id, answer.term)

    def refused(self, request_id: int, error: errors.BeeyardError) -> None:
        """Settle a proposal that will never take effect."""
        self._fail(request_id, error)

    def applied(self, index: int, term: int, result: object) -> None:
        """Settle the proposal at this index, if there is one: it was applied, or another took its place for good."""
        waiting = self._in_log.pop(index, None)
        if waiting is None:
            return
        if waiting.term != term:
            self._fail(
                waiting.request_id,
                errors.Unavailable(
                    "the leader changed before the proposal was committed; it did not take effect",
                    reason="PROPOSAL_DROPPED",
                ),
            )
            return
        future = self._futures.get(waiting.request_id)
        if future is not None and not future.done():
            future.set_result(Applied(index, result))

    def overtaken(self, index: int) -> None:
        """Fail what waits for an index up to this one: a snapshot came instead, which does not tell."""
        for at in [at for at in self._in_log if at <= index]:
            self._fail(self._in_log.pop(at).request_id, _leadership_lost())

    def abandon(self) -> None:
        """Fail whatever waits in the log: its leader is gone, and perhaps nobody will commit it."""
        for waiting in self._in_log.values():
            self._fail(waiting.request_id, _leadership_lost())
        self._in_log.clear()

    def fail_all(self, error: errors.BeeyardError) -> None:
        """Fail everything."""
        for request_id in list(self._futures):
            self._fail(request_id, error)
        self._in_log.clear()

    def _fail(self, request_id: int, error: errors.BeeyardError) -> None:
        future = self._futures.get(request_id)
        if future is not None and not future.done():
            future.set_exception(error)


class Reads:
    """Reads that wait: first for the index from which they may be served, then for it to be applied."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[int]] = {}
        self._asked_tick: dict[int, int] = {}
        self._ready: list[tuple[int, int]] = []  # (index, request id)

    def __len__(self) -> int:
        return len(self._futures)

    def open(self, request_id: int, tick: int) -> asyncio.Future[int]:
        """Return the future of a new read, which was asked for at `tick`; `close` it in the end."""
        future = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future
        self._asked_tick[request_id] = tick
        return future

    def close(self, request_id: int) -> None:
        """Forget a read that nobody waits for any more."""
        self._futures.pop(request_id, None)
        self._asked_tick.pop(request_id, None)

    def ready(self, request_id: int, index: int, applied: int) -> None:
        """Note from which index a read may be served."""
        if self._asked_tick.pop(request_id, None) is None:
            return  # given up, or answered before
        self._ready.append((index, request_id))
        self.applied(applied)

    def applied(self, index: int) -> None:
        """Settle the reads that may be served now."""
        if not self._ready:
            return
        for at, request_id in self._ready:
            future = self._futures.get(request_id)
            if at <= index and future is not None and not future.done():
                future.set_result(at)
        self._ready = [(at, request_id) for at, request_id in self._ready if at > index]

    def refused(self, request_id: int, error: errors.BeeyardError) -> None:
        """Settle a read that cannot be served."""
        future = self._futures.get(request_id)
        if future is not None and not future.done():
            future.set_exception(error)

    def overdue(self, asked_before_tick: int, tick: int) -> list[int]:
        """Return the reads that were asked for before that tick without an answer; they count as asked for now."""
        late = [request_id for request_id, asked in self._asked_tick.items() if asked < asked_before_tick]
        for request_id in late:
            self._asked_tick[request_id] = tick
        return late

    def fail_all(self, error: errors.BeeyardError) -> None:
        """Fail everything."""
        for request_id in list(self._futures):
            self.refused(request_id, error)


def _leadership_lost() -> errors.Unavailable:
    return errors.Unavailable(
        "leadership was lost before the proposal was known to be committed; it may or may not take effect",
        reason="LEADERSHIP_LOST",
        metadata=OUTCOME_UNKNOWN,
    )
