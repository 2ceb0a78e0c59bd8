"""The root of trust of a swarm, and what it signs.

The root's key is an object of the replicated store, so every manager can sign and none is special. Signing takes well
under a millisecond and is done on the event loop.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.kit import errors
from services.swarmd.ca import certificates, keys
from services.swarmd.ca.certificates import Holder

if TYPE_CHECKING:
    from services.swarmd.ca.keys import PrivateKey, PublicKey

ROOT_LIFE: Final = timedelta(days=20 * 365)
NODE_LIFE: Final = timedelta(hours=2160)
NODE_LIFE_MIN: Final = timedelta(hours=1)
CLIENT_LIFE: Final = timedelta(hours=24)
CLIENT_LIFE_MAX: Final = timedelta(days=365)
BACKDATE: Final = timedelta(hours=1)
"""Certificates begin this much before now, so that a machine whose clock is slow can use them at once."""
CLIENT_NAME_CHARS_MAX: Final = 64  # the limit of a common name in X.509


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey = dataclasses.field(repr=False)

    @property
    def root_pem(self) -> bytes:
        """The root certificate, PEM."""
        return certificates.to_pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The root's key, PEM. It never leaves the managers."""
        return keys.to_pem(self.key)

    @property
    def digest(self) -> bytes:
        """sha256 of the root certificate."""
        return certificates.digest(self.certificate)

    def sign_node(
        self,
        public_key: PublicKey,
        *,
        node_id: str,
        manager: bool,
        cluster_id: str,
        now: datetime,
        life: timedelta = NODE_LIFE,
    ) -> bytes:
        """Return the certificate of a node, PEM."""
        holder = Holder.MANAGER if manager else Holder.WORKER
        return self._sign(public_key, node_id, holder, cluster_id, now, max(life, NODE_LIFE_MIN))

    def sign_client(
        self,
        public_key: PublicKey,
        *,
        name: str,
        cluster_id: str,
        now: datetime,
        life: timedelta = CLIENT_LIFE,
    ) -> bytes:
        """Return the certificate of a client of the control API, PEM.

        Raises:
            errors.Invalid: The name cannot stand in a certificate, or the life is out of range.
        """
        if not 0 < len(name) <= CLIENT_NAME_CHARS_MAX or not name.isprintable():
            raise errors.Invalid(f"a client's name has 1 to {CLIENT_NAME_CHARS_MAX} printable characters")
        if not timedelta() < life <= CLIENT_LIFE_MAX:
            raise errors.Invalid(f"a client's certificate lives at most {CLIENT_LIFE_MAX.days} days")
        return self._sign(public_key, name, Holder.CLIENT, cluster_id, now, life)

    def _sign(
        self,
        public_key: PublicKey,
        name: str,
        holder: Holder,
        cluster_id: str,
        now: datetime,
        life: timedelta,
    ) -> bytes:
        identity = certificates.Identity(
            name=name,
            holder=holder,
            cluster_id=cluster_id,
            not_before=now - BACKDATE,
            not_after=min(now + life, self.certificate.not_valid_after_utc),
        )
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(identity.not_before, identity.not_after, public_key)
        builder = builder.subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, holder.value),
                    x509.NameAttribute(NameOID.COMMON_NAME, name),
                ]
            )
        ).issuer_name(self.certificate.subject)
        if holder is not Holder.CLIENT:
            # A client's certificate carries no names: its holder could serve under them.
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names = [x509.DNSName(server_name) for server_name in identity.server_names]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        return certificates.to_pem(builder.sign(self.key, hashes.SHA256()))


def new(now: datetime) -> Authority:
    """Return a new root."""
    key = keys.new()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificates.ROOT_NAME)])
    certificate = (
        _builder(now - BACKDATE, now + ROOT_LIFE, key.public_key())
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def load(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """Return the root that the store holds.

    Raises:
        errors.Invalid: One of the two is unreadable, or they do not belong together.
    """
    authority = Authority(certificates.load(certificate_pem), keys.load(key_pem))
    if not keys.same(authority.key.public_key(), authority.certificate.public_key()):
        raise errors.Invalid("the root's key does not fit its certificate", reason="KEY_INVALID")
    return authority


def _builder(not_before: datetime, not_after: datetime, public_key: PublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
