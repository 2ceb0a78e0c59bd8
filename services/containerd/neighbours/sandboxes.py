"""netd: the network side of a container."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from beeyard.network.v1 import network_pb2, sandbox_pb2, sandbox_pb2_grpc
from services.containerd.model import ports
from services.containerd.model.spec import PortBinding
from services.containerd.model.status import EndpointStatus, NetworkStatus
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.model.image import ImageConfig
    from services.containerd.model.spec import ContainerSpec, Network
    from services.containerd.neighbours.calls import Neighbour

TIMEOUT_S = 60.0
_PAGE = 1000


class Sandboxes:
    """What we ask netd for. Everything here may be repeated."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour
        self._stub = sandbox_pb2_grpc.SandboxServiceStub(neighbour.channel)

    async def create(self, container_id: str, spec: sandbox_pb2.SandboxSpec) -> NetworkStatus:
        """Make the sandbox of a container."""
        request = sandbox_pb2.CreateSandboxRequest(sandbox_id=container_id, spec=spec)
        response = await self._neighbour.call(lambda: self._stub.CreateSandbox(request, timeout=TIMEOUT_S))
        return _status(response.sandbox)

    async def remove(self, container_id: str) -> None:
        """Remove the sandbox of a container."""
        request = sandbox_pb2.RemoveSandboxRequest(sandbox_id=container_id)
        await self._neighbour.call(lambda: self._stub.RemoveSandbox(request, timeout=TIMEOUT_S))

    async def update_ports(
        self, container_id: str, spec: ContainerSpec, image: ImageConfig
    ) -> tuple[PortBinding, ...]:
        """Publish the ports of a specification instead of those that are published; return them as bound."""
        ports = [_port_to_pb(port) for port in published(spec, image)]
        request = sandbox_pb2.UpdatePortsRequest(sandbox_id=container_id, ports=ports)
        response = await self._neighbour.call(lambda: self._stub.UpdatePorts(request, timeout=TIMEOUT_S))
        return tuple(_ports(response.ports))

    async def ids(self) -> frozenset[str]:
        """Return the containers that have a sandbox."""
        found: set[str] = set()
        token = ""
        while True:
            request = sandbox_pb2.ListSandboxesRequest(page_size=_PAGE, page_token=token)
            response = await self._neighbour.call(
                functools.partial(self._stub.ListSandboxes, request, timeout=TIMEOUT_S)
            )
            found.update(sandbox.id for sandbox in response.sandboxes)
            token = response.next_page_token
            if not token:
                return frozenset(found)


def spec_to_pb(
    spec: ContainerSpec, image: ImageConfig, *, name: str, hostname: str
) -> sandbox_pb2.SandboxSpec:
    """Return the sandbox that a container wants. Pure."""
    network = spec.network
    modes = {"none": sandbox_pb2.SANDBOX_MODE_NONE, "host": sandbox_pb2.SANDBOX_MODE_HOST}
    mode = modes.get(network.mode, sandbox_pb2.SANDBOX_MODE_NETWORKS)
    wanted = sandbox_pb2.SandboxSpec(
        mode=mode,
        name=name,
        hostname=hostname,
        domainname=network.domainname,
        dns=network.dns,
        dns_options=network.dns_options,
        dns_search=network.dns_search,
        extra_hosts=network.extra_hosts,
    )
    if mode == sandbox_pb2.SANDBOX_MODE_NETWORKS:
        wanted.endpoints.extend(_endpoints(network))
        wanted.ports.extend(_port_to_pb(port) for port in published(spec, image))
    return wanted


def at_addresses(wanted: sandbox_pb2.SandboxSpec, addresses: Mapping[str, str]) -> sandbox_pb2.SandboxSpec:
    """Return the sandbox that has these addresses on its networks, where none are given. Pure."""
    placed = sandbox_pb2.SandboxSpec()
    placed.CopyFrom(wanted)
    for endpoint in placed.endpoints:
        endpoint.ip = endpoint.ip or addresses.get(endpoint.network, "")
    return placed


def published(spec: ContainerSpec, image: ImageConfig) -> tuple[PortBinding, ...]:
    """Return the ports that are to be published: those asked for, and with `-P` every exposed one."""
    network = spec.network
    if not network.publish_all:
        return network.ports
    taken = {(port.container_port, port.protocol or "tcp") for port in network.ports}
    exposed: list[PortBinding] = []
    for text in dict.fromkeys([*image.exposed_ports, *network.expose]):
        try:
            first, last, protocol = ports.exposed(text)
        except errors.Invalid:
            continue  # of a record of before such were refused
        exposed += [
            PortBinding(container_port=port, protocol=protocol)
            for port in range(first, last + 1)
            if (port, protocol) not in taken
        ]
    return (*network.ports, *exposed)


def _endpoints(network: Network) -> list[network_pb2.EndpointSpec]:
    """Return the endpoints: the mode's own network first, unless its settings are among the listed ones."""
    listed = list(network.endpoints)
    named = [endpoint.network for endpoint in listed]
    mode = network.mode or ("bridge" if not listed else named[0])
    specs = [] if mode in named else [network_pb2.EndpointSpec(network=mode, mac=network.mac)]
    specs.extend(
        network_pb2.EndpointSpec(
            network=endpoint.network,
            aliases=endpoint.aliases,
            ip=endpoint.ip,
            ip6=endpoint.ip6,
            mac=endpoint.mac or (network.mac if endpoint.network == mode else ""),
            options=dict(endpoint.options),
            gateway_priority=endpoint.gateway_priority,
        )
        for endpoint in listed
    )
    return specs


def _status(sandbox: sandbox_pb2.Sandbox) -> NetworkStatus:
    return NetworkStatus(
        netns_path=sandbox.netns_path,
        endpoints=tuple(_endpoint(endpoint) for endpoint in sandbox.endpoints),
        ports=tuple(_ports(sandbox.ports)),
        hosts_path=sandbox.hosts_path,
        resolv_conf_path=sandbox.resolv_conf_path,
        hostname_path=sandbox.hostname_path,
    )


def _endpoint(endpoint: network_pb2.EndpointState) -> EndpointStatus:
    return EndpointStatus(
        id=endpoint.id,
        network=endpoint.network,
        network_id=endpoint.network_id,
        ip=endpoint.ip,
        prefix_length=endpoint.prefix_length,
        gateway=endpoint.gateway,
        mac=endpoint.mac,
        aliases=tuple(endpoint.aliases),
    )


def _ports(ports: Iterable[sandbox_pb2.PortSpec]) -> Iterable[PortBinding]:
    for port in ports:
        yield PortBinding(
            container_port=port.container_port,
            container_port_end=port.container_port_end,
            host_ip=port.host_ip,
            host_port=port.host_port,
            host_port_end=port.host_port_end,
            protocol=port.protocol,
            shared=port.shared,
        )


def _port_to_pb(port: PortBinding) -> sandbox_pb2.PortSpec:
    return sandbox_pb2.PortSpec(
        host_ip=port.host_ip,
        host_port=port.host_port,
        host_port_end=port.host_port_end,
        container_port=port.container_port,
        container_port_end=port.container_port_end,
        protocol=port.protocol,
        shared=port.shared,
    )
