"""Managers that are away: what can still be done, what is said, and that nothing acknowledged is lost."""

from __future__ import annotations

import asyncio

import pytest

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.swarmd.daemon.swarm import (
    Swarm,
    SwarmNode,
    has_voters,
    is_ready,
    leader_of,
    until,
)


async def _leaderless(node: SwarmNode) -> bool:
    return not (await node.state()).leader_node_id


async def test_another_manager_leads_and_any_of_the_rest_serves(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    await m1.label(m2.hostname, "before")
    leader = await leader_of([m1, m2, m3])
    rest = [node for node in (m1, m2, m3) if node is not leader]
    await leader.stop()
    for node in rest:  # at once: the call waits for the election
        await node.label(rest[0].hostname, node.hostname)
    new = await leader_of(rest)
    assert new is not leader
    await leader.start()
    await until(lambda: has_voters(new, 3))
    assert (await leader.node(rest[0].hostname)).spec.annotations.labels["test"] == rest[1].hostname


async def test_without_a_quorum_writes_fail_and_reads_may_be_old(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    await m1.label(m1.hostname, "kept")
    await m2.stop()
    await m3.stop()
    await until(lambda: _leaderless(m1))
    with pytest.raises(errors.Unavailable, match="The swarm does not have a leader") as refused:
        await m1.label(m1.hostname, "refused")
    assert refused.value.reason == "NO_LEADER"
    request = control_pb2.ListNodesRequest()
    answer = await client.call(m1.nodes.ListNodes(request))
    assert answer.stale
    assert len(answer.nodes) == 3
    with pytest.raises(errors.Unavailable):
        request = control_pb2.ListNodesRequest(consistency=control_pb2.CONSISTENCY_LINEARIZABLE)
        await client.call(m1.nodes.ListNodes(request))
    assert "does not have a leader" in (await m1.state()).error

    await m2.start()
    await leader_of([m1, m2])
    assert (await m2.node(m1.hostname)).spec.annotations.labels["test"] == "kept"
    await m1.label(m1.hostname, "again")
    await m3.start()
    await until(lambda: has_voters(m3, 3))
    assert (await m3.node(m1.hostname)).spec.annotations.labels["test"] == "again"
    assert not (await client.call(m1.nodes.ListNodes(control_pb2.ListNodesRequest()))).stale


async def test_what_was_acknowledged_is_there_after_every_change_of_leader(fleet: Swarm) -> None:
    nodes = await fleet.found(3, 0)
    acknowledged = ""
    for round_number in range(3):
        leader = await leader_of(nodes)
        other = next(node for node in nodes if node is not leader)
        for number in range(5):
            value = f"{round_number}.{number}"
            await other.label(nodes[0].hostname, value)
            acknowledged = value
        await leader.stop()
        rest = [node for node in nodes if node is not leader]
        seen = await rest[0].node(nodes[0].hostname)
        assert seen.spec.annotations.labels["test"] == acknowledged
        await leader.start()
        await until(lambda rest=rest: has_voters(rest[0], 3))


async def test_the_swarm_goes_on_with_one_manager_when_the_others_are_lost(fleet: Swarm) -> None:
    m1, m2, m3, w1 = await fleet.found(3, 1)
    await m1.label(w1.hostname, "kept")
    before = (await m1.state()).cluster_id
    await m2.stop()
    await m3.stop()
    await until(lambda: _leaderless(m1))
    await m1.init(force_new_cluster=True)
    state = await m1.state()
    assert state.cluster_id == before
    assert state.leader_node_id == state.node_id
    await until(lambda: has_voters(m1, 1))
    assert (await m1.node(w1.hostname)).spec.annotations.labels["test"] == "kept"
    await until(lambda: is_ready(m1, w1))  # by itself: it knows the managers
    for lost in (m2, m3):
        await m1.remove(lost.hostname, force=True)
    assert set(await m1.list()) == {m1.hostname, w1.hostname}


async def test_only_a_manager_can_go_on_alone(fleet: Swarm) -> None:
    _m1, w1 = await fleet.found(1, 1)
    with pytest.raises(errors.FailedPrecondition):
        await w1.init(force_new_cluster=True)
    assert (await w1.state()).state == control_pb2.LOCAL_SWARM_STATE_ACTIVE


async def test_many_writers_through_all_managers(fleet: Swarm) -> None:
    nodes = await fleet.found(3, 0)

    async def write(node: SwarmNode, number: int) -> None:
        await node.label(nodes[number % 3].hostname, f"{node.number}.{number}")

    await asyncio.gather(*(write(node, number) for node in nodes for number in range(10)))
    views = [await node.list() for node in nodes]
    labels = [{name: node.spec.annotations.labels["test"] for name, node in view.items()} for view in views]
    assert labels[0] == labels[1] == labels[2]


async def test_a_manager_without_the_others_leaves_only_by_force(fleet: Swarm) -> None:
    m1, m2 = await fleet.found(2, 0)
    await m2.stop()
    await until(lambda: _leaderless(m1))
    with pytest.raises(errors.BeeyardError) as refused:
        await m1.leave()
    assert refused.value.reason in {"NO_LEADER", "QUORUM_AT_RISK", "MANAGER_UNREACHABLE", "UNAVAILABLE"}
    assert (await m1.state()).state == control_pb2.LOCAL_SWARM_STATE_ACTIVE
    await m1.leave(force=True)
    assert (await m1.state()).state == control_pb2.LOCAL_SWARM_STATE_INACTIVE
