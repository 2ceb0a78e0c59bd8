"""The dispatcher as it runs on the leader: sessions of all nodes, their assignments, and their reports."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from beeyard.swarm.v1 import dispatcher_pb2, objects_pb2
from services.kit import errors, log
from services.kit.tasks import Supervisor
from services.swarmd.dispatcher.core import assignments, nodes, orphans, statuses
from services.swarmd.dispatcher.core.assignments import NodeAssignments
from services.swarmd.dispatcher.core.sessions import PERIOD_DEFAULT_S, Sessions
from services.swarmd.dispatcher.live import LiveSession
from services.swarmd.dispatcher.writer import Edit, Writer
from services.swarmd.store.changes import Resync
from services.swarmd.store.tables import CLUSTERS, NODES, TASKS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime

    from services.kit.seams import Clock, NewId, Rng
    from services.swarmd.store.changes import Change, Committed
    from services.swarmd.store.feed import Watch
    from services.swarmd.store.store import Store

_log = log.get(__name__)

GATHER_S = 0.005
"""Assignments that come within this time of the first go in one message."""
UNKNOWN_AFTER_S = 1.0
"""Nodes that come to a new leader within this time are not even noted as unknown."""
ORPHANS_S = 30.0
RETRY_S = 1.0
REPORTS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be set. The swarm's own settings (`ClusterSpec`) go before."""

    heartbeat_period_s: float = PERIOD_DEFAULT_S
    orphaned_after_s: float = orphans.AWAY_MAX.total_seconds()


