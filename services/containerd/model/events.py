"""What happened, as `swarmctl events` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Action(StrEnum):
    """Docker's words for what happens to a container."""

    CREATE = "create"
    START = "start"
    RESTART = "restart"
    STOP = "stop"
    KILL = "kill"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    DIE = "die"
    OOM = "oom"
    RENAME = "rename"
    UPDATE = "update"
    ATTACH = "attach"
    DETACH = "detach"
    RESIZE = "resize"
    COMMIT = "commit"
    DESTROY = "destroy"
    EXEC_CREATE = "exec_create"
    EXEC_START = "exec_start"
    EXEC_DIE = "exec_die"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """One thing that happened to one container."""

    at: datetime
    action: Action
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    """name, image and the labels, and what belongs to the action: exitCode, signal, oldName."""
