"""Nodes, tasks, secrets, configs and networks."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.store.tables import CLUSTERS, NODES, SECRETS, SERVICES, TASKS, copy_of
from tests.component.swarmd.api.desk import Desk
from tests.component.swarmd.dispatcher.seat import DOWN, READY, node, task

WORKER, MANAGER = objects_pb2.NODE_ROLE_WORKER, objects_pb2.NODE_ROLE_MANAGER
RUNNING, FAILED = objects_pb2.TASK_STATE_RUNNING, objects_pb2.TASK_STATE_FAILED
DRAIN = objects_pb2.NODE_AVAILABILITY_DRAIN


def boss(node_id: str, raft_id: int) -> objects_pb2.Node:
    made = node(node_id, READY)
    made.spec.role = made.role = MANAGER
    made.manager.raft_id = raft_id
    made.manager.address = f"10.0.0.{raft_id}:2377"
    made.description.hostname = f"host-{node_id}"
    return made


async def refused(call: Awaitable[object]) -> errors.BeeyardError:
    with pytest.raises(errors.BeeyardError) as caught:
        await call
    return caught.value


async def get_node(at: Desk, name: str) -> objects_pb2.Node:
    return (await client.call(at.node_service.GetNode(control_pb2.GetNodeRequest(node=name)))).node


async def update_node(at: Desk, found: objects_pb2.Node, **more: object) -> objects_pb2.Node:
    fields = {"node": found.id, "version": found.meta.version, "spec": found.spec, **more}
    request = control_pb2.UpdateNodeRequest(**fields)  # type: ignore[arg-type]
    return (await client.call(at.node_service.UpdateNode(request))).node


async def remove_node(at: Desk, name: str, *, force: bool = False) -> None:
    request = control_pb2.RemoveNodeRequest(node=name, force=force)
    await client.call(at.node_service.RemoveNode(request))


@pytest.fixture
async def at_with_nodes(at: Desk) -> Desk:
    cluster = objects_pb2.Cluster(id="c")
    cluster.spec.annotations.name = "default"
    await at.seat.put(
        cluster, boss("m1", 1), boss("m2", 2), boss("m3", 3), node("w1", READY), node("w2", DOWN)
    )
    at.raft.set(m1=True, m2=True, m3=False)
    return at


async def test_nodes_are_shown_with_who_leads_and_who_answers(at_with_nodes: Desk) -> None:
    listed = await client.call(at_with_nodes.node_service.ListNodes(control_pb2.ListNodesRequest()))
    shown = {found.id: (found.manager.leader, found.manager.reachable) for found in listed.nodes}
    assert shown == {
        "m1": (True, True),
        "m2": (False, True),
        "m3": (False, False),
        "w1": (False, False),
        "w2": (False, False),
    }
    assert listed.self_node_id == "m1"
    assert (await get_node(at_with_nodes, "self")).id == "m1"
    assert (await get_node(at_with_nodes, "host-m2")).id == "m2"
    assert (await refused(get_node(at_with_nodes, "w"))).reason == "NODE_AMBIGUOUS"
    assert (await refused(get_node(at_with_nodes, "x"))).reason == "NODE_NOT_FOUND"
    assert (await refused(get_node(at_with_nodes, ""))).reason == "NODE_NOT_NAMED"


async def test_nodes_are_filtered(at_with_nodes: Desk) -> None:
    async def ids(key: str, value: str) -> list[str]:
        wanted = control_pb2.Filters(by_key={key: control_pb2.FilterValues(values=[value])})
        request = control_pb2.ListNodesRequest(filters=wanted)
        return [
            found.id for found in (await client.call(at_with_nodes.node_service.ListNodes(request))).nodes
        ]

    assert await ids("role", "worker") == ["w1", "w2"]
    assert await ids("name", "host-m") == ["m1", "m2", "m3"]
    assert await ids("id", "w1") == ["w1"]
    assert await ids("membership", "pending") == []


async def test_a_node_is_drained_and_labelled(at_with_nodes: Desk) -> None:
    found = await get_node(at_with_nodes, "w1")
    found.spec.availability = DRAIN
    found.spec.annotations.labels["zone"] = "a"
    changed = await update_node(at_with_nodes, found)
    assert (changed.spec.availability, dict(changed.spec.annotations.labels)) == (DRAIN, {"zone": "a"})
    assert (await refused(update_node(at_with_nodes, found))).reason == "VERSION_MISMATCH"
    changed.spec.annotations.labels[""] = "x"
    assert (await refused(update_node(at_with_nodes, changed))).reason == "SPEC_INVALID"


async def test_a_role_that_is_not_given_stays(at_with_nodes: Desk) -> None:
    found = await get_node(at_with_nodes, "m2")
    found.spec.role = objects_pb2.NODE_ROLE_UNSPECIFIED
    assert (await update_node(at_with_nodes, found)).spec.role == MANAGER


async def test_demotion_keeps_the_quorum(at_with_nodes: Desk) -> None:
    found = await get_node(at_with_nodes, "m2")
    found.spec.role = WORKER
    assert (await refused(update_node(at_with_nodes, found))).reason == "QUORUM_AT_RISK"
    at_with_nodes.raft.set(m1=True, m2=True, m3=True)
    assert (await update_node(at_with_nodes, found)).spec.role == WORKER
    other = await get_node(at_with_nodes, "m3")
    other.spec.role = WORKER
    await update_node(at_with_nodes, other)
    last = await get_node(at_with_nodes, "m1")
    last.spec.role = WORKER
    assert (await refused(update_node(at_with_nodes, last))).reason == "LAST_MANAGER"


async def test_only_what_is_down_is_removed_without_force(at_with_nodes: Desk) -> None:
    await remove_node(at_with_nodes, "w2")
    assert (await refused(remove_node(at_with_nodes, "w1"))).reason == "NODE_NOT_DOWN"
    await remove_node(at_with_nodes, "w1", force=True)
    view = at_with_nodes.seat.store.view()
    assert view.get(NODES, "w1") is None
    (cluster,) = view.list(CLUSTERS)
    assert set(cluster.blocked_certificates) == {"w1", "w2"}


@pytest.mark.parametrize("force", [False, True])
async def test_a_manager_is_not_removed(at_with_nodes: Desk, force: bool) -> None:
    assert (await refused(remove_node(at_with_nodes, "m3", force=force))).reason == "NODE_IS_MANAGER"


def web_task(task_id: str, slot: int, state: objects_pb2.TaskState.ValueType = RUNNING) -> objects_pb2.Task:
    made = task(task_id, state=state)
    made.slot = slot
    return made


@pytest.fixture
async def at_with_tasks(at: Desk) -> Desk:
    service = objects_pb2.Service(id="s1")
    service.spec.annotations.name = "web"
    other = objects_pb2.Service(id="s2")
    other.spec.annotations.name = "db"
    stray = web_task("d1", 1)
    stray.service_id, stray.node_id = "s2", "n2"
    stray.service_annotations.name = "db"
    running = web_task("a1", 1)
    running.status.container.container_id = "c-a1"
    await at.seat.store.update(lambda tx: (tx.create(SERVICES, service), tx.create(SERVICES, other)))
    await at.seat.put(node("n1", READY), node("n2", READY))
    for one in (web_task("a0", 1, FAILED), running, web_task("b1", 2), stray):
        await at.seat.put(one)
    return at


async def listed(at: Desk, **by_key: str) -> list[str]:
    wanted = control_pb2.Filters(
        by_key={
            key.replace("_", "-"): control_pb2.FilterValues(values=[value]) for key, value in by_key.items()
        }
    )
    request = control_pb2.ListTasksRequest(filters=wanted)
    return [found.id for found in (await client.call(at.tasks.ListTasks(request))).tasks]


async def test_tasks_are_listed_by_service_and_slot_the_newest_first(at_with_tasks: Desk) -> None:
    assert await listed(at_with_tasks) == ["d1", "a1", "a0", "b1"]
    assert await listed(at_with_tasks, service="web") == ["a1", "a0", "b1"]
    assert await listed(at_with_tasks, node="n2") == ["d1"]
    assert await listed(at_with_tasks, service="nothing") == []
    assert await listed(at_with_tasks, name="web.1") == ["a1", "a0"]
    assert await listed(at_with_tasks, desired_state="running") == ["d1", "a1", "a0", "b1"]
    assert await listed(at_with_tasks, desired_state="shutdown") == []


async def test_a_task_is_removed_when_it_has_ended(at_with_tasks: Desk) -> None:
    refusal = await refused(
        client.call(at_with_tasks.tasks.RemoveTask(control_pb2.RemoveTaskRequest(task="a1")))
    )
    assert refusal.reason == "TASK_NOT_ENDED"
    await client.call(at_with_tasks.tasks.RemoveTask(control_pb2.RemoveTaskRequest(task="web.1.a0")))
    assert at_with_tasks.seat.store.view().get(TASKS, "a0") is None


async def test_the_container_of_a_task_is_found(at_with_tasks: Desk) -> None:
    async def locate(name: str) -> tuple[str, str, str]:
        request = control_pb2.LocateTaskRequest(task=name)
        found = await client.call(at_with_tasks.execs.LocateTask(request))
        return (found.task_id, found.node_id, found.container_id)

    for name in ("web", "web.1", "a1"):
        assert await locate(name) == ("a1", "n1", "c-a1")
    assert (await refused(locate("b1"))).reason == "TASK_NOT_RUNNING"
    assert (await refused(locate("db"))).reason == "TASK_NOT_RUNNING"
    assert (await refused(locate("nothing"))).reason == "TASK_NOT_FOUND"


async def test_secrets_are_kept_and_not_told(at: Desk) -> None:
    wanted = objects_pb2.SecretSpec(annotations=objects_pb2.Annotations(name="key"), data=b"hush")
    made = (await client.call(at.secrets.CreateSecret(control_pb2.CreateSecretRequest(spec=wanted)))).secret
    assert made.spec.data == b""
    stored = at.seat.store.view().get(SECRETS, made.id)
    assert stored is not None
    assert stored.spec.data == b"hush"
    shown = (await client.call(at.secrets.GetSecret(control_pb2.GetSecretRequest(secret="key")))).secret
    assert (shown.id, shown.spec.data) == (made.id, b"")
    (shown,) = (await client.call(at.secrets.ListSecrets(control_pb2.ListSecretsRequest()))).secrets
    assert shown.spec.data == b""
    update = control_pb2.UpdateSecretRequest(secret="key", version=made.meta.version, labels={"a": "b"})
    changed = (await client.call(at.secrets.UpdateSecret(update))).secret
    assert dict(changed.spec.annotations.labels) == {"a": "b"}
    assert (await refused(client.call(at.secrets.UpdateSecret(update)))).reason == "VERSION_MISMATCH"
    again = await refused(client.call(at.secrets.CreateSecret(control_pb2.CreateSecretRequest(spec=wanted))))
    assert again.reason == "NAME_IN_USE"


async def test_a_secret_that_is_used_stays(at: Desk) -> None:
    wanted = objects_pb2.SecretSpec(annotations=objects_pb2.Annotations(name="key"), data=b"hush")
    await client.call(at.secrets.CreateSecret(control_pb2.CreateSecretRequest(spec=wanted)))
    spec = objects_pb2.ServiceSpec(annotations=objects_pb2.Annotations(name="web"))
    spec.task.container.image = "web:1"
    spec.task.secrets.add(name="key")
    await client.call(at.services.CreateService(control_pb2.CreateServiceRequest(spec=spec)))
    remove = control_pb2.RemoveSecretRequest(secret="key")
    refusal = await refused(client.call(at.secrets.RemoveSecret(remove)))
    assert (refusal.reason, refusal.message) == (
        "SECRET_IN_USE",
        "secret 'key' is in use by the following service: web",
    )
    await client.call(at.services.RemoveService(control_pb2.RemoveServiceRequest(service="web")))
    await client.call(at.secrets.RemoveSecret(remove))


async def test_configs_are_kept_and_told(at: Desk) -> None:
    wanted = objects_pb2.ConfigSpec(annotations=objects_pb2.Annotations(name="conf"), data=b"x=1")
    await client.call(at.configs.CreateConfig(control_pb2.CreateConfigRequest(spec=wanted)))
    shown = (await client.call(at.configs.GetConfig(control_pb2.GetConfigRequest(config="conf")))).config
    assert shown.spec.data == b"x=1"
    await client.call(at.configs.RemoveConfig(control_pb2.RemoveConfigRequest(config="conf")))
    gone = await refused(client.call(at.configs.GetConfig(control_pb2.GetConfigRequest(config="conf"))))
    assert gone.reason == "CONFIG_NOT_FOUND"


async def test_networks_of_the_swarm_are_refused_with_the_reason(at: Desk) -> None:
    spec = objects_pb2.SwarmNetworkSpec(annotations=objects_pb2.Annotations(name="front"))
    refusal = await refused(
        client.call(at.networks.CreateNetwork(control_pb2.CreateNetworkRequest(spec=spec)))
    )
    assert isinstance(refusal, errors.Unsupported)
    assert "overlay" in refusal.message
    assert not (await client.call(at.networks.ListNetworks(control_pb2.ListNetworksRequest()))).networks


async def test_copies_do_not_change_the_store(at_with_nodes: Desk) -> None:
    before = copy_of(at_with_nodes.seat.node("m1"))
    await get_node(at_with_nodes, "m1")
    assert at_with_nodes.seat.node("m1") == before
