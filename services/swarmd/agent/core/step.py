"""One step of one task: from what is wanted and what is, to one call or one report.

Rules:

- States only grow. Terminal is everything above RUNNING. A task never starts twice and never leaves its node.
- What is recorded stands on disk before the call that rests on it: PREPARING before the image is pulled and the
  container made, STARTING before it is started, the cause before it is stopped. So after a crash the container's own
  state tells how far the call came, and the step that is decided from both is the right one.
- Absence of a container says something only when containerd has answered: the restart of a local daemon fails no task.
- A desired state of READY holds the task with its container made. Every state that is wanted beyond RUNNING, but for
  COMPLETE (jobs: run to the end), asks for the task's end.

    ASSIGNED -> ACCEPTED -> PREPARING -> READY -> STARTING -> RUNNING -> COMPLETE | FAILED
    any of these, no longer wanted: -> SHUTDOWN          failure before STARTING: -> REJECTED, after it: -> FAILED
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from services.swarmd.agent.core.facts import (
    ACCEPTED,
    COMPLETE,
    FAILED,
    PREPARING,
    READY,
    REJECTED,
    RUNNING,
    SHUTDOWN,
    STARTING,
    Container,
    Health,
    Phase,
    State,
    StopCause,
    View,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Record a state, and report it. The same state with another text is a note on what it waits for."""

    state: State
    message: str
    error: str = ""
    container: Container | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Record why the container is about to be stopped."""

    cause: StopCause


@dataclass(frozen=True, slots=True)
class Pull:
    """Make the image present on the node."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the container; repeated, it returns the one that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start the container; repeated, it leaves a running one alone."""

    container_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop the container, with its grace period."""

    container_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove the stopped container."""

    container_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the record: nothing of the task is left."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do until something changes."""


Call: TypeAlias = Pull | Create | Start | Stop | Remove
Step: TypeAlias = Advance | Mark | Call | Forget | Hold


def next_step(view: View) -> Step:
    """Return what to do next for the task. Done and recorded, the function is asked again until it says `Hold`."""
    if not view.containers_known:
        return _step_blind(view)
    if view.removed:
        return _step_removal(view)
    if view.progress.state > RUNNING:
        return _step_ended(view)
    if is_end_wanted(view.desired):
        return _step_shutdown(view)
    return _step_forward(view)


def is_end_wanted(desired: State) -> bool:
    """Say whether a desired state asks for the task's end."""
    return desired > RUNNING and desired != COMPLETE


def _step_blind(view: View) -> Step:
    """Containerd is away: only what needs no knowledge of containers goes on."""
    progress = view.progress
    if view.removed or progress.state >= ACCEPTED or is_end_wanted(view.desired):
        return Hold()
    return Advance(state=ACCEPTED, message="accepted")


def _step_removal(view: View) -> Step:
    container = view.container
    if container is None:
        return Forget()
    if container.phase is Phase.RUNNING:
        return _stop(view, container, StopCause.ASKED)
    return Remove(container_id=container.id)


def _step_ended(view: View) -> Step:
    """An ended task has no process: one that lives (started by hand, or by a call whose answer was lost) is stopped."""
    container = view.container
    if container is not None and container.phase is Phase.RUNNING:
        return Stop(container_id=container.id)
    return Hold()


def _step_shutdown(view: View) -> Step:
    container = view.container
    if container is None or container.phase is Phase.CREATED:
        return Advance(state=SHUTDOWN, message="shutdown", container=container)
    if container.phase is Phase.RUNNING:
        return _stop(view, container, StopCause.ASKED)
    return _ended(view, container)


def _step_forward(view: View) -> Step:
    state = view.progress.state
    if view.refusal:
        return failure(state, view.refusal)
    if state < ACCEPTED:
        return Advance(state=ACCEPTED, message="accepted")
    if state < PREPARING:
        return Advance(state=PREPARING, message="preparing")
    if state < READY:
        return _step_prepare(view)
    if state < STARTING:
        if view.desired < RUNNING:
            return Hold()
        return Advance(state=STARTING, message="starting", container=view.container)
    return _step_run(view)


def _step_prepare(view: View) -> Step:
    if view.container is not None:
        return Advance(state=READY, message="prepared", container=view.container)
    if view.missing:
        return _note(view, f"preparing: waits for {', '.join(view.missing)}")
    return Pull() if view.pull_first else Create()


def _step_run(view: View) -> Step:
    """STARTING or RUNNING: follow the container."""
    container, state = view.container, view.progress.state
    if container is None:
        return Advance(
            state=FAILED, message="failed", error="the container is gone", container=view.progress.container
        )
    match container.phase:
        case Phase.CREATED if state == STARTING:
            return Start(container_id=container.id)
        case Phase.CREATED:
            return Advance(
                state=FAILED, message="failed", error="the container is not running", container=container
            )
        case Phase.EXITED:
            return _ended(view, container)
        case Phase.RUNNING:
            return _step_living(view, container)


def _step_living(view: View, container: Container) -> Step:
    if view.progress.stop_cause is not StopCause.NONE or container.health is Health.UNHEALTHY:
        return _stop(view, container, StopCause.UNHEALTHY)
    if view.progress.state == RUNNING:
        return Hold()
    if container.health is Health.STARTING:
        return _note(view, "starting: waits until it is healthy")
    return Advance(state=RUNNING, message="started", container=container)


def _stop(view: View, container: Container, cause: StopCause) -> Step:
    if view.progress.stop_cause is StopCause.NONE:
        return Mark(cause=cause)
    return Stop(container_id=container.id)


def _ended(view: View, container: Container) -> Advance:
    """Return the end that the container's exit means."""
    match view.progress.stop_cause:
        case StopCause.ASKED:
            return Advance(state=SHUTDOWN, message="shutdown", container=container)
        case StopCause.UNHEALTHY:
            said = f": {container.health_output}" if container.health_output else ""
            error = f"unhealthy container{said}"
            return Advance(state=FAILED, message="failed", error=error, container=container)
        case StopCause.NONE:
            pass
    if container.exit_code == 0 and not container.error:
        return Advance(state=COMPLETE, message="finished", container=container)
    error = container.error or f"task: non-zero exit ({container.exit_code})"
    if container.oom_killed:
        error += ": out of memory"
    return Advance(state=FAILED, message="failed", error=error, container=container)


def _note(view: View, message: str) -> Step:
    if (view.progress.message, view.progress.error) == (message, ""):
        return Hold()
    return Advance(state=view.progress.state, message=message, container=view.container)


def failure(state: State, error: str, container: Container | None = None) -> Advance:
    """Return the end of a task that met an error which trying again does not mend."""
    if state < STARTING:
        return Advance(state=REJECTED, message="rejected", error=error, container=container)
    return Advance(state=FAILED, message="failed", error=error, container=container)
