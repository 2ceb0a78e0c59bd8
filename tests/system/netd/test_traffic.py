"""What packets do: published ports from everywhere, ways out, and walls between networks.

Real connections between namespaces. Each server says which address it saw, so that a test knows who was translated.
Everything is tried with bridged packets passing the IP firewall and not passing it: new namespaces have it on, hosts
have it either way.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.system.netd.client import Client, Sandbox, port, ports
from tests.system.netd.world import CLIENT, NODE, Daemon, Namespace, Server, ask, unanswered

pytestmark = pytest.mark.root

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])


@pytest.fixture(scope="module", params=[0, 1], ids=["bridge-nf-off", "bridge-nf-on"], autouse=True)
def bridge_nf(node: Namespace, request: pytest.FixtureRequest) -> None:
    node.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={request.param}")


@dataclass
class Actors:
    """Two sandboxes in one network, one in another, one in an internal network."""

    web: Sandbox
    neighbour: Sandbox
    stranger: Sandbox
    inmate: Sandbox


@pytest.fixture
async def actors(netd: Client) -> AsyncIterator[Actors]:
    await netd.network("other")
    await netd.network("cell", internal=True)
    published = [
        port(80, 8080),
        port(80, 8080, protocol="udp"),
        ports((81, 83), (9001, 9003)),
        ports((7000, 7999), (7000, 7999)),
        port(80, 9005, host_ip="127.0.0.1"),
        port(80, 9005, host_ip="127.0.0.1", protocol="udp"),
    ]
    actors = Actors(
        web=await netd.sandbox(ports=published),
        neighbour=await netd.sandbox(),
        stranger=await netd.sandbox("other"),
        inmate=await netd.sandbox("cell"),
    )
    with contextlib.ExitStack() as servers:
        for kind in (TCP, UDP):
            servers.enter_context(Server(actors.web.namespace, 80, kind, "web"))
            servers.enter_context(Server(actors.stranger.namespace, 80, kind, "stranger"))
            servers.enter_context(Server(actors.inmate.namespace, 80, kind, "inmate"))
        for number in (82, 7000, 7500, 7999):
            servers.enter_context(Server(actors.web.namespace, number, TCP, f"web{number}"))
        yield actors


@KINDS
def test_a_published_port_answers_outside_and_sees_the_client(
    actors: Actors, outside: Namespace, kind: int
) -> None:
    assert ask(outside, NODE, 8080, kind) == f"{CLIENT} web"


def test_a_shifted_range_maps_one_to_one(actors: Actors, outside: Namespace) -> None:
    assert ask(outside, NODE, 9002) == f"{CLIENT} web82"


@pytest.mark.parametrize("number", [7000, 7500, 7999])
def test_a_range_that_keeps_its_numbers(actors: Actors, outside: Namespace, number: int) -> None:
    assert ask(outside, NODE, number) == f"{CLIENT} web{number}"


@KINDS
def test_a_port_published_to_localhost_answers_there(actors: Actors, node: Namespace, kind: int) -> None:
    assert ask(node, "127.0.0.1", 9005, kind).endswith(" web")


@KINDS
def test_a_port_published_to_localhost_answers_nowhere_else(
    actors: Actors, outside: Namespace, node: Namespace, kind: int
) -> None:
    assert unanswered(outside, NODE, 9005, kind)
    assert unanswered(node, NODE, 9005, kind)


@KINDS
def test_a_published_port_answers_on_the_loopback(actors: Actors, node: Namespace, kind: int) -> None:
    assert ask(node, "127.0.0.1", 8080, kind) == "172.17.0.1 web"


@KINDS
def test_a_published_port_answers_on_the_nodes_own_address(
    actors: Actors, node: Namespace, kind: int
) -> None:
    assert ask(node, NODE, 8080, kind) == f"{NODE} web"


@KINDS
def test_a_sandbox_reaches_itself_through_its_published_port(actors: Actors, kind: int) -> None:
    assert ask(actors.web.namespace, NODE, 8080, kind) == "172.17.0.1 web"


@KINDS
def test_a_neighbour_reaches_a_published_port(actors: Actors, kind: int) -> None:
    assert ask(actors.neighbour.namespace, NODE, 8080, kind).endswith(" web")
    assert ask(actors.neighbour.namespace, "172.17.0.1", 8080, kind).endswith(" web")


@KINDS
def test_another_network_reaches_a_published_port(actors: Actors, kind: int) -> None:
    assert ask(actors.stranger.namespace, NODE, 8080, kind).endswith(" web")


@KINDS
def test_neighbours_reach_each_other_directly(actors: Actors, kind: int) -> None:
    assert ask(actors.neighbour.namespace, actors.web.ip, 80, kind) == f"{actors.neighbour.ip} web"


@KINDS
def test_networks_are_kept_apart(actors: Actors, kind: int) -> None:
    assert unanswered(actors.web.namespace, actors.stranger.ip, 80, kind)
    assert unanswered(actors.stranger.namespace, actors.web.ip, 80, kind)


@KINDS
def test_what_leaves_carries_the_nodes_address(actors: Actors, outside: Namespace, kind: int) -> None:
    with Server(outside, 5000, kind):
        assert ask(actors.web.namespace, CLIENT, 5000, kind) == NODE


@KINDS
def test_the_node_reaches_sandboxes_directly(actors: Actors, node: Namespace, kind: int) -> None:
    assert ask(node, actors.web.ip, 80, kind) == "172.17.0.1 web"
    assert ask(node, actors.inmate.ip, 80, kind).endswith(" inmate")


def test_an_internal_network_has_no_way_out(actors: Actors, outside: Namespace) -> None:
    inside = actors.inmate.namespace
    assert "default" not in inside.run("ip", "route")
    with Server(outside, 5000, TCP):
        assert unanswered(inside, CLIENT, 5000)


@KINDS
def test_an_internal_network_has_no_way_out_even_with_a_route(
    actors: Actors, outside: Namespace, kind: int
) -> None:
    gateway = str(actors.inmate.message.endpoints[0].ip).rsplit(".", 1)[0] + ".1"
    actors.inmate.namespace.run("ip", "route", "add", "default", "via", gateway)
    with Server(outside, 5000, kind):
        assert unanswered(actors.inmate.namespace, CLIENT, 5000, kind)
    assert unanswered(actors.inmate.namespace, NODE, 8080, kind)
    assert unanswered(actors.inmate.namespace, actors.web.ip, 80, kind)


def test_nobody_outside_reaches_an_unpublished_port(actors: Actors, outside: Namespace) -> None:
    outside.run("ip", "route", "replace", "172.17.0.0/16", "via", NODE)
    assert unanswered(outside, actors.web.ip, 80)


def test_nobody_outside_reaches_the_nodes_loopback(
    actors: Actors, daemon: Daemon, node: Namespace, outside: Namespace
) -> None:
    """Our bridges route 127.0.0.0/8; that must not let anybody in, nor pretend to come from there."""
    outside.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    outside.run("ip", "route", "replace", "127.1.0.0/16", "via", NODE, "dev", "eth0")
    node.run("sysctl", "-qw", "net.ipv4.conf.up0.route_localnet=1")
    inside = actors.neighbour.namespace
    inside.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    inside.run("ip", "route", "replace", "127.1.0.0/16", "via", "172.17.0.1", "dev", "eth0")
    with Server(node, 6000, TCP, "secret", address="127.1.0.1"):
        assert ask(node, "127.1.0.1", 6000).endswith("secret")
        for stranger in (outside, inside):
            assert unanswered(stranger, "127.1.0.1", 6000)


def test_a_datagram_that_pretends_to_come_from_the_loopback_is_dropped(
    actors: Actors, node: Namespace
) -> None:
    inside = actors.neighbour.namespace
    inside.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    with node.socket(UDP) as server, inside.socket(UDP) as forger:
        server.bind(("172.17.0.1", 6001))
        server.settimeout(0.3)
        inside.call(lambda: forger.bind(("127.3.3.3", 6001)))
        inside.run("ip", "route", "replace", "172.17.0.1/32", "dev", "eth0", "src", "127.0.0.1", check=False)
        with contextlib.suppress(OSError):
            forger.sendto(b"let me in", ("172.17.0.1", 6001))
        with pytest.raises(TimeoutError):
            server.recv(1500)
