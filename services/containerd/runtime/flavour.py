"""The OCI runtimes that we drive, and what is different about each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Families of runtimes, by how their init waits for the start."""

    CRUN = "crun"
    RUNC = "runc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """A runtime that was proven to work on this machine, and how."""

    name: str
    """As users name it and records keep it."""
    path: str
    kind: Kind
    version: str = ""
    private_namespace: bool = False
    """It must be started in the private mount namespace (crun on a hybrid cgroup layout)."""
    compiled_seccomp: bool = False
    """It takes a compiled filter as an annotation."""
