"""The service manager's side channel (sd_notify): READY, STOPPING, WATCHDOG, STATUS."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, NoReturn

from services.kit import log

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_log = log.get(__name__)


class Notifier:
    """Tells the service manager how the daemon is; does nothing where there is none.

    Args:
        address: The manager's datagram socket; "@" begins an abstract one; empty is no manager.
        watchdog_s: How often the manager wants to hear of us; 0 is never.
    """

    def __init__(self, address: str, watchdog_s: float) -> None:
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take what the manager has put into the environment out of it.

        It is meant for this process alone: an OCI runtime that inherited the socket would report in our name.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", "") in {"", str(os.getpid())}
        return cls(address, int(watchdog_us) / 1e6 if for_us and watchdog_us.isdecimal() else 0.0)

    def send(self, **variables: str) -> None:
        """Send assignments, such as READY="1" or STATUS="serving". A failure is logged: it must not stop the daemon."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        message = "\n".join(f"{key}={value}" for key, value in variables.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message.encode(), address)
        except OSError as exc:
            _log.warning("notify_failed", address=self._address, error=exc)

    async def watchdog(self) -> NoReturn:
        """Feed the watchdog from the event loop: a loop that hangs is restarted by the manager."""
        assert self.watchdog_s > 0, "there is no watchdog to feed"
        while True:
            self.send(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_s / 2)
