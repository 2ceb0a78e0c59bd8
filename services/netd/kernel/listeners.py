"""Whether a program of the node has a port, and which program: found out by trying to bind it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.kit import errors
from services.netd.model.port import HostPort, Protocol

_PROC = Path("/proc")
_KINDS = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}
_WAITING = {Protocol.TCP: "0A", Protocol.UDP: "07"}
"""The state, in the kernel's tables, of a socket that waits for whoever comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A socket that listens."""

    port: int
    state: str
    inode: str


def holder(host: HostPort) -> str:
    """Return what has a port of the node; empty if it is free.

    Sockets of connections that merely happen to have that number do not count: packets of a connection are never
    redirected.

    Raises:
        errors.Invalid: The address is not one of this node.
    """
    with socket.socket(socket.AF_INET, _KINDS[host.protocol] | socket.SOCK_CLOEXEC) as probe:
        if host.protocol is Protocol.TCP:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(host.host_ip), host.port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise errors.Invalid(
                    f"cannot publish on {host.host_ip}: it is not an address of this node",
                    reason="SPEC_INVALID",
                ) from None
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return ""
    entries = [entry for entry in _entries(host.protocol) if entry.port == host.port]
    waiting = [entry for entry in entries if entry.state == _WAITING[host.protocol]]
    if waiting:
        return _owner(waiting[0].inode)
    return "" if entries else "a program of this node"


def _entries(protocol: Protocol) -> Iterator[_Entry]:
    for table in (protocol.value, f"{protocol.value}6"):
        try:
            text = (_PROC / "thread-self/net" / table).read_text()
        except OSError:
            continue  # no IPv6
        for line in text.splitlines()[1:]:
            fields = line.split()
            yield _Entry(port=int(fields[1].rsplit(":", 1)[1], 16), state=fields[3], inode=fields[9])


def _owner(inode: str) -> str:
    """Return the name of the program that has a socket."""
    wanted = f"socket:[{inode}]"
    for process in _PROC.glob("[0-9]*"):
        try:
            if any(str(descriptor.readlink()) == wanted for descriptor in (process / "fd").iterdir()):
                return f"the program {(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it ended, or may not be looked into
    return "a program of this node"
