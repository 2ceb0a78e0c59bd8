"""Private keys, and the requests by which their public halves reach the authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.kit import errors

if TYPE_CHECKING:
    PrivateKey = ec.EllipticCurvePrivateKey
    PublicKey = ec.EllipticCurvePublicKey

CSR_BYTES_MAX: Final = 16 << 10
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


def new() -> PrivateKey:
    """Return a new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def to_pem(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load(pem: bytes) -> PrivateKey:
    """Return the key of a PEM text.

    Raises:
        errors.Invalid: KEY_INVALID.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise errors.Invalid(f"this is not a private key: {exc}", reason="KEY_INVALID") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise errors.Invalid("the private key is not an elliptic-curve key", reason="KEY_INVALID")
    return key


def request(key: PrivateKey) -> bytes:
    """Return a certificate request for `key`, PEM. Its subject is empty: the authority decides who the holder is."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM)


def public_key_of_request(csr_pem: bytes) -> PublicKey:
    """Return the public key of a request whose sender proved to hold the private one; nothing else is taken from it.

    Raises:
        errors.Invalid: CSR_INVALID.
    """
    if len(csr_pem) > CSR_BYTES_MAX:
        raise _csr_invalid(f"it has more than {CSR_BYTES_MAX} bytes")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        if not csr.is_signature_valid:
            raise _csr_invalid("its signature does not fit its key")
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise _csr_invalid(str(exc)) from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _csr_invalid(f"its key must be ECDSA on one of {', '.join(_CURVES)}")
    return key


def same(key: PublicKey, other: object) -> bool:
    """Return whether two public keys are the same."""
    return isinstance(other, ec.EllipticCurvePublicKey) and key.public_numbers() == other.public_numbers()


def _csr_invalid(why: str) -> errors.Invalid:
    return errors.Invalid(f"this is not a usable certificate request: {why}", reason="CSR_INVALID")
