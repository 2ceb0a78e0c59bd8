"""The daemons' services, as `Session.start` takes their methods: `api.Containers.GetContainer`.

To the type checker these are the generated stubs, so that every call has the types of its request and responses. When
the program runs they are made from the descriptors of the messages alone: the generated stubs would load grpcio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from beeyard.container.v1.container_pb2_grpc import ContainerServiceStub as Containers
    from beeyard.container.v1.volume_pb2_grpc import VolumeServiceStub as Volumes
    from beeyard.image.v1.image_pb2_grpc import ImageServiceStub as Images
    from beeyard.network.v1.network_pb2_grpc import NetworkServiceStub as Networks
    from beeyard.swarm.v1.control_pb2_grpc import ClusterServiceStub as Cluster
    from beeyard.swarm.v1.control_pb2_grpc import ConfigServiceStub as Configs
    from beeyard.swarm.v1.control_pb2_grpc import ExecServiceStub as Execs
    from beeyard.swarm.v1.control_pb2_grpc import LogServiceStub as Logs
    from beeyard.swarm.v1.control_pb2_grpc import NetworkServiceStub as SwarmNetworks
    from beeyard.swarm.v1.control_pb2_grpc import NodeServiceStub as Nodes
    from beeyard.swarm.v1.control_pb2_grpc import SecretServiceStub as Secrets
    from beeyard.swarm.v1.control_pb2_grpc import ServiceServiceStub as Services
    from beeyard.swarm.v1.control_pb2_grpc import TaskServiceStub as Tasks
    from beeyard.swarm.v1.control_pb2_grpc import WatchServiceStub as Watch
    from beeyard.swarm.v1.move_pb2_grpc import MoveServiceStub as Moves
    from beeyard.system.v1.system_pb2_grpc import SystemServiceStub as System

__all__ = [
    "Cluster",
    "Configs",
    "Containers",
    "Execs",
    "Images",
    "Logs",
    "Moves",
    "Networks",
    "Nodes",
    "Secrets",
    "Services",
    "SwarmNetworks",
    "System",
    "Tasks",
    "Volumes",
    "Watch",
]

_CONTROL = "beeyard.swarm.v1.control_pb2"
_SERVICES = {
    "Cluster": (_CONTROL, "ClusterService"),
    "Configs": (_CONTROL, "ConfigService"),
    "Containers": ("beeyard.container.v1.container_pb2", "ContainerService"),
    "Execs": (_CONTROL, "ExecService"),
    "Images": ("beeyard.image.v1.image_pb2", "ImageService"),
    "Logs": (_CONTROL, "LogService"),
    "Moves": ("beeyard.swarm.v1.move_pb2", "MoveService"),
    "Networks": ("beeyard.network.v1.network_pb2", "NetworkService"),
    "Nodes": (_CONTROL, "NodeService"),
    "Secrets": (_CONTROL, "SecretService"),
    "Services": (_CONTROL, "ServiceService"),
    "SwarmNetworks": (_CONTROL, "NetworkService"),
    "System": ("beeyard.system.v1.system_pb2", "SystemService"),
    "Tasks": (_CONTROL, "TaskService"),
    "Volumes": ("beeyard.container.v1.volume_pb2", "VolumeService"),
    "Watch": (_CONTROL, "WatchService"),
}
_DAEMONS = {
    "beeyard.image": "imaged",
    "beeyard.container": "containerd",
    "beeyard.network": "netd",
    "beeyard.swarm": "swarmd",
}


class Method(NamedTuple):
    """One method of a service."""

    path: str
    """"/package.Service/Method"."""
    daemon: str
    """Who serves it; empty if all do."""
    response: type[Any]


class _Service:
    """The methods of a service, by name."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Method:
        from google.protobuf import message_factory

        method = self._descriptor.methods_by_name.get(name)
        if method is None:
            raise AttributeError(f"{self._descriptor.full_name} has no method {name}")
        service = self._descriptor.full_name
        return Method(
            path=f"/{service}/{name}",
            daemon=_DAEMONS.get(".".join(service.split(".")[:2]), ""),
            response=message_factory.GetMessageClass(method.output_type),
        )


def __getattr__(name: str) -> _Service:
    """Import the messages of a service when it is first named."""
    if name not in _SERVICES:
        raise AttributeError(name)
    module, service = _SERVICES[name]
    found = _Service(importlib.import_module(module).DESCRIPTOR.services_by_name[service])
    globals()[name] = found
    return found