class Dispatcher:
    """Serves the nodes while this manager leads. Made by `lead`."""

    def __init__(
        self, store: Store, *, self_node_id: str, clock: Clock, rng: Rng, new_id: NewId, settings: Settings
    ) -> None:
        self._store = store
        self._self_node_id = self_node_id
        self._clock = clock
        self._new_id = new_id
        self._settings = settings
        self._sessions = Sessions(rng=rng, period_s=settings.heartbeat_period_s)
        self._live: dict[str, LiveSession] = {}
        self._writer = Writer(store, clock)
        self._look_for_orphans = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def lead(
        cls,
        store: Store,
        *,
        self_node_id: str,
        clock: Clock,
        rng: Rng,
        new_id: NewId,
        settings: Settings | None = None,
    ) -> AsyncIterator[Self]:
        """Serve for the length of the block, which the leader enters once it has applied what was committed before.

        Leaving the block ends all sessions with NOT_LEADER.
        """
        dispatcher = cls(
            store,
            self_node_id=self_node_id,
            clock=clock,
            rng=rng,
            new_id=new_id,
            settings=settings or Settings(),
        )
        try:
            async with Supervisor() as supervisor:
                dispatcher._begin(supervisor)
                yield dispatcher
        finally:
            dispatcher._end()

    def _begin(self, supervisor: Supervisor) -> None:
        watch = self._store.watch()
        view = self._store.view()
        self._read_settings()
        self._sessions.take_over(nodes.expected(view), self._clock.monotonic())
        supervisor.spawn(self._writer.run(), "dispatcher-writer")
        supervisor.spawn(self._follow(watch), "dispatcher-changes")
        supervisor.spawn(self._expire(), "dispatcher-heartbeats")
        supervisor.spawn(self._orphan(), "dispatcher-orphans")
        supervisor.spawn(self._note_unknown(nodes.expected(view)), "dispatcher-takeover", critical=False)

    def _end(self) -> None:
        for session in self._live.values():
            session.end(
                errors.FailedPrecondition("this manager does not lead any longer", reason="NOT_LEADER")
            )

    # Sessions.

    async def open_session(
        self, node_id: str, description: objects_pb2.NodeDescription, address: str
    ) -> AsyncGenerator[dispatcher_pb2.OpenSessionResponse, None]:
        """Register a node, and yield what concerns it until the session ends, which raises why."""
        view = self._store.view()
        if not view.list(CLUSTERS):
            # A swarm that is being founded: its first node may call before it stands in the store.
            raise errors.Unavailable(
                "this manager has not received the swarm's state yet", reason="NOT_READY"
            )
        if view.get(NODES, node_id) is None:
            raise _removed(node_id)
        del view
        session = LiveSession(node_id, self._new_id())
        self._sessions.open(node_id, session.session_id, self._clock.monotonic())
        self._replace(session)
        now = self._clock.now()
        await self._writer.write(
            [Edit(table=NODES, id=node_id, change=lambda node: nodes.ready(node, description, address, now))]
        )
        _log.info("node_ready", node_id=node_id, hostname=description.hostname, address=address)
        sent = None
        session.look_at_itself()
        while True:
            await session.next_message()
            message = nodes.session_message(
                self._store.view(), node_id, session.session_id, round(self._sessions.period_s * 1000)
            )
            if message is None:
                raise _removed(node_id)
            if message != sent:
                sent = message
                yield message

    def heartbeat(self, node_id: str, session_id: str) -> float:
        """Take a sign of life; return the seconds until the next one is due."""
        return self._sessions.beat(node_id, session_id, self._clock.monotonic())

    async def watch_assignments(
        self, node_id: str, session_id: str
    ) -> AsyncGenerator[dispatcher_pb2.WatchAssignmentsResponse, None]:
        """Yield the node's assignments, first all, then what changes, until the session ends, which raises why."""
        self._sessions.require(node_id, session_id)
        session = self._live[node_id]
        sent = NodeAssignments(node_id)
        session.begin_assignments()
        first = True
        while True:
            await session.next_assignments()
            if not first:
                await self._clock.sleep(GATHER_S)
            first = False
            for message in self._assignments(sent, session):
                yield message

    def _assignments(
        self, sent: NodeAssignments, session: LiveSession
    ) -> list[dispatcher_pb2.WatchAssignmentsResponse]:
        # Put together without a pause: nobody may hold a view of the store while a slow node reads.
        view, changed = self._store.view(), session.take_changed()
        step = sent.complete(view) if changed is None else sent.changed(view, changed)
        return list(assignments.parts(step)) if step is not None else []

    # Reports.

    async def report(
        self, node_id: str, session_id: str, reports: Iterable[dispatcher_pb2.TaskReport]
    ) -> None:
        """Take states of tasks; when it returns they are durable.

        Raises:
            errors.PermissionDenied: NOT_YOUR_TASK: one of them is another node's; none was taken.
            errors.Invalid: More reports than a call may have.
        """
        self._sessions.require(node_id, session_id)
        view, edits = self._store.view(), []
        for report in reports:
            task = view.get(TASKS, report.task_id)
            if task is None:
                continue  # deleted meanwhile
            if task.node_id != node_id:
                raise errors.PermissionDenied(
                    f"task {report.task_id} is not one of node {node_id}", reason="NOT_YOUR_TASK"
                )
            if self._merge(task, report.status) is not None:
                edits.append(self._report_edit(report))
        del view
        if len(edits) > REPORTS_MAX:
            raise errors.Invalid(f"at most {REPORTS_MAX} reports go into one call", reason="TOO_MANY_REPORTS")
        await self._writer.write(edits)

    def _report_edit(self, report: dispatcher_pb2.TaskReport) -> Edit[objects_pb2.Task]:
        return Edit(table=TASKS, id=report.task_id, change=lambda task: self._merge(task, report.status))

    def _merge(self, task: objects_pb2.Task, status: objects_pb2.TaskStatus) -> objects_pb2.Task | None:
        return statuses.merge(task, status, now=self._clock.now(), leader_id=self._self_node_id)

    # What runs beside.

    async def _follow(self, watch: Watch) -> None:
        """Wake the sessions that a commit concerns."""
        async for item in watch:
            if isinstance(item, Resync):
                self._read_settings()
                for session in self._live.values():
                    session.look_at_all()
                continue
            self._route(item)
        raise errors.Unavailable("the store was closed", reason="SHUTTING_DOWN")

    def _route(self, committed: Committed) -> None:
        for change in committed.of(TASKS):
            if assignments.concerns(change.old, change.new):
                for task in (change.old, change.new):
                    session = self._live.get(task.node_id) if task is not None and task.node_id else None
                    if session is not None:
                        session.look_at_task(change.id)
        for node_change in committed.of(NODES):
            self._route_node(node_change)
        if any(True for _ in committed.of(CLUSTERS)):
            self._read_settings()
            self._wake_all()

    def _route_node(self, change: Change[objects_pb2.Node]) -> None:
        old, new = change.old, change.new
        if old is None and new is not None and nodes.is_expected(new):
            self._sessions.take_over([new.id], self._clock.monotonic())  # it was let in, and has yet to come
        session = self._live.get(change.id)
        if session is not None:
            session.look_at_itself()
        if new is None:
            self._sessions.forget(change.id)
            self._look_for_orphans.set()
            if session is not None:
                session.end(_removed(change.id))
                del self._live[change.id]
        if (old.manager if old else None) != (new.manager if new else None):
            self._wake_all()

    def _wake_all(self) -> None:
        for session in self._live.values():
            session.look_at_itself()

    def _read_settings(self) -> None:
        self._sessions.period_s = nodes.period_s(self._store.view(), self._settings.heartbeat_period_s)

    def _replace(self, session: LiveSession) -> None:
        old = self._live.get(session.node_id)
        self._live[session.node_id] = session
        if old is not None:
            old.end(
                errors.FailedPrecondition("a newer session of this node has begun", reason="SESSION_UNKNOWN")
            )

    async def _note_unknown(self, node_ids: Iterable[str]) -> None:
        await self._clock.sleep(UNKNOWN_AFTER_S)
        silent = [node_id for node_id in node_ids if not self._sessions.is_up(node_id)]
        await self._try_to_write([self._unless_up(node_id, nodes.unknown) for node_id in silent])

    async def _expire(self) -> None:
        """Note the nodes that miss their heartbeats: each until it is written, or the node is back."""
        down: set[str] = set()
        while True:
            await self._clock.sleep(self._sessions.check_every_s)
            expired = self._sessions.expire(self._clock.monotonic())
            for node_id in expired:
                _log.warning("node_down", node_id=node_id)
                session = self._live.pop(node_id, None)
                if session is not None:
                    session.end(
                        errors.FailedPrecondition("the node missed its heartbeats", reason="SESSION_UNKNOWN")
                    )
            down.update(expired)
            if down and await self._try_to_write(
                [self._unless_up(node_id, nodes.down) for node_id in sorted(down)]
            ):
                down.clear()

    def _unless_up(
        self,
        node_id: str,
        change: Callable[[objects_pb2.Node, datetime], objects_pb2.Node | None],
    ) -> Edit[objects_pb2.Node]:
        now = self._clock.now()
        return Edit(
            table=NODES,
            id=node_id,
            change=lambda node: None if self._sessions.is_up(node.id) else change(node, now),
        )

    async def _orphan(self) -> None:
        away_max = timedelta(seconds=self._settings.orphaned_after_s)
        while True:
            self._look_for_orphans.clear()
            view, now = self._store.view(), self._clock.now()
            lost = orphans.find(view, sorted(orphans.candidates(view)), now=now, away_max=away_max)
            del view
            done = await self._try_to_write(
                [self._orphan_edit(task_id, reason) for task_id, reason in lost.items()]
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORPHANS_S if done else RETRY_S):
                    await self._look_for_orphans.wait()

    async def _try_to_write(self, edits: Sequence[Edit[Any]]) -> bool:
        """Write what is looked at again anyway; return whether it is written."""
        try:
            await self._writer.write(edits)
        except errors.BeeyardError as exc:
            _log.warning("dispatcher_write_failed", reason=exc.reason, error=exc.message, edits=len(edits))
            return False
        return True

    def _orphan_edit(self, task_id: str, reason: str) -> Edit[objects_pb2.Task]:
        now, leader_id = self._clock.now(), self._self_node_id
        return Edit(
            table=TASKS,
            id=task_id,
            change=lambda task: orphans.orphaned(task, reason, now=now, leader_id=leader_id),
        )


def _removed(node_id: str) -> errors.NotFound:
    return errors.NotFound(f"node {node_id} is not part of the swarm: it was removed", reason="NODE_REMOVED")
