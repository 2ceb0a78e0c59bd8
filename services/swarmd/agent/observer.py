"""Knows how the containers of this node's tasks are: by listing them, and by following containerd's events.

Events only say where to look again; what is true is always read from containerd. The stream of events begins at a
moment before the list was read, so that nothing falls between the two. When the stream breaks, containerd is away: then
nothing is known until it has answered a list again, and nobody concludes anything from what was known before.

One stream for all containers, instead of a Wait for each: a node runs hundreds of tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from services.kit import backoff, errors, log
from services.kit.tasks import Supervisor
from services.swarmd.agent.core.facts import Phase
from services.swarmd.agent.engine import Happened, Lost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from services.kit.seams import Clock, Rng
    from services.swarmd.agent.core.facts import Container
    from services.swarmd.agent.engine import Engine, TaskContainer

_log = log.get(__name__)

RECONNECT_BASE_S = 0.1
RECONNECT_MAX_S = 2.0
RELIST_S = 60.0
"""A list is read this often even if no event came: whatever made us miss one is mended then."""
SINGLE_READS_MAX = 8
"""When more containers than this have changed, one list is cheaper than reading each."""
_OVERLAP = timedelta(seconds=2)
_ACTIONS = frozenset({"start", "die", "destroy", "oom"})
_HEALTH_ACTION = "health_status"


class Listener(Protocol):
    """Told that facts have changed. Never waits."""

    def container_changed(self, task_id: str, /) -> None:
        """The container of a task is new, changed or gone."""
        ...

    def knowledge_changed(self) -> None:
        """All containers were listed, or nothing is known any longer."""
        ...


class Observer:
    """The containers by task. `run` keeps them true."""

    def __init__(self, engine: Engine, listener: Listener, clock: Clock, rng: Rng) -> None:
        self._engine = engine
        self._listener = listener
        self._clock = clock
        self._rng = rng
        self._by_task: dict[str, Container] = {}
        self._task_of: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._expected: set[tuple[str, str]] = set()
        self._touched: set[str] = set()
        self._changed: set[str] = set()
        self._list_wanted = False
        self._wakeup = asyncio.Event()
        self.known = False
        """Whether containerd has told all containers, and no break came since."""

    @property
    def containers(self) -> Mapping[str, Container]:
        """The containers by task id; complete while `known`."""
        return self._by_task

    def created(self, task_id: str, container: Container) -> None:
        """Take the container that was just made for a task."""
        self._put(task_id, container)

    def removed(self, container_id: str) -> None:
        """Take note that a container was just removed."""
        self._drop(container_id)

    @contextlib.contextmanager
    def expecting(self, action: str, container_id: str) -> Iterator[None]:
        """Whoever starts or stops a container reads it at the end: that it starts or dies meanwhile is no news."""
        self._expected.add((container_id, action))
        try:
            yield
        finally:
            self._expected.discard((container_id, action))

    async def refresh(self, container_id: str) -> None:
        """Read one container again.

        Raises:
            errors.BeeyardError: Containerd did not tell.
        """
        # One read of a container at a time: an answer that was overtaken would undo a newer one.
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            found = await self._engine.inspect(container_id)
            if found is not None:
                self._put(found.task_id, found.container)
            else:
                self._drop(container_id)

    async def run(self) -> None:
        """Follow containerd, for ever."""
        attempt = 0
        while True:
            since = self._clock.now() - _OVERLAP
            try:
                await self._list()
                attempt = 0
                async with Supervisor() as supervisor:
                    supervisor.spawn(self._read_events(since), "container-events")
                    supervisor.spawn(self._read_changed(), "container-reads")
                    supervisor.spawn(self._relist(), "container-relist")
                    await supervisor.idle()
            except* errors.BeeyardError as failures:
                self._lose(failures)
            delay_s = backoff.delay(attempt, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, rng=self._rng)
            await self._clock.sleep(delay_s)
            attempt += 1

    def _lose(self, failures: BaseExceptionGroup[BaseException]) -> None:
        if self.known:
            self.known = False
            cause: BaseException = failures
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            _log.warning("containerd_away", error=str(cause))
            self._listener.knowledge_changed()

    async def _list(self) -> None:
        """Read all containers. What was read or made one by one meanwhile is newer than the list and stays."""
        self._touched.clear()
        listed: dict[str, TaskContainer] = {}
        for found in await self._engine.list():  # newest first
            if listed.setdefault(found.task_id, found) is not found:
                _log.warning(
                    "task_has_two_containers", task_id=found.task_id, container_id=found.container.id
                )
        touched = set(self._touched)
        for task_id, container in list(self._by_task.items()):
            if task_id not in listed and task_id not in touched:
                self._drop(container.id)
        for task_id, found in listed.items():
            if task_id not in touched:
                self._put(task_id, found.container)
        if not self.known:
            self.known = True
            self._listener.knowledge_changed()

    async def _read_events(self, since: datetime) -> None:
        async with contextlib.aclosing(self._engine.events(since)) as events:
            async for event in events:
                match event:
                    case Lost():
                        self._want(None)
                    case Happened():
                        if self._concerns(event):
                            self._want(event.container_id)
        raise errors.Unavailable("containerd has ended the stream of events")

    def _concerns(self, event: Happened) -> bool:
        task_id = self._task_of.get(event.container_id)
        if task_id is None or (event.container_id, event.action) in self._expected:
            return False  # no task's; or whoever makes, starts or stops it will tell
        if event.action == "start":
            return self._by_task[task_id].phase is Phase.CREATED
        return event.action in _ACTIONS or event.action.startswith(_HEALTH_ACTION)

    def _want(self, container_id: str | None) -> None:
        if container_id is None:
            self._list_wanted = True
        else:
            self._changed.add(container_id)
        self._wakeup.set()

    async def _read_changed(self) -> None:
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            changed, self._changed = self._changed, set()
            if self._list_wanted or len(changed) > SINGLE_READS_MAX:
                self._list_wanted = False
                await self._list()
                continue
            async with asyncio.TaskGroup() as group:
                for container_id in sorted(changed):
                    group.create_task(self.refresh(container_id), name=f"container-read {container_id}")

    async def _relist(self) -> None:
        while True:
            await self._clock.sleep(RELIST_S)
            self._want(None)

    def _put(self, task_id: str, container: Container) -> None:
        self._touched.add(task_id)
        old = self._by_task.get(task_id)
        if old is not None and old.id == container.id and container.phase is Phase.CREATED is not old.phase:
            return  # an old answer: no container goes back to what it was before its start
        self._by_task[task_id] = container
        self._task_of[container.id] = task_id
        if old is not None and old.id != container.id:
            self._task_of.pop(old.id, None)
        if old != container:
            self._listener.container_changed(task_id)

    def _drop(self, container_id: str) -> None:
        self._locks.pop(container_id, None)
        task_id = self._task_of.pop(container_id, None)
        if task_id is not None:
            self._touched.add(task_id)
            del self._by_task[task_id]
            self._listener.container_changed(task_id)
