"""What the authority signs, and what it does not take from those who ask."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.kit import errors
from services.swarmd.ca import authority, certificates, keys, renewal
from services.swarmd.ca.certificates import Holder

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = authority.new(NOW)


def _node(*, manager: bool, life: timedelta = authority.NODE_LIFE) -> x509.Certificate:
    pem = ROOT.sign_node(
        keys.new().public_key(), node_id="node1", manager=manager, cluster_id="swarm1", now=NOW, life=life
    )
    return certificates.load(pem)


def test_the_root_is_a_twenty_year_authority_named_swarm_ca() -> None:
    root = ROOT.certificate
    assert root.subject.rfc4514_string() == "CN=swarm-ca"
    assert root.not_valid_after_utc - NOW == timedelta(days=7300)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificates.check_issued_by(root, root)


@pytest.mark.parametrize(
    ("manager", "names"),
    [(True, ["swarm-manager", "node1", "swarm-ca"]), (False, ["swarm-worker", "node1"])],
)
def test_a_node_certificate_says_who_holds_it(manager: bool, names: list[str]) -> None:
    certificate = _node(manager=manager)
    identity = certificates.identity(certificate)
    assert identity == certificates.Identity(
        name="node1",
        holder=Holder.MANAGER if manager else Holder.WORKER,
        cluster_id="swarm1",
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(days=90),
    )
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.DNSName) == names
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificates.check_issued_by(certificate, ROOT.certificate)


def test_the_life_of_a_node_certificate_has_a_floor_and_the_roots_end() -> None:
    assert _node(manager=False, life=timedelta(seconds=1)).not_valid_after_utc == NOW + timedelta(hours=1)
    forever = _node(manager=False, life=timedelta(days=36500))
    assert forever.not_valid_after_utc == ROOT.certificate.not_valid_after_utc


def test_a_client_certificate_serves_under_no_name() -> None:
    pem = ROOT.sign_client(keys.new().public_key(), name="ops@laptop", cluster_id="swarm1", now=NOW)
    certificate = certificates.load(pem)
    assert certificates.identity(certificate).holder is Holder.CLIENT
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize(
    ("name", "life"),
    [
        ("", timedelta(hours=1)),
        ("x" * 65, timedelta(hours=1)),
        ("a\nb", timedelta(hours=1)),
        ("a", timedelta(days=366)),
    ],
)
def test_a_client_certificate_has_limits(name: str, life: timedelta) -> None:
    with pytest.raises(errors.Invalid):
        ROOT.sign_client(keys.new().public_key(), name=name, cluster_id="swarm1", now=NOW, life=life)


def test_only_the_key_of_a_request_is_taken() -> None:
    key = keys.new()
    wish = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody-else")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(wish).sign(key, hashes.SHA256())
    taken = keys.public_key_of_request(csr.public_bytes(Encoding.PEM))
    assert keys.same(taken, key.public_key())


def test_requests_that_cannot_be_trusted_are_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(keys.request(keys.new())).public_bytes(Encoding.DER))
    der[-1] ^= 1  # of the signature
    damaged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    weak = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(rsa.generate_private_key(65537, 1024), hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    for request in (b"", b"x" * 20000, damaged, weak):
        with pytest.raises(errors.Invalid) as refused:
            keys.public_key_of_request(request)
        assert refused.value.reason == "CSR_INVALID"


def test_a_root_is_read_back_from_the_store_only_as_a_pair() -> None:
    assert authority.load(ROOT.root_pem, ROOT.key_pem).digest == ROOT.digest
    with pytest.raises(errors.Invalid):
        authority.load(ROOT.root_pem, authority.new(NOW).key_pem)


def test_a_certificate_of_another_root_is_refused() -> None:
    with pytest.raises(errors.PermissionDenied):
        certificates.check_issued_by(_node(manager=True), authority.new(NOW).certificate)


def test_renewal_is_due_between_half_and_four_fifths_of_the_life() -> None:
    begin, end = NOW, NOW + timedelta(days=100)
    moments = [renewal.due(begin, end, random.Random(seed)) for seed in range(200)]
    assert min(moments) >= begin + timedelta(days=50)
    assert max(moments) <= begin + timedelta(days=80)
    assert len(set(moments)) > 100
    assert not renewal.endangered(begin, end, begin + timedelta(days=74))
    assert renewal.endangered(begin, end, begin + timedelta(days=76))
    assert renewal.expired(end, end)
    assert not renewal.expired(end, end - timedelta(seconds=1))
