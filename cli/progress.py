"""Waiting for a service to converge, with a display: one line for each task on a terminal, plain lines when piped.

Converged as docker means it: every wanted task of the newest spec runs, and has kept running for the monitor time.
The state is polled like docker's client does; nothing is lost if the manager changes under way.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import api, clock, swarm_lists
from cli.redraw import Redraw
from cli.views import task as task_view
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.session import Session

POLL_S = 0.2
ROWS_MAX = 20
REASONS_MAX = 3
UNAVAILABLE_MAX_S = 30.0
MONITOR_DEFAULT_MS = 5000
_BAD = (objects.UPDATE_STATE_PAUSED, objects.UPDATE_STATE_ROLLBACK_PAUSED)
_ROLLBACKS = (objects.UPDATE_STATE_ROLLBACK_STARTED, objects.UPDATE_STATE_ROLLBACK_COMPLETED)


class Progress(NamedTuple):
    """How far a service is. Pure: made by `measure`."""

    wanted: int
    running: int
    completed: int
    slots: tuple[tuple[str, str, str], ...]
    """Slot, state of its newest task, and why it does not get on."""
    update: objects.UpdateStatus
    job: bool

    @property
    def reached(self) -> bool:
        """Whether all is as wanted now."""
        updating = self.update.state in (objects.UPDATE_STATE_UPDATING, objects.UPDATE_STATE_ROLLBACK_STARTED)
        return (self.completed if self.job else self.running) >= self.wanted and not updating


def measure(
    entry: pb.ServiceWithCounts, tasks: Sequence[objects.Task], nodes: Sequence[objects.Node] | None = None
) -> Progress:
    """Compare what runs with what is wanted.

    Args:
        entry: The service.
        tasks: All its tasks.
        nodes: For services with a task on each node; None counts by the server's own figure.
    """
    service = entry.service
    mode = service.spec.mode.WhichOneof("mode") or "replicated"
    newest: dict[str, objects.Task] = {}
    completed = running = 0
    for task in tasks:
        slot = str(task.slot or task.node_id)
        if task.status.state == objects.TASK_STATE_COMPLETE and task.job_iteration == service.job.iteration:
            completed += 1
        if task.desired_state > objects.TASK_STATE_COMPLETE:
            continue
        current = newest.get(slot)
        if current is None or (
            task.meta.created_at.ToNanoseconds() > current.meta.created_at.ToNanoseconds()
        ):
            newest[slot] = task
    for task in newest.values():
        fresh = task.spec_version == service.spec_version or task.spec == service.spec.task
        running += task.status.state == objects.TASK_STATE_RUNNING and fresh
    wanted = {
        "replicated": service.spec.mode.replicated.replicas,
        "replicated_job": service.spec.mode.replicated_job.total_completions,
    }.get(mode, len(nodes) if nodes is not None else entry.desired_tasks)
    slots = tuple(
        (slot, task_view.state(task.status.state), task.status.error)
        for slot, task in sorted(newest.items(), key=lambda item: (len(item[0]), item[0]))
    )
    return Progress(
        wanted=wanted,
        running=running,
        completed=completed,
        slots=slots,
        update=service.update_status,
        job=mode.endswith("_job"),
    )


class Display:
    """Draws the progress: over itself on a terminal, a line for each change when piped."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._redraw = Redraw(sys.stdout) if sys.stdout.isatty() else None
        self._last = ""

    def draw(self, progress: Progress, verify: str) -> None:
        """Show the state."""
        if self._quiet:
            return
        done = progress.completed if progress.job else progress.running
        head = f"overall progress: {done} out of {progress.wanted} tasks"
        if self._redraw is None:
            reasons = sorted({reason for _, _, reason in progress.slots if reason})
            text = head + (f" ({'; '.join(reasons)})" if reasons else "")
            if text != self._last:
                print(text, flush=True)
            self._last = text
            return
        lines = [head]
        for slot, state, error in progress.slots[:ROWS_MAX]:
            lines.append(f"{slot[:25]:>4}/{progress.wanted}: {state:<10} {error}")
        if len(progress.slots) > ROWS_MAX:
            lines.append(f"      … and {len(progress.slots) - ROWS_MAX} more")
        lines.append(f"verify: {verify}" if verify else "")
        self._redraw.draw(lines)


