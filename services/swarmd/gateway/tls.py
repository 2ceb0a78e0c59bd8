"""The node's certificate in use: what its listeners present, what it dials with, and how both change while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from services.swarmd.ca.certificates import Holder

if TYPE_CHECKING:
    from services.swarmd.ca.certificates import Identity
    from services.swarmd.identity import Credentials


class NodeTls:
    """The node's present credentials; a replacement holds from the next handshake and the next dial on."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._generation = 1
        self._channel = _channel_credentials(credentials)

    @property
    def generation(self) -> int:
        """Grows with every replacement: connections of an older generation show an old certificate."""
        return self._generation

    @property
    def credentials(self) -> Credentials:
        """The present credentials."""
        return self._credentials

    @property
    def identity(self) -> Identity:
        """Whom the present certificate names."""
        return self._credentials.identity

    @property
    def is_manager(self) -> bool:
        """Whether the present certificate is a manager's."""
        return self.identity.holder is Holder.MANAGER

    def replace(self, credentials: Credentials) -> None:
        """Use other credentials from now on. Connections that stand are not touched."""
        self._credentials = credentials
        self._channel = _channel_credentials(credentials)
        self._generation += 1

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what to dial other nodes with."""
        return self._channel

    def server_credentials(self, *, client_certificates: bool) -> grpc.ServerCredentials:
        """Return what one listener presents and asks for.

        Args:
            client_certificates: Whether a caller must present a certificate that our trust verifies; without, callers
                are anonymous. (gRPC knows nothing in between.)
        """
        served = self._generation

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            # Called at every handshake, on a thread of gRPC; None is "no change".
            nonlocal served
            if served == self._generation:
                return None
            served = self._generation
            return _server_configuration(self._credentials)

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(self._credentials),
            renewed,  # type: ignore[arg-type]  # the stubs do not know that None is "no change"
            require_client_authentication=client_certificates,
        )


def anonymous_credentials(trust_pem: bytes) -> grpc.ChannelCredentials:
    """Return what a machine without a certificate dials with."""
    return grpc.ssl_channel_credentials(trust_pem)


def _channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        credentials.trust_pem, credentials.key_pem, credentials.certificate_pem
    )


def _server_configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(credentials.key_pem, credentials.chain_pem)], root_certificates=credentials.trust_pem
    )
