"""All moves of this manager: new ones, those that a restart has interrupted, and for a while those that have ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

from services.kit import errors, log
from services.kit.tasks import Supervisor
from services.swarmd.move.core import automaton
from services.swarmd.move.core.move import ENDED
from services.swarmd.move.journal import MoveJournal
from services.swarmd.move.mover import Mover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from beeyard.swarm.v1 import move_pb2
    from services.kit.seams import Clock, NewId, Rng
    from services.swarmd.move.core.automaton import Event
    from services.swarmd.move.core.move import Move
    from services.swarmd.move.planner import Planner
    from services.swarmd.move.ports import Hands, Journal

_log = log.get(__name__)

MOVES_MAX: Final = 32
"""Moves that go on at once."""
ENDED_MAX: Final = 256
"""Moves that have ended and are remembered, for callers that ask again."""
REMEMBER_S: Final = 3600.0
REQUEST_ID_CHARS_MAX: Final = 128


class Movers:
    """The moves. Made by `run`."""

    def __init__(
        self,
        journal: Journal,
        supervisor: Supervisor,
        *,
        planner: Planner,
        hands: Hands,
        clock: Clock,
        rng: Rng,
        new_id: NewId,
    ) -> None:
        self._journal = journal
        self._supervisor = supervisor
        self._planner = planner
        self._hands = hands
        self._clock = clock
        self._rng = rng
        self._new_id = new_id
        self._movers: dict[str, Mover] = {}
        self._by_request: dict[str, Mover] = {}
        self._planning: dict[str, asyncio.Lock] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def run(
        cls,
        path: Path,
        *,
        planner: Planner,
        hands: Hands,
        clock: Clock,
        rng: Rng,
        new_id: NewId,
        ready: Callable[[], Awaitable[None]],
    ) -> AsyncIterator[Self]:
        """Move containers for the length of the block; at its end moves stop where they are, and the next run goes on.

        Args:
            path: Where they are remembered.
            planner: Makes moves of requests.
            hands: Does what they order.
            clock: For pauses, and the age of moves.
            rng: Spreads the pauses.
            new_id: Ids of moves.
            ready: Returns when nodes can be found.
        """
        async with await MoveJournal.open(path) as journal, Supervisor() as supervisor:
            movers = cls(
                journal, supervisor, planner=planner, hands=hands, clock=clock, rng=rng, new_id=new_id
            )
            await movers._load(ready)
            yield movers

    def all(self) -> Iterable[Move]:
        """Return the moves that are known, oldest first."""
        moves = [mover.move for mover in self._movers.values()]
        return sorted(moves, key=lambda move: (move.wanted.begun_at, move.wanted.move_id))

    async def begin(self, request: move_pb2.MoveContainerRequest) -> tuple[Mover, Sequence[str]]:
        """Return a new move, or the one that an earlier call with the same request id has begun; and warnings.

        Raises:
            errors.BeeyardError: It is refused; see the RPC.
        """
        if len(request.request_id) > REQUEST_ID_CHARS_MAX:
            raise errors.Invalid(f"the request id is longer than {REQUEST_ID_CHARS_MAX} characters")
        if not request.request_id:
            return await self._begin(request)
        lock = self._planning.setdefault(request.request_id, asyncio.Lock())
        async with lock:
            try:
                known = self._by_request.get(request.request_id)
                return (known, ()) if known is not None else await self._begin(request)
            finally:
                self._planning.pop(request.request_id, None)  # who waits has its own hold of it

    async def _begin(self, request: move_pb2.MoveContainerRequest) -> tuple[Mover, Sequence[str]]:
        await self._forget_old()
        self._check_room()
        move, warnings = await self._planner.plan(request, self._new_id())
        self._check_room()
        mover = self._adopt(move, automaton.Begun())
        self._supervisor.spawn(mover.run(self._supervisor), f"move {move.wanted.move_id}", critical=False)
        return mover, warnings

    def _check_room(self) -> None:
        if sum(mover.move.stage not in ENDED for mover in self._movers.values()) >= MOVES_MAX:
            raise errors.Exhausted(
                f"this manager moves {MOVES_MAX} containers already", reason="TOO_MANY_MOVES"
            )

    def _adopt(self, move: Move, first: Event) -> Mover:
        wanted = move.wanted
        mover = Mover(move, first, hands=self._hands, journal=self._journal, clock=self._clock, rng=self._rng)
        self._movers[wanted.move_id] = mover
        if wanted.request_id:
            self._by_request[wanted.request_id] = mover
        return mover

    async def _load(self, ready: Callable[[], Awaitable[None]]) -> None:
        moves = await self._journal.load()
        unfinished = sum(move.stage not in ENDED for move in moves)
        if unfinished:
            _log.info("moves_recovered", count=unfinished)

        async def go_on(mover: Mover) -> None:
            if mover.move.stage not in ENDED:
                await ready()
            await mover.run(self._supervisor)

        for move in moves:  # who asks for one again must find it, whether or not nodes can be found yet
            mover = self._adopt(move, automaton.Recovered())
            self._supervisor.spawn(go_on(mover), f"move {move.wanted.move_id}", critical=False)

    async def _forget_old(self) -> None:
        """Forget moves that have ended long ago, and the oldest of too many."""
        now = self._clock.now().timestamp()
        ended = [move for move in self.all() if move.stage in ENDED]
        too_many = len(ended) - ENDED_MAX
        for number, move in enumerate(ended):
            if number < too_many or now - move.wanted.begun_at > REMEMBER_S:
                await self._journal.forget(move.wanted.move_id)
                del self._movers[move.wanted.move_id]
                self._by_request.pop(move.wanted.request_id, None)
