"""Forgetting flows, in both ways: by the kernel's filter, and one by one where it has none."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from services.netd.kernel import conntrack
from services.netd.kernel.netlink import NLM_F_DUMP, Request, Socket
from services.netd.model.port import HostPort, Protocol
from tests.system.netd.client import Client, port
from tests.system.netd.world import NODE, Namespace, Server, ask

pytestmark = pytest.mark.root

UDP = socket.SOCK_DGRAM


def by_filter(route: Socket, match: conntrack._Match) -> None:
    route.call(match.request())


WAYS = pytest.mark.parametrize(
    "forget", [by_filter, conntrack._forget_one_by_one], ids=["filter", "one-by-one"]
)


def flows(node: Namespace, address: str) -> int:
    """Return how many flows have to do with an address."""

    def count() -> int:
        with Socket(conntrack.NETLINK_NETFILTER) as sock:
            answers = sock.ask(Request(kind=conntrack._GET, flags=NLM_F_DUMP, body=conntrack._FAMILY))
        return sum(IPv4Address(address).packed in body for _, body in answers)

    return node.call(count)


def on_node(node: Namespace, act: Callable[[Socket], None]) -> None:
    def run() -> None:
        with Socket(conntrack.NETLINK_NETFILTER) as sock:
            act(sock)

    node.call(run)


@WAYS
async def test_flows_to_an_address(
    netd: Client, node: Namespace, outside: Namespace, forget: Callable[[Socket, conntrack._Match], None]
) -> None:
    doomed = await netd.sandbox(ports=[port(53, 5353, protocol="udp")])
    other = await netd.sandbox(ports=[port(53, 5354, protocol="udp")])
    for sandbox, number in ((doomed, 5353), (other, 5354)):
        with Server(sandbox.namespace, 53, UDP):
            ask(outside, NODE, number, UDP)
    before = flows(node, other.ip)
    assert flows(node, doomed.ip)
    address = IPv4Address(doomed.ip).packed
    on_node(
        node, lambda sock: forget(sock, conntrack._Match(direction=conntrack._TUPLE_REPLY, source=address))
    )
    assert flows(node, doomed.ip) == 0
    assert flows(node, other.ip) == before


@WAYS
async def test_flows_to_a_port(
    netd: Client, node: Namespace, outside: Namespace, forget: Callable[[Socket, conntrack._Match], None]
) -> None:
    sandbox = await netd.sandbox(ports=[port(53, number, protocol="udp") for number in (5353, 5354)])
    with Server(sandbox.namespace, 53, UDP):
        ask(outside, NODE, 5353, UDP)
        ask(outside, NODE, 5354, UDP)
    assert flows(node, sandbox.ip) == 2
    match = conntrack._Match(direction=conntrack._TUPLE_ORIGINAL, protocol=17, destination_port=5353)
    on_node(node, lambda sock: forget(sock, match))
    assert flows(node, sandbox.ip) == 1


def test_forgetting_nothing_is_fine(node: Namespace) -> None:
    nobody = IPv4Address("172.31.255.254")
    nowhere = HostPort(protocol=Protocol.UDP, port=9)
    on_node(node, lambda sock: conntrack.forget_address(sock, nobody))
    on_node(node, lambda sock: conntrack.forget_ports(sock, [nowhere]))
