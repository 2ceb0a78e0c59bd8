"""Networks, of the node and of the swarm, as `network ls` and `network inspect` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beeyard.network.v1 import network_pb2 as pb
from cli.format.values import NO_MAP, OpenMap
from cli.views.values import go_time, label_list, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from beeyard.swarm.v1 import objects_pb2 as swarm

DEFAULT = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"
HEADERS: Mapping[str, str] = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def _bool(value: bool) -> str:
    return "true" if value else "false"


def scope(network: pb.Network) -> str:
    """Name the scope: local or swarm."""
    return "swarm" if network.scope == pb.NETWORK_SCOPE_SWARM else "local"


def row(network: pb.Network, *, full: bool) -> dict[str, Any]:
    """Make a row of `network ls`."""
    spec = network.spec
    return {
        "ID": network.id if full else network.id[:12],
        "Name": spec.name,
        "Driver": spec.driver or "bridge",
        "Scope": scope(network),
        "IPv4": _bool(not spec.no_ipv4),
        "IPv6": _bool(spec.ipv6),
        "Internal": _bool(spec.internal),
        "Labels": label_list(spec.labels),
        "Label": lambda name: spec.labels.get(name, ""),
        "CreatedAt": go_time(network.created_at),
    }


def inspect(network: pb.Network) -> dict[str, Any]:
    """Show a network of the node."""
    spec = network.spec
    return {
        "Name": spec.name,
        "Id": network.id,
        "Created": rfc3339(network.created_at),
        "Scope": scope(network),
        "Driver": spec.driver or "bridge",
        "EnableIPv4": not spec.no_ipv4,
        "EnableIPv6": spec.ipv6,
        "IPAM": {"Driver": "default", "Options": NO_MAP, "Config": [_pool(pool) for pool in spec.pools]},
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Interface": network.interface,
        "Containers": {
            endpoint.sandbox_id: {
                "Name": endpoint.name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.address,
                "IPv6Address": endpoint.address6,
            }
            for endpoint in network.endpoints
        },
        "Options": dict(sorted(spec.options.items())),
        "Labels": OpenMap(sorted(spec.labels.items())),
    }


def _pool(pool: pb.IpamPool) -> dict[str, Any]:
    shown: dict[str, Any] = {"Subnet": pool.subnet}
    if pool.ip_range:
        shown["IPRange"] = pool.ip_range
    if pool.gateway:
        shown["Gateway"] = pool.gateway
    if pool.reserved:
        shown["AuxiliaryAddresses"] = dict(sorted(pool.reserved.items()))
    return shown


def swarm_row(network: swarm.SwarmNetwork, *, full: bool) -> dict[str, Any]:
    """Make a row of `network ls` for a network of the swarm."""
    spec = network.spec
    return {
        "ID": network.id if full else network.id[:12],
        "Name": spec.annotations.name,
        "Driver": spec.driver or "overlay",
        "Scope": "swarm",
        "IPv4": "true",
        "IPv6": _bool(spec.ipv6),
        "Internal": _bool(spec.internal),
        "Labels": label_list(spec.annotations.labels),
        "Label": lambda name: spec.annotations.labels.get(name, ""),
        "CreatedAt": go_time(network.meta.created_at),
    }


def swarm_inspect(network: swarm.SwarmNetwork) -> dict[str, Any]:
    """Show a network of the swarm."""
    spec = network.spec
    return {
        "Name": spec.annotations.name,
        "Id": network.id,
        "Created": rfc3339(network.meta.created_at),
        "Scope": "swarm",
        "Driver": spec.driver or "overlay",
        "EnableIPv4": True,
        "EnableIPv6": spec.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": NO_MAP,
            "Config": [{"Subnet": subnet} for subnet in network.subnets],
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": spec.ingress,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {
            "com.docker.network.driver.overlay.vxlanid_list": str(network.vni),
            **dict(sorted(spec.options.items())),
        },
        "Labels": OpenMap(sorted(spec.annotations.labels.items())),
    }
