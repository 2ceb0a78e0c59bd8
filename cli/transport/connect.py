"""Reaching a daemon: a unix socket of this host, or a manager over mTLS. Faults are told in the user's words."""

from __future__ import annotations

import _socket  # what `socket` is made of, without the enumerations of all its constants: 3 ms of each start
import os
from typing import TYPE_CHECKING, Protocol

from cli.transport.channel import Channel
from services.kit import errors

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from cli.target import Credentials

CONNECT_TIMEOUT_S = 3.0
UNIX_PATH_BYTES_MAX = 107
SERVER_NAME = "swarm-manager"
"""Every manager's certificate carries it, and nobody else's."""


class Connected(Protocol):
    """A connected socket that does not block: BlockingIOError means that there is nothing to do now."""

    def fileno(self) -> int:
        """Return its descriptor, -1 when closed."""

    def recv(self, size: int, /) -> bytes:
        """Return what has arrived; empty at the end."""

    def send(self, data: memoryview, /) -> int:
        """Return how much was taken."""

    def close(self) -> None:
        """Close it."""


def unix(directory: str, daemon: str, metadata: Iterable[tuple[str, str]] = (), peer: str = "") -> Channel:
    """Connect to a daemon whose socket is in this directory; `peer` says in messages whom it leads to, if farther.

    Raises:
        errors.BeeyardError: It is not there, does not listen, or may not be used by this user.
    """
    address = f"{directory}/{daemon}.sock"
    if len(os.fsencode(address)) > UNIX_PATH_BYTES_MAX:
        raise errors.Invalid(
            f"the socket path {address} is longer than the kernel allows", reason="HOST_INVALID"
        )
    connected = _socket.socket(_socket.AF_UNIX)
    try:
        connected.settimeout(CONNECT_TIMEOUT_S)
        connected.connect(address)
        connected.setblocking(False)
    except PermissionError:
        connected.close()
        raise errors.PermissionDenied(
            f"permission denied while trying to connect to {daemon} at unix://{address}: be root, or a member of the"
            " group that owns the socket",
            reason="SOCKET_PERMISSION_DENIED",
        ) from None
    except OSError as exc:
        connected.close()
        missing = isinstance(exc, FileNotFoundError | NotADirectoryError | ConnectionRefusedError)
        why = "" if missing else f" ({exc.strerror or exc})"
        raise errors.Unavailable(
            f"cannot connect to {daemon} at unix://{address}{why}: is the daemon running?"
            f" (systemctl status beeyard-{daemon}; --host aims elsewhere)",
            reason="DAEMON_UNREACHABLE",
        ) from None
    return Channel(connected, peer=peer or daemon, scheme="http", metadata=metadata)


def manager(
    addresses: Iterable[str],
    credentials: Credentials | None,
    metadata: Iterable[tuple[str, str]] = (),
    peer: str = "swarmd",
) -> Channel:
    """Connect to the first manager that answers, over mTLS; `peer` says in messages whom it leads to.

    Raises:
        errors.Invalid: There is no client certificate.
        errors.PermissionDenied: It and the managers do not trust each other.
        errors.Unavailable: None answers; the message says why, for each.
    """
    failures: list[str] = []
    for address in addresses:
        try:
            return Channel(
                _tls(address, credentials), peer=f"{peer} at {address}", scheme="https", metadata=metadata
            )
        except OSError as exc:
            failures.append(f"{address}: {_reason(exc)}")
    raise errors.Unavailable(
        f"no manager answers within {CONNECT_TIMEOUT_S:.0f} s: {'; '.join(failures)}",
        reason="MANAGER_UNREACHABLE",
    )


def _tls(address: str, credentials: Credentials | None) -> Connected:
    import socket
    import ssl

    if credentials is None:
        raise errors.Invalid(
            "managers are reached with a client certificate: set BEEYARD_CERT_PATH, or make a context with "
            "`swarmctl context create`",
            reason="CREDENTIALS_MISSING",
        )
    try:
        context = ssl.create_default_context(cafile=credentials.ca)
        context.load_cert_chain(credentials.certificate, credentials.key)
    except OSError as exc:
        raise errors.Invalid(
            f"client certificate: {exc.strerror or exc} ({', '.join(credentials)})",
            reason="CREDENTIALS_MISSING",
        ) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = context.wrap_socket(plain, server_hostname=SERVER_NAME)
    except ssl.SSLError as exc:
        plain.close()
        raise errors.PermissionDenied(
            f"{address} and this client do not trust each other: {exc.reason or exc}",
            reason="CERTIFICATE_INVALID",
        ) from exc
    except OSError:
        plain.close()
        raise
    secure.setblocking(False)
    return _Secure(secure)


class _Secure:
    """TLS whose "not now" looks like that of a plain socket."""

    def __init__(self, secure: socket.socket) -> None:
        import ssl

        self._socket = secure
        self._not_now = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._silent = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv(self, size: int, /) -> bytes:
        try:
            data = self._socket.recv(size)
        except self._not_now:
            raise BlockingIOError from None
        if (
            self._silent and not data
        ):  # the handshake is over for us before the manager has looked at our certificate
            raise ConnectionResetError(
                None, "closed without a word: does it accept this client's certificate?"
            )
        self._silent = False
        return data

    def send(self, data: memoryview, /) -> int:
        try:
            return self._socket.send(data)
        except self._not_now:
            raise BlockingIOError from None

    def close(self) -> None:
        self._socket.close()


def _reason(exc: OSError) -> str:
    return "timed out" if isinstance(exc, TimeoutError) else str(exc.strerror or exc)
