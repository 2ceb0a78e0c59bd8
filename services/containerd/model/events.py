"""What happened, as `swarmctl events` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Action(StrEnum):
    """Docker's words for what happens to a container or a volume."""

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
    TOP = "top"
    COMMIT = "commit"
    CHECKPOINT = "checkpoint"
    EXPORT = "export"
    DESTROY = "destroy"
    MOUNT = "mount"
    UNMOUNT = "unmount"
    PRUNE = "prune"
    EXEC_CREATE = "exec_create"
    EXEC_START = "exec_start"
    EXEC_DIE = "exec_die"
    HEALTHY = "health_status: healthy"
    UNHEALTHY = "health_status: unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """One thing that happened to one container or volume."""

    at: datetime
    action: Action
    id: str
    """The id of a container, the name of a volume."""
    type: str = "container"
    """"container" or "volume"."""
    detail: str = ""
    """Belongs to the action's name in Docker's events: the command line of an exec."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """name, image and the labels, and what belongs to the action: exitCode, signal, oldName."""

    @property
    def words(self) -> str:
        """The action as Docker words it: "exec_create: sh -c true"."""
        return f"{self.action}: {self.detail}" if self.detail else self.action.value
