"""Requests as values. What a message cannot say rightly is refused here, by the name of the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from beeyard.network.v1 import network_pb2, sandbox_pb2
from services.kit import errors
from services.netd.core.filters import Filters
from services.netd.model.address import parse_address, parse_mac, parse_subnet
from services.netd.model.endpoint import EndpointSpec
from services.netd.model.network import Driver, NetworkSpec
from services.netd.model.port import PortRange, PortSpec, Protocol
from services.netd.model.sandbox import (
    HOST_GATEWAY,
    DnsConfig,
    ExtraHost,
    Mode,
    SandboxSpec,
    check_hostname,
)

_MODES = {
    sandbox_pb2.SANDBOX_MODE_UNSPECIFIED: Mode.NETWORKS,
    sandbox_pb2.SANDBOX_MODE_NETWORKS: Mode.NETWORKS,
    sandbox_pb2.SANDBOX_MODE_NONE: Mode.NONE,
    sandbox_pb2.SANDBOX_MODE_HOST: Mode.HOST,
}


def network_spec(message: network_pb2.NetworkSpec) -> NetworkSpec:
    """Return what is asked of a network.

    Raises:
        errors.Invalid: A field does not parse.
        errors.Unsupported: It asks for what there is not.
    """
    if message.ipv6 or message.no_ipv4:
        raise errors.Unsupported(
            f"network {message.name}: networks have IPv4, and IPv4 only, for now", reason="IPV6_UNSUPPORTED"
        )
    if len(message.pools) > 1:
        raise errors.Unsupported(
            f"network {message.name}: a bridge network has one subnet", reason="SUBNETS_UNSUPPORTED"
        )
    pool = message.pools[0] if message.pools else network_pb2.IpamPool()
    return NetworkSpec(
        name=message.name,
        driver=message.driver or Driver.BRIDGE,
        internal=message.internal,
        attachable=message.attachable,
        subnet=parse_subnet(pool.subnet, "subnet") if pool.subnet else None,
        gateway=parse_address(pool.gateway, "gateway") if pool.gateway else None,
        ip_range=parse_subnet(pool.ip_range, "ip-range") if pool.ip_range else None,
        reserved={
            name: parse_address(address, f"auxiliary address {name}")
            for name, address in pool.reserved.items()
        },
        labels=dict(message.labels),
        driver_opts=dict(message.options),
    )


def endpoint_spec(message: network_pb2.EndpointSpec, *, network: str = "") -> EndpointSpec:
    """Return what is asked of an endpoint; `network` is which one, if the message does not say.

    Raises:
        errors.Invalid: A field does not parse.
        errors.Unsupported: It asks for what there is not.
    """
    if message.ip6:
        raise errors.Unsupported(
            f"endpoint address {message.ip6}: there is no IPv6 yet", reason="IPV6_UNSUPPORTED"
        )
    for option in message.options:
        raise errors.Invalid(f"unknown option {option!r} of an endpoint", reason="SPEC_INVALID")
    for alias in message.aliases:
        check_hostname(alias, "network alias")
    return EndpointSpec(
        network=network or message.network,
        ip=parse_address(message.ip, "endpoint address") if message.ip else None,
        mac=parse_mac(message.mac) if message.mac else None,
        aliases=tuple(message.aliases),
        gateway_priority=message.gateway_priority,
    )


def port_specs(messages: Iterable[sandbox_pb2.PortSpec]) -> tuple[PortSpec, ...]:
    """Return what is asked to be published.

    Raises:
        errors.Invalid: A field does not parse.
        errors.Unsupported: It asks for what there is not.
    """
    return tuple(_port_spec(message) for message in messages)


def sandbox_spec(sandbox_id: str, message: sandbox_pb2.SandboxSpec) -> SandboxSpec:
    """Return what is asked of a sandbox.

    Raises:
        errors.Invalid: A field does not parse.
        errors.Unsupported: It asks for what there is not.
    """
    if message.mode not in _MODES:
        raise errors.Invalid(f"unknown sandbox mode {message.mode}", reason="SPEC_INVALID")
    return SandboxSpec(
        id=sandbox_id,
        name=message.name,
        mode=_MODES[message.mode],
        hostname=message.hostname,
        domainname=message.domainname,
        endpoints=tuple(endpoint_spec(endpoint) for endpoint in message.endpoints),
        ports=port_specs(message.ports),
        dns=DnsConfig(
            servers=tuple(_server(server) for server in message.dns),
            search=_words(message.dns_search, "search domain"),
            options=_words(message.dns_options, "resolver option"),
        ),
        extra_hosts=tuple(_extra_host(line) for line in message.extra_hosts),
        sysctls=tuple(sorted(message.sysctls.items())),
        user_namespace=message.user_namespace_path,
    )


def filters(messages: Mapping[str, network_pb2.StringList]) -> Filters:
    """Return the filters of a list or prune request."""
    return {key: tuple(values.values) for key, values in messages.items()}


def _port_spec(message: sandbox_pb2.PortSpec) -> PortSpec:
    if message.protocol not in {"", *Protocol}:
        raise errors.Unsupported(
            f"cannot publish {message.container_port}/{message.protocol}: protocols are {', '.join(Protocol)}",
            reason="PROTOCOL_UNSUPPORTED",
        )
    host = None
    if message.host_port:
        host = PortRange(first=message.host_port, last=message.host_port_end or message.host_port)
    elif message.host_port_end:
        raise errors.Invalid(
            f"port {message.container_port}: a range of host ports needs its first one", reason="SPEC_INVALID"
        )
    return PortSpec(
        target=PortRange(
            first=message.container_port, last=message.container_port_end or message.container_port
        ),
        host=host,
        protocol=Protocol(message.protocol or Protocol.TCP),
        host_ip=parse_address(message.host_ip, "host address of a port") if message.host_ip else None,
        shared=message.shared,
    )


def _extra_host(line: str) -> ExtraHost:
    name, separator, address = line.partition(":")
    if not separator:
        raise errors.Invalid(f"bad format for add-host: {line!r}, must be host:ip", reason="SPEC_INVALID")
    check_hostname(name, "name of an extra host")
    if address != HOST_GATEWAY and not _is_address(address):
        raise errors.Invalid(f"invalid IP address in add-host: {address!r}", reason="SPEC_INVALID")
    return ExtraHost(name=name, address=address)


def _server(text: str) -> str:
    if not _is_address(text):
        raise errors.Invalid(f"name server {text!r} is not an IP address", reason="SPEC_INVALID")
    return text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _words(texts: Iterable[str], what: str) -> tuple[str, ...]:
    words = tuple(texts)
    for word in words:
        if word.split() != [word]:
            raise errors.Invalid(f"invalid {what} {word!r}", reason="SPEC_INVALID")
    return words
