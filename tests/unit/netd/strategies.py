"""Arbitrary states of a node: what hypothesis draws, made by the decisions themselves."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from ipaddress import IPv4Network
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st

from services.kit import errors
from services.netd.core import networks, sandboxes
from services.netd.core.networks import Host, Settings
from services.netd.core.ports import NodePorts
from services.netd.core.sandboxes import Chance
from services.netd.core.state import RemoveNetwork, State, apply, endpoints_of
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import NetworkSpec
from services.netd.model.port import PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Mode, SandboxSpec

unhurried = settings(deadline=None)
"""The machine may be busy: no example has a time limit."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(pool=[IPv4Network("172.17.0.0/16"), IPv4Network("10.8.0.0/13")], prefix=24)
NODE_PORTS = NodePorts(ephemeral=PortRange(first=40000, last=40999))
NOWHERE = Host(subnets=[], links=frozenset())


def new_ids(seed: int = 0) -> Chance:
    numbers = count(seed * 1_000_000 + 1)
    return Chance(now=NOW, new_id=lambda: f"{next(numbers):064x}"[::-1], rng=random.Random(seed))


def base_state() -> State:
    """The state of a new node: the predefined networks."""
    state = State()
    chance = new_ids(99)
    for change in networks.plan_predefined(
        State(), settings=SETTINGS, host=NOWHERE, network_ids=[chance.new_id() for _ in range(3)], now=NOW
    ):
        state = apply(state, change)
    return state


port_specs = st.builds(
    PortSpec,
    target=st.integers(1, 40).map(lambda first: PortRange(first=first, last=first)),
    host=st.none() | st.integers(8000, 8010).map(lambda first: PortRange(first=first, last=first)),
    protocol=st.sampled_from(Protocol),
    shared=st.booleans(),
) | st.integers(9000, 9040).map(
    lambda first: PortSpec(
        target=PortRange(first=first, last=first + 9), host=PortRange(first=first, last=first + 9)
    )
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """A state that a node can come to."""
    return grown(draw, base_state(), 1)


@st.composite
def histories(draw: st.DrawFn) -> tuple[State, State]:
    """A state, and one that it can become."""
    before = grown(draw, base_state(), 1)
    return before, grown(draw, shrunk(draw, before), 2)


def grown(draw: st.DrawFn, state: State, seed: int) -> State:
    """Return the state with some more networks and sandboxes; what would be refused is left out."""
    chance = new_ids(seed)
    for number in range(draw(st.integers(0, 2))):
        spec = NetworkSpec(name=f"n{seed}-{number}", internal=draw(st.booleans()))
        network_id = chance.new_id()
        state = apply(
            state,
            networks.plan_create(
                state, spec, settings=SETTINGS, host=NOWHERE, network_id=network_id, now=NOW
            ),
        )
    names = sorted(network.name for network in state.networks.values() if network.ipam)
    for number in range(draw(st.integers(0, 3))):
        mode = draw(st.sampled_from([Mode.NETWORKS, Mode.NETWORKS, Mode.NETWORKS, Mode.NONE, Mode.HOST]))
        chosen = (
            draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if mode is Mode.NETWORKS else []
        )
        wanted = SandboxSpec(
            id=f"s{seed}-{number}",
            mode=mode,
            endpoints=tuple(EndpointSpec(network=name) for name in chosen),
            ports=tuple(draw(st.lists(port_specs, max_size=3))),
        )
        try:
            change = sandboxes.plan_create(state, wanted, node=NODE_PORTS, chance=chance)
        except errors.BeeyardError:
            continue
        assert change is not None
        state = apply(state, change)
    return state


def shrunk(draw: st.DrawFn, state: State) -> State:
    """Return the state with some sandboxes gone, some out of a network, and some unused networks gone."""
    chance = new_ids(0)
    for sandbox in list(state.sandboxes.values()):
        match draw(st.sampled_from(["keep", "remove", "disconnect"])):
            case "remove":
                change = sandboxes.plan_remove(state, sandbox.id, chance=chance)
            case "disconnect" if sandbox.endpoints:
                network_id = draw(st.sampled_from([end.network_id for end in sandbox.endpoints]))
                change = sandboxes.plan_disconnect(state, sandbox.id, network_id, chance=chance)
            case _:
                continue
        assert change is not None
        state = apply(state, change)
    for network in list(state.networks.values()):
        unused = not any(True for _ in endpoints_of(state, network.id))
        if unused and not network.predefined and draw(st.booleans()):
            state = apply(state, RemoveNetwork(network_id=network.id))
    return state
