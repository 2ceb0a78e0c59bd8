"""What a netd that died, or somebody with root, leaves behind, and what becomes of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beeyard.network.v1 import network_pb2
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit.rpc.client import call, channel_unix
from tests.system.netd.client import Client, port
from tests.system.netd.world import (
    NODE,
    Daemon,
    Namespace,
    Server,
    ask,
    node_and_client,
)

pytestmark = pytest.mark.root

TCP = socket.SOCK_STREAM


@pytest.fixture
def daemon(node: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A netd for one test, which may end it and start it again."""
    daemon = Daemon(node, tmp_path_factory.mktemp("d"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()
        node.run("nft", "delete", "table", "ip", "beeyard", check=False)
        for name in our_links(node):
            node.run("ip", "link", "delete", name, check=False)


def our_links(node: Namespace) -> list[str]:
    listing = node.run("ip", "-o", "link", "show", "group", "3054")
    return re.findall(r"^\d+: ([\w-]+)", listing, re.MULTILINE)


def recovered(daemon: Daemon) -> dict[str, int]:
    """Return what the last start found and did."""
    line = [line for line in daemon.log().splitlines() if "netd_recovered" in line][-1]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


class Stream:
    """A connection that is checked from time to time."""

    def __init__(self, sandbox: Namespace, outside: Namespace, number: int) -> None:
        self._listener = sandbox.socket(TCP)
        self._listener.bind(("0.0.0.0", 80))
        self._listener.listen()
        self._client = outside.socket(TCP)
        self._client.settimeout(2)
        self._client.connect((NODE, number))
        self._server, _ = self._listener.accept()

    def works(self) -> bool:
        self._client.sendall(b"ping")
        self._server.settimeout(2)
        return self._server.recv(4) == b"ping"

    def close(self) -> None:
        for end in (self._client, self._server, self._listener):
            end.close()


async def test_a_killed_daemon_breaks_nothing_and_finds_everything_again(
    daemon: Daemon, netd: Client, outside: Namespace
) -> None:
    await netd.network("web", internal=False)
    sandbox = await netd.sandbox("bridge", "web", ports=[port(80, 8080)])
    shared = [await netd.sandbox(ports=[port(80, 8081, shared=True)]) for _ in range(2)]
    stream = Stream(sandbox.namespace, outside, 8080)
    try:
        assert stream.works()
        daemon.kill()
        assert stream.works(), "without the daemon"
        with Server(shared[0].namespace, 80, TCP, "b"), Server(shared[1].namespace, 80, TCP, "b"):
            assert ask(outside, NODE, 8081).endswith("b"), "new connections too"
        daemon.start()
        assert stream.works(), "with the next one"
    finally:
        stream.close()
    found = recovered(daemon)
    assert found["sandboxes"] == 3
    assert found["operations"] == 0, "there was nothing to do"
    assert (await netd.get(sandbox.id)).message == sandbox.message
    assert (
        await netd.sandbox("bridge", "web", ports=[port(80, 8080)], sandbox_id=sandbox.id)
    ).message == sandbox.message


async def test_what_has_no_record_is_removed_at_the_start(
    daemon: Daemon, netd: Client, node: Namespace
) -> None:
    """A netd that died between the kernel and the record of a removal leaves such things."""
    await netd.sandbox()
    daemon.kill()
    orphan = daemon.run / "netd" / "ns" / "orphan"
    orphan.touch()
    node.run("unshare", f"--net={orphan}", "true")
    node.run("ip", "link", "add", "by-orphan", "group", "3054", "type", "bridge")
    files = daemon.run / "netd" / "files" / "orphan"
    files.mkdir()
    daemon.start()
    assert not orphan.exists()
    assert not files.exists()
    assert "by-orphan" not in node.run("ip", "link")
    assert recovered(daemon)["failures"] == 0


async def test_a_half_made_sandbox_is_completed_at_the_start(
    daemon: Daemon, netd: Client, outside: Namespace
) -> None:
    """Its record was written: whoever asked for it will ask again, or remove it."""
    sandbox = await netd.sandbox(ports=[port(80, 8080)], hostname="half")
    daemon.kill()
    Namespace(sandbox.message.netns_path).let_go()
    Path(sandbox.message.hosts_path).unlink()
    daemon.node.run("nft", "delete", "element", "ip", "beeyard", "published", "{ 6 . 8080 }")
    daemon.start()
    again = await netd.sandbox(ports=[port(80, 8080)], hostname="half", sandbox_id=sandbox.id)
    assert again.message == sandbox.message
    with Server(again.namespace, 80, TCP, "web"):
        assert ask(outside, NODE, 8080).endswith("web")
    assert "half" in Path(sandbox.message.hosts_path).read_text()


async def test_a_reboot_keeps_networks_and_sandboxes(netd: Client, daemon: Daemon, node: Namespace) -> None:
    """All that the kernel had is gone, and so is everything below the run directory."""
    await netd.network("web")
    sandbox = await netd.sandbox("web", ports=[port(80, 8080)])
    daemon.stop()
    Namespace(sandbox.message.netns_path).let_go()
    node.run("nft", "delete", "table", "ip", "beeyard")
    for name in our_links(node):
        node.run("ip", "link", "delete", name, check=False)
    daemon.start()
    assert recovered(daemon)["failures"] == 0
    assert (await netd.get(sandbox.id)).message == sandbox.message
    with Server(sandbox.namespace, 80, TCP, "web"):
        assert ask(node, sandbox.ip, 80).endswith("web")


async def test_the_rules_of_others_are_not_touched(netd: Client, daemon: Daemon, node: Namespace) -> None:
    node.run("nft", "add", "table", "ip", "theirs")
    node.run("nft", "add", "chain", "ip", "theirs", "c", "{ type filter hook input priority 0; }")
    node.run("nft", "add", "rule", "ip", "theirs", "c", "counter", "comment", '"keep me"')
    before = node.run("nft", "list", "table", "ip", "theirs")
    await netd.sandbox(ports=[port(80, 8080)])
    daemon.kill()
    daemon.start()
    assert node.run("nft", "list", "table", "ip", "theirs") == before
    node.run("nft", "delete", "table", "ip", "theirs")


async def test_what_is_in_the_way_is_told(daemon: Daemon, node: Namespace) -> None:
    """A Docker beside us makes such a chain, and no rule of ours can undo what it drops."""
    node.run("nft", "add", "table", "ip", "filter")
    node.run(
        "nft",
        "add",
        "chain",
        "ip",
        "filter",
        "FORWARD",
        "{ type filter hook forward priority 0; policy drop; }",
    )
    try:
        async with channel_unix(daemon.socket) as channel:
            system = system_pb2_grpc.SystemServiceStub(channel)
            info = await call(system.GetInfo(system_pb2.GetInfoRequest()))
        assert len(info.warnings) == 1
        assert "ip filter FORWARD" in info.warnings[0]
    finally:
        node.run("nft", "delete", "table", "ip", "filter")


async def test_two_nodes_on_one_machine_do_not_meet(
    netd: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with node_and_client(tmp_path_factory.mktemp("second")) as (node, outside):
        second = Daemon(node, tmp_path_factory.mktemp("d2"))
        try:
            second.start()
            async with channel_unix(second.socket) as channel:
                other = Client(channel)
                await netd.sandbox(ports=[port(80, 8080)], sandbox_id="same")
                second_sandbox = await other.sandbox(ports=[port(80, 8080)], sandbox_id="same")
                with Server(second_sandbox.namespace, 80, TCP, "second"):
                    assert ask(outside, NODE, 8080).endswith("second")
                await other.remove_all()
                listed = await call(other.networks.ListNetworks(network_pb2.ListNetworksRequest()))
                assert [network.spec.name for network in listed.networks] == ["bridge", "host", "none"]
        finally:
            second.clean_up()


async def test_a_second_daemon_on_the_same_directories_is_refused(daemon: Daemon, netd: Client) -> None:
    second = Daemon(daemon.node, daemon.root.parent)
    second._log = daemon.root.parent / "second.log"
    with pytest.raises(AssertionError):
        second.start()
    assert second._process is not None
    assert second._process.wait() == 1
    assert "ALREADY_RUNNING" in second.log()
    await netd.sandbox()
