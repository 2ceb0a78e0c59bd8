"""What a service's spec refers to: secrets, configs and networks, found in the store and written down by id. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kit import errors
from services.swarmd.api import lookup
from services.swarmd.api.checks import ports
from services.swarmd.store.tables import CONFIGS, NETWORKS, SECRETS, SERVICES

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2
    from services.swarmd.store.transaction import Tx


def settle(tx: Tx, spec: objects_pb2.ServiceSpec, service_id: str) -> None:
    """Replace names by ids in `spec`, and check the spec against the rest of the swarm.

    The transaction happens only if what is referred to is still there.

    Raises:
        errors.NotFound: SECRET_NOT_FOUND, CONFIG_NOT_FOUND, NETWORK_NOT_FOUND.
        errors.AlreadyExists: PORT_IN_USE.
    """
    for reference in spec.task.secrets:
        secret = lookup.secret(tx, reference.id or reference.name)
        reference.id, reference.name = secret.id, secret.spec.annotations.name
        tx.require_unchanged(SECRETS, secret.id)
    for reference in spec.task.configs:
        config = lookup.config(tx, reference.id or reference.name)
        reference.id, reference.name = config.id, config.spec.annotations.name
        tx.require_unchanged(CONFIGS, config.id)
    for attachment in spec.task.networks:
        network = lookup.network(tx, attachment.target)
        attachment.target = network.id
        tx.require_unchanged(NETWORKS, network.id)
    ports.check_free(spec.endpoint.ports, service_id, tx.list(SERVICES))


def check_unused(kind: str, name: str, users: list[objects_pb2.Service]) -> None:
    """Refuse the removal of what services refer to.

    Raises:
        errors.FailedPrecondition: SECRET_IN_USE, CONFIG_IN_USE or NETWORK_IN_USE, naming the services.
    """
    if users:
        names = ", ".join(sorted(user.spec.annotations.name for user in users))
        plural = "s" if len(users) > 1 else ""
        raise errors.FailedPrecondition(
            f"{kind} '{name}' is in use by the following service{plural}: {names}",
            reason=f"{kind.upper()}_IN_USE",
            metadata={"services": names},
        )
