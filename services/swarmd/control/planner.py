"""The leader's view of what has to be done: fed with what is committed, it fills transactions. Pure.

A pass takes what is due from the agenda, lets the cores look at it, and writes what they ask for into one transaction,
in which allocation and placement then find the new tasks. Node and task counts are kept in step from change to
change; after a `Resync`, a conflict, or a full look, everything is read anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1.objects_pb2 import TASK_STATE_RUNNING
from services.kit import errors
from services.swarmd.allocator.ports import Ports, is_allocated
from services.swarmd.control.agenda import Agenda
from services.swarmd.control.queue import Queue
from services.swarmd.orchestrator.core import disown, enforcer, policy
from services.swarmd.orchestrator.core.draft import Plan, World
from services.swarmd.orchestrator.core.reconcile import reconcile
from services.swarmd.scheduler.core.fleet import Fleet
from services.swarmd.scheduler.core.nodes import node_view
from services.swarmd.store.changes import Committed, Resync
from services.swarmd.store.tables import (
    CLUSTERS,
    NODES,
    SERVICES,
    TASKS,
    TASKS_BY_NODE,
    TASKS_BY_SERVICE,
    copy_of,
)
from services.swarmd.store.transaction import Tx

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from beeyard.swarm.v1.objects_pb2 import Node, Service, Task
    from services.kit.seams import NewId
    from services.swarmd.scheduler.core.nodes import NodeView
    from services.swarmd.store.entries import Write
    from services.swarmd.store.views import Reader, View

FULL_LOOK_S = 60.0
"""How often everything is looked at, whatever was marked."""

# A pass holds up everything else on the leader, so it is short, some 30 ms; after it others have their turn.
TASKS_PER_PASS_MAX = 2_000
CHANGES_PER_PASS_MAX = 400

_NODE = "node/"
_SERVICE = "service/"


class Planner:
    """Decides for the leader.

    Args:
        new_id: Makes the ids of tasks.
    """

    def __init__(self, new_id: NewId) -> None:
        self._new_id = new_id
        self._agenda = Agenda()
        self._fleet = Fleet()
        self._queue = Queue()
        self._nodes: dict[str, NodeView] = {}
        self._port_refusals: dict[str, str] = {}
        self._full_look_at = 0.0
        self._faults: list[tuple[str, Exception]] = []

    def take_faults(self) -> list[tuple[str, Exception]]:
        """Return the services whose looks failed since the last call; they are looked at again when they change."""
        faults, self._faults = self._faults, []
        return faults

    def resync(self, view: Reader) -> None:
        """Read everything anew, and let everything be looked at."""
        self._fleet = Fleet()
        self._queue = Queue()
        self._nodes = {}
        for task in view.list(TASKS):  # before the nodes, which then count them once
            self._fleet.observe(task)
            self._queue.offer(task)
        for node in view.list(NODES):
            self._see_node(node)
        self._mark_everything(view)

    def observe(self, item: Committed | Resync, view: Reader) -> None:
        """Take notice of what was committed."""
        if isinstance(item, Resync):
            self.resync(view)
            return
        for task in item.of(TASKS):
            self._observe_task(task.old, task.new)
        for service in item.of(SERVICES):
            self._agenda.mark(_SERVICE + service.id)
            # A port may have become free.
            for refused in self._port_refusals:
                self._agenda.mark(_SERVICE + refused)
        for node in item.of(NODES):
            self._observe_node(node.id, node.old, node.new, view)
        if any(True for _ in item.of(CLUSTERS)):
            self._mark_everything(view)

    def undone(self, writes: Iterable[Write], view: Reader) -> None:
        """Take notice that writes of a pass did not happen."""
        self._queue.retry()
        for write in writes:
            if write.table is TASKS:
                task = view.get(TASKS, write.id)
                self._forget_or_observe(write.id, task)
                intended: Task = write.new or write.old
                self._agenda.mark(_SERVICE + intended.service_id)
                if intended.node_id:
                    self._agenda.mark(_NODE + intended.node_id)  # the look at the node may have asked for it
            elif write.table is SERVICES:
                self._agenda.mark(_SERVICE + write.id)

    def next_pass_at(self, now: float) -> float:
        """Return when the next pass is due; `now` if it is."""
        moment = self._agenda.next_moment(now)
        return self._full_look_at if moment is None else min(moment, self._full_look_at)

    def plan(self, view: View, now: float) -> Tx:
        """Make a pass: return the transaction of what is to be changed."""
        tx = Tx(view)
        if now >= self._full_look_at:
            self._full_look_at = now + FULL_LOOK_S
            self._mark_everything(view)
        clusters = view.list(CLUSTERS)
        world = World(
            now=now,
            nodes=self._nodes,
            new_id=self._new_id,
            history_limit=policy.history_limit(clusters[0] if clusters else None),
        )
        ports: Ports | None = None
        looked_at = 0
        while looked_at < TASKS_PER_PASS_MAX and tx.size < CHANGES_PER_PASS_MAX:
            subject = self._agenda.take(now)
            if subject is None:
                break
            if subject.startswith(_NODE):
                looked_at += self._look_at_node(tx, subject.removeprefix(_NODE))
                continue
            service_id = subject.removeprefix(_SERVICE)
            service = tx.get(SERVICES, service_id)
            if service is not None and not is_allocated(service):
                ports = ports or Ports(view.list(SERVICES))
                self._allocate_ports(tx, service, ports)
            looked_at += self._look_at_service(tx, world, service_id)
        self._queue.work(tx, self._fleet, self._port_refusals, now)
        return tx

    def _look_at_service(self, tx: Tx, world: World, service_id: str) -> int:
        """Let the orchestrators look at one service; return how many tasks that took."""
        service = tx.get(SERVICES, service_id)
        tasks = tx.find(TASKS_BY_SERVICE, service_id)
        subject = _SERVICE + service_id
        if service is None:
            self._port_refusals.pop(service_id, None)
            plan = disown.disown(tasks)
        else:
            try:
                plan = reconcile(world, service, tasks)
            except Exception as exc:  # noqa: BLE001 (a service that the cores cannot cope with must not stop the others)
                self._faults.append((service_id, exc))
                return 1 + len(tasks)
        self._carry_out(tx, plan)
        if plan.unfinished:
            self._agenda.mark(subject)
        else:
            self._agenda.rest(subject, world.now, len(tasks))
        if plan.wakeup is not None:
            self._agenda.mark_at(subject, plan.wakeup)
        return 1 + len(tasks)

    def _look_at_node(self, tx: Tx, node_id: str) -> int:
        """Take off a node what it cannot hold any more; return how many tasks that took."""
        node = self._nodes.get(node_id)
        if node is None:
            return 1
        tasks = tx.find(TASKS_BY_NODE, node_id)
        plan = enforcer.enforce(tasks, node)
        self._carry_out(tx, plan)
        for task in plan.changed:
            self._agenda.mark(_SERVICE + task.service_id)
        return 1 + len(tasks)

    def _carry_out(self, tx: Tx, plan: Plan) -> None:
        if plan.service is not None:
            tx.update(SERVICES, plan.service)
        for task in plan.made:
            tx.create(TASKS, task)
            self._queue.offer(task)
        for task in plan.changed:
            tx.update(TASKS, task)
            self._fleet.observe(task)
        for task_id in plan.removed:
            tx.remove(TASKS, task_id)
            self._fleet.forget(task_id)

    def _allocate_ports(self, tx: Tx, service: Service, ports: Ports) -> None:
        try:
            endpoint = ports.allocate(service)
        except errors.BeeyardError as exc:
            self._port_refusals[service.id] = exc.message
            return
        self._port_refusals.pop(service.id, None)
        allocated = copy_of(service)
        allocated.endpoint.CopyFrom(endpoint)
        tx.update(SERVICES, allocated)
        ports.remove(service.id)
        ports.add(allocated)

    def _observe_task(self, old: Task | None, new: Task | None) -> None:
        task = new or old
        assert task is not None, "a change has an old or a new object"
        self._forget_or_observe(task.id, new)
        if old is None or new is None or _matters(old, new):
            self._agenda.mark(_SERVICE + task.service_id)

    def _forget_or_observe(self, task_id: str, task: Task | None) -> None:
        if task is None:
            self._fleet.forget(task_id)
        else:
            self._fleet.observe(task)
            self._queue.offer(task)

    def _see_node(self, node: Node) -> None:
        seen = node_view(node)
        self._nodes[node.id] = seen
        self._fleet.set_node(seen)

    def _observe_node(self, node_id: str, old: Node | None, new: Node | None, view: Reader) -> None:
        before = self._nodes.get(node_id)
        if new is None:
            self._nodes.pop(node_id, None)
            self._fleet.drop_node(node_id)
        else:
            self._see_node(new)
        if old is not None and new is not None and before == self._nodes.get(node_id):
            return
        self._agenda.mark(_NODE + node_id)
        for task in view.find(TASKS_BY_NODE, node_id):
            self._agenda.mark(_SERVICE + task.service_id)
        for service in view.list(SERVICES):
            if service.spec.mode.WhichOneof("mode") in {"global", "global_job"}:
                self._agenda.mark(_SERVICE + service.id)

    def _mark_everything(self, view: Reader) -> None:
        for service in view.list(SERVICES):
            self._agenda.mark(_SERVICE + service.id)
        for task in view.list(TASKS):  # also those whose service is no more
            self._agenda.mark(_SERVICE + task.service_id)
        for node_id in self._nodes:
            self._agenda.mark(_NODE + node_id)


def unit_of(write: Write) -> Hashable:
    """Return what must be written together: the tasks of one slot."""
    if write.table is TASKS:
        task = write.new or write.old
        return (task.service_id, task.slot or task.node_id)
    return (write.table.name, write.id)


def _matters(old: Task, new: Task) -> bool:
    """Say whether a change of a task can change what its service should do."""
    return (
        old.desired_state != new.desired_state
        or (old.status.state != new.status.state and new.status.state >= TASK_STATE_RUNNING)
        or old.node_id != new.node_id
    )
