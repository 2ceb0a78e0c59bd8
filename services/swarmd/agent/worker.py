"""The tasks of this node: takes what the swarm assigns, runs it, and keeps what it has to tell.

The worker needs no manager: it starts from its records, adopts the containers that it finds by the label that carries
their task's id, and goes on with what it was given last. Containers of tasks that it has no record of are left alone
until a manager has sent a complete set; those that are not in it go then.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Self

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors, log
from services.kit.tasks import Supervisor
from services.swarmd.agent.core import report
from services.swarmd.agent.core.assembly import Assignments
from services.swarmd.agent.core.facts import REMOVE
from services.swarmd.agent.images import Images
from services.swarmd.agent.journal import Entry, Journal
from services.swarmd.agent.observer import Observer
from services.swarmd.agent.reports import Reports
from services.swarmd.agent.runner import Runner, Tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from services.kit.seams import Clock, Rng
    from services.swarmd.agent.engine import Engine

_log = log.get(__name__)

STARTS_MAX = 4
"""Containers that are made or started at once on this node."""
RUNNER_PAUSE_S = 2.0
"""Before a task goes on whose record could not be written."""


class Worker:
    """Runs the node's tasks. Made by `open`."""

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        supervisor: Supervisor,
        clock: Clock,
        rng: Rng,
        starts_max: int = STARTS_MAX,
    ) -> None:
        self._supervisor = supervisor
        self._journal = journal
        self._clock = clock
        self._observer = Observer(engine, self, clock, rng)
        self._secrets: dict[str, bytes] = {}
        self._configs: dict[str, bytes] = {}
        self._runners: dict[str, Runner] = {}
        self._set_is_complete = False
        self._reports = Reports(clock)
        self._none_left = asyncio.Event()
        self._assigning = asyncio.Lock()
        self._tools = Tools(
            engine=engine,
            observer=self._observer,
            images=Images(engine, supervisor),
            journal=journal,
            reports=self._reports,
            clock=clock,
            rng=rng,
            slots=asyncio.Semaphore(starts_max),
            secrets=self._secrets,
            configs=self._configs,
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, directory: Path, *, engine: Engine, clock: Clock, rng: Rng, starts_max: int = STARTS_MAX
    ) -> AsyncIterator[Self]:
        """Run the tasks on record for the length of the block. Leaving it stops no container.

        Args:
            directory: Where the records are; made if it is not there.
            engine: The node's containerd and imaged.
            clock: The time.
            rng: For backoff.
            starts_max: Containers that are made or started at once.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with await Journal.open(directory / "tasks.db") as journal, Supervisor() as supervisor:
            worker = cls(
                engine=engine,
                journal=journal,
                supervisor=supervisor,
                clock=clock,
                rng=rng,
                starts_max=starts_max,
            )
            for entry in (await journal.load(clock.now())).values():
                worker._begin(entry)
            supervisor.spawn(worker._observer.run(), "containers")
            yield worker

    @property
    def reports(self) -> Reports:
        """Which tasks have something to tell."""
        return self._reports

    @property
    def task_ids(self) -> list[str]:
        """The tasks that this node has anything of."""
        return sorted(self._runners)

    def status(self, task_id: str) -> objects_pb2.TaskStatus | None:
        """Return what is to be told of a task; None if it is nobody's business any longer."""
        runner = self._runners.get(task_id)
        if runner is None or runner.entry.removed:
            return None
        return report.to_status(runner.recorded)

    async def assign(self, assignments: Assignments) -> None:
        """Take a step. When it returns the step is on record."""
        async with self._assigning:
            await self._assign(assignments)

    async def leave(self) -> None:
        """Stop and remove the containers of all tasks, and forget the tasks. For a node that leaves its swarm.

        Returns when nothing is left; bound it with a timeout, a container may take its grace period.
        """
        _log.info("worker_leaves", tasks=len(self._runners))
        await self.assign(Assignments(complete=True))
        self._none_left.clear()
        while self._runners:
            await self._none_left.wait()

    def container_changed(self, task_id: str, /) -> None:
        """Wake the task whose container is another now."""
        runner = self._runners.get(task_id)
        if runner is not None:
            runner.wake()

    def knowledge_changed(self) -> None:
        """Wake all tasks: containerd has answered, or is away."""
        self._wake_all()
        self._adopt_strays()

    async def _assign(self, assignments: Assignments) -> None:
        self._update_files(assignments)
        entries: list[Entry] = []
        for task in assignments.tasks:
            entries.extend(self._assign_task(task))
        for task_id in self._gone(assignments):
            runner = self._runners.get(task_id)
            if runner is not None and runner.assign(runner.entry.task, removed=True):
                entries.append(runner.entry)
        await self._journal.save(entries)
        for entry in entries:
            if entry.task.id not in self._runners:
                self._begin(entry)
        if assignments.complete:
            self._set_is_complete = True
            self._adopt_strays()

    def _update_files(self, assignments: Assignments) -> None:
        """Take secrets and configs, first: the tasks that come with them shall find them."""
        for contents, new, gone in (
            (self._secrets, assignments.secrets, assignments.removed_secret_ids),
            (self._configs, assignments.configs, assignments.removed_config_ids),
        ):
            if assignments.complete:
                contents.clear()
            contents.update(new)
            for object_id in gone:
                contents.pop(object_id, None)
        if assignments.secrets or assignments.configs:
            self._wake_all()

    def _wake_all(self) -> None:
        for runner in self._runners.values():
            runner.wake()

    def _assign_task(self, task: objects_pb2.Task) -> Iterable[Entry]:
        """Return the entry to record, if anything is new."""
        runner = self._runners.get(task.id)
        if runner is None:
            yield Entry(task=task, progress=report.from_status(task.status, self._clock.now()))
        elif runner.assign(task, removed=False):
            yield runner.entry

    def _gone(self, assignments: Assignments) -> list[str]:
        if not assignments.complete:
            return list(assignments.removed_task_ids)
        wanted = {task.id for task in assignments.tasks}
        return [task_id for task_id in self._runners if task_id not in wanted]

    def _adopt_strays(self) -> None:
        """Take charge of containers whose task neither we nor the swarm know, to remove them."""
        if not (self._set_is_complete and self._observer.known):
            return
        for task_id, container in sorted(self._observer.containers.items()):
            if task_id not in self._runners:
                _log.info("stray_container", task_id=task_id, container_id=container.id)
                progress = report.from_status(objects_pb2.TaskStatus(), self._clock.now())
                task = objects_pb2.Task(id=task_id, desired_state=REMOVE)
                self._begin(
                    Entry(
                        task=task, progress=dataclasses.replace(progress, container=container), removed=True
                    )
                )

    def _begin(self, entry: Entry) -> None:
        runner = self._runners[entry.task.id] = Runner(entry, self._tools)
        self._supervisor.spawn(self._run(runner), f"task {entry.task.id}", critical=False)

    async def _run(self, runner: Runner) -> None:
        task_id = runner.entry.task.id
        with log.context(task_id=task_id):
            while True:
                try:
                    await runner.run()
                    break
                except errors.BeeyardError as exc:  # the disk that holds the records is full, for instance
                    _log.error("task_stopped", error=exc.message, reason=exc.reason)
                    await self._clock.sleep(RUNNER_PAUSE_S)
        del self._runners[task_id]
        if not self._runners:
            self._none_left.set()
