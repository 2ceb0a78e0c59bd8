"""What the node itself has for names: its hosts file, resolv.conf and host name."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from services.kit import log
from services.netd.core.namefiles import NodeNames

_log = log.get(__name__)

_HOSTS = Path("/etc/hosts")
_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED_CONF = Path("/run/systemd/resolve/resolv.conf")
"""What systemd-resolved itself asks, where /etc/resolv.conf names only its stub on the loopback."""

_STUB = "127.0.0.53"
_FILE_BYTES_MAX = 1 << 20


class NodeNamesReader:
    """Reads the files anew each time: they change with the node's own network.

    Args:
        fallback: Name servers for when all of the node's are on its loopback.
    """

    def __init__(self, fallback: Sequence[str]) -> None:
        self._fallback = fallback

    def __call__(self) -> NodeNames:
        """Return what is there now; what is missing is empty."""
        resolv_conf = _read(_RESOLV_CONF)
        if _STUB in resolv_conf and _RESOLVED_CONF.exists():
            resolv_conf = _read(_RESOLVED_CONF)
        return NodeNames(
            hosts=_read(_HOSTS),
            resolv_conf=resolv_conf,
            fallback=self._fallback,
            hostname=socket.gethostname(),
        )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode(errors="replace")
    except OSError as error:
        _log.warning("node_file_unreadable", path=str(path), error=str(error))
        return ""
