"""What a certificate of the swarm says: who holds it, in which swarm, as what, for how long. Pure.

    CN = node id (clients: their name)    OU = swarm-manager | swarm-worker | swarm-client    O = cluster id
    SAN = OU, CN, and for managers swarm-ca

A caller that knows which node it dials verifies the node's id; one that wants any manager verifies `swarm-manager`, and
one that wants a certificate verifies `swarm-ca`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from services.kit import errors

if TYPE_CHECKING:
    from datetime import datetime

ROOT_NAME: Final = "swarm-ca"
PEM_BYTES_MAX: Final = 64 << 10


class Holder(enum.Enum):
    """What the holder of a certificate is; the value is the certificate's organizational unit."""

    MANAGER = "swarm-manager"
    WORKER = "swarm-worker"
    CLIENT = "swarm-client"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who holds a certificate."""

    name: str
    """Node id; of a client its name."""
    holder: Holder
    cluster_id: str
    not_before: datetime
    not_after: datetime

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names under which the holder may serve, and by which others verify it."""
        names = (self.holder.value, self.name)
        return (*names, ROOT_NAME) if self.holder is Holder.MANAGER else names


def load(pem: bytes) -> x509.Certificate:
    """Return the first certificate of a PEM text.

    Raises:
        errors.Invalid: CERTIFICATE_INVALID.
    """
    if len(pem) > PEM_BYTES_MAX:
        raise _invalid(f"it has more than {PEM_BYTES_MAX} bytes")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise _invalid(str(exc)) from exc


def identity(certificate: x509.Certificate) -> Identity:
    """Return whom a certificate names.

    Raises:
        errors.Invalid: CERTIFICATE_INVALID: a field is missing, double or unknown.
    """
    unit = _field(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME, "OU")
    try:
        holder = Holder(unit)
    except ValueError:
        raise _invalid(f"its OU {unit!r} is none of a swarm") from None
    return Identity(
        name=_field(certificate, NameOID.COMMON_NAME, "CN"),
        holder=holder,
        cluster_id=_field(certificate, NameOID.ORGANIZATION_NAME, "O"),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


@functools.lru_cache(maxsize=1024)
def identity_of_pem(pem: bytes) -> Identity:
    """Return whom a PEM certificate names; remembered, as every call of a peer carries the same bytes."""
    return identity(load(pem))


def digest(certificate: x509.Certificate) -> bytes:
    """Return sha256 of the certificate's DER form: what a join token names its swarm by."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def check_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> None:
    """Return if `root` signed `certificate`.

    Raises:
        errors.PermissionDenied: CERTIFICATE_INVALID.
    """
    try:
        certificate.verify_directly_issued_by(root)
    except Exception as exc:
        raise errors.PermissionDenied(
            "the certificate was not signed by the root of this swarm", reason="CERTIFICATE_INVALID"
        ) from exc


def _field(certificate: x509.Certificate, oid: x509.ObjectIdentifier, name: str) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    if len(values) != 1 or not isinstance(values[0].value, str) or not values[0].value:
        raise _invalid(f"its subject needs exactly one {name}")
    return values[0].value


def _invalid(why: str) -> errors.Invalid:
    return errors.Invalid(f"this is not a certificate of a swarm: {why}", reason="CERTIFICATE_INVALID")
