"""Requests as values, and what is refused on the way."""

from __future__ import annotations

from typing import Any

import pytest

from beeyard.network.v1 import network_pb2, sandbox_pb2
from services.kit import errors
from services.netd.api import from_pb, paging, to_pb
from services.netd.core import sandboxes
from services.netd.model.port import PortRange, Protocol
from services.netd.model.sandbox import Mode
from tests.unit.netd.strategies import NODE_PORTS, base_state, new_ids


def port(**fields: Any) -> sandbox_pb2.PortSpec:
    return sandbox_pb2.PortSpec(**{"container_port": 80, **fields})


def test_a_sandbox() -> None:
    message = sandbox_pb2.SandboxSpec(
        endpoints=[
            network_pb2.EndpointSpec(network="web", ip="172.17.0.9", mac="02-00-00-00-00-09", aliases=["db"])
        ],
        ports=[
            port(),
            port(host_port=8080, protocol="udp"),
            port(container_port_end=82, host_port=90, host_port_end=92),
        ],
        dns=["9.9.9.9", "fd00::1"],
        dns_search=["example.org"],
        extra_hosts=["db:10.0.0.1", "six:fd00::2", "node:host-gateway"],
        sysctls={"net.b": "2", "net.a": "1"},
    )
    spec = from_pb.sandbox_spec("s", message)
    assert spec.mode is Mode.NETWORKS
    assert spec.endpoints[0].mac == "02:00:00:00:00:09"
    assert [specs.host for specs in spec.ports] == [
        None,
        PortRange(first=8080, last=8080),
        PortRange(first=90, last=92),
    ]
    assert spec.ports[1].protocol is Protocol.UDP
    assert [extra.address for extra in spec.extra_hosts] == ["10.0.0.1", "fd00::2", "host-gateway"]
    assert spec.sysctls == (("net.a", "1"), ("net.b", "2"))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"mode": 9}, errors.Invalid),
        ({"ports": [port(container_port=0)]}, errors.Invalid),
        ({"ports": [port(container_port=70000)]}, errors.Invalid),
        ({"ports": [port(protocol="sctp")]}, errors.Unsupported),
        ({"ports": [port(protocol="icmp")]}, errors.Unsupported),
        ({"ports": [port(host_ip="::1")]}, errors.Unsupported),
        ({"ports": [port(host_ip="localhost")]}, errors.Invalid),
        ({"ports": [port(host_port_end=9)]}, errors.Invalid),
        ({"ports": [port(host_port=9, host_port_end=8)]}, errors.Invalid),
        ({"endpoints": [network_pb2.EndpointSpec(network="x", ip6="fd00::1")]}, errors.Unsupported),
        ({"endpoints": [network_pb2.EndpointSpec(network="x", mac="01:00:5e:00:00:01")]}, errors.Invalid),
        ({"endpoints": [network_pb2.EndpointSpec(network="x", mac="nonsense")]}, errors.Invalid),
        ({"endpoints": [network_pb2.EndpointSpec(network="x", options={"a": "b"})]}, errors.Invalid),
        ({"endpoints": [network_pb2.EndpointSpec(network="x", aliases=["a b"])]}, errors.Invalid),
        ({"dns": ["dns.example.org"]}, errors.Invalid),
        ({"dns_search": ["a b"]}, errors.Invalid),
        ({"dns_options": ["x\nnameserver 6.6.6.6"]}, errors.Invalid),
        ({"extra_hosts": ["no-address"]}, errors.Invalid),
        ({"extra_hosts": ["a b:10.0.0.1"]}, errors.Invalid),
        ({"extra_hosts": ["a:10.0.0.1\n6.6.6.6 bank"]}, errors.Invalid),
    ],
)
def test_a_sandbox_that_cannot_be(fields: dict[str, Any], error: type[errors.BeeyardError]) -> None:
    with pytest.raises(error):
        from_pb.sandbox_spec("s", sandbox_pb2.SandboxSpec(**fields))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"ipv6": True}, errors.Unsupported),
        ({"no_ipv4": True}, errors.Unsupported),
        ({"pools": [network_pb2.IpamPool(subnet="fd00::/64")]}, errors.Unsupported),
        ({"pools": [network_pb2.IpamPool(subnet="10.0.0.0")]}, errors.Invalid),
        ({"pools": [network_pb2.IpamPool(subnet="10.0.0.1/24")]}, errors.Invalid),
        ({"pools": [network_pb2.IpamPool(subnet="10.0.0.0/24", gateway="x")]}, errors.Invalid),
        ({"pools": [network_pb2.IpamPool()] * 2}, errors.Unsupported),
    ],
)
def test_a_network_that_cannot_be(fields: dict[str, Any], error: type[errors.BeeyardError]) -> None:
    with pytest.raises(error):
        from_pb.network_spec(network_pb2.NetworkSpec(name="n", **fields))


def test_what_was_asked_is_shown_as_it_was_asked() -> None:
    asked = sandbox_pb2.SandboxSpec(
        mode=sandbox_pb2.SANDBOX_MODE_NETWORKS,
        endpoints=[network_pb2.EndpointSpec(network="bridge", gateway_priority=-1)],
        ports=[
            sandbox_pb2.PortSpec(
                host_port=90, host_port_end=92, container_port=80, container_port_end=82, protocol="tcp"
            )
        ],
        name="n",
        hostname="h",
        dns=["9.9.9.9"],
        extra_hosts=["db:10.0.0.1"],
        sysctls={"net.a": "1"},
    )
    assert to_pb._sandbox_spec(from_pb.sandbox_spec("s", asked)) == asked


def test_adjacent_ports_are_shown_as_ranges() -> None:
    asked = sandbox_pb2.SandboxSpec(
        ports=[
            port(container_port_end=82, host_port=90, host_port_end=92),
            port(container_port=83, host_port=93, protocol="udp"),
            port(container_port=7, host_port=94),
        ]
    )
    change = sandboxes.plan_create(
        base_state(), from_pb.sandbox_spec("s", asked), node=NODE_PORTS, chance=new_ids()
    )
    assert change is not None
    shown = [
        (bound.protocol, bound.host_port, bound.host_port_end, bound.container_port, bound.container_port_end)
        for bound in to_pb.ports(change.sandbox.ports)
    ]
    assert shown == [("tcp", 90, 92, 80, 82), ("tcp", 94, 94, 7, 7), ("udp", 93, 93, 83, 83)]


def test_pages() -> None:
    letters = list("dacb")
    assert paging.page(letters, str, 0, "") == (["a", "b", "c", "d"], "")
    assert paging.page(letters, str, 3, "") == (["a", "b", "c"], "c")
    assert paging.page(letters, str, 3, "c") == (["d"], "")
    assert paging.page(letters, str, 4, "") == (["a", "b", "c", "d"], "")
    assert paging.page([], str, 4, "x") == ([], "")
