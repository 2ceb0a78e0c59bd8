"""The network side of `run` and `create`: --network in its two notations, names, addresses, ports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from beeyard.container.v1 import spec_pb2 as pb
from cli.specs import ports, values

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_NETWORKS = ("", "none", "host", "default", "bridge")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")
_HOST_GATEWAY = "host-gateway"
EXPOSED_PORTS_MAX = 65_535


def build(given: Mapping[str, Any]) -> pb.Network:
    """Make the network settings.

    Raises:
        errors.Invalid: A value is malformed, or options contradict each other.
    """
    if given["link_local_ip"]:
        raise values.invalid("--link-local-ip is not supported")
    endpoints = [parse_attachment(text) for text in given["network"]]
    first = endpoints[0] if endpoints else pb.Endpoint()
    _apply_to_first(first, given)
    names = [endpoint.network for endpoint in endpoints]
    if len(set(names)) < len(names):
        raise values.invalid("a network is specified multiple times")
    if len(names) > 1 and any(not _user_defined(name) for name in names):
        raise values.invalid(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    if not _user_defined(first.network) and first.aliases:
        raise values.invalid("network-scoped aliases are only supported for user-defined networks")
    mode = "" if first.network == "default" else first.network
    plain = len(endpoints) <= 1 and first == pb.Endpoint(network=first.network, mac=first.mac)
    if not plain and not first.network:
        first.network = "bridge"
    return pb.Network(
        mode=mode,
        endpoints=[] if plain else endpoints or [first],
        ports=[ports.parse_container(text) for text in given["publish"]],
        publish_all=given["publish_all"],
        expose=[parse_expose(text) for text in given["expose"]],
        hostname=given["hostname"],
        domainname=given["domainname"],
        dns=[_address(text, "--dns") for text in given["dns"]],
        dns_options=given["dns_option"],
        dns_search=given["dns_search"],
        extra_hosts=[parse_extra_host(text) for text in given["add_host"]],
        mac=first.mac,
        links=given["link"],
    )


def _apply_to_first(first: pb.Endpoint, given: Mapping[str, Any]) -> None:
    """Options without a network's name are about the first one."""
    for field, option in (("ip", "ip"), ("ip6", "ip6"), ("mac", "mac_address")):
        if not given[option]:
            continue
        name = f"--{option.replace('_', '-')}"
        if getattr(first, field):
            raise values.invalid(f"conflicting options: cannot specify both {name} and the network's own")
        value = _mac(given[option], name) if field == "mac" else _address(given[option], name)
        setattr(first, field, value)
    if first.aliases and given["network_alias"]:
        raise values.invalid("conflicting options: cannot specify both --network-alias and per-network alias")
    first.aliases.extend(given["network_alias"])


def parse_attachment(text: str) -> pb.Endpoint:
    """Read a --network value: a name, or name=…,alias=…,ip=…,ip6=…,mac-address=…,driver-opt=…,gw-priority=….

    Raises:
        errors.Invalid: It is malformed.
    """
    if "=" not in text:
        if not text.strip():
            raise values.invalid("--network: give the name of a network")
        return pb.Endpoint(network=text)
    endpoint = pb.Endpoint()
    for field, value in values.csv_fields(text, "--network"):
        match field:
            case "name" if value:
                endpoint.network = value
            case "alias" if value:
                endpoint.aliases.append(value)
            case "ip" | "ip6" if value:
                setattr(endpoint, field, _address(value, f"--network {field}"))
            case "mac-address" if value:
                endpoint.mac = _mac(value, "--network mac-address")
            case "driver-opt" if value and "=" in value:
                key, content = values.key_value(value, "--network driver-opt")
                endpoint.options[key] = content
            case "gw-priority" if value and re.fullmatch(r"-?[0-9]{1,9}", value):
                endpoint.gateway_priority = int(value)
            case _:
                raise values.invalid(f"--network {text!r}: invalid field {field!r}")
    if not endpoint.network:
        raise values.invalid(f"--network {text!r}: network name/id is not specified")
    return endpoint


def parse_extra_host(text: str) -> str:
    """Read an --add-host value, "name:ip" or "name=ip"; return it with the colon.

    Raises:
        errors.Invalid: It is malformed.
    """
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not separator or not name or ":" in name:
        raise values.invalid(f"bad format for add-host: {text!r}: give host:ip")
    if address != _HOST_GATEWAY:
        address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        _address(address, "--add-host")
    return f"{name}:{address}"


def parse_expose(text: str) -> str:
    """Read an --expose value, "80", "80/udp" or "8000-8010/tcp"; return it with the protocol.

    Raises:
        errors.Invalid: It is malformed.
    """
    first, last, protocol = ports.parse_exposed(text, "--expose")
    return f"{first}/{protocol}" if first == last else f"{first}-{last}/{protocol}"


def _user_defined(name: str) -> bool:
    return name not in _NOT_NETWORKS and not name.startswith("container:")


def _address(text: str, option: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        raise values.invalid(f"{option} {text!r}: not an IP address") from None
    return text.strip()


def _mac(text: str, option: str) -> str:
    if not _MAC.fullmatch(text.strip()):
        raise values.invalid(f"{option} {text!r}: not a valid mac address")
    return text.strip().lower().replace("-", ":")
