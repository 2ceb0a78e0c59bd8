"""Values as responses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.network.v1 import network_pb2, sandbox_pb2
from services.kit.events import Event
from services.netd.core.state import State, endpoints_of
from services.netd.files import Files
from services.netd.model.endpoint import Endpoint
from services.netd.model.network import Network
from services.netd.model.port import PortBinding, PortSpec
from services.netd.model.sandbox import Mode, Sandbox, SandboxSpec

_MODES = {
    Mode.NETWORKS: sandbox_pb2.SANDBOX_MODE_NETWORKS,
    Mode.NONE: sandbox_pb2.SANDBOX_MODE_NONE,
    Mode.HOST: sandbox_pb2.SANDBOX_MODE_HOST,
}


def event(value: Event) -> network_pb2.Event:
    """Return an event."""
    time = Timestamp()
    time.FromDatetime(value.at)
    return network_pb2.Event(
        time=time,
        type=value.type,
        action=value.action,
        id=value.id,
        attributes=dict(value.attributes),
    )


def network(state: State, value: Network, *, with_endpoints: bool = False) -> network_pb2.Network:
    """Return a network; its endpoints only where a single one is asked for."""
    created_at = Timestamp()
    created_at.FromDatetime(value.created_at)
    pool = state.pools.get(value.id)
    return network_pb2.Network(
        id=value.id,
        spec=network_pb2.NetworkSpec(
            name=value.name,
            driver=value.driver.value,
            options=dict(value.driver_opts),
            labels=dict(value.labels),
            internal=value.internal,
            attachable=value.attachable,
            pools=[_pool(value)] if value.ipam else [],
        ),
        scope=network_pb2.NETWORK_SCOPE_LOCAL,
        created_at=created_at,
        interface=value.link,
        predefined=value.predefined,
        endpoints=_network_endpoints(state, value) if with_endpoints else [],
        addresses_used=pool.used_count if pool else 0,
        addresses_total=pool.total_count if pool else 0,
    )


def endpoint(state: State, value: Endpoint) -> network_pb2.EndpointState:
    """Return an endpoint."""
    return network_pb2.EndpointState(
        id=value.id,
        network=state.networks[value.network_id].name,
        network_id=value.network_id,
        interface=value.interface,
        ip=str(value.address.ip),
        prefix_length=value.address.network.prefixlen,
        gateway=str(value.gateway) if value.gateway else "",
        mac=value.mac,
        aliases=value.aliases,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the kernel and netd keep what belongs to the sandboxes."""

    namespaces: Path
    files: Files


def sandbox(state: State, places: Places, value: Sandbox) -> sandbox_pb2.Sandbox:
    """Return a sandbox."""
    created_at = Timestamp()
    created_at.FromDatetime(value.created_at)
    paths = places.files.paths(value.id)
    on_node = value.spec.mode is Mode.HOST
    return sandbox_pb2.Sandbox(
        id=value.id,
        spec=_sandbox_spec(value.spec),
        netns_path="" if on_node else str(places.namespaces / value.id),
        endpoints=[endpoint(state, end) for end in value.endpoints],
        ports=ports(value.ports),
        hosts_path=str(paths.hosts),
        resolv_conf_path=str(paths.resolv_conf),
        hostname_path=str(paths.hostname),
        created_at=created_at,
    )


def ports(bindings: Iterable[PortBinding]) -> list[sandbox_pb2.PortSpec]:
    """Return published ports; adjacent ones that lead to adjacent ports are one range."""
    messages: list[sandbox_pb2.PortSpec] = []
    for binding in sorted(bindings, key=lambda binding: (binding.host.host_ip, binding.shared, binding)):
        last = messages[-1] if messages else None
        if (
            last is not None
            and (last.host_ip, last.protocol, last.shared)
            == (str(binding.host.host_ip), binding.host.protocol, binding.shared)
            and last.host_port_end + 1 == binding.host.port
            and last.container_port_end + 1 == binding.target
        ):
            last.host_port_end += 1
            last.container_port_end += 1
            continue
        messages.append(
            sandbox_pb2.PortSpec(
                host_ip=str(binding.host.host_ip),
                host_port=binding.host.port,
                host_port_end=binding.host.port,
                container_port=binding.target,
                container_port_end=binding.target,
                protocol=binding.host.protocol.value,
                shared=binding.shared,
            )
        )
    return messages


def _pool(value: Network) -> network_pb2.IpamPool:
    assert value.ipam is not None, f"network {value.name} has no addresses"
    return network_pb2.IpamPool(
        subnet=str(value.ipam.subnet),
        ip_range=str(value.ipam.ip_range) if value.ipam.ip_range else "",
        gateway=str(value.ipam.gateway),
        reserved={name: str(address) for name, address in value.ipam.reserved.items()},
    )


def _network_endpoints(state: State, value: Network) -> list[network_pb2.NetworkEndpoint]:
    found = []
    for owner, position in endpoints_of(state, value.id):
        end = owner.endpoints[position]
        found.append(
            network_pb2.NetworkEndpoint(
                id=end.id, sandbox_id=owner.id, name=owner.spec.name, address=str(end.address), mac=end.mac
            )
        )
    return sorted(found, key=lambda message: message.name or message.sandbox_id)


def _sandbox_spec(spec: SandboxSpec) -> sandbox_pb2.SandboxSpec:
    return sandbox_pb2.SandboxSpec(
        mode=_MODES[spec.mode],
        endpoints=[
            network_pb2.EndpointSpec(
                network=end.network,
                aliases=end.aliases,
                ip=str(end.ip) if end.ip else "",
                mac=end.mac or "",
                gateway_priority=end.gateway_priority,
            )
            for end in spec.endpoints
        ],
        ports=[_port_spec(port) for port in spec.ports],
        name=spec.name,
        hostname=spec.hostname,
        domainname=spec.domainname,
        dns=spec.dns.servers,
        dns_options=spec.dns.options,
        dns_search=spec.dns.search,
        extra_hosts=[f"{extra.name}:{extra.address}" for extra in spec.extra_hosts],
        sysctls=dict(spec.sysctls),
        user_namespace_path=spec.user_namespace,
    )


def _port_spec(port: PortSpec) -> sandbox_pb2.PortSpec:
    return sandbox_pb2.PortSpec(
        host_ip=str(port.host_ip) if port.host_ip else "",
        host_port=port.host.first if port.host else 0,
        host_port_end=port.host.last if port.host else 0,
        container_port=port.target.first,
        container_port_end=port.target.last,
        protocol=port.protocol.value,
        shared=port.shared,
    )
