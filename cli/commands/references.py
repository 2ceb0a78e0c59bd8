"""Filling in the ids of secrets and configs that a service names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import control_pb2_grpc as stubs
from cli import swarm_lists
from services.kit.rpc import client

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2 as objects
    from cli.session import Session


async def resolve_files(session: Session, task: objects.TaskSpec) -> None:
    """Look up each secret and config by name.

    Raises:
        errors.NotFound: One does not exist.
    """
    if not task.secrets and not task.configs:
        return
    channel = await session.channel("swarmd")
    secrets, configs = stubs.SecretServiceStub(channel), stubs.ConfigServiceStub(channel)
    for reference in task.secrets:
        if not reference.id:
            request = pb.GetSecretRequest(secret=reference.name)
            answer = await client.call(secrets.GetSecret(request, timeout=swarm_lists.READ_TIMEOUT_S))
            reference.id = answer.secret.id
    for reference in task.configs:
        if not reference.id:
            wanted = pb.GetConfigRequest(config=reference.name)
            found = await client.call(configs.GetConfig(wanted, timeout=swarm_lists.READ_TIMEOUT_S))
            reference.id = found.config.id
