"""The swarm's own object in the store: what its first manager makes of it, and how others read it. Pure."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.swarm.v1 import objects_pb2
from services.kit import errors
from services.swarmd.ca import authority, base36, tokens
from services.swarmd.store import tables

if TYPE_CHECKING:
    from datetime import datetime

    from services.swarmd.ca.authority import Authority
    from services.swarmd.ca.keys import PublicKey
    from services.swarmd.ca.tokens import JoinToken
    from services.swarmd.store.views import Reader

CLUSTER_NAME: Final = "default"
ID_DIGITS: Final = 25
_ID_BYTES: Final = 16


def new(cluster_id: str, spec: objects_pb2.ClusterSpec, root: Authority) -> objects_pb2.Cluster:
    """Return the object of a new swarm."""
    cluster = objects_pb2.Cluster(
        id=cluster_id,
        spec=spec,
        root_ca=objects_pb2.RootCa(
            certificate_pem=root.root_pem,
            key_pem=root.key_pem,
            digest=root.digest.hex(),
            join_tokens=objects_pb2.JoinTokens(
                worker=str(tokens.new(root.digest)), manager=str(tokens.new(root.digest))
            ),
        ),
    )
    if not cluster.spec.annotations.name:
        cluster.spec.annotations.name = CLUSTER_NAME
    return cluster


def of(store: Reader) -> objects_pb2.Cluster:
    """Return the swarm's object.

    Raises:
        errors.Unavailable: NOT_READY: this manager has not got it yet.
    """
    for cluster in store.list(tables.CLUSTERS):
        return cluster
    raise errors.Unavailable("this manager has not received the swarm's state yet", reason="NOT_READY")


def without_keys(cluster: objects_pb2.Cluster) -> objects_pb2.Cluster:
    """Return a copy as users may see it."""
    copy = tables.copy_of(cluster)
    copy.root_ca.ClearField("key_pem")
    copy.ClearField("unlock_key")
    return copy


def root_of(cluster: objects_pb2.Cluster) -> Authority:
    """Return the swarm's authority."""
    return authority.load(cluster.root_ca.certificate_pem, cluster.root_ca.key_pem)


def node_life(cluster: objects_pb2.Cluster) -> timedelta:
    """Return how long the certificates of nodes live."""
    expiry_ms = cluster.spec.certificate_expiry_ms
    return timedelta(milliseconds=expiry_ms) if expiry_ms else authority.NODE_LIFE


def role_of(cluster: objects_pb2.Cluster, token: JoinToken) -> objects_pb2.NodeRole.ValueType:
    """Return the role that a join token gives.

    Raises:
        errors.PermissionDenied: TOKEN_OTHER_SWARM, TOKEN_INVALID.
    """
    tokens.check_swarm(token, bytes.fromhex(cluster.root_ca.digest), "this manager")
    join = cluster.root_ca.join_tokens
    # Both are compared always, so that the time tells nothing.
    is_worker = tokens.same(token, tokens.parse(join.worker))
    is_manager = tokens.same(token, tokens.parse(join.manager))
    if is_manager:
        return objects_pb2.NODE_ROLE_MANAGER
    if is_worker:
        return objects_pb2.NODE_ROLE_WORKER
    raise errors.PermissionDenied(
        "the join token is not valid: it was mistyped or rotated; ask a manager for the present one"
        " (swarmctl swarm join-token)",
        reason="TOKEN_INVALID",
    )


def node_id_of(public_key: PublicKey) -> str:
    """Return the id of the node that holds a key: asked twice with one key, the swarm makes one node.

    A machine makes a new key each time it joins, so an id does not come back.
    """
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base36.render(hashlib.sha256(der).digest()[:_ID_BYTES], ID_DIGITS)


def blocked(store: Reader, name: str, now: datetime) -> bool:
    """Return whether certificates of this name are refused."""
    for cluster in store.list(tables.CLUSTERS):
        expiry = cluster.blocked_certificates.get(name)
        return expiry is not None and expiry.ToDatetime(tzinfo=now.tzinfo) > now
    return False


def block(cluster: objects_pb2.Cluster, node_id: str, now: datetime) -> None:
    """Refuse a node's certificates from now on, in a copy of the swarm's object; forget those that have expired."""
    for name, expiry in list(cluster.blocked_certificates.items()):
        if expiry.ToDatetime(tzinfo=now.tzinfo) <= now:
            del cluster.blocked_certificates[name]
    expiry = Timestamp()
    expiry.FromDatetime(now + node_life(cluster))
    cluster.blocked_certificates[node_id].CopyFrom(expiry)


def unlock_key_text(key: bytes) -> str:
    """Return an unlock key as people see it; empty without one."""
    return f"SWMKEY-1-{base64.b64encode(key).decode().rstrip('=')}" if key else ""
