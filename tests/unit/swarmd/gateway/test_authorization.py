"""Who may call what, method by method."""

import pytest

from services.kit import errors
from services.swarmd.gateway import authorization, methods
from services.swarmd.gateway.ports import Caller, CallerKind

ALL_METHODS = {**methods.DAEMONS, **methods.SYSTEM, **methods.CONTROL, **methods.PEER, **methods.INTERNAL}
OF_NODES = {
    "/beeyard.image.v1.ContentService/Stat",
    "/beeyard.image.v1.ContentService/Read",
    "/beeyard.image.v1.ImageService/GetImage",
    "/beeyard.system.v1.SystemService/Ping",
}


def _open_to(kind: CallerKind) -> set[str]:
    return {path for path in ALL_METHODS if kind in authorization.allowed(path)}


def test_a_worker_reaches_images_peers_and_its_own_manager_only() -> None:
    services = {
        path[1:].partition("/")[0].removeprefix("beeyard.") for path in _open_to(CallerKind.WORKER) - OF_NODES
    }
    assert services == {
        "swarm.v1.PeerService",
        "swarm.v1.DispatcherService",
        "swarm.v1.EnrolmentService",
    }
    assert OF_NODES <= _open_to(CallerKind.WORKER)


def test_a_client_uses_the_engine_and_the_swarm_but_not_their_inside() -> None:
    inside = set(methods.INTERNAL)
    assert not _open_to(CallerKind.CLIENT) & inside
    assert set(methods.DAEMONS) <= _open_to(CallerKind.CLIENT)
    assert set(methods.CONTROL) - _open_to(CallerKind.CLIENT) == {
        f"/beeyard.swarm.v1.ClusterService/{name}"
        for name in ("InitSwarm", "JoinSwarm", "LeaveSwarm", "UnlockSwarm", "IssueClientCertificate")
    }


def test_raft_is_for_managers() -> None:
    for path in methods.INTERNAL:
        if "RaftService" in path or "MembershipService" in path or path.endswith("IssueNodeCertificate"):
            assert authorization.allowed(path) == {CallerKind.MANAGER}, path


def test_the_local_socket_is_for_administrators() -> None:
    assert not _open_to(CallerKind.LOCAL) & set(methods.INTERNAL)
    assert set(methods.CONTROL) | set(methods.DAEMONS) <= _open_to(CallerKind.LOCAL)


def test_what_is_not_known_is_closed_or_for_administrators() -> None:
    assert authorization.allowed("/beeyard.swarm.v1.NewService/New") == frozenset()
    assert authorization.allowed("/other.Service/Method") == frozenset()
    assert CallerKind.WORKER not in authorization.allowed("/beeyard.container.v2.ContainerService/New")
    assert CallerKind.CLIENT in authorization.allowed("/beeyard.container.v2.ContainerService/New")


def test_the_refusal_names_method_and_caller() -> None:
    caller = Caller(kind=CallerKind.WORKER, node_id="w1", asked_node_id="m1")
    with pytest.raises(errors.PermissionDenied, match=r"RaftService/Exchange.*swarm-worker.*w1") as refused:
        authorization.check(caller, "/beeyard.swarm.v1.RaftService/Exchange")
    assert refused.value.reason == "ROLE_NOT_ALLOWED"
