"""Secrets and configs of the swarm, as `secret ls` and `config ls` show them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from beeyard.swarm.v1 import objects_pb2 as objects
from cli.format.values import OpenMap
from cli.views.values import ago, label_list, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

SECRETS = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}"
CONFIGS = "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}"
HEADERS: Mapping[str, str] = {
    "ID": "ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "CreatedAt": "CREATED",
    "UpdatedAt": "UPDATED",
    "Labels": "LABELS",
}


def row(stored: objects.Secret | objects.Config, now: datetime) -> dict[str, Any]:
    """Make a row of a list."""
    annotations = stored.spec.annotations
    return {
        "ID": stored.id,
        "Name": annotations.name,
        "Driver": "",
        "CreatedAt": ago(stored.meta.created_at, now),
        "UpdatedAt": ago(stored.meta.updated_at, now),
        "Labels": label_list(annotations.labels),
        "Label": lambda name: annotations.labels.get(name, ""),
    }


def inspect(stored: objects.Secret | objects.Config) -> dict[str, Any]:
    """Show a secret, whose content nobody can read back, or a config with its content in base64."""
    spec: dict[str, Any] = {
        "Name": stored.spec.annotations.name,
        "Labels": OpenMap(sorted(stored.spec.annotations.labels.items())),
    }
    if isinstance(stored, objects.Config):
        spec["Data"] = base64.b64encode(stored.spec.data).decode()
    if stored.spec.template_driver:
        spec["Templating"] = {"Name": stored.spec.template_driver}
    return {
        "ID": stored.id,
        "Version": {"Index": stored.meta.version},
        "CreatedAt": rfc3339(stored.meta.created_at),
        "UpdatedAt": rfc3339(stored.meta.updated_at),
        "Spec": spec,
    }


def pretty(stored: objects.Secret | objects.Config) -> str:
    """Show one for people: `inspect --pretty`."""
    labels = [f" - {key}={value}" for key, value in sorted(stored.spec.annotations.labels.items())]
    lines = [
        f"ID:                {stored.id}",
        f"Name:              {stored.spec.annotations.name}",
        "Labels:" if labels else "Labels:            none",
        *labels,
        f"Created at:        {rfc3339(stored.meta.created_at)}",
        f"Updated at:        {rfc3339(stored.meta.updated_at)}",
    ]
    if isinstance(stored, objects.Config):
        lines += ["Data:", stored.spec.data.decode(errors="replace")]
    return "\n".join(lines)
