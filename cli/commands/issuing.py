"""A client certificate from the swarm of this node: how another machine gets to reach its managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2 as pb
from cli import api
from cli.contexts import Pem
from services.kit import errors

if TYPE_CHECKING:
    from cli.session import Session

TIMEOUT_S = 30.0


def issue(session: Session, name: str, expiry_ms: int) -> tuple[str, Pem]:
    """Make a key, have the swarm sign it, and return the managers' address as `--host` takes it, and all three files.

    Raises:
        errors.BeeyardError: This node is no manager, or the swarm refuses.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    state = session.call(api.Cluster.GetLocalState, pb.GetLocalStateRequest(), timeout_s=TIMEOUT_S)
    if not state.managers:
        raise errors.FailedPrecondition("this node knows no manager of a swarm", reason="NOT_IN_SWARM")
    issued = session.call(
        api.Cluster.IssueClientCertificate,
        pb.IssueClientCertificateRequest(
            name=name, csr_pem=request.public_bytes(serialization.Encoding.PEM), expiry_ms=expiry_ms
        ),
        timeout_s=TIMEOUT_S,
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    host = "tcp://" + ",".join(peer.address for peer in state.managers)
    return host, Pem(ca=issued.root_pem, certificate=issued.certificate_pem, key=private)
