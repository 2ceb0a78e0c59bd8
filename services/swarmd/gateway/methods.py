"""What the protos say of services: their methods, and which daemon serves them. Read from the descriptors once."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Final

from beeyard.container.v1 import container_pb2, volume_pb2
from beeyard.image.v1 import content_pb2, image_pb2, snapshot_pb2
from beeyard.network.v1 import dataplane_pb2, network_pb2, sandbox_pb2
from beeyard.swarm.v1 import control_pb2, dispatcher_pb2, enrolment_pb2, move_pb2, peer_pb2, raft_pb2
from beeyard.system.v1 import system_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor


class Daemon(enum.Enum):
    """The daemons of a node; the value names the socket."""

    IMAGED = "imaged"
    CONTAINERD = "containerd"
    NETD = "netd"
    SWARMD = "swarmd"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service."""

    service: str
    name: str
    streams_requests: bool
    streams_responses: bool
    reads_consistently: bool
    """Its request says how fresh the answer must be."""
    takes_request_id: bool
    """Its request can carry an id that makes a repetition harmless."""

    @property
    def path(self) -> str:
        """The method as it stands on the wire."""
        return f"/{self.service}/{self.name}"


def _of(*files: FileDescriptor) -> dict[str, Method]:
    return {
        method.path: method
        for file in files
        for service in file.services_by_name.values()
        for method in (
            Method(
                service=service.full_name,
                name=descriptor.name,
                streams_requests=descriptor.client_streaming,
                streams_responses=descriptor.server_streaming,
                reads_consistently="consistency" in descriptor.input_type.fields_by_name,
                takes_request_id="request_id" in descriptor.input_type.fields_by_name,
            )
            for descriptor in service.methods
        )
    }


DAEMON_OF_PACKAGE: Final = {
    "beeyard.image.": Daemon.IMAGED,
    "beeyard.container.": Daemon.CONTAINERD,
    "beeyard.network.": Daemon.NETD,
}
SYSTEM_PACKAGE: Final = "beeyard.system."

DAEMONS: Final = _of(
    image_pb2.DESCRIPTOR,
    content_pb2.DESCRIPTOR,
    snapshot_pb2.DESCRIPTOR,
    container_pb2.DESCRIPTOR,
    volume_pb2.DESCRIPTOR,
    network_pb2.DESCRIPTOR,
    sandbox_pb2.DESCRIPTOR,
    dataplane_pb2.DESCRIPTOR,
)
"""Methods of the other three daemons that this release knows; the gateway passes on others of their packages too."""
SYSTEM: Final = _of(system_pb2.DESCRIPTOR)
CONTROL: Final = _of(control_pb2.DESCRIPTOR)
PEER: Final = _of(peer_pb2.DESCRIPTOR)
MOVE: Final = _of(move_pb2.DESCRIPTOR)
"""Served by the manager that is asked, whoever leads."""
INTERNAL: Final = _of(dispatcher_pb2.DESCRIPTOR, raft_pb2.DESCRIPTOR, enrolment_pb2.DESCRIPTOR)


def service_of(path: str) -> str:
    """Return the service of "/package.Service/Method"."""
    return path[1:].partition("/")[0]


def daemon_of(path: str, wanted_daemon: str) -> Daemon | None:
    """Return the daemon that serves a method: by its package, for beeyard.system by the caller's wish."""
    service = service_of(path)
    for package, daemon in DAEMON_OF_PACKAGE.items():
        if service.startswith(package):
            return daemon
    if service.startswith(SYSTEM_PACKAGE):
        return next((daemon for daemon in Daemon if daemon.value == (wanted_daemon or "swarmd")), None)
    return None
