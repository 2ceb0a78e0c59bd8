"""Who makes a call: read from the connection it came on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.kit import errors
from services.swarmd.ca import certificates
from services.swarmd.gateway import metadata
from services.swarmd.gateway.ports import Caller, CallerKind

if TYPE_CHECKING:
    from services.kit.rpc.types import Context

_PEM_KEY = "x509_pem_cert"
_KINDS = {holder: CallerKind(holder.value) for holder in certificates.Holder}


class MembershipView(Protocol):
    """What is needed of the node's membership to judge a certificate."""

    @property
    def node_id(self) -> str:
        """Id of this node; empty outside of a swarm."""
        ...

    @property
    def cluster_id(self) -> str:
        """Id of the swarm; empty outside of one."""
        ...

    def blocked(self, name: str, /) -> bool:
        """Return whether certificates of this name are refused: of a node that was removed."""
        ...


class Callers:
    """Tells who makes a call."""

    def __init__(self, membership: MembershipView) -> None:
        self._membership = membership

    def caller(self, context: Context) -> Caller:
        """Return the caller of the call that `context` belongs to.

        TLS has verified that the certificate is valid and signed by a root that this node trusts. Here it must be one
        of this swarm, and not one that was taken back.

        Raises:
            errors.PermissionDenied: CERTIFICATE_INVALID, NODE_REMOVED.
        """
        pem = next(iter(context.auth_context().get(_PEM_KEY, ())), b"")
        if not pem:
            return self._without_certificate(context)
        try:
            identity = certificates.identity_of_pem(bytes(pem))
        except errors.Invalid as exc:
            raise errors.PermissionDenied(exc.message, reason="CERTIFICATE_INVALID") from exc
        if identity.cluster_id != self._membership.cluster_id:
            raise errors.PermissionDenied(
                f"the certificate of {identity.name} is for another swarm ({identity.cluster_id})",
                reason="CERTIFICATE_INVALID",
            )
        if self._membership.blocked(identity.name):
            raise errors.PermissionDenied(
                f"node {identity.name} is not part of the swarm: it was removed, and its certificate is blocked",
                reason="NODE_REMOVED",
            )
        kind = _KINDS[identity.holder]
        asked = ""
        if kind is CallerKind.MANAGER:
            asked = metadata.parse(context.invocation_metadata() or ()).asked_node
        return Caller(kind=kind, node_id=identity.name, asked_node_id=asked or self._membership.node_id)

    def _without_certificate(self, context: Context) -> Caller:
        if not context.peer().startswith("unix:"):
            raise errors.PermissionDenied(
                "this listener wants a certificate of the swarm", reason="CERTIFICATE_INVALID"
            )
        node_id = self._membership.node_id
        return Caller(kind=CallerKind.LOCAL, node_id=node_id, asked_node_id=node_id)
