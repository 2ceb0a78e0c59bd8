"""Who may call what: the one table. Pure.

The certificate (or the unix socket) says what the caller is; the table says what such callers may do on a listener. A
service that is not in the table is closed to everybody. Whom a method *concerns* (its own node, its own task) is
checked by the servicer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.kit import errors
from services.swarmd.gateway import methods
from services.swarmd.gateway.ports import CallerKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.swarmd.gateway.ports import Caller

_LOCAL: Final = frozenset({CallerKind.LOCAL})
_MANAGERS: Final = frozenset({CallerKind.MANAGER})
_NODES: Final = frozenset({CallerKind.MANAGER, CallerKind.WORKER})
_ADMINISTRATORS: Final = frozenset({CallerKind.LOCAL, CallerKind.CLIENT, CallerKind.MANAGER})
_ALL: Final = frozenset(CallerKind)

_SWARM: Final = "beeyard.swarm.v1"

_BY_SERVICE: Final[Mapping[str, frozenset[CallerKind]]] = {
    "beeyard.image.v1.ImageService": _ADMINISTRATORS,
    "beeyard.image.v1.ContentService": _ADMINISTRATORS,
    "beeyard.image.v1.SnapshotService": _ADMINISTRATORS,
    "beeyard.container.v1.ContainerService": _ADMINISTRATORS,
    "beeyard.container.v1.VolumeService": _ADMINISTRATORS,
    "beeyard.network.v1.NetworkService": _ADMINISTRATORS,
    "beeyard.network.v1.SandboxService": _ADMINISTRATORS,
    "beeyard.network.v1.DataplaneService": _ADMINISTRATORS,
    "beeyard.system.v1.SystemService": _ADMINISTRATORS,
    f"{_SWARM}.ClusterService": _ADMINISTRATORS,
    f"{_SWARM}.NodeService": _ADMINISTRATORS,
    f"{_SWARM}.ServiceService": _ADMINISTRATORS,
    f"{_SWARM}.TaskService": _ADMINISTRATORS,
    f"{_SWARM}.NetworkService": _ADMINISTRATORS,
    f"{_SWARM}.SecretService": _ADMINISTRATORS,
    f"{_SWARM}.ConfigService": _ADMINISTRATORS,
    f"{_SWARM}.WatchService": _ADMINISTRATORS,
    f"{_SWARM}.LogService": _ADMINISTRATORS,
    f"{_SWARM}.ExecService": _ADMINISTRATORS,
    f"{_SWARM}.MoveService": _ADMINISTRATORS,
    f"{_SWARM}.PeerService": _ALL,
    f"{_SWARM}.DispatcherService": _NODES,
    f"{_SWARM}.RaftService": _MANAGERS,
    f"{_SWARM}.MembershipService": _MANAGERS,
    f"{_SWARM}.EnrolmentService": _NODES,
    "grpc.health.v1.Health": _ALL,
}

_BY_METHOD: Final[Mapping[str, frozenset[CallerKind]]] = {
    # How a node gets an image from a peer. Reading only: what arrives is verified by its digest.
    "/beeyard.image.v1.ContentService/Stat": _ALL,
    "/beeyard.image.v1.ContentService/Read": _ALL,
    "/beeyard.image.v1.ImageService/GetImage": _ALL,
    "/beeyard.system.v1.SystemService/Ping": _ALL,
    # What changes this node's own membership, and what gives keys away, is for whoever is on the machine: a manager
    # forwards the second kind to its leader.
    f"/{_SWARM}.ClusterService/InitSwarm": _LOCAL,
    f"/{_SWARM}.ClusterService/JoinSwarm": _LOCAL,
    f"/{_SWARM}.ClusterService/LeaveSwarm": _LOCAL,
    f"/{_SWARM}.ClusterService/UnlockSwarm": _LOCAL,
    f"/{_SWARM}.ClusterService/IssueClientCertificate": _LOCAL | _MANAGERS,
    # A follower passes on what came to its enrolment listener: the join token in it is the proof.
    f"/{_SWARM}.EnrolmentService/IssueNodeCertificate": _MANAGERS,
}

_UNKNOWN_METHODS: Final = _ADMINISTRATORS
"""For methods of the daemons' packages that a newer release has and this one passes on."""


def allowed(path: str) -> frozenset[CallerKind]:
    """Return who may call a method."""
    service = methods.service_of(path)
    if path in _BY_METHOD:
        return _BY_METHOD[path]
    if service in _BY_SERVICE:
        return _BY_SERVICE[service]
    if service.startswith((*methods.DAEMON_OF_PACKAGE, methods.SYSTEM_PACKAGE)):
        return _UNKNOWN_METHODS
    return frozenset()


def check(caller: Caller, path: str) -> None:
    """Return if `caller` may call the method.

    Raises:
        errors.PermissionDenied: ROLE_NOT_ALLOWED.
    """
    if caller.kind not in allowed(path):
        raise errors.PermissionDenied(
            f"{path[1:]} is not open to the holder of a {caller.kind.value} certificate ({caller.node_id})"
            if caller.kind is not CallerKind.LOCAL
            else f"{path[1:]} is not served on the local socket",
            reason="ROLE_NOT_ALLOWED",
        )
