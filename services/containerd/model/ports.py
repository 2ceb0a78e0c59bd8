"""When two containers cannot publish their ports on the same node. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.containerd.model.spec import PortBinding

_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (compared with, not bound)


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
