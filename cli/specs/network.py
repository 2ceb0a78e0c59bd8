"""The options of `network create` as a NetworkSpec."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, TypeAlias

from beeyard.network.v1 import network_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as swarm
from cli.specs import values
from cli.specs.options import add, many, switch, text

if TYPE_CHECKING:
    from collections.abc import Mapping

Subnet: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

create_options = add(
    [
        switch("--attachable", help="Enable manual container attachment"),
        many("--aux-address", metavar="map", help="Addresses taken by something else (name=address)"),
        text("--config-from", help="The network from which to copy the configuration (not supported)"),
        switch("--config-only", help="Create a configuration only network (not supported)"),
        text("-d", "--driver", default="bridge", help="Driver to manage the Network (bridge)"),
        many("--gateway", metavar="strings", help="IPv4 or IPv6 Gateway for a subnet"),
        switch("--ingress", help="Create swarm routing-mesh network"),
        switch("--internal", help="Restrict external access to the network"),
        many("--ip-range", metavar="strings", help="Allocate container ip from a sub-range"),
        text("--ipam-driver", default="default", help="IP Address Management Driver (default)"),
        many("--ipam-opt", metavar="map", help="Set IPAM driver specific options (there are none)"),
        switch("--ipv4/--no-ipv4", default=True, help="Enable or disable IPv4 address assignment (true)"),
        switch("--ipv6/--no-ipv6", help="Enable or disable IPv6 address assignment"),
        many("--label", help="Set metadata on a network"),
        many("-o", "--opt", metavar="map", help="Set driver specific options"),
        text("--scope", help="Control the network's scope (local or swarm)"),
        many("--subnet", metavar="strings", help="Subnet in CIDR format that represents a network segment"),
    ]
)


def build(name: str, given: Mapping[str, Any]) -> pb.NetworkSpec:
    """Make the specification of a network of the node.

    Raises:
        errors.Invalid: An option is malformed, or does not fit the others.
    """
    _refuse(given)
    return pb.NetworkSpec(
        name=name,
        driver=given["driver"],
        options=values.mapping(given["opt"], "--opt"),
        labels=values.mapping(given["label"], "--label"),
        internal=given["internal"],
        pools=pools(given),
        ipv6=given["ipv6"],
        no_ipv4=not given["ipv4"],
        attachable=given["attachable"],
    )


def build_swarm(name: str, given: Mapping[str, Any]) -> swarm.SwarmNetworkSpec:
    """Make the specification of a network of the swarm.

    Raises:
        errors.Invalid: As in `build`, or an option is for networks of one node.
    """
    _refuse(given)
    if given["ip_range"] or given["gateway"] or given["aux_address"]:
        raise values.invalid("--ip-range, --gateway and --aux-address are not for networks of the swarm")
    return swarm.SwarmNetworkSpec(
        annotations=swarm.Annotations(name=name, labels=values.mapping(given["label"], "--label")),
        driver=given["driver"],
        options=values.mapping(given["opt"], "--opt"),
        internal=given["internal"],
        attachable=given["attachable"],
        ingress=given["ingress"],
        subnets=[pool.subnet for pool in pools(given)],
        ipv6=given["ipv6"],
    )


def is_swarm(given: Mapping[str, Any]) -> bool:
    """Whether the swarm is to have the network, not the node alone."""
    if given["scope"] not in ("", "local", "swarm"):
        raise values.invalid(f"--scope {given['scope']!r}: use local or swarm")
    return bool(given["driver"] == "overlay" or given["ingress"] or given["scope"] == "swarm")


def _refuse(given: Mapping[str, Any]) -> None:
    if given["config_only"] or given["config_from"]:
        raise values.invalid("--config-only and --config-from are not supported")
    if given["ipam_driver"] not in ("", "default"):
        raise values.invalid(f"--ipam-driver {given['ipam_driver']!r}: there is only 'default'")
    if given["ipam_opt"]:
        raise values.invalid("--ipam-opt: the default driver has no options")


def pools(given: Mapping[str, Any]) -> list[pb.IpamPool]:
    """Put each range, gateway and taken address to the subnet that it lies in.

    Raises:
        errors.Invalid: One lies in no subnet, subnets overlap, or a subnet would get two gateways or ranges.
    """
    subnets = [subnet(part, "--subnet") for listed in given["subnet"] for part in listed.split(",")]
    for index, one in enumerate(subnets):
        for other in subnets[:index]:
            if one.version == other.version and one.overlaps(other):
                raise values.invalid(f"--subnet: {other} and {one} overlap")
    found = [pb.IpamPool(subnet=str(one)) for one in subnets]
    for part in given["ip_range"]:
        inner = subnet(part, "--ip-range")
        pool = found[_index(subnets, inner[0], "--ip-range", part)]
        if pool.ip_range:
            raise values.invalid(f"--ip-range: two ranges on subnet {pool.subnet}")
        pool.ip_range = str(inner)
    for part in given["gateway"]:
        gateway = address(part, "--gateway")
        pool = found[_index(subnets, gateway, "--gateway", part)]
        if pool.gateway:
            raise values.invalid(f"--gateway: two gateways on subnet {pool.subnet}")
        pool.gateway = str(gateway)
    for part in given["aux_address"]:
        name, value = values.key_value(part, "--aux-address")
        taken = address(value, "--aux-address")
        found[_index(subnets, taken, "--aux-address", part)].reserved[name] = str(taken)
    return found


def subnet(text: str, option: str) -> Subnet:
    """Read a subnet.

    Raises:
        errors.Invalid: It is none, or has bits beyond its prefix.
    """
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as exc:
        raise values.invalid(f"{option} {text!r}: {exc}") from None


def address(text: str, option: str) -> Address:
    """Read an address.

    Raises:
        errors.Invalid: It is none.
    """
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        raise values.invalid(f"{option} {text!r}: not an IP address") from None


def _index(subnets: list[Subnet], inner: Address, option: str, text: str) -> int:
    for index, one in enumerate(subnets):
        if inner in one:
            return index
    raise values.invalid(f"{option} {text!r}: no matching --subnet")
