"""Founding a swarm, coming in, going out: whole nodes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.kit.rpc import client
from services.swarmd.ca import authority, tokens
from tests.component.swarmd.daemon.swarm import (
    MANAGER,
    WORKER,
    Swarm,
    has_voters,
    is_ready,
    leader_of,
    until,
)

INACTIVE = control_pb2.LOCAL_SWARM_STATE_INACTIVE
ACTIVE = control_pb2.LOCAL_SWARM_STATE_ACTIVE
ERROR = control_pb2.LOCAL_SWARM_STATE_ERROR


async def test_a_node_founds_a_swarm(fleet: Swarm) -> None:
    (node,) = await fleet.start(1)
    assert (await node.state()).state == INACTIVE
    founded = await node.init()
    assert founded.join_address == node.address
    assert founded.join_tokens.worker != founded.join_tokens.manager
    state = await node.state()
    assert (state.state, state.role, state.node_id) == (ACTIVE, MANAGER, founded.node_id)
    assert state.leader_node_id == founded.node_id
    await until(lambda: is_ready(node, node))
    cluster = await client.call(node.cluster.GetCluster(control_pb2.GetClusterRequest()))
    assert not cluster.cluster.root_ca.key_pem
    assert cluster.cluster.root_ca.certificate_pem
    assert not cluster.stale


async def test_it_founds_one_only(fleet: Swarm) -> None:
    (node,) = await fleet.start(1)
    await node.init()
    with pytest.raises(errors.FailedPrecondition, match="already part of a swarm") as refused:
        await node.init()
    assert refused.value.reason == "ALREADY_IN_SWARM"


async def test_what_cannot_be_had_is_refused_and_leaves_nothing(fleet: Swarm) -> None:
    (node,) = await fleet.start(1)
    with pytest.raises(errors.Unsupported, match="autolock"):
        await node.init(spec=objects_pb2.ClusterSpec(autolock=True))
    for bad in (
        {"listen_address": "nonsense"},
        {"listen_address": "203.0.113.1:2377"},
        {"advertise_address": "0.0.0.0"},
    ):
        with pytest.raises((errors.Invalid, errors.FailedPrecondition)):
            await node.init(**bad)
        assert (await node.state()).state == INACTIVE
    assert not list((node.root / "swarmd").glob("*"))
    await node.init()


async def test_outside_of_a_swarm_control_calls_say_what_to_do(fleet: Swarm) -> None:
    (node,) = await fleet.start(1)
    for call in (node.list, node.tokens):
        with pytest.raises(
            errors.FailedPrecondition, match='"swarmctl swarm init" or "swarmctl swarm join"'
        ) as no:
            await call()
        assert no.value.reason == "NOT_IN_SWARM"
    with pytest.raises(errors.FailedPrecondition, match="not part of a swarm"):
        await node.leave()


async def test_a_manager_and_a_worker_join(fleet: Swarm) -> None:
    m1, m2, w1 = await fleet.found(2, 1)
    nodes = await m2.list()
    assert {name: node.role for name, node in nodes.items()} == {
        m1.hostname: MANAGER,
        m2.hostname: MANAGER,
        w1.hostname: WORKER,
    }
    assert all(node.status.state == objects_pb2.NODE_STATE_READY for node in nodes.values())
    assert nodes[m2.hostname].description.address == m2.address
    with pytest.raises(errors.FailedPrecondition, match="Worker nodes can't be used") as refused:
        await w1.list()
    assert refused.value.reason == "NOT_A_MANAGER"
    state = await w1.state()
    assert {place.address for place in state.managers} == {m1.address, m2.address}


async def test_self_is_the_node_that_was_asked(fleet: Swarm) -> None:
    m1, m2 = await fleet.found(2, 0)
    assert (await m1.node("self")).description.hostname == m1.hostname
    assert (await m2.node("self")).description.hostname == m2.hostname


@pytest.mark.parametrize("which", ["other", "wrong", "nonsense", "unreachable"])
async def test_who_cannot_join_stays_outside(fleet: Swarm, which: str) -> None:
    m1, node = await fleet.start(2)
    good = (await m1.init()).join_tokens.worker
    token = {
        "other": str(tokens.new(authority.new(datetime.now(UTC)).digest)),
        "wrong": str(tokens.new(tokens.parse(good).root_digest)),
        "nonsense": "SWMTKN-1-x",
        "unreachable": good,
    }[which]
    reason = {
        "other": "TOKEN_OTHER_SWARM",
        "wrong": "TOKEN_INVALID",
        "nonsense": "TOKEN_INVALID",
        "unreachable": "MANAGER_UNREACHABLE",
    }[which]
    with pytest.raises(errors.BeeyardError) as refused:
        await node.join(node if which == "unreachable" else m1, token)
    assert refused.value.reason == reason
    assert (await node.state()).state == INACTIVE
    assert not list((node.root / "swarmd").glob("*"))
    assert set(await m1.list()) == {m1.hostname}
    await node.join(m1, good)


async def test_an_address_in_use_is_found_before_anybody_is_asked(fleet: Swarm) -> None:
    m1, node = await fleet.start(2)
    token = (await m1.init()).join_tokens.worker
    server = await asyncio.start_server(lambda _r, _w: None, node.host, 2377)
    try:
        with pytest.raises(errors.FailedPrecondition) as refused:
            await node.join(m1, token)
        assert refused.value.reason == "ADDRESS_IN_USE"
    finally:
        server.close()
        await server.wait_closed()
    assert len(await m1.list()) == 1


async def test_a_rotated_token_is_of_no_use(fleet: Swarm) -> None:
    m1, node = await fleet.start(2)
    old = (await m1.init()).join_tokens
    request = control_pb2.GetJoinTokensRequest(rotate_worker=True)
    new = (await client.call(m1.cluster.GetJoinTokens(request))).tokens
    assert new.worker != old.worker
    assert new.manager == old.manager
    with pytest.raises(errors.PermissionDenied):
        await node.join(m1, old.worker)
    await node.join(m1, new.worker)


async def test_a_worker_leaves_and_comes_back_as_another_node(fleet: Swarm) -> None:
    m1, w1 = await fleet.found(1, 1)
    before = await w1.state()
    await w1.leave()
    assert (await w1.state()).state == INACTIVE
    left = await m1.node(before.node_id)
    assert left.status.state in {objects_pb2.NODE_STATE_DISCONNECTED, objects_pb2.NODE_STATE_DOWN}
    await m1.remove(before.node_id)
    await w1.join(m1, (await m1.tokens()).worker)
    assert (await w1.state()).node_id != before.node_id


async def test_a_manager_leaves_in_order(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    await m1.leave()  # the leader: it hands over first
    assert (await m1.state()).state == INACTIVE
    await until(lambda: has_voters(m2, 2))
    assert (await leader_of([m2, m3])) in (m2, m3)
    await m3.label("self", "after")


async def test_the_last_manager_leaves_only_by_force(fleet: Swarm) -> None:
    (m1,) = await fleet.found(1, 0)
    with pytest.raises(errors.FailedPrecondition, match="last manager") as refused:
        await m1.leave()
    assert refused.value.reason == "LAST_MANAGER"
    await m1.leave(force=True)
    assert (await m1.state()).state == INACTIVE
    assert not list((m1.root / "swarmd" / "raft").glob("*"))
    await m1.init()


async def test_a_removed_node_knows_it_and_may_come_again(fleet: Swarm) -> None:
    m1, w1 = await fleet.found(1, 1)
    await m1.remove(w1.hostname, force=True)

    async def knows() -> bool:
        state = await w1.state()
        return state.state == ERROR and "removed" in state.error

    await until(knows)
    await w1.stop()
    await w1.start()
    assert await knows()
    with pytest.raises(errors.FailedPrecondition):
        await w1.join(m1, (await m1.tokens()).worker)
    await w1.leave()
    await w1.join(m1, (await m1.tokens()).worker)
    await until(lambda: is_ready(m1, w1))


async def test_nodes_come_back_by_themselves(fleet: Swarm) -> None:
    m1, m2, m3, w1 = await fleet.found(3, 1)
    ids = {node.hostname: (await node.state()).node_id for node in (m1, m2, m3, w1)}
    for node in (m1, m2, m3, w1):
        await node.stop()
    for node in (m1, m2, m3, w1):
        await node.start()
    await until(lambda: has_voters(m1, 3))
    for node in (m1, m2, m3, w1):
        await until(lambda node=node: is_ready(m1, node))
    assert {node.hostname: (await node.state()).node_id for node in (m1, m2, m3, w1)} == ids


async def test_a_manager_that_the_leader_cannot_reach_is_told_and_goes_on_trying(fleet: Swarm) -> None:
    m1, m2 = await fleet.start(2)
    token = (await m1.init()).join_tokens.manager
    request = control_pb2.JoinSwarmRequest(
        remote_addresses=[m1.host], token=token, advertise_address=f"{m2.host}0:2377"
    )
    with pytest.raises(errors.Unavailable, match=f"cannot reach .* at {m2.host}0:2377") as refused:
        await client.call(m2.cluster.JoinSwarm(request, timeout=60))
    assert refused.value.reason == "JOIN_CONTINUES"
    assert (await m2.state()).state == ERROR
    assert await has_voters(m1, 1)
    node_id = (await m2.state()).node_id
    await m2.leave(force=True)
    await m1.set_role(node_id, WORKER)
    await m1.remove(node_id, force=True)


async def test_a_member_that_cannot_listen_says_so_and_goes_on_trying(fleet: Swarm) -> None:
    m1, w1 = await fleet.found(1, 1)
    await w1.stop()
    server = await asyncio.start_server(lambda _r, _w: None, w1.host, 2377)
    try:
        await w1.start()

        async def says_so() -> bool:
            state = await w1.state()
            return state.state == ERROR and "in use" in state.error

        await until(says_so)
    finally:
        server.close()
        await server.wait_closed()

    async def active() -> bool:
        return (await w1.state()).state == ACTIVE

    await until(active)
    await until(lambda: is_ready(m1, w1))
