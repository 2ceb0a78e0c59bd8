"""A first look at a listener of which nothing is known yet: who says that it answers, and whether it takes strangers.

gRPC cannot connect without verifying the server, so this is a plain TLS connection, made in a thread. Nothing that is
seen here is believed: what is read is only used to ask for the root certificate, whose digest the join token has.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from typing import TYPE_CHECKING, Final

from cryptography import x509

from services.kit import errors
from services.swarmd.ca import certificates
from services.swarmd.members import addresses

if TYPE_CHECKING:
    from services.swarmd.ca.certificates import Identity

TIMEOUT_S: Final = 3.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What answers at an address."""

    address: str
    certificate: x509.Certificate
    identity: Identity
    takes_strangers: bool
    """Whether it goes on with a caller that has no certificate."""


async def look(host: str, port: int) -> Listener:
    """Return what answers.

    Raises:
        errors.Unavailable: MANAGER_UNREACHABLE: nobody answers, or not with the certificate of a node.
    """
    return await asyncio.to_thread(_look, host, port)


def _look(host: str, port: int) -> Listener:
    address = addresses.render(host, port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=certificates.ROOT_NAME) as connection,
        ):
            der = connection.getpeercert(binary_form=True) or b""
            takes_strangers = _goes_on(connection)
        certificate = x509.load_der_x509_certificate(der)
        identity = certificates.identity(certificate)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise _unreachable(address, why or type(exc).__name__) from exc
    except errors.Invalid as exc:
        raise _unreachable(address, exc.message) from exc
    return Listener(
        address=address, certificate=certificate, identity=identity, takes_strangers=takes_strangers
    )


def _goes_on(connection: ssl.SSLSocket) -> bool:
    """Return whether the server speaks after the handshake.

    One that wants a certificate closes instead: in TLS 1.3 it learns after the client's last word that there is none.
    """
    try:
        return bool(connection.recv(1))
    except OSError:
        return False


def _unreachable(address: str, why: str) -> errors.Unavailable:
    return errors.Unavailable(f"no manager answers at {address}: {why}", reason="MANAGER_UNREACHABLE")
