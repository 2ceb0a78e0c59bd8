"""What happened, as `swarmctl events` shows it."""

from __future__ import annotations

from enum import StrEnum


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
    ARCHIVE_PATH = "archive-path"
    EXTRACT_TO_DIR = "extract-to-dir"
    DESTROY = "destroy"
    MOUNT = "mount"
    UNMOUNT = "unmount"
    PRUNE = "prune"
    EXEC_CREATE = "exec_create"
    EXEC_START = "exec_start"
    EXEC_DIE = "exec_die"
    HEALTHY = "health_status: healthy"
    UNHEALTHY = "health_status: unhealthy"


def words(action: Action, detail: str) -> str:
    """Return an action as Docker words it, with what belongs to its name: "exec_create: sh -c true"."""
    return f"{action}: {detail}" if detail else action.value
