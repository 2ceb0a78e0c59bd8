"""What becomes of requests about sandboxes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from services.kit import errors
from services.netd.core import networks, sandboxes
from services.netd.core.state import PutSandbox, State, apply
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.port import PortRange, PortSpec
from services.netd.model.sandbox import ExtraHost, Mode, Sandbox, SandboxSpec
from tests.unit.netd.strategies import NODE_PORTS, NOW, NOWHERE, SETTINGS, base_state, new_ids

chance = new_ids(3)
WEB = PortSpec(target=PortRange(first=80, last=80), host=PortRange(first=80, last=80))


def with_network(state: State, name: str, **fields: Any) -> State:
    change = networks.plan_create(
        state,
        NetworkSpec(name=name, **fields),
        settings=SETTINGS,
        host=NOWHERE,
        network_id=chance.new_id(),
        now=NOW,
    )
    return apply(state, change)


def create(
    state: State, *names: str | EndpointSpec, sandbox_id: str = "s", **fields: Any
) -> tuple[State, Sandbox]:
    endpoints = tuple(EndpointSpec(network=name) if isinstance(name, str) else name for name in names)
    change = sandboxes.plan_create(
        state, SandboxSpec(id=sandbox_id, endpoints=endpoints, **fields), node=NODE_PORTS, chance=chance
    )
    assert change is not None
    return apply(state, change), change.sandbox


def test_without_networks_it_is_in_the_default_one() -> None:
    _, sandbox = create(base_state())
    (endpoint,) = sandbox.endpoints
    assert str(endpoint.address) == "172.17.0.2/24"
    assert endpoint.mac == "02:42:ac:11:00:02"
    assert endpoint.interface == "eth0"
    assert str(endpoint.gateway) == "172.17.0.1"
    assert len(endpoint.host_link) <= 15


def test_interfaces_are_numbered_and_the_first_leads_out() -> None:
    state = with_network(with_network(base_state(), "cell", internal=True), "web")
    _, sandbox = create(state, "cell", "web", "bridge")
    assert [endpoint.interface for endpoint in sandbox.endpoints] == ["eth0", "eth1", "eth2"]
    assert sandbox.endpoints[0].gateway is None
    assert sandbox.gateway_endpoint == sandbox.endpoints[1]


def test_priority_decides_which_network_leads_out() -> None:
    state = with_network(base_state(), "web")
    _, sandbox = create(
        state, EndpointSpec(network="web"), EndpointSpec(network="bridge", gateway_priority=1)
    )
    assert sandbox.gateway_endpoint == sandbox.endpoints[1]


def test_a_fixed_address_and_mac() -> None:
    wish = EndpointSpec(network="bridge", ip=IPv4Address("172.17.0.9"), mac="02:00:00:00:00:09")
    state, sandbox = create(base_state(), wish)
    assert (str(sandbox.endpoints[0].address.ip), sandbox.endpoints[0].mac) == (
        "172.17.0.9",
        "02:00:00:00:00:09",
    )
    with pytest.raises(errors.AlreadyExists) as caught:
        create(state, wish, sandbox_id="t")
    assert caught.value.reason == "ADDRESS_IN_USE"
    for outside in ("10.0.0.1", "172.17.0.1", "172.17.0.255"):
        with pytest.raises(errors.Invalid):
            create(base_state(), replace(wish, ip=IPv4Address(outside)))


def test_the_same_spec_again_is_the_same_request() -> None:
    state, sandbox = create(base_state(), hostname="h")
    assert sandboxes.plan_create(state, sandbox.spec, node=NODE_PORTS, chance=chance) is None
    with pytest.raises(errors.AlreadyExists) as caught:
        sandboxes.plan_create(state, replace(sandbox.spec, hostname="other"), node=NODE_PORTS, chance=chance)
    assert caught.value.reason == "SANDBOX_DIFFERS"


def test_a_refused_sandbox_takes_nothing() -> None:
    state, _ = create(with_network(base_state(), "web"), ports=(WEB,))
    with pytest.raises(errors.FailedPrecondition):
        create(state, "web", sandbox_id="t", ports=(WEB,))
    assert state.pools[networks.find(state, "web").id].used_count == 0


def test_an_exhausted_network_is_named() -> None:
    state = with_network(base_state(), "tiny", subnet=IPv4Network("10.0.0.0/30"))
    state, _ = create(state, "tiny")
    with pytest.raises(errors.Exhausted) as caught:
        create(state, "tiny", sandbox_id="t")
    assert caught.value.reason == "ADDRESS_POOL_EXHAUSTED"
    assert caught.value.metadata["network"] == "tiny"


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.HOST])
def test_modes_without_endpoints(mode: Mode) -> None:
    _, sandbox = create(base_state(), mode=mode, ports=(WEB,))
    assert sandbox.endpoints == ()
    assert sandbox.ports == ()
    assert len(sandboxes.warnings(sandbox)) == 1
    with pytest.raises(errors.Invalid):
        create(base_state(), "bridge", mode=mode)


def test_ports_of_an_internal_sandbox_are_discarded_with_a_warning() -> None:
    state = with_network(base_state(), "cell", internal=True)
    state, sandbox = create(state, "cell", ports=(WEB,))
    assert sandbox.ports == ()
    assert sandboxes.warnings(sandbox)
    change = sandboxes.plan_connect(
        state, "s", EndpointSpec(network="bridge"), node=NODE_PORTS, chance=chance
    )
    assert change is not None
    assert len(change.sandbox.ports) == 1, "now they lead somewhere"
    assert not sandboxes.warnings(change.sandbox)


@pytest.mark.parametrize(
    "fields",
    [
        {"sandbox_id": "../etc"},
        {"sandbox_id": ""},
        {"sandbox_id": "a/b"},
        {"hostname": "two words"},
        {"hostname": "x\n6.6.6.6 bank"},
        {"domainname": "-"},
        {"sysctls": (("kernel.shmmax", "1"),)},
        {"sysctls": (("net.ipv4/../../kernel/shmmax", "1"),)},
        {"sysctls": (("net..x", "1"),)},
        {"sysctls": (("net.ipv4.ip_forward", "1\n"),)},
        {"mode": Mode.HOST, "sysctls": (("net.ipv4.ip_forward", "0"),)},
        {"extra_hosts": tuple(ExtraHost(name=f"h{number}", address="10.0.0.1") for number in range(300))},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.Invalid):
        create(base_state(), **fields)


def test_networks_that_cannot_be_joined() -> None:
    for name in ("host", "none"):
        with pytest.raises(errors.Invalid):
            create(base_state(), name)
    with pytest.raises(errors.Invalid, match="twice"):
        create(base_state(), "bridge", "bridge")
    with pytest.raises(errors.NotFound):
        create(base_state(), "nowhere")


def connect(state: State, spec: EndpointSpec) -> PutSandbox | None:
    return sandboxes.plan_connect(state, "s", spec, node=NODE_PORTS, chance=chance)


def test_connecting_and_disconnecting() -> None:
    state, _ = create(with_network(base_state(), "web"), ports=(WEB,))
    change = connect(state, EndpointSpec(network="web"))
    assert change is not None
    state = apply(state, change)
    assert connect(state, EndpointSpec(network="web")) is None
    with pytest.raises(errors.AlreadyExists):
        connect(state, EndpointSpec(network="web", ip=IPv4Address("172.17.1.77")))
    change = sandboxes.plan_disconnect(state, "s", "bridge", chance=chance)
    assert change is not None
    state = apply(state, change)
    left = state.sandboxes["s"]
    assert [endpoint.interface for endpoint in left.endpoints] == ["eth1"]
    assert left.published_to == left.endpoints[0].address.ip
    assert sandboxes.plan_disconnect(state, "s", "bridge", chance=chance) is None
    change = connect(state, EndpointSpec(network="bridge"))
    assert change is not None
    assert {endpoint.interface for endpoint in change.sandbox.endpoints} == {"eth0", "eth1"}
    change = sandboxes.plan_disconnect(state, "s", "web", chance=chance)
    assert change is not None
    assert change.sandbox.ports == (), "nothing leads to it any more"


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.HOST])
def test_modes_that_cannot_be_connected(mode: Mode) -> None:
    state, _ = create(base_state(), mode=mode)
    with pytest.raises(errors.FailedPrecondition):
        connect(state, EndpointSpec(network="bridge"))


def test_strangers_are_not_found() -> None:
    for call in (
        lambda: connect(base_state(), EndpointSpec(network="bridge")),
        lambda: sandboxes.plan_disconnect(base_state(), "s", "bridge", chance=chance),
        lambda: sandboxes.plan_ports(base_state(), "s", [], node=NODE_PORTS, chance=chance),
    ):
        with pytest.raises(errors.NotFound) as caught:
            call()
        assert caught.value.reason == "SANDBOX_NOT_FOUND"
    assert sandboxes.plan_remove(base_state(), "s", chance=chance) is None


def test_the_networks_address_for_ports_is_used() -> None:
    state = with_network(
        base_state(), "local", driver_opts={"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
    )
    _, sandbox = create(
        state, "local", ports=(WEB, replace(WEB, host=PortRange(first=81, last=81), host_ip=IPv4Address(0)))
    )
    assert [str(binding.host) for binding in sandbox.ports] == ["127.0.0.1:80/tcp", "0.0.0.0:81/tcp"]
