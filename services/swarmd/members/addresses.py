"""Addresses: what people write, where a node listens, and what it tells others."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from typing import Final

from services.kit import errors

DEFAULT_PORT: Final = 2377
_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 (compared, not bound)
_SIOCGIFADDR: Final = 0x8915


def parse(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Return host and port of "host[:port]"; IPv6 hosts with a port stand in brackets.

    Raises:
        errors.Invalid: ADDRESS_INVALID.
    """
    text = text.strip()
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _invalid(text, "a bracket is not closed")
        port_text = rest[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if port_text and not (port_text.isdecimal() and 0 < int(port_text) < 1 << 16):
        raise _invalid(text, f"the port {port_text!r} is not between 1 and 65535")
    if "/" in host or any(char.isspace() for char in host):
        raise _invalid(text, "a host has neither slashes nor spaces")
    return host, int(port_text) if port_text else default_port


def render(host: str, port: int) -> str:
    """Return "host:port"; the inverse of `parse`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of an address to listen on, which may be a wildcard and whose port may be 0.

    Raises:
        errors.Invalid: ADDRESS_INVALID.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not port_text.isdecimal() or int(port_text) >= 1 << 16:
        raise _invalid(text, "an address to listen on is host:port")
    host = host.strip("[]")
    if host not in _WILDCARDS:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise _invalid(text, "the host must be an IP address of this machine") from None
    return host, int(port_text)


def check_free(text: str) -> None:
    """Return if one could listen on an address now: before others are bothered.

    Raises:
        errors.FailedPrecondition: ADDRESS_IN_USE.
    """
    host, port = parse_listen(text)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise errors.FailedPrecondition(
                f"cannot listen on {text}: {exc.strerror}", reason="ADDRESS_IN_USE"
            ) from exc


def local(listen_host: str, port: int) -> str:
    """Return where the node itself reaches its own listener."""
    if listen_host == "::":
        return render("::1", port)
    return render("127.0.0.1" if listen_host in _WILDCARDS else listen_host, port)


def advertised(wanted: str, listen_host: str, port: int, towards: str = "") -> str:
    """Return host:port at which others reach the node.

    Args:
        wanted: What the user set; empty picks an address.
        listen_host: Where it listens.
        port: The port of the listener.
        towards: A host that the node talks to: the address that the kernel takes for it is the best to pick.

    Raises:
        errors.Invalid: ADDRESS_INVALID; ADDRESS_AMBIGUOUS: the machine has several and the user must choose.
    """
    if wanted:
        host, wanted_port = parse(wanted, port)
        if host in _WILDCARDS:
            raise _invalid(wanted, "a wildcard cannot be told to others")
        return render(host, wanted_port)
    if listen_host not in _WILDCARDS:
        return render(listen_host, port)
    return render(_source_address(towards) or _only_address(), port)


def _source_address(towards: str) -> str:
    """Return the address from which the kernel would talk to a host; empty if there is no way to it. Sends nothing."""
    target = towards or "192.0.2.1"  # of the block for documentation: stands for "anywhere"
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            host: str = probe.getsockname()[0]
    except OSError:
        return ""
    return host


def _only_address() -> str:
    found: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not ipaddress.ip_address(address).is_loopback:
                found[name] = address
    match list(found.values()):
        case []:
            return "127.0.0.1"
        case [address]:
            return address
        case _:
            listed = ", ".join(f"{address} on {name}" for name, address in found.items())
            raise errors.Invalid(
                f"could not choose an address to advertise, this machine has several ({listed}): give one with"
                " --advertise-addr",
                reason="ADDRESS_AMBIGUOUS",
            )


def _invalid(text: str, why: str) -> errors.Invalid:
    return errors.Invalid(f"{text!r} is not an address: {why}", reason="ADDRESS_INVALID")
