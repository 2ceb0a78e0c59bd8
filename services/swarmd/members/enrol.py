"""How a machine becomes a member: from a token and an address to a certificate.

1. Look who answers (`probe`); nothing of it is believed.
2. Ask it for the root certificate, over TLS that accepts exactly the certificate seen in 1. The digest in the token
   decides whether that is the root of the right swarm, and the root must have signed the certificate of 1.
3. Only now, over TLS that trusts that root, send the token with a request for the machine's certificate.

So the secret in the token reaches none but a manager of the swarm that the token is for.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from beeyard.swarm.v1 import enrolment_pb2, enrolment_pb2_grpc, objects_pb2
from services.kit import errors, log
from services.kit.rpc import client
from services.swarmd.ca import certificates, keys, tokens
from services.swarmd.ca.certificates import Holder
from services.swarmd.gateway.ports import NodePlace
from services.swarmd.gateway.tls import anonymous_credentials
from services.swarmd.identity import Credentials
from services.swarmd.members import addresses, probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from services.swarmd.ca.tokens import JoinToken
    from services.swarmd.members.probe import Listener

_log = log.get(__name__)

ROOT_TIMEOUT_S: Final = 5.0
ISSUE_TIMEOUT_S: Final = 15.0
ADDRESSES_MAX: Final = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a machine has when the swarm has taken it in."""

    node_id: str
    cluster_id: str
    role: objects_pb2.NodeRole.ValueType
    credentials: Credentials
    managers: tuple[NodePlace, ...]
    through: str
    """The address that was used."""


async def enrol(
    remote_addresses: Sequence[str], token_text: str, availability: objects_pb2.NodeAvailability.ValueType
) -> Enrolment:
    """Ask one manager after the other for membership.

    Raises:
        errors.Invalid: TOKEN_INVALID, ADDRESS_INVALID.
        errors.PermissionDenied: TOKEN_OTHER_SWARM (before the secret was sent), TOKEN_INVALID.
        errors.Unavailable: MANAGER_UNREACHABLE, NO_LEADER: no address did it; the message has the last reason.
    """
    token = tokens.parse(token_text)
    if not remote_addresses:
        raise errors.Invalid("joining needs the address of a manager", reason="ADDRESS_INVALID")
    failures: list[errors.BeeyardError] = []
    for remote in remote_addresses[:ADDRESSES_MAX]:
        try:
            return await _enrol_at(remote, token, availability)
        except (errors.Unavailable, errors.FailedPrecondition) as exc:
            _log.info("enrolment_failed", address=remote, reason=exc.reason, error=exc.message)
            failures.append(exc)
    if len(failures) == 1:
        raise failures[0]
    raise errors.Unavailable(
        "no manager took this node in: " + "; ".join(failure.message for failure in failures),
        reason=failures[-1].reason,
    )


async def _enrol_at(
    remote: str, token: JoinToken, availability: objects_pb2.NodeAvailability.ValueType
) -> Enrolment:
    listener = await _enrolment_listener(remote)
    root = await _root(listener, token)
    key = keys.new()
    channel = client.channel_tls(
        listener.address, anonymous_credentials(certificates.to_pem(root)), certificates.ROOT_NAME
    )
    try:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        request = enrolment_pb2.IssueNodeCertificateRequest(
            csr_pem=keys.request(key), token=str(token), availability=availability
        )
        response = await client.call(stub.IssueNodeCertificate(request, timeout=ISSUE_TIMEOUT_S))
    finally:
        await channel.close()
    credentials = Credentials(
        trust_pem=response.root_pem,
        certificate_pem=response.certificate_pem,
        key_pem=keys.to_pem(key),
    )
    check(credentials, root, response.node_id, response.cluster_id)
    return Enrolment(
        node_id=response.node_id,
        cluster_id=response.cluster_id,
        role=response.role,
        credentials=credentials,
        managers=tuple(NodePlace(node_id="", address=address) for address in response.manager_addresses),
        through=listener.address,
    )


async def _enrolment_listener(remote: str) -> Listener:
    """Return the listener that takes strangers: the one named, or if that is the mTLS listener, the one beside it."""
    host, port = addresses.parse(remote)
    listener = await probe.look(host, port)
    if listener.identity.holder is not Holder.MANAGER:
        raise errors.FailedPrecondition(
            f"the node at {remote} is not a manager: give the address of one", reason="NOT_A_MANAGER"
        )
    if listener.takes_strangers:
        return listener
    beside = await probe.look(host, port + 1)
    if not beside.takes_strangers:
        raise errors.Unavailable(
            f"neither {remote} nor port {port + 1} beside it takes in new nodes: give the address of the manager's"
            " enrolment listener (enroll_listen)",
            reason="MANAGER_UNREACHABLE",
        )
    return beside


async def _root(listener: Listener, token: JoinToken) -> x509.Certificate:
    """Return the root certificate of the swarm that the token is for."""
    pinned = anonymous_credentials(certificates.to_pem(listener.certificate))
    channel = client.channel_tls(listener.address, pinned, listener.identity.name)
    try:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
        request = enrolment_pb2.GetRootCertificateRequest()
        response = await client.call(stub.GetRootCertificate(request, timeout=ROOT_TIMEOUT_S))
    finally:
        await channel.close()
    root = certificates.load(response.certificate_pem)
    tokens.check_swarm(token, certificates.digest(root), listener.address)
    certificates.check_issued_by(listener.certificate, root)
    return root


def check(credentials: Credentials, root: x509.Certificate, node_id: str, cluster_id: str) -> None:
    """Return if what was issued is what it is said to be. A manager would have to be broken for it not to be.

    Raises:
        errors.Internal: CERTIFICATE_INVALID.
    """
    certificate = certificates.load(credentials.certificate_pem)
    certificates.check_issued_by(certificate, root)
    identity = credentials.identity
    key = keys.load(credentials.key_pem)
    if (identity.name, identity.cluster_id) != (node_id, cluster_id) or not keys.same(
        key.public_key(), certificate.public_key()
    ):
        raise errors.Internal(
            "the manager issued a certificate for somebody else", reason="CERTIFICATE_INVALID"
        )
