"""Control calls on a manager that does not lead: where they go, and what becomes of them when the leader goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc
from services.kit import errors
from services.kit.rpc import client
from services.kit.rpc.types import Context
from services.swarmd.gateway.callers import Callers
from services.swarmd.gateway.routing import Situation, Standing
from tests.component.swarmd.gateway.gatenode import GateNode

FOLLOWS = Situation(standing=Standing.MANAGER)
LEADS = Situation(standing=Standing.MANAGER, leading=True)


class Services(control_pb2_grpc.ServiceServiceServicer):
    """Answers with the name of its node; a test may make it do something else first."""

    def __init__(self, node: GateNode) -> None:
        self._node = node
        self._callers = Callers(node.membership)
        self.calls = 0
        self.asked: list[str] = []
        self.before: Callable[[], Any] | None = None

    async def _serve(self, context: Context) -> None:
        self.calls += 1
        self.asked.append(self._callers.caller(context).asked_node_id)
        if self.before is not None:
            await self.before()

    async def CreateService(
        self, request: control_pb2.CreateServiceRequest, context: Context
    ) -> control_pb2.CreateServiceResponse:
        await self._serve(context)
        return control_pb2.CreateServiceResponse(warnings=[self._node.membership.node_id])

    async def ListServices(
        self, request: control_pb2.ListServicesRequest, context: Context
    ) -> control_pb2.ListServicesResponse:
        await self._serve(context)
        return control_pb2.ListServicesResponse(next_page_token=self._node.membership.node_id)


@contextlib.asynccontextmanager
async def _managing(*nodes: GateNode) -> AsyncIterator[list[Services]]:
    with contextlib.ExitStack() as stack:
        served = [Services(node) for node in nodes]
        for node, servicer in zip(nodes, served, strict=True):
            adder = control_pb2_grpc.add_ServiceServiceServicer_to_server
            stack.enter_context(node.slots.installed(adder, servicer))
        yield served


@pytest.fixture
async def two(m1: GateNode, m2: GateNode) -> AsyncIterator[tuple[GateNode, GateNode, Services, Services]]:
    """m1 follows, m2 leads."""
    async with _managing(m1, m2) as (first, second):
        m1.standpoint.set(replace(FOLLOWS, leader=m2.place))
        m2.standpoint.set(replace(LEADS, leader=m2.place))
        yield m1, m2, first, second


async def _create(node: GateNode, request_id: str = "") -> str:
    stub = control_pb2_grpc.ServiceServiceStub(node.local)
    request = control_pb2.CreateServiceRequest(request_id=request_id)
    return (await client.call(stub.CreateService(request, timeout=20))).warnings[0]


async def _list(node: GateNode, consistency: Any = control_pb2.CONSISTENCY_UNSPECIFIED) -> str:
    stub = control_pb2_grpc.ServiceServiceStub(node.local)
    request = control_pb2.ListServicesRequest(consistency=consistency)
    return (await client.call(stub.ListServices(request, timeout=20))).next_page_token


Two = tuple[GateNode, GateNode, Services, Services]


async def test_a_follower_passes_on_and_says_who_was_asked(two: Two) -> None:
    m1, _m2, _first, second = two
    assert await _create(m1) == "m2"
    assert await _list(m1) == "m2"
    assert second.asked == ["m1", "m1"]


async def test_the_leader_serves_itself(two: Two) -> None:
    _m1, m2, _first, second = two
    assert await _create(m2) == "m2"
    assert second.asked == ["m2"]


async def test_a_read_that_may_be_old_stays(two: Two) -> None:
    m1, _m2, first, second = two
    assert await _list(m1, control_pb2.CONSISTENCY_STALE) == "m1"
    assert (first.calls, second.calls) == (1, 0)


async def test_without_a_leader_writes_are_refused_at_once_and_reads_stay(two: Two) -> None:
    m1, _m2, first, _second = two
    m1.standpoint.set(FOLLOWS)
    with pytest.raises(errors.Unavailable, match="does not have a leader") as refused:
        await _create(m1)
    assert refused.value.reason == "NO_LEADER"
    assert await _list(m1) == "m1"
    assert first.calls == 1


async def test_during_an_election_a_write_waits_for_the_new_leader(two: Two) -> None:
    m1, m2, _first, _second = two
    m1.standpoint.set(replace(FOLLOWS, may_soon_lead=True))
    waiting = asyncio.get_running_loop().create_task(_create(m1))
    await asyncio.sleep(0.1)
    m1.standpoint.set(replace(FOLLOWS, leader=m2.place))
    assert await waiting == "m2"


async def test_a_leader_that_cannot_be_reached_is_waited_for_and_the_next_one_serves(two: Two) -> None:
    m1, m2, _first, _second = two
    m1.standpoint.set(replace(FOLLOWS, leader=replace(m2.place, address="127.0.0.1:1")))
    waiting = asyncio.get_running_loop().create_task(_create(m1))
    await asyncio.sleep(0.2)
    m1.standpoint.set(replace(FOLLOWS, leader=m2.place))
    assert await waiting == "m2"


async def test_who_does_not_lead_any_more_has_done_nothing_so_the_call_goes_on(two: Two) -> None:
    """m1 takes m2 for the leader, m2 knows better: m1 tries again when it knows better too."""
    m1, m2, first, second = two
    m2.standpoint.set(replace(FOLLOWS, leader=m1.place))
    waiting = asyncio.get_running_loop().create_task(_create(m1))
    await asyncio.sleep(0.2)
    m1.standpoint.set(replace(LEADS, leader=m1.place))
    assert await waiting == "m1"
    assert (first.calls, second.calls) == (1, 0)


async def test_a_write_whose_leader_is_deposed_in_the_middle_is_not_repeated(two: Two) -> None:
    m1, m2, first, second = two

    async def hang() -> None:
        m1.standpoint.set(replace(LEADS, leader=m1.place))
        await asyncio.Event().wait()

    second.before = hang
    with pytest.raises(errors.Unavailable, match="not known") as lost:
        await _create(m1)
    assert lost.value.reason == "LEADER_LOST"
    assert (first.calls, second.calls) == (0, 1)
    assert m2


async def test_a_read_and_a_write_with_an_id_are_repeated(two: Two) -> None:
    m1, m2, first, second = two

    async def hang() -> None:
        m1.standpoint.set(replace(LEADS, leader=m1.place))
        await asyncio.Event().wait()

    second.before = hang
    assert await _create(m1, request_id="r1") == "m1"
    m1.standpoint.set(replace(FOLLOWS, leader=m2.place))
    assert await _list(m1) == "m1"
    assert (first.calls, second.calls) == (2, 2)


async def test_a_leader_that_finds_out_by_itself_starts_over(two: Two) -> None:
    """Its servicer refuses with NOT_LEADER: nothing was done, so the new leader gets the call."""
    m1, m2, first, _second = two

    async def refuse() -> None:
        m1.standpoint.set(replace(FOLLOWS, leader=m2.place))
        raise errors.FailedPrecondition("not any more", reason="NOT_LEADER")

    m1.standpoint.set(replace(LEADS, leader=m1.place))
    first.before = refuse
    assert await _create(m1) == "m2"


async def test_errors_of_the_leader_come_back_as_they_are(two: Two) -> None:
    m1, _m2, _first, second = two

    async def refuse() -> None:
        raise errors.AlreadyExists("there is a web", reason="NAME_IN_USE", metadata={"name": "web"})

    second.before = refuse
    with pytest.raises(errors.AlreadyExists) as refused:
        await _create(m1)
    assert (refused.value.reason, refused.value.metadata) == ("NAME_IN_USE", {"name": "web"})


@pytest.mark.parametrize(
    ("standing", "reason"), [(Standing.WORKER, "NOT_A_MANAGER"), (Standing.OUTSIDE, "NOT_IN_SWARM")]
)
async def test_who_is_no_manager_says_so(w1: GateNode, standing: Standing, reason: str) -> None:
    w1.standpoint.set(Situation(standing=standing))
    for call in (_create, _list):
        with pytest.raises(errors.FailedPrecondition, match="not a swarm manager") as refused:
            await call(w1)
        assert refused.value.reason == reason


async def test_a_message_that_is_none_is_refused(two: Two) -> None:
    m1 = two[0]
    for path in ("CreateService", "ListServices"):
        call = m1.local.unary_unary(f"/beeyard.swarm.v1.ServiceService/{path}")
        with pytest.raises(errors.Invalid):
            await client.call(call(b"\xff\xff\xff"))
