"""What somebody with root breaks while netd runs, and what becomes of it."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from tests.system.netd.client import Client, port
from tests.system.netd.world import NODE, Namespace, Server, ask, unanswered, wait_for

pytestmark = pytest.mark.root

TCP = socket.SOCK_STREAM


@pytest.fixture(scope="module")
def settings() -> str:
    return "repair_interval_s = 1.0\n"


@pytest.mark.parametrize(
    "vandalism",
    [
        ("nft", "flush", "ruleset"),
        ("nft", "flush", "chain", "ip", "beeyard", "forward"),
        ("nft", "insert", "rule", "ip", "beeyard", "raw", "drop"),
        ("nft", "delete", "element", "ip", "beeyard", "published", "{ 6 . 8080 }"),
        ("ip", "link", "delete", "beeyard0"),
        ("ip", "link", "set", "beeyard0", "down"),
        ("ip", "address", "flush", "dev", "beeyard0"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
        ("sysctl", "-qw", "net.ipv4.conf.beeyard0.route_localnet=0"),
        ("ip", "link", "delete", "VETH"),
        ("ip", "link", "set", "VETH", "nomaster"),
        ("ip", "link", "set", "VETH", "down"),
    ],
    ids=" ".join,
)
async def test_what_somebody_broke_is_mended(
    netd: Client, node: Namespace, outside: Namespace, vandalism: tuple[str, ...]
) -> None:
    sandbox = await netd.sandbox(ports=[port(80, 8080)])
    # The last is the newest; the kernel may still be taking down those of earlier tests.
    veth = re.findall(r"(veth\w+)@", node.run("ip", "-o", "link", "show", "master", "beeyard0"))[-1]
    with Server(sandbox.namespace, 80, TCP, "web"):

        def works() -> bool:
            places = [(outside, NODE), (node, "127.0.0.1"), (sandbox.namespace, NODE)]
            return all(
                not unanswered(whence, address, 8080) and ask(whence, address, 8080).endswith("web")
                for whence, address in places
            )

        assert works()
        node.run(*(veth if word == "VETH" else word for word in vandalism))
        await asyncio.to_thread(wait_for, works, "it works again")


async def test_a_change_that_meets_a_broken_kernel_mends_it(
    netd: Client, node: Namespace, outside: Namespace
) -> None:
    node.run("nft", "flush", "ruleset")
    node.run("ip", "link", "delete", "beeyard0")
    sandbox = await netd.sandbox(ports=[port(80, 8080)])
    with Server(sandbox.namespace, 80, TCP, "web"):
        assert ask(outside, NODE, 8080).endswith("web")


async def test_what_a_container_adds_to_its_own_network_stays(netd: Client) -> None:
    inside = (await netd.sandbox()).namespace
    inside.run("ip", "link", "add", "tun9", "type", "bridge")
    inside.run("ip", "link", "set", "tun9", "up")
    inside.run("ip", "address", "add", "10.9.9.9/24", "dev", "tun9")
    inside.run("ip", "address", "add", "10.8.8.8/24", "dev", "eth0")
    inside.run("ip", "route", "replace", "default", "dev", "tun9")
    await asyncio.sleep(2.5)
    assert "10.9.9.9/24" in inside.run("ip", "address")
    assert "10.8.8.8/24" in inside.run("ip", "address")
    assert inside.run("ip", "route", "show", "default").startswith("default dev tun9")


async def test_a_namespace_file_that_was_taken_away_comes_back(netd: Client) -> None:
    sandbox = await netd.sandbox()
    before = Path(sandbox.message.netns_path).stat().st_ino
    Namespace(sandbox.message.netns_path).let_go()
    path = Path(sandbox.message.netns_path)
    await asyncio.to_thread(
        wait_for, lambda: path.exists() and path.stat().st_ino == before, "it is held again"
    )