def wait(session: Session, service_id: str, *, quiet: bool, rollback: bool = False) -> None:
    """Wait until the service has converged; an interrupt ends the waiting, not the service.

    Args:
        session: Where.
        service_id: The service.
        quiet: Show nothing.
        rollback: To go back is what was asked for; else it means that an update failed.

    Raises:
        errors.FailedPrecondition: The update was paused or rolled back; the message says why.
        errors.BeeyardError: The swarm stays unreachable.
    """
    try:
        _wait(session, service_id, quiet=quiet, rollback=rollback)
    except KeyboardInterrupt:
        print("Operation continuing in background.", file=sys.stderr)
        print(f"Use `swarmctl service ps {service_id}` to check progress.", file=sys.stderr)


def _wait(session: Session, service_id: str, *, quiet: bool, rollback: bool) -> None:
    """Poll and draw until it has converged.

    Raises:
        errors.FailedPrecondition: The update was paused or rolled back; the message says why.
        errors.BeeyardError: The swarm stays unreachable.
    """
    display = Display(quiet=quiet)
    stable_since: float | None = None
    unavailable_since: float | None = None
    rolling_back = False
    before: objects.UpdateState.ValueType | None = None
    while True:
        try:
            request = pb.GetServiceRequest(service=service_id)
            answer = session.call(api.Services.GetService, request, timeout_s=swarm_lists.READ_TIMEOUT_S)
            entry = answer.service
            tasks = swarm_lists.tasks(session, {"service": [service_id]}, quiet=True)
        except errors.Unavailable:
            unavailable_since = unavailable_since or clock.monotonic()
            if clock.monotonic() - unavailable_since > UNAVAILABLE_MAX_S:
                raise
            session.pause(POLL_S)
            continue
        unavailable_since = None
        progress = measure(entry, tasks)
        _raise_if_stopped(entry.service, tasks)
        state = entry.service.update_status.state
        before = state if before is None else before  # of an earlier update: a rollback of then is no news
        rolling_back = rolling_back or (not rollback and state in _ROLLBACKS and state != before)
        config = entry.service.spec.update
        monitor_s = (config.monitor_ms if config.HasField("monitor_ms") else MONITOR_DEFAULT_MS) / 1000
        now = clock.monotonic()
        stable_since = (stable_since if stable_since is not None else now) if progress.reached else None
        if stable_since is None:
            display.draw(progress, "")
        elif progress.job or not progress.wanted or now - stable_since >= monitor_s:
            display.draw(progress, f"Service {service_id} converged")
            if not sys.stdout.isatty() and not quiet:
                print(f"verify: Service {service_id} converged")
            if rolling_back:
                raise errors.FailedPrecondition(
                    f"service rolled back: {entry.service.update_status.message}", reason="ROLLED_BACK"
                )
            return
        else:
            left = max(1, round(monitor_s - (now - stable_since)))
            display.draw(progress, f"Waiting {left} seconds to verify that tasks are stable...")
        session.pause(POLL_S)


def _raise_if_stopped(service: objects.Service, tasks: Sequence[objects.Task]) -> None:
    """Tell of an update that waits for the user, with what its tasks said."""
    if service.update_status.state in _BAD:
        kind = (
            "rollback"
            if service.update_status.state == objects.UPDATE_STATE_ROLLBACK_PAUSED
            else "service update"
        )
        said = {task.status.error for task in tasks if task.spec_version == service.spec_version}
        reasons = "".join(f"; {reason}" for reason in sorted(said - {""})[:REASONS_MAX])
        raise errors.FailedPrecondition(
            f"{kind} paused: {service.update_status.message}{reasons}", reason="UPDATE_PAUSED"
        )
