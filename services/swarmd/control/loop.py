"""The leader's loop: look, propose, wait for a change or the next moment, look again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from services.kit import backoff, errors, log, tasks
from services.swarmd.control.planner import Planner, unit_of

if TYPE_CHECKING:
    from types import TracebackType

    from services.kit.seams import Clock, NewId, Rng
    from services.swarmd.store.feed import Watch
    from services.swarmd.store.store import Store

DEBOUNCE_S = 0.003
"""How long a pass waits after the change that caused it: for the rest of what is just coming."""

RETRY_BASE_S = 0.05
RETRY_MAX_S = 2.0

_log = log.get(__name__)


class ControlLoop:
    """Runs the orchestrators, the allocator and the scheduler while its `async with` block lasts.

    To be entered by the leader when its store has everything that was committed before, and left when it leads no
    more. Any number of loops may run by mistake: what they propose is refused where it conflicts.

    Args:
        store: The replicated store.
        clock: What time it is.
        rng: Spreads retries.
        new_id: Makes the ids of tasks.
    """

    def __init__(self, store: Store, clock: Clock, rng: Rng, new_id: NewId) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._planner = Planner(new_id)
        self._supervisor = tasks.Supervisor()
        self._changed = asyncio.Event()
        self._failures = 0

    async def __aenter__(self) -> Self:
        watch = self._store.watch()
        self._planner.resync(self._store.view())
        await self._supervisor.__aenter__()
        self._supervisor.spawn(self._run(watch), "control-loop")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._supervisor.__aexit__(kind, exc, trace)

    async def _run(self, watch: Watch) -> None:
        self._supervisor.spawn(self._notice(self._store.watch(watch.index)), "control-loop-changes")
        while True:
            self._changed.clear()
            for item in watch.read_now():
                self._planner.observe(item, self._store.view())
            now = self._clock.now().timestamp()
            if self._planner.next_pass_at(now) <= now:
                await self._pass(now)
                await asyncio.sleep(0)  # between passes others have their turn, however much is to be done
            else:
                await self._wait(self._planner.next_pass_at(now) - now)

    async def _pass(self, now: float) -> None:
        """Make one pass and propose what came of it."""
        try:
            # Not kept in a variable: the view below would be kept too, and cloned when the entries are applied.
            undone = await self._store.write(self._planner.plan(self._store.view(), now), unit_of)
        except errors.BeeyardError as exc:
            # Not the leader any more, then we are about to be stopped; or no quorum, then there is time.
            _log.warning("control_pass_failed", reason=exc.reason, error=exc.message)
            await self._clock.sleep(
                backoff.delay(self._failures, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, rng=self._rng)
            )
            self._failures += 1
            self._planner.resync(self._store.view())
            return
        finally:
            for service_id, fault in self._planner.take_faults():
                _log.failure("control_look_failed", fault, service_id=service_id)
        self._failures = 0
        if undone:
            _log.info("control_writes_refused", writes=len(undone))
            self._planner.undone(undone, self._store.view())
            await self._clock.sleep(DEBOUNCE_S)  # what was in the way may be under way still

    async def _wait(self, seconds: float) -> None:
        """Return when something has changed, or so many seconds have passed."""
        alarm = self._supervisor.spawn(self._ring_after(seconds), "control-loop-alarm", critical=False)
        try:
            await self._changed.wait()
        finally:
            await tasks.cancel(alarm)

    async def _ring_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._changed.set()

    async def _notice(self, watch: Watch) -> None:
        """Wake the loop at each commit. Ends with the store."""
        while await watch.read():
            await self._clock.sleep(DEBOUNCE_S)
            self._changed.set()
        await asyncio.Event().wait()  # the store is closed; the loop is about to be stopped
