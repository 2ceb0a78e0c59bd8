"""A certificate authority for tests: one key pair a node, its name in the common name."""

from __future__ import annotations

import datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "raft-test"
_NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """Signs certificates that hold for a day."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        self.certificate = _pem(
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - datetime.timedelta(hours=1))
            .not_valid_after(_NOW + datetime.timedelta(days=1))
        )

    def _issue(self, node_id: str) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])
        names = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)])
        certificate = self._builder(subject, key.public_key()).add_extension(names, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, _pem(certificate.sign(self._key, hashes.SHA256()))

    def server(self, node_id: str) -> grpc.ServerCredentials:
        """Return what a node serves with; clients must have a certificate, too."""
        return grpc.ssl_server_credentials([self._issue(node_id)], self.certificate, require_client_auth=True)

    def client(self, node_id: str) -> grpc.ChannelCredentials:
        """Return what a node calls others with."""
        private, certificate = self._issue(node_id)
        return grpc.ssl_channel_credentials(self.certificate, private, certificate)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
