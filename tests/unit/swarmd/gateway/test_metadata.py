"""What of a call's metadata goes on, and what it says to the gateway."""

import pytest

from services.kit import errors
from services.swarmd.gateway import metadata, methods
from services.swarmd.gateway.methods import Daemon


def test_wishes_are_read() -> None:
    wanted = metadata.parse(
        (("beeyard-node", "w1"), ("beeyard-daemon", "netd"), ("x", b"\xff"), ("beeyard-hop", "1"))
    )
    assert wanted == metadata.Wanted(node="w1", daemon="netd", hop=True)


@pytest.mark.parametrize(
    "pairs",
    [
        (("beeyard-node", "x" * 254),),
        (("beeyard-node", b"raw"),),
        (("beeyard-node", "a"), ("beeyard-node", "b")),
    ],
)
def test_wishes_that_mean_nothing_are_refused(pairs: tuple[tuple[str, str | bytes], ...]) -> None:
    with pytest.raises(errors.Invalid):
        metadata.parse(pairs)


def test_wishes_and_transport_stay_and_the_rest_goes_on() -> None:
    pairs = (
        ("user-agent", "x"),
        ("beeyard-node", "w1"),
        ("beeyard-request-id", "r1"),
        ("trace-bin", b"\x00"),
        ("grpc-accept-encoding", "gzip"),
        (":authority", "a"),
    )
    assert metadata.pass_on(pairs, ("beeyard-hop", "1")) == (
        ("beeyard-request-id", "r1"),
        ("trace-bin", b"\x00"),
        ("beeyard-hop", "1"),
    )


def test_status_details_come_back() -> None:
    pairs = (("grpc-status-details-bin", b"d"), ("grpc-status", "5"), ("x", "y"))
    assert metadata.pass_back(pairs) == (("grpc-status-details-bin", b"d"), ("x", "y"))


@pytest.mark.parametrize(
    ("path", "wish", "daemon"),
    [
        ("/beeyard.image.v1.ImageService/Pull", "", Daemon.IMAGED),
        ("/beeyard.container.v9.Unknown/New", "netd", Daemon.CONTAINERD),
        ("/beeyard.network.v1.NetworkService/ListNetworks", "", Daemon.NETD),
        ("/beeyard.system.v1.SystemService/Ping", "", Daemon.SWARMD),
        ("/beeyard.system.v1.SystemService/Ping", "imaged", Daemon.IMAGED),
        ("/beeyard.system.v1.SystemService/Ping", "dockerd", None),
        ("/beeyard.swarm.v1.NodeService/ListNodes", "", None),
    ],
)
def test_the_package_says_which_daemon(path: str, wish: str, daemon: Daemon | None) -> None:
    assert methods.daemon_of(path, wish) is daemon
