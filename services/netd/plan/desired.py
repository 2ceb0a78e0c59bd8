"""What the kernel should look like, derived from what is recorded.

Only what is said here is ours to change. Whatever else is in the kernel belongs to others, inside sandboxes too: a
container may add links, addresses, routes and rules of its own, and keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from services.netd.core.state import State
from services.netd.firewall import ruleset
from services.netd.firewall.table import Table
from services.netd.model.address import mac_of
from services.netd.model.network import Network
from services.netd.model.sandbox import Mode, Sandbox

# With slashes, since the name of a link may have dots in it.
NODE_SYSCTLS = {"net/ipv4/ip_forward": "1"}

_SANDBOX_SYSCTLS = {
    # An interface comes up without the traffic of IPv6 autoconfiguration; `lo` was there before and keeps ::1.
    "net/ipv6/conf/default/disable_ipv6": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """The bridge of a network, on the node."""

    link: str
    mac: str
    mtu: int
    address: IPv4Interface

    @property
    def sysctls(self) -> Mapping[str, str]:
        """What holds for it: ports published to 127.0.0.1 are routed; no IPv6 where the network has none."""
        return {
            f"net/ipv4/conf/{self.link}/route_localnet": "1",
            f"net/ipv6/conf/{self.link}/disable_ipv6": "1",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The pair of links between a bridge and a sandbox."""

    host_link: str
    bridge: str
    interface: str
    mac: str
    mtu: int
    address: IPv4Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """The namespace of a sandbox; `sysctls` are set when it is made, in their order."""

    sandbox_id: str
    sysctls: Mapping[str, str]
    attachments: tuple[Attachment, ...]
    gateway: IPv4Address | None
    gateway_interface: str
    user_namespace: str = ""
    """File of the user namespace that is to own it; empty for the node's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """All of it, or a part: what concerns one network or sandbox."""

    table: Table
    bridges: Mapping[str, Bridge] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)


def derive_table(state: State) -> Table:
    """Return the table for all networks and sandboxes. It depends on `state.networks` and `state.reservations` only."""
    return ruleset.build(state.networks.values(), state.sandboxes.values())


def derive(state: State, table: Table) -> Desired:
    """Return what the whole kernel should look like; `table` is `derive_table` of the state."""
    return _derive(state, state.networks.values(), state.sandboxes.values(), NODE_SYSCTLS, table)


def derive_network(state: State, network_id: str, table: Table) -> Desired:
    """Return what one network needs; the table is the whole one all the same."""
    network = state.networks.get(network_id)
    return _derive(state, [network] if network else [], [], {}, table)


def derive_sandbox(state: State, sandbox_id: str, table: Table) -> Desired:
    """Return what one sandbox needs; the table is the whole one all the same."""
    sandbox = state.sandboxes.get(sandbox_id)
    return _derive(state, [], [sandbox] if sandbox else [], {}, table)


def _derive(
    state: State,
    networks: Iterable[Network],
    sandboxes: Iterable[Sandbox],
    sysctls: Mapping[str, str],
    table: Table,
) -> Desired:
    return Desired(
        table=table,
        bridges={network.link: _bridge(network) for network in networks if network.ipam},
        namespaces={
            sandbox.id: _namespace(state, sandbox)
            for sandbox in sandboxes
            if sandbox.spec.mode is not Mode.HOST
        },
        sysctls=sysctls,
    )


def _bridge(network: Network) -> Bridge:
    assert network.ipam is not None, f"network {network.name} has no addresses"
    gateway = network.ipam.gateway
    return Bridge(
        link=network.link,
        mac=mac_of(gateway),
        mtu=network.mtu,
        address=IPv4Interface((gateway, network.ipam.subnet.prefixlen)),
    )


def _namespace(state: State, sandbox: Sandbox) -> Namespace:
    leading = sandbox.gateway_endpoint
    return Namespace(
        sandbox_id=sandbox.id,
        sysctls={**_SANDBOX_SYSCTLS, **dict(sandbox.spec.sysctls)},
        user_namespace=sandbox.spec.user_namespace,
        attachments=tuple(
            Attachment(
                host_link=endpoint.host_link,
                bridge=state.networks[endpoint.network_id].link,
                interface=endpoint.interface,
                mac=endpoint.mac,
                mtu=state.networks[endpoint.network_id].mtu,
                address=endpoint.address,
            )
            for endpoint in sandbox.endpoints
        ),
        gateway=leading.gateway if leading else None,
        gateway_interface=leading.interface if leading else "",
    )
