"""Runs one task: asks the core for the next step, records, calls, and asks again, until nothing is left to do.

One call at a time for a task. What changes meanwhile (the desired state, the container) wakes it; a call that has begun
is not interrupted, but for the fetch of an image, which may take minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from services.kit import backoff, errors, log
from services.swarmd.agent.core import order as orders
from services.swarmd.agent.core.facts import Container, Phase, Progress, View
from services.swarmd.agent.core.outcome import FetchImage, GiveUp, LookAgain, Retry, judge
from services.swarmd.agent.core.step import (
    Advance,
    Call,
    Create,
    Forget,
    Hold,
    Mark,
    Pull,
    Remove,
    Start,
    Step,
    Stop,
    next_step,
)
from services.swarmd.agent.images import wanted_image
from services.swarmd.agent.journal import Entry
from services.swarmd.agent.reports import is_passing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.swarm.v1 import objects_pb2
    from services.kit.seams import Clock, Rng
    from services.swarmd.agent.engine import Engine
    from services.swarmd.agent.images import Images
    from services.swarmd.agent.journal import Journal
    from services.swarmd.agent.observer import Observer
    from services.swarmd.agent.reports import Reports

_log = log.get(__name__)

RETRY_BASE_S = 0.1
RETRY_MAX_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all runners share."""

    engine: Engine
    observer: Observer
    images: Images
    journal: Journal
    reports: Reports
    clock: Clock
    rng: Rng
    slots: asyncio.Semaphore
    """Containers that are made or started at once."""
    secrets: Mapping[str, bytes]
    configs: Mapping[str, bytes]


