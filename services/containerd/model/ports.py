"""Published ports: when two cannot be on the same node, and which one is meant. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.containerd.model.spec import PortBinding

PORT_MAX = 65_535
PUBLISHED_MAX = 1_000
"""Ports that `-P` publishes at once."""
PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (compared with, not bound)


def exposed(text: str) -> tuple[int, int, str]:
    """Return first and last port and the protocol of "80", "80/tcp" or "8000-8010/udp".

    Raises:
        errors.Invalid: It is none (SPEC_INVALID).
    """
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    protocol = protocol or "tcp"
    numbers = [
        int(each) for each in (first, last or first) if each.isascii() and each.isdecimal() and len(each) <= 5
    ]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= PORT_MAX or protocol not in PROTOCOLS:
        raise errors.Invalid(
            f"invalid exposed port {text[:80]!r}: write it as 80, 80/udp or 8000-8010/tcp",
            reason="SPEC_INVALID",
        )
    return numbers[0], numbers[1], protocol


def check_publish_all(texts: Iterable[str]) -> None:
    """Refuse to publish every exposed port of an image that exposes nonsense, or more than a node can have to spare.

    Raises:
        errors.Invalid: See above (SPEC_INVALID).
    """
    count = sum(last - first + 1 for first, last, _ in map(exposed, texts))
    if count > PUBLISHED_MAX:
        raise errors.Invalid(
            f"--publish-all would publish {count} ports: at most {PUBLISHED_MAX}; name those to publish with --publish",
            reason="SPEC_INVALID",
        )


def clash(wanted: PortBinding, bound: PortBinding) -> bool:
    """Return whether a wanted port is one that is bound. A wanted free port (0) is never in the way."""
    if not wanted.host_port or (wanted.shared and bound.shared):
        return False
    if (wanted.protocol or "tcp") != (bound.protocol or "tcp"):
        return False
    same_address = wanted.host_ip == bound.host_ip or bool({wanted.host_ip, bound.host_ip} & _ALL_ADDRESSES)
    wanted_last = max(wanted.host_port, wanted.host_port_end)
    bound_last = max(bound.host_port, bound.host_port_end)
    return same_address and wanted.host_port <= bound_last and bound.host_port <= wanted_last


def without(published: tuple[PortBinding, ...], gone: PortBinding) -> tuple[PortBinding, ...]:
    """Return what is left when one publication, or a part of one that is a range, is taken away.

    It is meant exactly as it was given: address, port of the node, port of the container, protocol.

    Raises:
        errors.NotFound: There is none such (PORT_NOT_PUBLISHED).
    """
    for index, port in enumerate(published):
        if (rest := _cut(port, gone)) is not None:
            return (*published[:index], *rest, *published[index + 1 :])
    raise errors.NotFound(
        f"port {text(gone)} is not published: name it as it was given to --publish",
        reason="PORT_NOT_PUBLISHED",
    )


def text(port: PortBinding) -> str:
    """Return a publication as a user writes it."""
    host = _range(port.host_port, port.host_port_end) if port.host_port else ""
    address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    left = f"{address}:{host}:" if address else f"{host}:" if host else ""
    return f"{left}{_range(port.container_port, port.container_port_end)}/{port.protocol or 'tcp'}"


def _cut(port: PortBinding, gone: PortBinding) -> tuple[PortBinding, ...] | None:
    """Return what is left of a publication without a part of it, None if that is no part of it."""
    if (port.host_ip, port.protocol or "tcp") != (gone.host_ip, gone.protocol or "tcp"):
        return None
    if _ends(port) == _ends(gone):
        return ()
    (first, last), (host_first, host_last) = _ends(port)
    (gone_first, gone_last), (gone_host_first, gone_host_last) = _ends(gone)
    before, after = gone_first - first, last - gone_last
    if before < 0 or after < 0 or first == last:
        return None
    if host_first and (gone_host_first - host_first, host_last - gone_host_last) != (before, after):
        return None
    if not host_first and gone_host_first:
        return None
    parts = ((0, before), (gone_last + 1 - first, after))
    return tuple(_part(port, skipped, count) for skipped, count in parts if count)


def _part(port: PortBinding, skipped: int, count: int) -> PortBinding:
    first, host = port.container_port + skipped, port.host_port + skipped if port.host_port else 0
    return replace(
        port,
        container_port=first,
        container_port_end=first + count - 1 if count > 1 else 0,
        host_port=host,
        host_port_end=host + count - 1 if host and count > 1 else 0,
    )


def _ends(port: PortBinding) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (port.container_port, port.container_port_end or port.container_port),
        (port.host_port, port.host_port_end or port.host_port),
    )


def _range(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)
