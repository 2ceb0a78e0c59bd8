"""SecretService. The content of a secret goes in, and out only to the nodes whose tasks use it."""

# ruff: noqa: N802 (the protos name the methods)
from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2, control_pb2_grpc, objects_pb2
from services.swarmd.api import filters, lookup, paging, references
from services.swarmd.api.checks.files import SECRET_BYTES_MAX, check_file
from services.swarmd.api.checks.refusal import check_labels
from services.swarmd.store import refusals
from services.swarmd.store.tables import SECRETS, SERVICES_BY_SECRET, copy_of

if TYPE_CHECKING:
    from services.kit.rpc.types import Context
    from services.swarmd.api.ports import Manager
    from services.swarmd.store.transaction import Tx

_FILTER: filters.Filter[objects_pb2.Secret] = filters.Filter(
    {
        "id": lambda secret, value: secret.id.startswith(value),
        "name": lambda secret, value: secret.spec.annotations.name.startswith(value),
    },
    {"label": lambda secret, value: filters.has_label(secret.spec.annotations.labels, value)},
)


class SecretServicer(control_pb2_grpc.SecretServiceServicer):
    """Keeps secrets."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def CreateSecret(
        self, request: control_pb2.CreateSecretRequest, _context: Context
    ) -> control_pb2.CreateSecretResponse:
        """Make a secret."""
        self._manager.leader.require_leading()
        check_file("secret", request.spec, SECRET_BYTES_MAX, size_bytes_min=1)
        secret_id = self._manager.new_id()
        await self._manager.store.update(
            lambda tx: tx.create(SECRETS, objects_pb2.Secret(id=secret_id, spec=request.spec))
        )
        return control_pb2.CreateSecretResponse(secret=self._shown(secret_id))

    async def ListSecrets(
        self, request: control_pb2.ListSecretsRequest, _context: Context
    ) -> control_pb2.ListSecretsResponse:
        """Page through the secrets, without their content."""
        await self._manager.leader.read_barrier(control_pb2.CONSISTENCY_UNSPECIFIED)
        found = _FILTER.apply(self._manager.store.view().list(SECRETS), request.filters)
        page = paging.page(
            [without_data(secret) for secret in found],
            lambda secret: (secret.spec.annotations.name, secret.id),
            size=request.page_size,
            token=request.page_token,
        )
        return control_pb2.ListSecretsResponse(secrets=page.items, next_page_token=page.next_token)

    async def GetSecret(
        self, request: control_pb2.GetSecretRequest, _context: Context
    ) -> control_pb2.GetSecretResponse:
        """Return one secret, without its content."""
        await self._manager.leader.read_barrier(control_pb2.CONSISTENCY_UNSPECIFIED)
        return control_pb2.GetSecretResponse(secret=self._shown(request.secret))

    async def UpdateSecret(
        self, request: control_pb2.UpdateSecretRequest, _context: Context
    ) -> control_pb2.UpdateSecretResponse:
        """Change the labels of a secret."""
        self._manager.leader.require_leading()
        check_labels("labels", request.labels)

        def update(tx: Tx) -> str:
            secret = lookup.secret(tx, request.secret)
            if secret.meta.version != request.version:
                raise refusals.out_of_sequence("secret", secret.id)
            changed = copy_of(secret)
            changed.spec.annotations.labels.clear()
            changed.spec.annotations.labels.update(request.labels)
            tx.update(SECRETS, changed)
            return secret.id

        secret_id = await self._manager.store.update(update)
        return control_pb2.UpdateSecretResponse(secret=self._shown(secret_id))

    async def RemoveSecret(
        self, request: control_pb2.RemoveSecretRequest, _context: Context
    ) -> control_pb2.RemoveSecretResponse:
        """Remove a secret that no service uses."""
        self._manager.leader.require_leading()

        def remove(tx: Tx) -> None:
            secret = lookup.secret(tx, request.secret)
            users = list(tx.find(SERVICES_BY_SECRET, secret.id))
            references.check_unused("secret", secret.spec.annotations.name, users)
            tx.remove(SECRETS, secret.id)

        await self._manager.store.update(remove)
        return control_pb2.RemoveSecretResponse()

    def _shown(self, name: str) -> objects_pb2.Secret:
        return without_data(lookup.secret(self._manager.store.view(), name))


def without_data(secret: objects_pb2.Secret) -> objects_pb2.Secret:
    """Return a copy of a secret without its content."""
    copy = copy_of(secret)
    copy.spec.ClearField("data")
    return copy