class Runner:
    """One task of this node."""

    def __init__(self, entry: Entry, tools: Tools) -> None:
        self._entry = entry
        self._recorded = entry.progress
        self._tools = tools
        self._changed = asyncio.Event()
        self._attempt = 0
        self._pull_first = entry.task.spec.pull_policy == "always"
        self._pulled = entry.task.spec.pull_policy == "never"

    @property
    def entry(self) -> Entry:
        """The task and how far it is."""
        return self._entry

    @property
    def recorded(self) -> Progress:
        """How far the task is by what is on disk: nothing else may be told."""
        return self._recorded

    def assign(self, task: objects_pb2.Task, *, removed: bool) -> bool:
        """Take the task as the swarm wants it now; return whether anything is new. The caller records the entry.

        A desired state never goes back, and what was removed does not return: an older word that comes late is void.
        """
        old = self._entry
        removed = removed or old.removed
        if task.desired_state < old.task.desired_state:
            task = old.task
        if removed == old.removed and task == old.task:
            return False
        self._entry = dataclasses.replace(old, task=task, removed=removed)
        self._changed.set()
        return True

    def wake(self) -> None:
        """Look at the task again: something that it depends on has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Drive the task; returns when nothing of it is left on this node."""
        while True:
            self._changed.clear()
            step = self._decide()
            while isinstance(step, Advance | Mark):
                self._take(step)
                step = self._decide()
            await self._record()
            match step:
                case Hold():
                    await self._changed.wait()
                case Forget():
                    await self._tools.journal.forget(self._entry.task.id)
                    return
                case Pull():
                    await self._pull(step)
                case Create() | Start() | Stop() | Remove():
                    await self._call(step)
                case _:
                    assert_never(step)

    def _decide(self) -> Step:
        return next_step(self._view())

    def _view(self) -> View:
        entry, tools = self._entry, self._tools
        return View(
            desired=entry.task.desired_state,
            progress=entry.progress,
            container=tools.observer.containers.get(entry.task.id),
            containers_known=tools.observer.known,
            removed=entry.removed,
            missing=orders.missing_files(entry.task.spec, tools.secrets, tools.configs),
            refusal=orders.refusal(entry.task),
            pull_first=self._pull_first,
        )

    def _take(self, step: Advance | Mark) -> None:
        old = self._entry.progress
        match step:
            case Mark():
                new = dataclasses.replace(old, stop_cause=step.cause)
            case Advance():
                assert step.state >= old.state, f"state {step.state} would follow {old.state}"
                new = Progress(
                    state=step.state,
                    since=self._tools.clock.now() if step.state != old.state else old.since,
                    message=step.message,
                    error=step.error,
                    stop_cause=old.stop_cause,
                    container=step.container or old.container,
                )
            case _:
                assert_never(step)
        self._entry = dataclasses.replace(self._entry, progress=new)

    async def _record(self) -> None:
        """Make the record durable if it is not, then tell of it."""
        entry = self._entry
        if entry.progress is self._recorded:
            return
        await self._tools.journal.save([entry])
        self._recorded = entry.progress
        if entry.progress.error:
            _log.info(
                "task_error", task_id=entry.task.id, state=entry.progress.state, error=entry.progress.error
            )
        passing = is_passing(entry.progress, entry.task.desired_state)
        self._tools.reports.changed(entry.task.id, passing=passing)

    async def _pull(self, step: Pull) -> None:
        async with self._tools.images.fetching(wanted_image(self._entry.task)) as fetch:
            fetch.add_done_callback(lambda _: self._changed.set())
            while not fetch.done():
                if not isinstance(self._decide(), Pull):
                    return
                self._changed.clear()
                await self._changed.wait()
            failed = fetch.result()
        if failed is not None:
            await self._failed(step, failed)
            return
        self._attempt = 0
        self._pulled, self._pull_first = True, False

    async def _call(self, step: Create | Start | Stop | Remove) -> None:
        try:
            if isinstance(step, Create | Start):
                async with self._tools.slots:
                    if self._decide() != step:
                        return  # the wait for the slot was long enough for a change
                    await self._perform(step)
            else:
                await self._perform(step)
        except errors.BeeyardError as exc:
            await self._failed(step, exc)
        else:
            self._attempt = 0

    async def _perform(self, step: Create | Start | Stop | Remove) -> None:
        task, tools = self._entry.task, self._tools
        match step:
            case Create():
                order = orders.order(task, tools.secrets, tools.configs)
                container_id = await tools.engine.create(order)
                tools.observer.created(task.id, Container(id=container_id, phase=Phase.CREATED))
            case Start():
                with tools.observer.expecting("start", step.container_id):
                    await tools.engine.start(step.container_id)
                    await tools.observer.refresh(step.container_id)
            case Stop():
                spec = task.spec.container
                grace_ms = spec.stop_grace_ms if spec.HasField("stop_grace_ms") else None
                with tools.observer.expecting("die", step.container_id):
                    await tools.engine.stop(step.container_id, grace_ms)
                    await tools.observer.refresh(step.container_id)
            case Remove():
                await tools.engine.remove(step.container_id)
                tools.observer.removed(step.container_id)
            case _:
                assert_never(step)

    async def _failed(self, call: Call, error: errors.BeeyardError) -> None:
        verdict = judge(call, error, self._entry.progress, attempt=self._attempt, pulled=self._pulled)
        match verdict:
            case FetchImage():
                self._pull_first = True
                return
            case LookAgain():
                assert isinstance(call, Start | Stop | Remove), f"{call} knows no container"
                await self._look_again(call.container_id)
            case Retry(note=note):
                if note is not None:
                    self._take(note)
                    await self._record()
            case GiveUp(end=end):
                if isinstance(call, Start):
                    await self._look_again(call.container_id)  # for the exit code
                known = self._tools.observer.containers.get(self._entry.task.id)
                self._take(dataclasses.replace(end, container=known or end.container))
                await self._record()
                return
            case _:
                assert_never(verdict)
        await self._pause()

    async def _look_again(self, container_id: str) -> None:
        try:
            await self._tools.observer.refresh(container_id)
        except errors.BeeyardError as exc:
            _log.debug("container_unreadable", container_id=container_id, error=exc.message)

    async def _pause(self) -> None:
        """Wait before the next try, or until the task is wanted otherwise."""
        delay_s = backoff.delay(self._attempt, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, rng=self._tools.rng)
        self._attempt += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
