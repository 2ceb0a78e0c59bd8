"""The part of an image's configuration that decides how a container of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.containerd.model.spec import Healthcheck


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The `config` object of an OCI image, kept in the record: a container outlives its image's name."""

    id: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    health: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    """What runs a command that is given as a text; empty is `/bin/sh -c`."""
