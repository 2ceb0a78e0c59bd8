"""netd's API, in the few forms that tests need."""

from __future__ import annotations

import secrets
from typing import Any

import grpc.aio

from beeyard.network.v1 import (
    dataplane_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    sandbox_pb2,
    sandbox_pb2_grpc,
)
from services.kit import errors
from services.kit.rpc.client import call
from tests.system.netd.world import Namespace


class Sandbox:
    """A sandbox that was made."""

    def __init__(self, message: sandbox_pb2.Sandbox) -> None:
        self.message = message
        self.id = message.id

    @property
    def ip(self) -> str:
        return self.message.endpoints[0].ip

    @property
    def namespace(self) -> Namespace:
        return Namespace(self.message.netns_path)


class Client:
    """Makes things, and remembers them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.networks = network_pb2_grpc.NetworkServiceStub(channel)
        self.sandboxes = sandbox_pb2_grpc.SandboxServiceStub(channel)
        self.dataplane = dataplane_pb2_grpc.DataplaneServiceStub(channel)
        self._made_networks: list[str] = []
        self._made_sandboxes: list[str] = []

    async def network(self, name: str, **spec: Any) -> network_pb2.Network:
        message = network_pb2.NetworkSpec(name=name, **spec)
        response = await call(self.networks.CreateNetwork(network_pb2.CreateNetworkRequest(spec=message)))
        self._made_networks.append(name)
        return response.network

    async def sandbox(
        self,
        *networks: str,
        ports: list[sandbox_pb2.PortSpec] | None = None,
        sandbox_id: str = "",
        **spec: Any,
    ) -> Sandbox:
        return Sandbox((await self.create(*networks, ports=ports, sandbox_id=sandbox_id, **spec)).sandbox)

    async def create(
        self,
        *networks: str,
        ports: list[sandbox_pb2.PortSpec] | None = None,
        sandbox_id: str = "",
        **spec: Any,
    ) -> sandbox_pb2.CreateSandboxResponse:
        sandbox_id = sandbox_id or secrets.token_hex(32)
        if networks:
            spec["endpoints"] = [network_pb2.EndpointSpec(network=network) for network in networks]
        request = sandbox_pb2.CreateSandboxRequest(
            sandbox_id=sandbox_id, spec=sandbox_pb2.SandboxSpec(ports=ports or [], **spec)
        )
        response = await call(self.sandboxes.CreateSandbox(request))
        self._made_sandboxes.append(sandbox_id)
        return response

    async def remove(self, sandbox_id: str) -> None:
        await call(self.sandboxes.RemoveSandbox(sandbox_pb2.RemoveSandboxRequest(sandbox_id=sandbox_id)))

    async def get(self, sandbox_id: str) -> Sandbox:
        request = sandbox_pb2.GetSandboxRequest(sandbox_id=sandbox_id)
        return Sandbox((await call(self.sandboxes.GetSandbox(request))).sandbox)

    async def remove_all(self) -> None:
        for sandbox_id in self._made_sandboxes:
            await self.remove(sandbox_id)
        for name in self._made_networks:
            request = network_pb2.RemoveNetworkRequest(network=name, force=True)
            await call(self.networks.RemoveNetwork(request))


def port(container: int, host: int = 0, **fields: Any) -> sandbox_pb2.PortSpec:
    return sandbox_pb2.PortSpec(container_port=container, host_port=host, **fields)


def ports(container: tuple[int, int], host: tuple[int, int], **fields: Any) -> sandbox_pb2.PortSpec:
    return sandbox_pb2.PortSpec(
        container_port=container[0],
        container_port_end=container[1],
        host_port=host[0],
        host_port_end=host[1],
        **fields,
    )


__all__ = ["Client", "Sandbox", "errors", "port", "ports"]
