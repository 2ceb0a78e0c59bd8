"""Whether this host has the journal that conmon would write to: without it the lines would be lost silently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.logs.options import LogPolicy

SOCKET = Path("/run/systemd/journal/socket")


def check(policy: LogPolicy, socket: Path = SOCKET) -> None:
    """Refuse the journald driver where nothing listens.

    Raises:
        errors.FailedPrecondition: JOURNALD_MISSING.
    """
    if policy.driver == "journald" and not socket.is_socket():
        raise errors.FailedPrecondition(
            f"log driver journald: journald is not enabled on this host: there is no {socket}",
            reason="JOURNALD_MISSING",
        )
