"""A sandbox's spec as JSON values, for the record of it. Fields that are added later must have defaults."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from services.netd.model.endpoint import EndpointSpec
from services.netd.model.port import PortRange, PortSpec, Protocol
from services.netd.model.sandbox import DnsConfig, ExtraHost, Mode, SandboxSpec


def encode_spec(spec: SandboxSpec) -> dict[str, Any]:
    """Return the spec as JSON values."""
    return {
        "id": spec.id,
        "name": spec.name,
        "mode": spec.mode.value,
        "hostname": spec.hostname,
        "domainname": spec.domainname,
        "endpoints": [
            {
                "network": endpoint.network,
                "ip": str(endpoint.ip) if endpoint.ip else None,
                "mac": endpoint.mac,
                "aliases": list(endpoint.aliases),
                "gateway_priority": endpoint.gateway_priority,
            }
            for endpoint in spec.endpoints
        ],
        "ports": [_encode_port(port) for port in spec.ports],
        "dns": {
            "servers": list(spec.dns.servers),
            "search": list(spec.dns.search),
            "options": list(spec.dns.options),
        },
        "extra_hosts": [[extra.name, extra.address] for extra in spec.extra_hosts],
        "sysctls": [list(pair) for pair in spec.sysctls],
        "user_namespace": spec.user_namespace,
    }


def decode_spec(value: dict[str, Any]) -> SandboxSpec:
    """Return the spec that `encode_spec` made the value of."""
    return SandboxSpec(
        id=value["id"],
        name=value["name"],
        mode=Mode(value["mode"]),
        hostname=value["hostname"],
        domainname=value["domainname"],
        endpoints=tuple(
            EndpointSpec(
                network=endpoint["network"],
                ip=IPv4Address(endpoint["ip"]) if endpoint["ip"] else None,
                mac=endpoint["mac"],
                aliases=tuple(endpoint["aliases"]),
                gateway_priority=endpoint["gateway_priority"],
            )
            for endpoint in value["endpoints"]
        ),
        ports=tuple(_decode_port(port) for port in value["ports"]),
        dns=DnsConfig(**{name: tuple(given) for name, given in value["dns"].items()}),
        extra_hosts=tuple(ExtraHost(name=name, address=address) for name, address in value["extra_hosts"]),
        sysctls=tuple((name, setting) for name, setting in value["sysctls"]),
        user_namespace=value.get("user_namespace", ""),
    )


def _encode_port(port: PortSpec) -> dict[str, Any]:
    return {
        "target": [port.target.first, port.target.last],
        "host": [port.host.first, port.host.last] if port.host else None,
        "protocol": port.protocol.value,
        "host_ip": str(port.host_ip) if port.host_ip else None,
        "shared": port.shared,
    }


def _decode_port(value: dict[str, Any]) -> PortSpec:
    return PortSpec(
        target=PortRange(first=value["target"][0], last=value["target"][1]),
        host=PortRange(first=value["host"][0], last=value["host"][1]) if value["host"] else None,
        protocol=Protocol(value["protocol"]),
        host_ip=IPv4Address(value["host_ip"]) if value["host_ip"] else None,
        shared=value["shared"],
    )
