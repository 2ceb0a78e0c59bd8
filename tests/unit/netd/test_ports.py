"""Which ports of the node are given."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.netd.core import sandboxes
from services.netd.core.ports import BINDINGS_MAX, NodePorts
from services.netd.core.state import State, apply
from services.netd.model.address import ANY
from services.netd.model.port import HostPort, PortBinding, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import SandboxSpec
from tests.unit.netd.strategies import base_state, new_ids, port_specs, unhurried

EPHEMERAL = PortRange(first=40000, last=40003)
LOOPBACK = IPv4Address("127.0.0.1")


def spec(target: int | tuple[int, int], host: int | tuple[int, int] | None = None, **fields: Any) -> PortSpec:
    def as_range(value: int | tuple[int, int]) -> PortRange:
        return (
            PortRange(first=value, last=value)
            if isinstance(value, int)
            else PortRange(first=value[0], last=value[1])
        )

    return PortSpec(target=as_range(target), host=None if host is None else as_range(host), **fields)


def with_sandbox(
    state: State, sandbox_id: str, *specs: PortSpec, foreign: dict[HostPort, str] | None = None
) -> State:
    node = NodePorts(ephemeral=EPHEMERAL, foreign=foreign or {})
    wanted = SandboxSpec(id=sandbox_id, name=f"name-{sandbox_id}", ports=specs)
    change = sandboxes.plan_create(state, wanted, node=node, chance=new_ids(hash(sandbox_id) % 1000))
    assert change is not None
    return apply(state, change)


def host_ports(state: State, sandbox_id: str) -> list[int]:
    return [binding.host.port for binding in state.sandboxes[sandbox_id].ports]


def test_one_to_one() -> None:
    state = with_sandbox(base_state(), "a", spec((80, 82), (8080, 8082)), spec(53, 53, protocol=Protocol.UDP))
    assert [(binding.host.port, binding.target) for binding in state.sandboxes["a"].ports] == [
        (8080, 80),
        (8081, 81),
        (8082, 82),
        (53, 53),
    ]


def test_a_range_for_one_target_gives_the_first_free_port() -> None:
    state = with_sandbox(base_state(), "a", spec(80, (8000, 8002)))
    state = with_sandbox(state, "b", spec(80, (8000, 8002)))
    assert (host_ports(state, "a"), host_ports(state, "b")) == ([8000], [8001])


def test_a_range_that_is_used_up_is_refused() -> None:
    state = with_sandbox(base_state(), "a", spec((1, 3), (8000, 8002)))
    with pytest.raises(errors.Exhausted) as caught:
        with_sandbox(state, "b", spec(80, (8000, 8002)))
    assert caught.value.reason == "PORTS_EXHAUSTED"


def test_ephemeral_ports_are_all_different_until_none_is_left() -> None:
    state = with_sandbox(base_state(), "a", *[spec(target) for target in (1, 2, 3, 4)])
    assert sorted(host_ports(state, "a")) == list(EPHEMERAL)
    with pytest.raises(errors.Exhausted):
        with_sandbox(state, "b", spec(1))


def test_a_choice_does_not_take_what_is_asked_for_by_number() -> None:
    for seed in range(20):
        change = sandboxes.plan_create(
            base_state(),
            SandboxSpec(
                id="a",
                ports=(spec(1), spec(2, (40000, 40001)), spec(3, 40000), spec(4, 40001, host_ip=ANY))[:3],
            ),
            node=NodePorts(ephemeral=EPHEMERAL),
            chance=new_ids(seed),
        )
        assert change is not None
        by_target = {binding.target: binding.host.port for binding in change.sandbox.ports}
        assert by_target[3] == 40000
        assert by_target[2] == 40001


def test_a_port_of_another_sandbox_is_refused_by_its_name() -> None:
    state = with_sandbox(base_state(), "a", spec(80, 8080))
    with pytest.raises(errors.FailedPrecondition, match=r"name-a \(a\)") as caught:
        with_sandbox(state, "b", spec(80, 8080))
    assert caught.value.reason == "PORT_IN_USE"
    assert caught.value.metadata == {"port": "8080", "protocol": "tcp", "holder": "sandbox name-a (a)"}
    with_sandbox(state, "b", spec(80, 8080, protocol=Protocol.UDP))


def test_a_port_of_a_program_is_refused_by_its_name() -> None:
    foreign = {HostPort(protocol=Protocol.TCP, port=8080): "the program nginx (process 7)"}
    with pytest.raises(errors.FailedPrecondition, match=r"nginx"):
        with_sandbox(base_state(), "a", spec(80, 8080), foreign=foreign)
    state = with_sandbox(base_state(), "a", spec(80, (8080, 8081)), foreign=foreign)
    assert host_ports(state, "a") == [8081]


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (ANY, ANY, False),
        (ANY, LOOPBACK, False),
        (LOOPBACK, ANY, False),
        (LOOPBACK, LOOPBACK, False),
        (LOOPBACK, IPv4Address("10.0.0.1"), True),
    ],
)
def test_addresses_of_the_node_overlap_with_all_of_them(
    first: IPv4Address, second: IPv4Address, fits: bool
) -> None:
    state = with_sandbox(base_state(), "a", spec(80, 80, host_ip=first))
    if fits:
        with_sandbox(state, "b", spec(80, 80, host_ip=second))
    else:
        with pytest.raises(errors.FailedPrecondition):
            with_sandbox(state, "b", spec(80, 80, host_ip=second))


def test_a_shared_port_needs_everybodys_consent() -> None:
    state = with_sandbox(base_state(), "a", spec(80, 80, shared=True))
    state = with_sandbox(state, "b", spec(80, 80, shared=True))
    for stranger in (spec(80, 80), spec(80, 80, shared=True, host_ip=LOOPBACK)):
        with pytest.raises(errors.FailedPrecondition):
            with_sandbox(state, "c", stranger)


def test_the_same_port_twice_is_a_contradiction_or_the_same_thing() -> None:
    assert host_ports(with_sandbox(base_state(), "a", spec(80, 80), spec(80, 80)), "a") == [80]
    with pytest.raises(errors.FailedPrecondition, match="this same sandbox"):
        with_sandbox(base_state(), "a", spec(80, 80), spec(81, 80))


def test_too_many_ports_are_refused() -> None:
    with pytest.raises(errors.Invalid, match=str(BINDINGS_MAX)):
        with_sandbox(base_state(), "a", spec((1, BINDINGS_MAX + 1), (1, BINDINGS_MAX + 1)))


@pytest.mark.parametrize("target", [0, 65536])
def test_ports_are_numbers_of_sixteen_bits(target: int) -> None:
    with pytest.raises(errors.Invalid):
        spec(target)


def test_ranges_of_different_length_do_not_map() -> None:
    with pytest.raises(errors.Invalid):
        spec((80, 82), (8080, 8081))


def test_ports_that_stay_keep_their_number() -> None:
    node = NodePorts(ephemeral=PortRange(first=40000, last=49999))
    state = base_state()
    change = sandboxes.plan_create(
        state, SandboxSpec(id="a", ports=(spec(80), spec(81))), node=node, chance=new_ids(1)
    )
    assert change is not None
    state = apply(state, change)
    before = {binding.target: binding.host.port for binding in state.sandboxes["a"].ports}
    changed = sandboxes.plan_ports(state, "a", [spec(80), spec(90, 9000)], node=node, chance=new_ids(2))
    assert changed is not None
    after = {binding.target: binding.host.port for binding in changed.sandbox.ports}
    assert after == {80: before[80], 90: 9000}


@unhurried
@given(st.lists(st.lists(port_specs, max_size=4), max_size=6))
def test_no_port_is_given_twice_unless_shared(wishes: list[list[PortSpec]]) -> None:
    state = base_state()
    node = NodePorts(ephemeral=PortRange(first=40000, last=40040))
    for number, wish in enumerate(wishes):
        wanted = SandboxSpec(id=f"s{number}", ports=tuple(wish))
        try:
            change = sandboxes.plan_create(state, wanted, node=node, chance=new_ids(number + 1))
        except errors.BeeyardError:
            continue
        assert change is not None
        state = apply(state, change)
    given_out: list[tuple[str, PortBinding]] = [
        (sandbox.id, binding) for sandbox in state.sandboxes.values() for binding in sandbox.ports
    ]
    for position, (owner, binding) in enumerate(given_out):
        for other_owner, other in given_out[position + 1 :]:
            if binding.host.overlaps(other.host):
                assert owner != other_owner or binding != other
                assert binding.shared and other.shared and binding.host == other.host
    claims = sum(len(claims) for claims in state.reservations.values())
    assert claims == len(given_out)


def test_reservations_go_with_their_sandbox() -> None:
    state = with_sandbox(
        base_state(), "a", spec(80, 80, host_ip=LOOPBACK), spec(80, 80, host_ip=IPv4Address("10.0.0.1"))
    )
    change = sandboxes.plan_remove(state, "a", chance=new_ids())
    assert change is not None
    assert apply(state, change).reservations == {}
