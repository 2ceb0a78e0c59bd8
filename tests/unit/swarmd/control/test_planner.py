"""Passes: what follows from what, in how many entries."""

import pytest

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import (
    TASK_STATE_ASSIGNED,
    TASK_STATE_NEW,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_SHUTDOWN,
    Cluster,
    Service,
)
from services.swarmd.api import revision
from services.swarmd.control import planner
from services.swarmd.control.planner import FULL_LOOK_S, unit_of
from services.swarmd.store.changes import Resync
from services.swarmd.store.tables import CLUSTERS, NODES, SERVICES, copy_of
from tests.unit.swarmd.control.swarm import Swarm, publish


def reserve(memory: int):
    def edit(service: Service) -> None:
        service.spec.task.reservations.memory_bytes = memory

    return edit


def test_a_new_service_has_its_tasks_on_nodes_after_one_entry() -> None:
    swarm = Swarm(nodes=5)
    swarm.add_service("web", 5)
    assert swarm.passes() == 1
    assert [task.status.state for task in swarm.tasks()] == [TASK_STATE_ASSIGNED] * 5
    assert sorted(task.node_id for task in swarm.tasks()) == ["n1", "n2", "n3", "n4", "n5"]


def test_scaling_by_forty_five_is_one_entry_more() -> None:
    swarm = Swarm(nodes=5)
    service_id = swarm.add_service("web", 5)
    swarm.passes()

    def scale(tx) -> None:
        service = copy_of(tx.get(SERVICES, service_id))
        service.spec.mode.replicated.replicas = 50
        tx.update(SERVICES, service)

    swarm.change(scale)
    assert swarm.passes() == 1
    assert sorted(sum(task.node_id == f"n{n}" for task in swarm.tasks()) for n in range(1, 6)) == [10] * 5


def test_a_large_service_is_made_in_entries_of_bounded_size() -> None:
    swarm = Swarm()
    swarm.add_service("web", 1500)
    assert 8 <= swarm.passes() <= 12
    assert len(swarm.tasks()) == 1500


def test_ports_come_with_the_first_pass() -> None:
    swarm = Swarm()
    swarm.add_service("web", 1, publish(0))
    swarm.passes()
    service = swarm.cluster.view().get(SERVICES, "id-web")
    assert service is not None
    assert service.endpoint.ports[0].published_port == 30000
    assert swarm.tasks()[0].endpoint == service.endpoint
    assert service.update_status.state == objects_pb2.UPDATE_STATE_UNSPECIFIED


def test_the_second_of_two_on_one_port_waits_and_says_why() -> None:
    swarm = Swarm()
    swarm.add_service("web", 1, publish(8080))
    swarm.add_service("api", 1, publish(8080))
    swarm.passes()
    (waiting,) = swarm.tasks("id-api")
    assert waiting.status.state == TASK_STATE_NEW
    assert (
        waiting.status.error == "port '8080' is already in use by service 'web' (id-web) as an ingress port"
    )
    swarm.change(lambda tx: tx.remove(SERVICES, "id-web"))
    swarm.passes()
    (placed,) = swarm.tasks("id-api")
    assert (placed.status.state, placed.status.error) == (TASK_STATE_ASSIGNED, "")


def test_a_task_that_no_node_will_do_for_is_placed_when_one_will() -> None:
    swarm = Swarm(nodes=0)
    swarm.add_service("web", 2, reserve(8))
    swarm.passes()
    assert [task.status.error for task in swarm.tasks()] == ["no suitable node"] * 2
    swarm.add_node("small", 4)
    swarm.passes()
    assert {task.status.error for task in swarm.tasks()} == {
        "no suitable node (insufficient resources on 1 node)"
    }
    swarm.add_node("large", 8)
    swarm.passes()
    assert [task.status.state for task in swarm.tasks()] == [TASK_STATE_ASSIGNED, TASK_STATE_PENDING]
    swarm.set_node("large", lambda node: setattr(node.description.resources, "memory_bytes", 16))
    swarm.passes()
    assert [task.status.state for task in swarm.tasks()] == [TASK_STATE_ASSIGNED] * 2
    assert not any(task.status.error for task in swarm.tasks())


