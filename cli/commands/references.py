"""Filling in the ids of secrets and configs that a service names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2 as pb
from cli import api, swarm_lists

if TYPE_CHECKING:
    from beeyard.swarm.v1 import objects_pb2 as objects
    from cli.session import Session


def resolve_files(session: Session, task: objects.TaskSpec) -> None:
    """Look up each secret and config by name.

    Raises:
        errors.NotFound: One does not exist.
    """
    if not task.secrets and not task.configs:
        return
    for reference in task.secrets:
        if not reference.id:
            request = pb.GetSecretRequest(secret=reference.name)
            answer = session.call(api.Secrets.GetSecret, request, timeout_s=swarm_lists.READ_TIMEOUT_S)
            reference.id = answer.secret.id
    for reference in task.configs:
        if not reference.id:
            wanted = pb.GetConfigRequest(config=reference.name)
            found = session.call(api.Configs.GetConfig, wanted, timeout_s=swarm_lists.READ_TIMEOUT_S)
            reference.id = found.config.id
