"""What every kernel adapter does, the one in memory and the real one alike."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from services.netd.core import networks, sandboxes
from services.netd.core.state import RemoveNetwork, State, apply
from services.netd.kernel.ports import Kernel, Scope
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.port import HostPort, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Mode, SandboxSpec
from services.netd.plan import operations as op
from services.netd.plan.desired import Bridge, Namespace, derive, derive_sandbox, derive_table
from services.netd.plan.diff import diff
from services.netd.plan.operations import Operation
from tests.unit.netd.strategies import NODE_PORTS, NOW, NOWHERE, SETTINGS, base_state, new_ids

chance = new_ids(7)


def scope(state: State) -> Scope:
    wanted = derive(state, derive_table(state))
    return Scope(
        sysctls=[*wanted.sysctls, *(name for bridge in wanted.bridges.values() for name in bridge.sysctls)]
    )


def difference(kernel: Kernel, state: State) -> list[Operation]:
    return diff(derive(state, derive_table(state)), kernel.observe(scope(state)))


def converge(kernel: Kernel, state: State) -> list[Operation]:
    operations = difference(kernel, state)
    assert kernel.apply(operations) == []
    assert difference(kernel, state) == []
    return operations


def with_network(state: State, name: str, **spec: Any) -> State:
    change = networks.plan_create(
        state,
        NetworkSpec(name=name, **spec),
        settings=SETTINGS,
        host=NOWHERE,
        network_id=chance.new_id(),
        now=NOW,
    )
    return apply(state, change)


def with_sandbox(
    state: State, sandbox_id: str, *names: str, ports: tuple[PortSpec, ...] = (), **spec: Any
) -> State:
    wanted = SandboxSpec(
        id=sandbox_id, endpoints=tuple(EndpointSpec(network=name) for name in names), ports=ports, **spec
    )
    change = sandboxes.plan_create(state, wanted, node=NODE_PORTS, chance=chance)
    assert change is not None
    return apply(state, change)


def without_sandbox(state: State, sandbox_id: str) -> State:
    change = sandboxes.plan_remove(state, sandbox_id, chance=chance)
    assert change is not None
    return apply(state, change)


def full_state() -> State:
    """Everything at once: networks of both kinds, shared ports, ranges, addresses of the node."""
    loopback = IPv4Address("127.0.0.1")
    shared = PortSpec(target=PortRange(first=80, last=80), host=PortRange(first=80, last=80), shared=True)
    ports = (
        shared,
        replace(shared, host=PortRange(first=81, last=81), host_ip=loopback),
        PortSpec(target=PortRange(first=7000, last=7099), host=PortRange(first=7000, last=7099)),
        PortSpec(target=PortRange(first=53, last=53), protocol=Protocol.UDP),
        PortSpec(target=PortRange(first=9, last=9), host=PortRange(first=9005, last=9005), host_ip=loopback),
    )
    state = with_network(base_state(), "web")
    state = with_network(state, "cell", internal=True)
    state = with_sandbox(state, "a", "bridge", "web", ports=ports)
    state = with_sandbox(state, "b", "web", "cell", ports=(shared, ports[1]))
    state = with_sandbox(state, "c", "cell")
    state = with_sandbox(state, "n", mode=Mode.NONE)
    return with_sandbox(state, "h", mode=Mode.HOST)


def test_what_was_applied_is_observed(kernel: Kernel) -> None:
    converge(kernel, full_state())


def test_a_second_pass_has_nothing_to_do(kernel: Kernel) -> None:
    state = full_state()
    converge(kernel, state)
    assert converge(kernel, state) == []


def test_changes_are_applied_as_changes(kernel: Kernel) -> None:
    state = full_state()
    converge(kernel, state)
    shrunk = without_sandbox(without_sandbox(state, "a"), "c")
    assert not any(
        isinstance(operation, op.ApplyTable)
        and operation.change == derive(shrunk, derive_table(shrunk)).table
        for operation in converge(kernel, shrunk)
    ), "the table is made anew although a change would do"
    converge(kernel, state)
    gone = without_sandbox(shrunk, "b")
    cell = networks.find(gone, "cell")
    converge(kernel, apply(gone, RemoveNetwork(network_id=cell.id)))
    converge(kernel, base_state())
    observed = kernel.observe(Scope())
    assert observed.namespaces == {}
    assert [link.name for link in observed.links.values() if link.ours and link.kind == "bridge"] == [
        "beeyard0"
    ]


def test_a_sandbox_leaves_and_joins_a_network(kernel: Kernel) -> None:
    state = full_state()
    converge(kernel, state)
    for network in ("bridge", "web"):  # the second was, by then, its way out
        change = sandboxes.plan_disconnect(state, "a", network, chance=chance)
        assert change is not None
        state = apply(state, change)
        converge(kernel, state)
    change = sandboxes.plan_connect(
        state, "a", EndpointSpec(network="bridge"), node=NODE_PORTS, chance=chance
    )
    assert change is not None
    converge(kernel, apply(state, change))


def test_a_scoped_look_sees_what_it_asks_for(kernel: Kernel) -> None:
    state = full_state()
    converge(kernel, state)
    wanted = derive_sandbox(state, "b", derive_table(state))
    names = [end.host_link for end in wanted.namespaces["b"].attachments]
    observed = kernel.observe(Scope(links=[*names, "nowhere"], sandboxes=["b", "nobody"], table=False))
    assert set(observed.links) == set(names)
    assert set(observed.namespaces) == {"b"}
    assert observed.table is None
    assert {link.master for link in observed.links.values()} == {
        end.bridge for end in wanted.namespaces["b"].attachments
    }


def test_a_failure_skips_the_rest_of_its_object_only(kernel: Kernel) -> None:
    state = with_sandbox(with_sandbox(base_state(), "a"), "b")
    converge(kernel, base_state())
    operations = difference(kernel, state)
    spoilt: list[Operation] = []
    for operation in operations:
        if isinstance(operation, op.CreatePair) and operation.sandbox_id == "a":
            attachment = replace(operation.attachment, bridge="nowhere")
            spoilt.append(replace(operation, attachment=attachment))
        else:
            spoilt.append(operation)
    (failure,) = kernel.apply(spoilt)
    assert isinstance(failure.operation, op.CreatePair)
    assert isinstance(failure.error, OSError)
    observed = kernel.observe(Scope())
    seen = observed.namespaces["b"]
    assert seen is not None and "eth0" in seen.links
    converge(kernel, state)


def test_removing_what_is_gone_is_fine(kernel: Kernel) -> None:
    converge(kernel, base_state())
    assert kernel.apply([op.RemoveLink(name="nowhere")]) == []


def test_making_what_is_there_is_refused(kernel: Kernel) -> None:
    converge(kernel, base_state())
    bridge = Bridge(link="beeyard0", mac="02:42:0a:00:00:01", mtu=1500, address=IPv4Interface("10.0.0.1/24"))
    (failure,) = kernel.apply([op.CreateBridge(bridge=bridge)])
    assert isinstance(failure.error, OSError)


def test_a_survey_names_the_links(kernel: Kernel) -> None:
    converge(kernel, base_state())
    host = kernel.survey(frozenset({"beeyard0"}))
    assert {"lo", "beeyard0"} <= host.links
    assert not any(known.link == "beeyard0" for known in host.subnets)


def test_sysctls_of_a_sandbox_are_set(kernel: Kernel) -> None:
    converge(kernel, base_state())
    wanted = Namespace(
        sandbox_id="s",
        sysctls={"net/ipv4/ip_unprivileged_port_start": "0"},
        attachments=(),
        gateway=None,
        gateway_interface="",
    )
    assert kernel.apply([op.CreateNamespace(namespace=wanted)]) == []
    assert kernel.apply([op.RemoveNamespace(sandbox_id="s")]) == []


def test_flows_are_forgotten_also_if_there_are_none(kernel: Kernel) -> None:
    port = HostPort(protocol=Protocol.UDP, port=53)
    kernel.forget_flows([IPv4Address("172.17.0.2")], [port])


def test_it_says_what_it_rests_on(kernel: Kernel) -> None:
    assert all(version[0].isdigit() for version in kernel.components().values())


def test_on_a_node_of_its_own_nothing_is_in_the_way(kernel: Kernel) -> None:
    converge(kernel, full_state())
    assert kernel.obstacles() == []