def test_room_that_a_task_leaves_is_used() -> None:
    swarm = Swarm(nodes=0)
    swarm.add_node("n1", 8)
    swarm.add_service("web", 1, reserve(8))
    swarm.passes()
    swarm.add_service("api", 1, reserve(8))
    swarm.passes()
    assert swarm.tasks("id-api")[0].status.state == TASK_STATE_PENDING
    swarm.change(lambda tx: tx.remove(SERVICES, "id-web"))
    swarm.passes()
    assert swarm.tasks("id-api")[0].status.state == TASK_STATE_PENDING, "the container still is there"
    swarm.set_task(swarm.tasks("id-web")[0].id, TASK_STATE_SHUTDOWN)
    swarm.passes()
    assert swarm.tasks("id-api")[0].status.state == TASK_STATE_ASSIGNED
    assert not swarm.tasks("id-web")


def test_a_constraint_that_cannot_be_parsed_is_the_reason() -> None:
    swarm = Swarm()
    swarm.add_service("web", 1, lambda service: service.spec.task.placement.constraints.append("nonsense"))
    swarm.passes()
    assert "expected one operator" in swarm.tasks()[0].status.error


def test_global_tasks_are_checked_on_their_node() -> None:
    swarm = Swarm(nodes=0)
    swarm.add_node("n1", 8)
    swarm.add_node("n2", 2)

    def everywhere(service: Service) -> None:
        getattr(service.spec.mode, "global").SetInParent()
        service.spec.task.reservations.memory_bytes = 4

    swarm.add_service("web", 1, everywhere)
    swarm.passes()
    by_node = {task.node_id: task for task in swarm.tasks()}
    assert by_node["n1"].status.state == TASK_STATE_ASSIGNED
    assert by_node["n2"].status.error == "insufficient resources on 1 node"


def test_a_node_that_comes_gets_its_task_of_a_global_service() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 1, lambda service: getattr(service.spec.mode, "global").SetInParent())
    swarm.passes()
    swarm.add_node("n2")
    swarm.passes()
    assert {task.node_id for task in swarm.tasks()} == {"n1", "n2"}


def test_an_update_begins_in_the_pass_after_it_was_asked_for() -> None:
    swarm = Swarm(nodes=1)
    service_id = swarm.add_service("web", 1)
    swarm.passes()

    def change(tx) -> None:
        service = tx.get(SERVICES, service_id)
        spec = type(service.spec)()
        spec.CopyFrom(service.spec)
        spec.task.container.image = "web:2"
        tx.update(SERVICES, revision.updated(service, spec, swarm.cluster.datetime))

    swarm.change(change)
    tx = swarm.planner.plan(swarm.cluster.view(), swarm.cluster.now)
    swarm.planner.undone(tx.writes(), swarm.cluster.view())
    assert swarm.passes() == 1
    service = swarm.cluster.view().get(SERVICES, service_id)
    assert service is not None
    assert service.update_status.state == objects_pb2.UPDATE_STATE_UPDATING
    assert [task.spec.container.image for task in swarm.tasks()] == ["web:1", "web:2"]


def test_the_tasks_of_a_removed_node_are_replaced() -> None:
    swarm = Swarm(nodes=2)
    swarm.add_service("web", 2)
    swarm.passes()
    swarm.change(lambda tx: tx.remove(NODES, "n1"))
    swarm.passes()
    assert [task.stop_reason for task in swarm.tasks() if task.node_id == "n1"] == ["its node was removed"]
    assert sum(task.node_id == "n2" for task in swarm.tasks()) == 2


