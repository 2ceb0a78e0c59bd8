"""Workers become managers and managers workers, without a pause of what they do otherwise."""

from __future__ import annotations

import pytest

from beeyard.swarm.v1 import control_pb2
from services.kit import errors
from tests.component.swarmd.daemon.swarm import (
    MANAGER,
    WORKER,
    Swarm,
    SwarmNode,
    has_voters,
    is_ready,
    leader_of,
    until,
)


async def _is(node: SwarmNode, role: int) -> bool:
    state = await node.state()
    if state.role != role or state.state != control_pb2.LOCAL_SWARM_STATE_ACTIVE:
        return False
    if role == MANAGER:
        await node.list()
        return True
    return not (node.root / "swarmd" / "raft").exists()


async def test_promotion_and_demotion(fleet: Swarm) -> None:
    m1, w1 = await fleet.found(1, 1)
    await m1.set_role(w1.hostname, MANAGER)
    await until(lambda: _is(w1, MANAGER))
    await until(lambda: has_voters(m1, 2))
    await w1.label("self", "promoted")  # passed on to the leader

    await m1.set_role(w1.hostname, WORKER)
    await until(lambda: _is(w1, WORKER))
    await until(lambda: has_voters(m1, 1))
    await until(lambda: is_ready(m1, w1))
    with pytest.raises(errors.FailedPrecondition):
        await w1.list()

    await m1.set_role(w1.hostname, MANAGER)  # and again: with another raft id
    await until(lambda: _is(w1, MANAGER))
    await until(lambda: has_voters(m1, 2))


async def test_the_leader_is_demoted(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    leader = await leader_of([m1, m2, m3])
    rest = [node for node in (m1, m2, m3) if node is not leader]
    await rest[0].set_role(leader.hostname, WORKER)
    await until(lambda: _is(leader, WORKER))
    await until(lambda: has_voters(rest[1], 2))
    await until(lambda: is_ready(rest[0], leader))


async def test_the_last_manager_is_not_demoted(fleet: Swarm) -> None:
    (m1,) = await fleet.found(1, 0)
    with pytest.raises(errors.FailedPrecondition, match="last manager of the swarm") as refused:
        await m1.set_role("self", WORKER)
    assert refused.value.reason == "LAST_MANAGER"


async def test_a_demotion_that_costs_the_quorum_is_refused(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    await m3.stop()

    async def m3_is_missed() -> bool:
        return not (await m1.list())[m3.hostname].manager.reachable

    await until(m3_is_missed)
    with pytest.raises(errors.FailedPrecondition) as refused:
        await m1.set_role(m2.hostname, WORKER)
    assert refused.value.reason == "QUORUM_AT_RISK"
    await m1.set_role(m3.hostname, WORKER)  # the one that is away may go
    await until(lambda: has_voters(m1, 2))
    await m3.start()
    await until(lambda: _is(m3, WORKER))


async def test_a_manager_is_not_removed_before_it_is_demoted(fleet: Swarm) -> None:
    m1, m2, m3 = await fleet.found(3, 0)
    with pytest.raises(errors.FailedPrecondition):
        await m1.remove(m3.hostname, force=True)
    await m1.set_role(m3.hostname, WORKER)
    await until(lambda: has_voters(m1, 2))
    await m3.stop()
    await m1.remove(m3.hostname, force=True)
    assert set(await m2.list()) == {m1.hostname, m2.hostname}
