"""Addresses: what an endpoint is reached by."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

from services.kit import errors

ANY = IPv4Address("0.0.0.0")  # noqa: S104 (the wildcard as a value; nothing binds here)
LOOPBACK = IPv4Network("127.0.0.0/8")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_GROUP_BIT = 0x01


def mac_of(address: IPv4Address) -> str:
    """Return the MAC address that belongs to `address`: 02:42 and its four bytes.

    Derived, so that a node which knows the IP addresses of a network knows its MAC addresses too, and so that an
    address which moves to another sandbox leaves no stale neighbour entries behind.
    """
    return "02:42:" + ":".join(f"{byte:02x}" for byte in address.packed)


def parse_mac(text: str) -> str:
    """Return the MAC address in lower case with colons.

    Raises:
        errors.Invalid: Not six bytes, or not the address of one interface.
    """
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise errors.Invalid(f"invalid MAC address: {text!r}", reason="SPEC_INVALID")
    if int(mac[:2], 16) & _GROUP_BIT or mac == "00:00:00:00:00:00":
        raise errors.Invalid(f"MAC address {mac} is not the address of one interface", reason="SPEC_INVALID")
    return mac


def parse_address(text: str, what: str) -> IPv4Address:
    """Return the IPv4 address that `text` says; `what` names the field in the error.

    Raises:
        errors.Unsupported: It is an IPv6 address.
        errors.Invalid: It is no address.
    """
    try:
        return IPv4Address(text)
    except ValueError:
        pass
    if ":" in text:
        raise errors.Unsupported(f"{what}: IPv6 is not supported yet: {text!r}", reason="IPV6_UNSUPPORTED")
    raise errors.Invalid(f"{what}: not an IP address: {text!r}", reason="SPEC_INVALID")


def parse_subnet(text: str, what: str) -> IPv4Network:
    """Return the IPv4 subnet that `text` says, host bits refused; `what` names the field in the error.

    Raises:
        errors.Unsupported: It is an IPv6 subnet.
        errors.Invalid: It is no subnet, or has bits set behind its prefix.
    """
    if ":" in text:
        raise errors.Unsupported(f"{what}: IPv6 is not supported yet: {text!r}", reason="IPV6_UNSUPPORTED")
    if "/" not in text:
        raise errors.Invalid(f"{what}: a prefix length is missing: {text!r}", reason="SPEC_INVALID")
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise errors.Invalid(f"{what}: {error}", reason="SPEC_INVALID") from None