def test_a_node_that_shrinks_loses_what_it_cannot_hold() -> None:
    swarm = Swarm(nodes=0)
    swarm.add_node("n1", 8)
    swarm.add_service("web", 2, reserve(4))
    swarm.passes()
    swarm.set_node("n1", lambda node: setattr(node.description.resources, "memory_bytes", 4))
    swarm.passes()
    assert sorted(task.stop_reason for task in swarm.tasks()) == [
        "",
        "",
        "assigned node no longer has the resources reserved",
    ]
    (waiting,) = [task for task in swarm.tasks() if not task.node_id]
    assert waiting.status.error == "no suitable node (insufficient resources on 1 node)"


def test_the_history_limit_of_the_cluster_counts() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 1, lambda service: setattr(service.spec.task.restart, "delay_ms", 0))
    swarm.passes()
    for _ in range(8):
        running = [task for task in swarm.tasks() if task.status.state == TASK_STATE_ASSIGNED]
        swarm.set_task(running[0].id, objects_pb2.TASK_STATE_FAILED)
        swarm.passes()
    assert len(swarm.tasks()) == 5
    cluster = Cluster(id="c")
    cluster.spec.task_history_limit = 2
    swarm.change(lambda tx: tx.create(CLUSTERS, cluster))
    swarm.passes()
    assert len(swarm.tasks()) == 2


def test_everything_is_looked_at_again_after_a_while() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 1)
    swarm.passes()
    listeners, swarm.cluster.listeners = swarm.cluster.listeners, []
    swarm.set_task(swarm.tasks()[0].id, objects_pb2.TASK_STATE_FAILED)  # and nobody is told
    swarm.cluster.listeners = listeners
    assert swarm.passes() == 0
    swarm.cluster.now += FULL_LOOK_S
    swarm.passes()
    assert len(swarm.tasks()) == 2


def test_a_resync_reads_everything_anew() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 1)
    swarm.cluster.listeners.clear()
    swarm.planner.observe(Resync(swarm.cluster.memory.index), swarm.cluster.view())
    swarm.passes()
    assert len(swarm.tasks()) == 1


def test_a_service_that_cannot_be_looked_at_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = Swarm(nodes=1)
    real = planner.reconcile

    def faulty(world, service, tasks):
        assert service.id != "id-bad", "a fault of the cores"
        return real(world, service, tasks)

    monkeypatch.setattr(planner, "reconcile", faulty)
    swarm.add_service("bad", 1)
    swarm.add_service("good", 1)
    swarm.passes()
    assert [task.service_id for task in swarm.tasks()] == ["id-good"]
    ((service_id, fault),) = swarm.planner.take_faults()
    assert (service_id, type(fault)) == ("id-bad", AssertionError)
    assert not swarm.planner.take_faults()


def test_what_did_not_happen_is_planned_again() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 3)
    tx = swarm.planner.plan(swarm.cluster.view(), swarm.cluster.now)
    assert tx.size == 3
    swarm.planner.undone(tx.writes(), swarm.cluster.view())
    swarm.passes()
    assert [task.status.state for task in swarm.tasks()] == [TASK_STATE_ASSIGNED] * 3


def test_tasks_of_a_slot_are_written_together() -> None:
    swarm = Swarm(nodes=1)
    swarm.add_service("web", 2)
    tx = swarm.planner.plan(swarm.cluster.view(), swarm.cluster.now)
    assert len({unit_of(write) for write in tx.writes()}) == 2
    swarm.planner.undone(tx.writes(), swarm.cluster.view())
    swarm.passes()
    for task in swarm.tasks():
        swarm.set_task(task.id, TASK_STATE_RUNNING)
    swarm.set_node("n1", lambda node: setattr(node.spec, "availability", objects_pb2.NODE_AVAILABILITY_DRAIN))
    tx = swarm.planner.plan(swarm.cluster.view(), swarm.cluster.now + 1.0)
    assert len(tx.writes()) == 4
    assert len({unit_of(write) for write in tx.writes()}) == 2
