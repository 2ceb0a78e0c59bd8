"""What one node has been sent, and what it has to be sent next. Pure.

A node gets its tasks from the moment they are assigned until they are deleted, and with them the secrets and configs
that they use, as long as the task may need them: once it has ended they go. A task is sent again only when something
changed that the node acts on; its own reports are nothing new to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from beeyard.swarm.v1 import dispatcher_pb2, objects_pb2
from services.swarmd.store.tables import CONFIGS, SECRETS, TASKS, TASKS_BY_NODE, M, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.swarmd.store.views import Reader

PART_BYTES_MAX = 4 << 20
_ITEM_OVERHEAD_BYTES = 16


@dataclass(slots=True, kw_only=True)
class Step:
    """One step, whole."""

    complete: bool
    applies_to: str
    results_in: str
    tasks: list[objects_pb2.Task] = field(default_factory=list)
    removed_task_ids: list[str] = field(default_factory=list)
    secrets: list[objects_pb2.Secret] = field(default_factory=list)
    removed_secret_ids: list[str] = field(default_factory=list)
    configs: list[objects_pb2.Config] = field(default_factory=list)
    removed_config_ids: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (
            self.tasks
            or self.removed_task_ids
            or self.secrets
            or self.removed_secret_ids
            or self.configs
            or self.removed_config_ids
        )


class _Uses(Generic[M]):
    """The secrets, or configs, that a node has, each with the tasks that it is there for."""

    def __init__(self, table: Table[M]) -> None:
        self._table = table
        self._users: dict[str, set[str]] = {}
        self._before: set[str] = set()

    def begin(self) -> None:
        self._before = set(self._users)

    def set(self, task_id: str, object_ids: set[str]) -> None:
        """Say what a task uses now."""
        for object_id in list(self._users):
            if object_id not in object_ids:
                users = self._users[object_id]
                users.discard(task_id)
                if not users:
                    del self._users[object_id]
        for object_id in object_ids:
            self._users.setdefault(object_id, set()).add(task_id)

    def added(self, reader: Reader) -> list[M]:
        """Return what the node does not have yet. What does not exist (any more) counts as not sent."""
        found: list[M] = []
        for object_id in sorted(self._users.keys() - self._before):
            obj = reader.get(self._table, object_id)
            if obj is None:
                del self._users[object_id]
            else:
                found.append(obj)
        return found

    def removed(self) -> list[str]:
        """Return what the node has and needs no longer."""
        return sorted(self._before - self._users.keys())


class NodeAssignments:
    """One stream of one node."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._sent: dict[str, objects_pb2.Task] = {}
        self._secrets = _Uses(SECRETS)
        self._configs = _Uses(CONFIGS)
        self._sequence = 0

    def complete(self, reader: Reader) -> Step:
        """Return everything that the node is to have."""
        self._sent.clear()
        self._secrets, self._configs = _Uses(SECRETS), _Uses(CONFIGS)
        task_ids = sorted(task.id for task in reader.find(TASKS_BY_NODE, self._node_id))
        return self._step(reader, task_ids, complete=True)

    def changed(self, reader: Reader, task_ids: Iterable[str]) -> Step | None:
        """Return what changes when these tasks are looked at again; None if nothing does."""
        step = self._step(reader, sorted(set(task_ids)), complete=False)
        if step.is_empty:
            self._sequence -= 1
            return None
        return step

    def _step(self, reader: Reader, task_ids: Iterable[str], *, complete: bool) -> Step:
        applies_to = str(self._sequence) if self._sequence and not complete else ""
        self._sequence += 1
        step = Step(complete=complete, applies_to=applies_to, results_in=str(self._sequence))
        self._secrets.begin()
        self._configs.begin()
        for task_id in task_ids:
            self._look(step, task_id, reader.get(TASKS, task_id))
        step.secrets, step.removed_secret_ids = self._secrets.added(reader), self._secrets.removed()
        step.configs, step.removed_config_ids = self._configs.added(reader), self._configs.removed()
        return step

    def _look(self, step: Step, task_id: str, task: objects_pb2.Task | None) -> None:
        sent = self._sent.get(task_id)
        if task is None or not self._is_ours(task):
            if sent is not None:
                del self._sent[task_id]
                step.removed_task_ids.append(task_id)
            self._use(task_id, None)
            return
        if sent is None or matters(sent, task):
            step.tasks.append(task)
        self._sent[task_id] = task
        self._use(task_id, task)

    def _use(self, task_id: str, task: objects_pb2.Task | None) -> None:
        needs = task is not None and task.status.state <= objects_pb2.TASK_STATE_RUNNING
        self._secrets.set(task_id, {ref.id for ref in task.spec.secrets} if task and needs else set())
        self._configs.set(task_id, {ref.id for ref in task.spec.configs} if task and needs else set())

    def _is_ours(self, task: objects_pb2.Task) -> bool:
        return task.node_id == self._node_id and task.status.state >= objects_pb2.TASK_STATE_ASSIGNED


def concerns(old: objects_pb2.Task | None, new: objects_pb2.Task | None) -> bool:
    """Say whether a change of a task may have to be sent to its node."""
    if old is None or new is None or matters(old, new):
        return True
    running = objects_pb2.TASK_STATE_RUNNING
    assigned = objects_pb2.TASK_STATE_ASSIGNED
    ended = (old.status.state <= running) != (new.status.state <= running)
    came_or_went = (old.status.state < assigned) != (new.status.state < assigned)
    return ended or came_or_went or old.node_id != new.node_id


def matters(old: objects_pb2.Task, new: objects_pb2.Task) -> bool:
    """Say whether two values of a task differ in what its node acts on."""
    return (
        old.desired_state != new.desired_state
        or old.endpoint != new.endpoint
        or old.networks != new.networks
        or old.spec != new.spec
    )


def parts(step: Step, bytes_max: int = PART_BYTES_MAX) -> Iterator[dispatcher_pb2.WatchAssignmentsResponse]:
    """Yield the messages that carry a step, none much larger than `bytes_max` unless one object alone is."""
    complete, incremental = (
        dispatcher_pb2.ASSIGNMENTS_KIND_COMPLETE,
        dispatcher_pb2.ASSIGNMENTS_KIND_INCREMENTAL,
    )

    def new_part() -> dispatcher_pb2.WatchAssignmentsResponse:
        return dispatcher_pb2.WatchAssignmentsResponse(
            kind=complete if step.complete else incremental,
            applies_to=step.applies_to,
            results_in=step.results_in,
        )

    part, size_bytes = new_part(), 0
    for name, item in _items(step):
        item_bytes = _ITEM_OVERHEAD_BYTES + (len(item) if isinstance(item, str) else item.ByteSize())
        if size_bytes and size_bytes + item_bytes > bytes_max:
            part.continues = True
            yield part
            part, size_bytes = new_part(), 0
        getattr(part, name).append(item)
        size_bytes += item_bytes
    yield part


def _items(
    step: Step,
) -> Iterator[tuple[str, str | objects_pb2.Task | objects_pb2.Secret | objects_pb2.Config]]:
    for secret in step.secrets:
        yield "update_secrets", secret
    for config in step.configs:
        yield "update_configs", config
    for task in step.tasks:
        yield "update_tasks", task
    for task_id in step.removed_task_ids:
        yield "remove_task_ids", task_id
    for secret_id in step.removed_secret_ids:
        yield "remove_secret_ids", secret_id
    for config_id in step.removed_config_ids:
        yield "remove_config_ids", config_id
