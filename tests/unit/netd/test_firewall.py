"""Rules as data, and what nftables is told.

The scripts stand in tests/golden/netd: run with REWRITE_GOLDEN=1 to renew them, and read the difference.
"""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.netd.core import networks, sandboxes
from services.netd.core.state import State, apply
from services.netd.firewall import delta, listing, render, ruleset
from services.netd.firewall.delta import Delta
from services.netd.firewall.table import Chain, Hook, Lookup, Rule, Seen, Table
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.port import PortRange, PortSpec, Protocol
from services.netd.model.sandbox import SandboxSpec
from tests.contract.netd.fake_kernel import changed
from tests.unit.netd.strategies import (
    NODE_PORTS,
    NOW,
    NOWHERE,
    SETTINGS,
    base_state,
    histories,
    new_ids,
    states,
    unhurried,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "netd"


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def ports(first: int, last: int, host: int, **fields: Any) -> PortSpec:
    return PortSpec(
        target=PortRange(first=first, last=last),
        host=PortRange(first=host, last=host + last - first),
        **fields,
    )


def full_state() -> State:
    chance = new_ids(5)
    state = base_state()
    for name, fields in (("web", {}), ("cell", {"internal": True})):
        spec = NetworkSpec(name=name, **fields)
        state = apply(
            state,
            networks.plan_create(
                state, spec, settings=SETTINGS, host=NOWHERE, network_id=(name * 32)[:64], now=NOW
            ),
        )
    shared = ports(80, 80, 80, shared=True)
    wishes = {
        "a": (
            ports(80, 80, 8080),
            ports(53, 53, 53, protocol=Protocol.UDP),
            ports(9, 9, 9005, host_ip=IPv4Address("127.0.0.1")),
            ports(7000, 7999, 7000),
            ports(6000, 6003, 6000),
            shared,
        ),
        "b": (shared, ports(80, 80, 81, shared=True, host_ip=IPv4Address("10.77.0.1"))),
        "c": (shared,),
    }
    for name, wish in wishes.items():
        spec = SandboxSpec(id=name, endpoints=(EndpointSpec(network="web"),), ports=wish)
        change = sandboxes.plan_create(state, spec, node=NODE_PORTS, chance=chance)
        assert change is not None
        state = apply(state, change)
    return state


def table(state: State) -> Table:
    return ruleset.build(state.networks.values(), state.sandboxes.values())


def without(state: State, sandbox_id: str) -> State:
    change = sandboxes.plan_remove(state, sandbox_id, chance=new_ids())
    assert change is not None
    return apply(state, change)


def test_the_table_of_a_new_node() -> None:
    check_golden("new-node.nft", render.render_table(table(base_state())))


def test_a_table_with_everything() -> None:
    check_golden("everything.nft", render.render_table(table(full_state())))


def test_a_backend_of_a_shared_port_goes() -> None:
    before, after = full_state(), without(full_state(), "c")
    change = delta.plan(table(before).seen, table(after))
    assert isinstance(change, Delta)
    check_golden("backend-goes.nft", render.render_delta(change))


def test_the_last_backend_goes() -> None:
    before = without(without(full_state(), "a"), "b")
    change = delta.plan(table(before).seen, table(without(before, "c")))
    assert isinstance(change, Delta)
    check_golden("last-backend-goes.nft", render.render_delta(change))


def test_a_short_run_of_ports_is_single_elements() -> None:
    lookups = {lookup.name: lookup for lookup in table(full_state()).lookups}
    assert ("6", "6000") in lookups["published"].elements
    assert list(lookups["published_range"].elements) == [("6", "7000-7999")]


@unhurried
@given(states())
def test_the_same_table_needs_nothing(state: State) -> None:
    change = delta.plan(table(state).seen, table(state))
    assert isinstance(change, Delta)
    assert change.empty
    assert render.render_delta(change) == ""


@unhurried
@given(histories())
def test_a_delta_leads_from_one_table_to_the_other(history: tuple[State, State]) -> None:
    before, after = table(history[0]), table(history[1])
    change = delta.plan(before.seen, after)
    assert isinstance(change, Delta)
    assert changed(before.seen, change) == after.seen
    assert not {chain.name for chain in change.changed_chains} & {
        "forward",
        "postrouting",
        "publish",
        "raw",
    }, "rules change although only elements should"


HOOK = Hook(kind="filter", hook="forward", priority=0)
SMALL = Table(
    family="ip",
    name="t",
    lookups=(Lookup(name="s", key=("ifname",), elements={("a",): ()}),),
    chains=(Chain(name="c", hook=HOOK, rules=(Rule(name="r", text="accept"),)),),
)


@pytest.mark.parametrize(
    "seen",
    [
        None,
        replace(SMALL, chains=(replace(SMALL.chains[0], hook=replace(HOOK, priority=7)),)).seen,
        replace(SMALL, lookups=(replace(SMALL.lookups[0], interval=True),)).seen,
        replace(SMALL, lookups=(replace(SMALL.lookups[0], elements={("? {}",): ()}),)).seen,
        replace(SMALL, lookups=(replace(SMALL.lookups[0], elements={("a", "b"): ()}),)).seen,
    ],
    ids=["absent", "hook", "kind", "foreign", "shape"],
)
def test_what_cannot_be_changed_is_made_anew(seen: Seen | None) -> None:
    assert delta.plan(seen, SMALL) == SMALL


def test_a_rule_is_known_by_its_text() -> None:
    rule = Rule(name="r", text="accept")
    assert rule.identity.startswith("r ")
    assert rule.identity != replace(rule, text="drop").identity


def test_a_name_cannot_end_the_string_that_it_is_in() -> None:
    """Names come from users; the model refuses what would need quoting."""
    quoted = Lookup(name="s", key=("ifname",), elements={('x" } ; flush ruleset',): ()})
    with pytest.raises(AssertionError):
        render.render_table(replace(SMALL, lookups=(quoted,)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@unhurried
@given(st.lists(JSON, max_size=4), JSON)
def test_any_elements_can_be_listed(elements: list[Any], kind: Any) -> None:
    body = {"name": "s", "elem": elements, "type": kind}
    seen = listing.parse({"nftables": [{"set": body}, {"map": {**body, "name": "m", "map": "verdict"}}]})
    assert set(seen.lookups) == {"s", "m"}
