"""Desired and observed: after the operations there is no difference, wherever one starts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.netd.core import sandboxes
from services.netd.core.state import State, apply
from services.netd.kernel.ports import Scope
from services.netd.model.sandbox import SandboxSpec
from services.netd.plan import operations as op
from services.netd.plan.desired import derive, derive_sandbox, derive_table
from services.netd.plan.diff import diff
from services.netd.plan.observed import DefaultRoute, Link
from services.netd.plan.operations import Operation
from tests.contract.netd.fake_kernel import FakeKernel
from tests.unit.netd.strategies import NODE_PORTS, base_state, histories, new_ids, states, unhurried


def scope(state: State) -> Scope:
    wanted = derive(state, derive_table(state))
    names = [*wanted.sysctls, *(name for bridge in wanted.bridges.values() for name in bridge.sysctls)]
    return Scope(sysctls=names)


def converge(kernel: FakeKernel, state: State) -> list[Operation]:
    """Make the kernel match; return what was done. One pass must be enough."""
    operations = diff(derive(state, derive_table(state)), kernel.observe(scope(state)))
    failures = kernel.apply(operations)
    assert not failures, failures
    assert diff(derive(state, derive_table(state)), kernel.observe(scope(state))) == []
    return operations


@unhurried
@given(states())
def test_an_empty_kernel_becomes_what_is_wanted(state: State) -> None:
    kernel = FakeKernel()
    converge(kernel, state)
    assert set(kernel.namespaces) == {
        sandbox.id for sandbox in state.sandboxes.values() if sandbox.spec.mode != "host"
    }


@unhurried
@given(histories())
def test_a_state_becomes_what_follows_it(history: tuple[State, State]) -> None:
    before, after = history
    kernel = FakeKernel()
    converge(kernel, before)
    converge(kernel, after)


@unhurried
@given(states())
def test_nothing_is_left_of_a_node_that_is_emptied(state: State) -> None:
    kernel, fresh = FakeKernel(), FakeKernel()
    converge(fresh, base_state())
    converge(kernel, state)
    converge(kernel, base_state())
    assert (kernel.links, kernel.namespaces, kernel.table) == (fresh.links, fresh.namespaces, fresh.table)


@unhurried
@given(states(), st.data())
def test_what_somebody_broke_is_mended(state: State, data: st.DataObject) -> None:
    kernel = FakeKernel()
    converge(kernel, state)
    vandalise(kernel, data)
    converge(kernel, state)


@unhurried
@given(states(), st.data())
def test_a_failure_stops_its_own_object_only(state: State, data: st.DataObject) -> None:
    """Whatever is refused, everything else is done, and a second pass does the rest."""
    kernel = FakeKernel()
    operations = diff(derive(state, derive_table(state)), kernel.observe(scope(state)))
    refused = data.draw(st.sampled_from(operations))
    kernel.refuses = lambda operation: operation == refused
    failures = kernel.apply(operations)
    assert failures[0].operation == refused
    kernel.refuses = lambda _operation: False
    converge(kernel, state)


@unhurried
@given(states())
def test_a_part_is_part_of_the_whole(state: State) -> None:
    """Making the sandboxes one by one, each with a look at itself only, comes to the same."""
    kernel, whole = FakeKernel(), FakeKernel()
    converge(whole, state)
    converge(kernel, base_state_of(state))
    for sandbox_id in state.sandboxes:
        wanted = derive_sandbox(state, sandbox_id, derive_table(state))
        links = [end.host_link for namespace in wanted.namespaces.values() for end in namespace.attachments]
        assert kernel.apply(diff(wanted, kernel.observe(Scope(links=links, sandboxes=[sandbox_id])))) == []
    assert (kernel.links, kernel.namespaces, kernel.table) == (whole.links, whole.namespaces, whole.table)


def base_state_of(state: State) -> State:
    return replace(state, sandboxes={}, reservations={})


def vandalise(kernel: FakeKernel, data: st.DataObject) -> None:
    """Do what somebody with root and no idea might do."""
    ours = sorted(name for name, link in kernel.links.items() if link.ours)
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(
            st.sampled_from(["table", "rules", "link", "down", "free", "sysctl", "namespace", "inside"])
        ):
            case "table":
                kernel.table = None
            case "rules" if kernel.table is not None:
                chains = dict(kernel.table.chains)
                name = data.draw(st.sampled_from(sorted(chains)))
                rules = data.draw(st.permutations([*chains[name].rules, "?"]))
                kernel.table = replace(
                    kernel.table, chains={**chains, name: replace(chains[name], rules=tuple(rules))}
                )
            case "link":
                kernel.apply([op.RemoveLink(name=data.draw(st.sampled_from(ours)))])
            case "down" | "free" as what:
                name = data.draw(st.sampled_from(ours))
                if link := kernel.links.get(name):
                    kernel.links[name] = (
                        replace(link, up=False, mtu=1400)
                        if what == "down"
                        else replace(link, master="", ours=False)
                    )
            case "sysctl":
                kernel.sysctls = dict.fromkeys(kernel.sysctls, "7")
            case "namespace" if kernel.namespaces:
                kernel.apply(
                    [op.RemoveNamespace(sandbox_id=data.draw(st.sampled_from(sorted(kernel.namespaces))))]
                )
            case "inside" if kernel.namespaces:
                inside = kernel.namespaces[data.draw(st.sampled_from(sorted(kernel.namespaces)))]
                inside.routes.clear()
                for name, link in inside.links.items():
                    if link.ours:
                        inside.links[name] = replace(link, addresses=(), up=False)
            case _:
                pass


def test_what_a_container_does_to_its_own_network_stays() -> None:
    kernel = FakeKernel()
    state = state_with_sandbox()
    converge(kernel, state)
    inside = kernel.namespaces["s"]
    tunnel = Link(name="tun0", kind="tun", mac="", mtu=1400, up=True)
    inside.links["tun0"] = tunnel
    mine = DefaultRoute(gateway=None, interface="tun0", ours=False)
    inside.routes[:] = [mine]
    assert converge(kernel, state) == []
    assert inside.links["tun0"] == tunnel
    assert inside.routes == [mine]


def test_links_of_others_are_not_touched() -> None:
    kernel = FakeKernel()
    theirs = Link(name="docker0", kind="bridge", mac="02:42:00:00:00:01", mtu=1500, up=True)
    kernel.links["docker0"] = theirs
    converge(kernel, state_with_sandbox())
    converge(kernel, base_state())
    assert kernel.links["docker0"] == theirs


def test_the_nodes_end_comes_up_last() -> None:
    kernel = FakeKernel()
    operations = converge(kernel, state_with_sandbox())
    inside = [operation for operation in operations if op.subject(operation) == "sandbox s"]
    assert isinstance(inside[0], op.CreateNamespace)
    assert isinstance(inside[-1], op.ActivatePort)


def test_rules_come_before_what_they_are_about() -> None:
    kernel = FakeKernel()
    operations = converge(kernel, state_with_sandbox())
    kinds = [type(operation) for operation in operations]
    assert kinds.index(op.ApplyTable) < kinds.index(op.CreateBridge) < kinds.index(op.CreateNamespace)


def test_without_ipv6_nothing_is_said_about_it() -> None:
    kernel = FakeKernel()
    state = base_state()
    observed = replace(kernel.observe(scope(state)), ipv6=False)
    names = [
        operation.name
        for operation in diff(derive(state, derive_table(state)), observed)
        if isinstance(operation, op.SetSysctl)
    ]
    assert names == ["net/ipv4/ip_forward", "net/ipv4/conf/beeyard0/route_localnet"]


def state_with_sandbox() -> State:
    state = base_state()
    change = sandboxes.plan_create(state, SandboxSpec(id="s"), node=NODE_PORTS, chance=new_ids())
    assert change is not None
    return apply(state, change)
