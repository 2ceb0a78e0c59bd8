"""Ports that are taken, by whomever."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from beeyard.network.v1 import sandbox_pb2
from services.kit import errors
from services.kit.rpc.client import call
from tests.system.netd.client import Client, port, ports
from tests.system.netd.world import CLIENT, NODE, Namespace, Server, ask

pytestmark = pytest.mark.root

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


async def test_a_port_of_another_sandbox(netd: Client) -> None:
    await netd.sandbox(ports=[port(80, 8080)], name="first")
    with pytest.raises(errors.FailedPrecondition, match="sandbox first") as caught:
        await netd.sandbox(ports=[port(80, 8080)], sandbox_id="second")
    assert caught.value.reason == "PORT_IN_USE"
    assert caught.value.metadata["port"] == "8080"
    with pytest.raises(errors.NotFound):
        await netd.get("second")


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
async def test_a_port_of_a_program(netd: Client, node: Namespace, kind: int, address: str) -> None:
    protocol = "tcp" if kind == TCP else "udp"
    with Server(node, 8080, kind, address=address):
        with pytest.raises(errors.FailedPrecondition, match="the program") as caught:
            await netd.sandbox(ports=[port(80, 8080, protocol=protocol)])
        assert caught.value.reason == "PORT_IN_USE"
        assert "process" in caught.value.metadata["holder"]
        sandbox = await netd.sandbox(ports=[ports((80, 80), (8080, 8081), protocol=protocol)])
        assert sandbox.message.ports[0].host_port == 8081
    await netd.sandbox(ports=[port(80, 8080, protocol=protocol)])


async def test_a_program_that_listens_on_ipv6_has_the_port_too(netd: Client, node: Namespace) -> None:
    with node.socket(TCP, socket.AF_INET6) as server:
        server.bind(("::", 8080))
        server.listen()
        with pytest.raises(errors.FailedPrecondition):
            await netd.sandbox(ports=[port(80, 8080)])


async def test_a_connection_that_happens_to_have_the_number_is_no_holder(
    netd: Client, node: Namespace, outside: Namespace
) -> None:
    with Server(outside, 5000, TCP), node.socket(TCP) as caller:
        caller.bind((NODE, 8080))
        caller.connect((CLIENT, 5000))
        sandbox = await netd.sandbox(ports=[port(80, 8080)])
        with Server(sandbox.namespace, 80, TCP, "web"):
            assert caller.recv(100).decode() == NODE, "the connection goes on"
            assert ask(outside, NODE, 8080).endswith("web")


async def test_an_address_that_is_not_the_nodes(netd: Client) -> None:
    with pytest.raises(errors.Invalid, match="not an address of this node"):
        await netd.sandbox(ports=[port(80, 8080, host_ip="10.99.99.99")])


async def test_ephemeral_ports_avoid_programs(netd: Client, node: Namespace) -> None:
    for _ in range(3):
        sandbox = await netd.sandbox(ports=[port(80), port(81)])
        chosen = {bound.host_port for bound in sandbox.message.ports}
        assert len(chosen) == 2
        assert all(32768 <= number <= 60999 for number in chosen)


async def test_a_shared_port_spreads_connections_and_keeps_the_client(
    netd: Client, outside: Namespace
) -> None:
    backends = [
        await netd.sandbox(ports=[port(80, 8080, shared=True), port(80, 8080, shared=True, protocol="udp")])
        for _ in range(3)
    ]
    servers = [
        Server(backend.namespace, 80, kind, f"b{number}")
        for number, backend in enumerate(backends)
        for kind in (TCP, UDP)
    ]
    for server in servers:
        server.__enter__()
    try:
        for kind in (TCP, UDP):
            answers = [ask(outside, NODE, 8080, kind) for _ in range(12)]
            assert {answer.split()[0] for answer in answers} == {CLIENT}
            assert sorted(answers) == sorted([f"{CLIENT} b0", f"{CLIENT} b1", f"{CLIENT} b2"] * 4)
        await netd.remove(backends[0].id)
        assert {ask(outside, NODE, 8080) for _ in range(8)} == {f"{CLIENT} b1", f"{CLIENT} b2"}
        await netd.remove(backends[1].id)
        assert {ask(outside, NODE, 8080) for _ in range(4)} == {f"{CLIENT} b2"}
    finally:
        for server in servers:
            server.__exit__()
    with pytest.raises(errors.FailedPrecondition) as caught:
        await netd.sandbox(ports=[port(80, 8080)])
    assert caught.value.reason == "PORT_IN_USE"


async def test_a_backend_reaches_its_own_shared_port(netd: Client) -> None:
    sandbox = await netd.sandbox(ports=[port(80, 8080, shared=True)])
    with Server(sandbox.namespace, 80, TCP, "self"):
        assert ask(sandbox.namespace, NODE, 8080).endswith("self")


async def test_a_shared_port_on_one_address(netd: Client, node: Namespace, outside: Namespace) -> None:
    backends = [
        await netd.sandbox(ports=[port(80, 8080, shared=True, host_ip="127.0.0.1")]) for _ in range(2)
    ]
    with Server(backends[0].namespace, 80, TCP, "b0"), Server(backends[1].namespace, 80, TCP, "b1"):
        assert {ask(node, "127.0.0.1", 8080).split()[1] for _ in range(4)} == {"b0", "b1"}


async def test_connections_are_not_refused_while_backends_change(netd: Client, outside: Namespace) -> None:
    """A packet on its way while a balancer is replaced misses its map; the rule behind it catches that."""
    shared = port(80, 8080, shared=True)
    lasting = await netd.sandbox(ports=[shared])
    changing = await netd.sandbox()
    answers: list[str] = []
    ending = threading.Event()

    def hammer() -> None:
        while not ending.is_set():
            try:
                answers.append(ask(outside, NODE, 8080).split()[1])
            except OSError as error:
                answers.append(repr(error))

    with Server(lasting.namespace, 80, TCP, "b0"), Server(changing.namespace, 80, TCP, "b1"):
        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            for number in range(200):
                wanted = [shared] if number % 2 == 0 else []
                request = sandbox_pb2.UpdatePortsRequest(sandbox_id=changing.id, ports=wanted)
                await call(netd.sandboxes.UpdatePorts(request))
        finally:
            await asyncio.to_thread(ending.set)
            await asyncio.to_thread(thread.join)
    assert set(answers) == {"b0", "b1"}
