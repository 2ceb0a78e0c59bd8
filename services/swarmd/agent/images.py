"""Fetches images for tasks: tasks that want the same one share its fetch, and a fetch nobody waits for is given up."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from beeyard.swarm.v1 import objects_pb2
    from services.kit.tasks import Supervisor
    from services.swarmd.agent.engine import Engine

_log = log.get(__name__)

FETCHES_MAX = 3
"""Fetches at once; imaged loads the layers of each in parallel already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is fetched. Two tasks that agree in all of it share the fetch."""

    reference: str
    platform: str
    policy: str
    registry_auth: str = field(repr=False)


Fetching: TypeAlias = "asyncio.Task[errors.BeeyardError | None]"
"""A fetch; its result is how it failed, None if the image is there."""


@dataclass(slots=True)
class _Fetch:
    task: Fetching
    waiters: int = 0


class Images:
    """The fetches that are going on."""

    def __init__(self, engine: Engine, supervisor: Supervisor) -> None:
        self._engine = engine
        self._supervisor = supervisor
        self._slots = asyncio.Semaphore(FETCHES_MAX)
        self._fetches: dict[Wanted, _Fetch] = {}

    @contextlib.asynccontextmanager
    async def fetching(self, wanted: Wanted) -> AsyncIterator[Fetching]:
        """Take part in the fetch of an image for the length of the block.

        Yields:
            The task that fetches: the caller waits for it, or leaves the block before.
        """
        fetch = self._fetches.get(wanted)
        if fetch is None:
            task = self._supervisor.spawn(self._pull(wanted), f"fetch {wanted.reference}", critical=False)
            fetch = self._fetches[wanted] = _Fetch(task)
        fetch.waiters += 1
        try:
            yield fetch.task
        finally:
            fetch.waiters -= 1
            if not fetch.waiters:
                self._leave(wanted, fetch.task)
                fetch.task.cancel()

    async def _pull(self, wanted: Wanted) -> errors.BeeyardError | None:
        task = asyncio.current_task()
        try:
            async with self._slots:
                _log.info("image_fetch_begins", reference=wanted.reference)
                await self._engine.pull(
                    wanted.reference,
                    policy=wanted.policy,
                    platform=wanted.platform,
                    registry_auth=wanted.registry_auth,
                )
                _log.info("image_fetched", reference=wanted.reference)
        except errors.BeeyardError as exc:
            return exc
        else:
            return None
        finally:
            self._leave(wanted, task)

    def _leave(self, wanted: Wanted, task: asyncio.Task[Any] | None) -> None:
        """Let whoever comes next begin anew."""
        fetch = self._fetches.get(wanted)
        if fetch is not None and fetch.task is task:
            del self._fetches[wanted]


def wanted_image(task: objects_pb2.Task) -> Wanted:
    """Return what a task asks of imaged."""
    spec = task.spec
    return Wanted(
        reference=spec.container.image,
        platform=spec.container.platform,
        policy=spec.pull_policy,
        registry_auth=spec.registry_auth,
    )
