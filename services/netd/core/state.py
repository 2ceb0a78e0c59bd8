"""Everything that is recorded, as one immutable value, and the changes that lead from one to the next.

The database holds the same: whoever applies a `Change` here has written it there before (`records`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TypeAlias, TypeVar, assert_never

from services.netd.ipam import pool
from services.netd.ipam.pool import Pool
from services.netd.model.network import Network
from services.netd.model.port import HostPort, Protocol
from services.netd.model.sandbox import Sandbox

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A sandbox's claim on a port of the node."""

    sandbox_id: str
    host: HostPort
    shared: bool


Reservations: TypeAlias = Mapping[tuple[Protocol, int], tuple[Reservation, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is recorded.

    Attributes:
        networks: By id.
        sandboxes: By id.
        pools: The addresses of the networks that have some, by the network's id.
        reservations: Of all sandboxes' ports, by protocol and number. Whatever the packet filter holds of sandboxes
            has changed only if this is another object than before.
    """

    networks: Mapping[str, Network] = field(default_factory=dict)
    sandboxes: Mapping[str, Sandbox] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    reservations: Reservations = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNetwork:
    """A network comes to be."""

    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork:
    """A network without endpoints goes."""

    network_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSandbox:
    """A sandbox comes to be or changes; addresses that it no longer has rest until `rest_until`."""

    sandbox: Sandbox
    rest_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox:
    """A sandbox goes; its addresses rest until `rest_until`."""

    sandbox_id: str
    rest_until: float


Change: TypeAlias = AddNetwork | RemoveNetwork | PutSandbox | RemoveSandbox


def apply(state: State, change: Change) -> State:
    """Return the state after a change. The change was decided on this very state."""
    match change:
        case AddNetwork(network=network):
            pools = {**state.pools, network.id: pool.create(network.ipam)} if network.ipam else state.pools
            return replace(state, networks={**state.networks, network.id: network}, pools=pools)
        case RemoveNetwork(network_id=network_id):
            assert network_id not in state.pools or not state.pools[network_id].taken, (
                f"{network_id} has endpoints"
            )
            return replace(
                state, networks=_without(state.networks, network_id), pools=_without(state.pools, network_id)
            )
        case PutSandbox(sandbox=sandbox):
            state = _replace_claims(state, state.sandboxes.get(sandbox.id), sandbox, change.rest_until)
            return replace(state, sandboxes={**state.sandboxes, sandbox.id: sandbox})
        case RemoveSandbox(sandbox_id=sandbox_id):
            state = _replace_claims(state, state.sandboxes[sandbox_id], None, change.rest_until)
            return replace(state, sandboxes=_without(state.sandboxes, sandbox_id))
        case _:
            assert_never(change)


def freed(state: State, change: Change) -> list[tuple[str, IPv4Address]]:
    """Return network and address of each address that a change gives back, in order."""
    match change:
        case PutSandbox(sandbox=sandbox):
            return sorted(_addresses(state.sandboxes.get(sandbox.id)) - _addresses(sandbox))
        case RemoveSandbox(sandbox_id=sandbox_id):
            return sorted(_addresses(state.sandboxes[sandbox_id]))
        case AddNetwork() | RemoveNetwork():
            return []
        case _:
            assert_never(change)


def endpoints_of(state: State, network_id: str) -> Iterator[tuple[Sandbox, int]]:
    """Yield the sandboxes with an endpoint in a network, and which of their endpoints it is."""
    for sandbox in state.sandboxes.values():
        for number, endpoint in enumerate(sandbox.endpoints):
            if endpoint.network_id == network_id:
                yield sandbox, number


def _addresses(sandbox: Sandbox | None) -> set[tuple[str, IPv4Address]]:
    return (
        {(endpoint.network_id, endpoint.address.ip) for endpoint in sandbox.endpoints} if sandbox else set()
    )


def _replace_claims(state: State, before: Sandbox | None, after: Sandbox | None, rest_until: float) -> State:
    pools = dict(state.pools)
    had, has = _addresses(before), _addresses(after)
    for network_id, address in sorted(had - has):
        pools[network_id] = pool.release(pools[network_id], address, rest_until)
    for network_id, address in sorted(has - had):
        pools[network_id] = pool.claim(pools[network_id], address)
    return replace(state, pools=pools, reservations=_replace_reservations(state.reservations, before, after))


def _replace_reservations(
    reservations: Reservations, before: Sandbox | None, after: Sandbox | None
) -> Reservations:
    """Return the reservations after a change; the same object if nothing changed in what ports lead where."""
    had, has = before.ports if before else (), after.ports if after else ()
    same_target = not has or (
        before is not None and after is not None and before.published_to == after.published_to
    )
    if had == has and same_target:
        return reservations
    changed = dict(reservations)
    for key in {(binding.host.protocol, binding.host.port) for binding in had}:
        assert before is not None
        changed[key] = tuple(claim for claim in changed[key] if claim.sandbox_id != before.id)
        if not changed[key]:
            del changed[key]
    for binding in has:
        assert after is not None
        key = (binding.host.protocol, binding.host.port)
        claim = Reservation(sandbox_id=after.id, host=binding.host, shared=binding.shared)
        changed[key] = (*changed.get(key, ()), claim)
    return changed


def _without(mapping: Mapping[str, V], key: str) -> dict[str, V]:
    return {name: value for name, value in mapping.items() if name != key}
