"""Sandboxes as the kernel has them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from beeyard.network.v1 import dataplane_pb2, network_pb2, sandbox_pb2
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit import errors
from services.kit.rpc.client import call, channel_unix, stream
from tests.system.netd.client import Client, port
from tests.system.netd.world import NODE, Daemon, Namespace, Server, ask, unanswered, wait_for

pytestmark = pytest.mark.root

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


async def test_what_is_said_is_what_is(netd: Client) -> None:
    sandbox = await netd.sandbox(hostname="h", domainname="example.org", extra_hosts=["db:10.9.9.9"])
    (endpoint,) = sandbox.message.endpoints
    inside = sandbox.namespace
    address = inside.run("ip", "-o", "-4", "address", "show", "dev", "eth0")
    assert f"{endpoint.ip}/{endpoint.prefix_length}" in address
    link = inside.run("ip", "-o", "link", "show", "eth0")
    assert endpoint.mac in link
    assert "mtu 1500" in link
    assert inside.run("ip", "route").splitlines()[0].startswith(f"default via {endpoint.gateway} dev eth0")
    assert "127.0.0.1" in inside.run("ip", "-4", "address", "show", "up", "dev", "lo")
    assert inside.run("ip", "-6", "address", "show", "dev", "eth0") == "", "IPv6 was not asked for"
    assert "::1" in inside.run("ip", "-6", "address", "show", "dev", "lo")
    hosts = Path(sandbox.message.hosts_path).read_text()
    assert f"{endpoint.ip}\th.example.org h\n" in hosts
    assert "10.9.9.9\tdb\n" in hosts
    assert Path(sandbox.message.hostname_path).read_text() == "h\n"
    assert Path(sandbox.message.resolv_conf_path).read_text()
    assert stat.S_IMODE(os.stat(sandbox.message.hosts_path).st_mode) == 0o644


async def test_the_same_request_again_returns_the_same(netd: Client) -> None:
    first = await netd.sandbox(sandbox_id="twice", ports=[port(80)])
    again = await netd.sandbox(sandbox_id="twice", ports=[port(80)])
    assert again.message == first.message
    with pytest.raises(errors.AlreadyExists) as caught:
        await netd.sandbox(sandbox_id="twice", ports=[port(81)])
    assert caught.value.reason == "SANDBOX_DIFFERS"


async def test_a_removed_sandbox_is_gone(netd: Client, node: Namespace) -> None:
    sandbox = await netd.sandbox(ports=[port(80, 8080)])
    await netd.remove(sandbox.id)
    await netd.remove(sandbox.id)
    assert not Path(sandbox.message.netns_path).exists()
    assert not Path(sandbox.message.hosts_path).parent.exists()
    with pytest.raises(errors.NotFound):
        await netd.get(sandbox.id)
    assert "8080" not in node.run("nft", "list", "table", "ip", "beeyard")
    wait_for(
        lambda: "veth" not in node.run("ip", "-o", "link", "show", "group", "3054"),
        "the kernel takes the links down",
    )


async def test_the_same_id_can_be_used_at_once_again(netd: Client) -> None:
    """A container that restarts does this; the old links may still be there."""
    for _ in range(5):
        sandbox = await netd.sandbox(sandbox_id="again")
        with Server(sandbox.namespace, 80, TCP, "again"):
            assert ask(sandbox.namespace, sandbox.ip, 80).endswith("again")
        await netd.remove("again")


async def test_an_address_is_not_given_again_at_once(netd: Client) -> None:
    sandbox = await netd.sandbox()
    await netd.remove(sandbox.id)
    assert (await netd.sandbox()).ip != sandbox.ip


async def test_the_first_packet_is_not_lost(netd: Client) -> None:
    """A bridge port that comes up before its peer loses the first ARP, and the first connection takes a second."""
    server = await netd.sandbox()
    with Server(server.namespace, 80, TCP, "here"):
        for _ in range(10):
            client = await netd.sandbox()
            assert ask(client.namespace, server.ip, 80, timeout=0.9).endswith("here")


async def test_mode_none_has_a_loopback_only(netd: Client) -> None:
    response = await netd.create(mode=sandbox_pb2.SANDBOX_MODE_NONE, ports=[port(80, 8080)])
    inside = Namespace(response.sandbox.netns_path)
    assert len(inside.run("ip", "-o", "link", "show", "up").splitlines()) == 1
    assert len(response.warnings) == 1
    assert not response.sandbox.ports


async def test_mode_host_has_no_namespace(netd: Client) -> None:
    response = await netd.create(mode=sandbox_pb2.SANDBOX_MODE_HOST, ports=[port(80, 8080)])
    assert response.sandbox.netns_path == ""
    assert response.warnings == ["Published ports are discarded when using host network mode"]
    assert Path(response.sandbox.hostname_path).read_text() == f"{socket.gethostname()}\n"


async def test_sysctls_hold_inside(netd: Client) -> None:
    sandbox = await netd.sandbox(sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})
    assert sandbox.namespace.run("sysctl", "-n", "net.ipv4.ip_unprivileged_port_start") == "0\n"
    with pytest.raises(errors.Invalid):
        await netd.sandbox(sysctls={"kernel.hostname": "x"})


async def test_a_sysctl_that_does_not_exist_leaves_nothing_behind(netd: Client, daemon: Daemon) -> None:
    with pytest.raises(errors.Internal) as caught:
        await netd.sandbox(sandbox_id="broken", sysctls={"net.ipv4.no_such_thing": "1"})
    assert caught.value.reason == "KERNEL_FAILED"
    with pytest.raises(errors.NotFound):
        await netd.get("broken")
    assert not (daemon.run / "netd" / "ns" / "broken").exists()
    assert not (daemon.run / "netd" / "files" / "broken").exists()


async def test_connecting_to_a_further_network_and_leaving(netd: Client) -> None:
    await netd.network("web")
    wanderer = await netd.sandbox(hostname="w")
    settled = await netd.sandbox("web")
    request = network_pb2.ConnectNetworkRequest(network="web", sandbox_id=wanderer.id)
    endpoint = (await call(netd.networks.ConnectNetwork(request))).endpoint
    assert endpoint.interface == "eth1"
    assert (await call(netd.networks.ConnectNetwork(request))).endpoint == endpoint, "idempotent"
    hosts = Path(wanderer.message.hosts_path)
    inode = hosts.stat().st_ino
    assert f"{endpoint.ip}\tw\n" in hosts.read_text()
    with Server(settled.namespace, 80, TCP, "settled"):
        assert ask(wanderer.namespace, settled.ip, 80) == f"{endpoint.ip} settled"
        leave = network_pb2.DisconnectNetworkRequest(network="bridge", sandbox_id=wanderer.id)
        await call(netd.networks.DisconnectNetwork(leave))
        assert ask(wanderer.namespace, settled.ip, 80) == f"{endpoint.ip} settled"
        assert f"default via {endpoint.gateway} dev eth1" in wanderer.namespace.run("ip", "route")
        assert wanderer.ip not in hosts.read_text()
        assert hosts.stat().st_ino == inode, "containers have the file mounted"
        leave = network_pb2.DisconnectNetworkRequest(network="web", sandbox_id=wanderer.id)
        await call(netd.networks.DisconnectNetwork(leave))
        assert unanswered(wanderer.namespace, settled.ip, 80)
        with pytest.raises(errors.NotFound):
            await call(netd.networks.DisconnectNetwork(leave))
        leave.force = True
        await call(netd.networks.DisconnectNetwork(leave))


async def test_a_network_in_use_stays(netd: Client, node: Namespace) -> None:
    network = await netd.network("web")
    sandbox = await netd.sandbox("web", name="tenant")
    remove = network_pb2.RemoveNetworkRequest(network="web")
    with pytest.raises(errors.FailedPrecondition, match="has active endpoints") as caught:
        await call(netd.networks.RemoveNetwork(remove))
    assert caught.value.reason == "NETWORK_IN_USE"
    await netd.remove(sandbox.id)
    await call(netd.networks.RemoveNetwork(remove))
    assert network.interface not in node.run("ip", "link")
    with pytest.raises(errors.NotFound):
        await call(netd.networks.RemoveNetwork(remove))
    remove.force = True
    await call(netd.networks.RemoveNetwork(remove))


async def test_a_network_avoids_the_routes_of_the_node(netd: Client, node: Namespace) -> None:
    node.run("ip", "link", "add", "docker0", "type", "bridge")
    try:
        node.run("ip", "address", "add", "172.18.0.1/16", "dev", "docker0")
        network = await netd.network("careful")
        assert network.spec.pools[0].subnet == "172.19.0.0/16"
        with pytest.raises(errors.FailedPrecondition, match="docker0") as caught:
            await netd.network("careless", pools=[network_pb2.IpamPool(subnet="172.18.4.0/24")])
        assert caught.value.reason == "SUBNET_OVERLAP"
        with pytest.raises(errors.FailedPrecondition):
            await netd.network("careless", options={"com.docker.network.bridge.name": "docker0"})
    finally:
        node.run("ip", "link", "delete", "docker0")


async def test_an_mtu_holds_on_all_links(netd: Client, node: Namespace) -> None:
    network = await netd.network("small", options={"com.docker.network.driver.mtu": "1400"})
    sandbox = await netd.sandbox("small")
    assert "mtu 1400" in sandbox.namespace.run("ip", "link", "show", "eth0")
    assert "mtu 1400" in node.run("ip", "link", "show", network.interface)


async def test_ports_change_while_the_sandbox_runs(netd: Client, outside: Namespace) -> None:
    sandbox = await netd.sandbox(ports=[port(80, 8080), port(80, 8081)])
    with Server(sandbox.namespace, 80, TCP, "web"):
        request = sandbox_pb2.UpdatePortsRequest(
            sandbox_id=sandbox.id, ports=[port(80, 8081), port(80, 8082)]
        )
        response = await call(netd.sandboxes.UpdatePorts(request))
        assert [bound.host_port for bound in response.ports] == [8081, 8082]
        assert unanswered(outside, NODE, 8080)
        assert ask(outside, NODE, 8081).endswith("web")
        assert ask(outside, NODE, 8082).endswith("web")


async def test_a_udp_client_that_keeps_sending_reaches_what_is_published_later(
    netd: Client, outside: Namespace
) -> None:
    with outside.socket(UDP) as client:
        client.settimeout(1)
        client.sendto(b"?", (NODE, 5353))  # nobody is there; connection tracking remembers the way
        sandbox = await netd.sandbox(ports=[port(53, 5353, protocol="udp")])
        with Server(sandbox.namespace, 53, UDP, "first"):
            client.sendto(b"?", (NODE, 5353))
            assert client.recv(100).endswith(b"first")
        await netd.remove(sandbox.id)
        successor = await netd.sandbox(ports=[port(53, 5353, protocol="udp")])
        with Server(successor.namespace, 53, UDP, "second"):
            client.sendto(b"?", (NODE, 5353))
            assert client.recv(100).endswith(b"second")


async def test_lists_page_and_events_tell_what_is_on_them(netd: Client) -> None:
    for number in range(5):
        await netd.sandbox(sandbox_id=f"page-{number}", mode=sandbox_pb2.SANDBOX_MODE_HOST)
    seen, token = [], ""
    while True:
        request = sandbox_pb2.ListSandboxesRequest(page_size=2, page_token=token)
        response = await call(netd.sandboxes.ListSandboxes(request))
        seen += [sandbox.id for sandbox in response.sandboxes]
        token = response.next_page_token
        if not token:
            break
    assert seen == [f"page-{number}" for number in range(5)]

    await netd.remove("page-0")
    watch = network_pb2.WatchEventsRequest(mark_live=True)
    watch.since.FromSeconds(1)
    watch.filters["network"].values.append("host")
    told = []
    async for item in stream(netd.networks.WatchEvents(watch)):
        if item.HasField("live"):
            break
        container = item.event.attributes["container"]
        if container.startswith("page-"):  # the node has had others
            told.append((item.event.action, container))
    assert told == [*(("connect", sandbox_id) for sandbox_id in seen), ("disconnect", "page-0")]
    watch.filters["colour"].values.append("red")
    with pytest.raises(errors.Invalid, match="colour"):
        await anext(stream(netd.networks.WatchEvents(watch)))


async def test_the_daemon_says_who_it_is(daemon: Daemon, netd: Client) -> None:
    async with channel_unix(daemon.socket) as channel:
        system = system_pb2_grpc.SystemServiceStub(channel)
        assert (await call(system.Ping(system_pb2.PingRequest()))).daemon == "netd"
        version = await call(system.GetVersion(system_pb2.GetVersionRequest()))
        assert version.components["libnftables"]
        await netd.sandbox(ports=[port(80)])
        info = await call(system.GetInfo(system_pb2.GetInfoRequest()))
        facts = {fact.key: fact.value for fact in info.facts}
        assert (facts["SANDBOXES"], facts["PUBLISHED_PORTS"]) == ("1", "1")


async def test_what_there_is_not_yet_is_refused_by_name(netd: Client) -> None:
    for call_ in (
        netd.dataplane.DeclareNetwork(dataplane_pb2.DeclareNetworkRequest()),
        netd.dataplane.DeclareService(dataplane_pb2.DeclareServiceRequest()),
        netd.dataplane.DeclareIngress(dataplane_pb2.DeclareIngressRequest()),
    ):
        with pytest.raises(errors.Unsupported) as caught:
            await call(call_)
        assert caught.value.reason == "UNSUPPORTED"
