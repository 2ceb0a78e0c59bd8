"""Puts the steps of the assignments stream together and watches that none is missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import dispatcher_pb2, objects_pb2
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """One step of what the swarm wants of this node."""

    complete: bool
    """All there is: what is not in it goes."""
    tasks: tuple[objects_pb2.Task, ...] = ()
    removed_task_ids: tuple[str, ...] = ()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    removed_secret_ids: tuple[str, ...] = ()
    configs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    removed_config_ids: tuple[str, ...] = ()


class Assembly:
    """The stream of one session."""

    def __init__(self) -> None:
        self._at = ""
        self._parts: list[dispatcher_pb2.WatchAssignmentsResponse] = []

    def take(self, message: dispatcher_pb2.WatchAssignmentsResponse) -> Assignments | None:
        """Return the step that `message` completes; None if more of it is to come.

        Raises:
            errors.Conflict: A step is missing; the stream must be opened anew.
        """
        complete = message.kind == dispatcher_pb2.ASSIGNMENTS_KIND_COMPLETE
        if self._parts:
            first = self._parts[0]
            fits = (message.kind, message.results_in) == (first.kind, first.results_in)
        else:
            fits = complete or (bool(self._at) and message.applies_to == self._at)
        if not fits or len(self._parts) >= PARTS_MAX:
            raise errors.Conflict(
                f"assignments {message.results_in!r} apply to {message.applies_to!r}, this node is at {self._at!r}",
                reason="ASSIGNMENTS_OUT_OF_SEQUENCE",
            )
        self._parts.append(message)
        if message.continues:
            return None
        parts, self._parts = self._parts, []
        self._at = message.results_in
        return Assignments(
            complete=complete,
            tasks=tuple(task for part in parts for task in part.update_tasks),
            removed_task_ids=tuple(task_id for part in parts for task_id in part.remove_task_ids),
            secrets={secret.id: secret.spec.data for part in parts for secret in part.update_secrets},
            removed_secret_ids=tuple(object_id for part in parts for object_id in part.remove_secret_ids),
            configs={config.id: config.spec.data for part in parts for config in part.update_configs},
            removed_config_ids=tuple(object_id for part in parts for object_id in part.remove_config_ids),
        )
