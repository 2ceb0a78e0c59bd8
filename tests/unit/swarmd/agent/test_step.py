"""The table of a task's steps, and what holds for every path through it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarmd.agent.core.facts import (
    ACCEPTED,
    ASSIGNED,
    COMPLETE,
    FAILED,
    PREPARING,
    READY,
    REJECTED,
    REMOVE,
    RUNNING,
    SHUTDOWN,
    STARTING,
    Container,
    Health,
    Phase,
    Progress,
    State,
    StopCause,
    View,
)
from services.swarmd.agent.core.step import (
    Advance,
    Create,
    Forget,
    Hold,
    Mark,
    Pull,
    Remove,
    Start,
    Step,
    Stop,
    next_step,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)

CREATED = Container(id="c", phase=Phase.CREATED)
LIVING = Container(id="c", phase=Phase.RUNNING, pid=7)
CHECKING = dataclasses.replace(LIVING, health=Health.STARTING)
HEALTHY = dataclasses.replace(LIVING, health=Health.HEALTHY)
SICK = dataclasses.replace(LIVING, health=Health.UNHEALTHY, health_output="no answer")
DONE = Container(id="c", phase=Phase.EXITED)
BROKEN = Container(id="c", phase=Phase.EXITED, exit_code=3)
KILLED = Container(id="c", phase=Phase.EXITED, exit_code=137, oom_killed=True)
UNSTARTABLE = Container(id="c", phase=Phase.EXITED, exit_code=127, error="no such program")


def view(
    state: State,
    *,
    desired: State = RUNNING,
    container: Container | None = None,
    cause: StopCause = StopCause.NONE,
    **more: object,
) -> View:
    progress = Progress(state=state, since=NOW, stop_cause=cause)
    defaults: dict[str, object] = {"containers_known": True}
    return View(desired=desired, progress=progress, container=container, **{**defaults, **more})  # type: ignore[arg-type]


def advance(state: State, message: str, error: str = "", container: Container | None = None) -> Advance:
    return Advance(state=state, message=message, error=error, container=container)


STEPS: dict[str, tuple[View, Step]] = {
    "assigned": (view(ASSIGNED), advance(ACCEPTED, "accepted")),
    "accepted": (view(ACCEPTED), advance(PREPARING, "preparing")),
    "accepted-while-containerd-is-away": (
        view(ASSIGNED, containers_known=False),
        advance(ACCEPTED, "accepted"),
    ),
    "no-more-while-containerd-is-away": (view(ACCEPTED, containers_known=False), Hold()),
    "create": (view(PREPARING), Create()),
    "pull": (view(PREPARING, pull_first=True), Pull()),
    "created": (view(PREPARING, container=CREATED), advance(READY, "prepared", container=CREATED)),
    "waits-for-secret": (
        view(PREPARING, missing=("secret key",)),
        advance(PREPARING, "preparing: waits for secret key"),
    ),
    "refused": (view(ASSIGNED, refusal="no way"), advance(REJECTED, "rejected", "no way")),
    "held": (view(READY, desired=READY, container=CREATED), Hold()),
    "let-go": (view(READY, container=CREATED), advance(STARTING, "starting", container=CREATED)),
    "job-is-let-go": (
        view(READY, desired=COMPLETE, container=CREATED),
        advance(STARTING, "starting", container=CREATED),
    ),
    "prepared-container-lost": (view(STARTING), advance(FAILED, "failed", "the container is gone")),
    "start": (view(STARTING, container=CREATED), Start(container_id="c")),
    "started": (view(STARTING, container=LIVING), advance(RUNNING, "started", container=LIVING)),
    "not-healthy-yet": (
        view(STARTING, container=CHECKING),
        advance(STARTING, "starting: waits until it is healthy", container=CHECKING),
    ),
    "healthy": (view(STARTING, container=HEALTHY), advance(RUNNING, "started", container=HEALTHY)),
    "never-healthy": (view(STARTING, container=SICK), Mark(cause=StopCause.UNHEALTHY)),
    "ended-before-it-was-seen-running": (
        view(STARTING, container=DONE),
        advance(COMPLETE, "finished", container=DONE),
    ),
    "could-not-start": (
        view(STARTING, container=UNSTARTABLE),
        advance(FAILED, "failed", "no such program", UNSTARTABLE),
    ),
    "runs": (view(RUNNING, container=LIVING), Hold()),
    "runs-while-containerd-is-away": (view(RUNNING, containers_known=False), Hold()),
    "completed": (view(RUNNING, container=DONE), advance(COMPLETE, "finished", container=DONE)),
    "failed": (view(RUNNING, container=BROKEN), advance(FAILED, "failed", "task: non-zero exit (3)", BROKEN)),
    "out-of-memory": (
        view(RUNNING, container=KILLED),
        advance(FAILED, "failed", "task: non-zero exit (137): out of memory", KILLED),
    ),
    "removed-by-hand": (view(RUNNING), advance(FAILED, "failed", "the container is gone")),
    "became-unhealthy": (view(RUNNING, container=SICK), Mark(cause=StopCause.UNHEALTHY)),
    "unhealthy-is-stopped": (
        view(RUNNING, container=SICK, cause=StopCause.UNHEALTHY),
        Stop(container_id="c"),
    ),
    "unhealthy-recovers-too-late": (
        view(RUNNING, container=HEALTHY, cause=StopCause.UNHEALTHY),
        Stop(container_id="c"),
    ),
    "unhealthy-was-stopped": (
        view(RUNNING, container=DONE, cause=StopCause.UNHEALTHY),
        advance(FAILED, "failed", "unhealthy container", DONE),
    ),
    "asked-to-end": (view(RUNNING, desired=SHUTDOWN, container=LIVING), Mark(cause=StopCause.ASKED)),
    "is-stopped": (
        view(RUNNING, desired=REMOVE, container=LIVING, cause=StopCause.ASKED),
        Stop(container_id="c"),
    ),
    "was-stopped": (
        view(RUNNING, desired=SHUTDOWN, container=BROKEN, cause=StopCause.ASKED),
        advance(SHUTDOWN, "shutdown", container=BROKEN),
    ),
    "ended-by-itself-before-the-stop": (
        view(RUNNING, desired=SHUTDOWN, container=BROKEN),
        advance(FAILED, "failed", "task: non-zero exit (3)", BROKEN),
    ),
    "not-wanted-before-it-had-a-container": (
        view(PREPARING, desired=SHUTDOWN),
        advance(SHUTDOWN, "shutdown"),
    ),
    "not-wanted-before-it-started": (
        view(READY, desired=SHUTDOWN, container=CREATED),
        advance(SHUTDOWN, "shutdown", container=CREATED),
    ),
    "not-wanted-while-containerd-is-away": (view(RUNNING, desired=SHUTDOWN, containers_known=False), Hold()),
    "ended": (view(FAILED, container=BROKEN), Hold()),
    "ended-and-yet-runs": (view(FAILED, container=LIVING), Stop(container_id="c")),
    "forgotten-and-runs": (view(RUNNING, container=LIVING, removed=True), Mark(cause=StopCause.ASKED)),
    "forgotten-and-ended": (view(SHUTDOWN, container=DONE, removed=True), Remove(container_id="c")),
    "forgotten-and-never-started": (view(READY, container=CREATED, removed=True), Remove(container_id="c")),
    "forgotten-and-gone": (view(SHUTDOWN, removed=True), Forget()),
    "forgotten-while-containerd-is-away": (view(SHUTDOWN, removed=True, containers_known=False), Hold()),
}


@pytest.mark.parametrize("case", STEPS)
def test_step(case: str) -> None:
    given_view, expected = STEPS[case]
    assert next_step(given_view) == expected


def test_a_note_is_made_once() -> None:
    waiting = view(PREPARING, missing=("secret key",))
    step = next_step(waiting)
    assert isinstance(step, Advance)
    noted = dataclasses.replace(waiting.progress, message=step.message, error=step.error)
    assert next_step(dataclasses.replace(waiting, progress=noted)) == Hold()


STATES = (ASSIGNED, ACCEPTED, PREPARING, READY, STARTING, RUNNING, COMPLETE, SHUTDOWN, FAILED, REJECTED)
CONTAINERS = st.builds(
    Container,
    id=st.just("c"),
    phase=st.sampled_from(Phase),
    exit_code=st.sampled_from((0, 1, 137)),
    error=st.sampled_from(("", "broken")),
    health=st.sampled_from(Health),
)
VIEWS = st.builds(
    View,
    desired=st.sampled_from((READY, RUNNING, COMPLETE, SHUTDOWN, REMOVE)),
    progress=st.builds(
        Progress, state=st.sampled_from(STATES), since=st.just(NOW), stop_cause=st.sampled_from(StopCause)
    ),
    container=st.none() | CONTAINERS,
    containers_known=st.booleans(),
    removed=st.booleans(),
    missing=st.sampled_from(((), ("secret a",))),
    refusal=st.sampled_from(("", "no way")),
    pull_first=st.booleans(),
)


@given(VIEWS)
def test_states_only_grow_and_calls_have_their_record(before: View) -> None:
    step = next_step(before)
    state = before.progress.state
    match step:
        case Advance():
            assert step.state >= state
            assert state <= RUNNING, "an ended task has no further state"
        case Mark():
            assert before.progress.stop_cause is StopCause.NONE
        case Pull() | Create():
            assert state == PREPARING
            assert before.container is None
        case Start():
            assert state == STARTING
            assert before.container is not None
            assert before.container.phase is Phase.CREATED
        case Stop():
            assert before.container is not None
            assert before.container.phase is Phase.RUNNING
            assert before.progress.stop_cause is not StopCause.NONE or state > RUNNING
        case Remove() | Forget():
            assert before.removed
    if not before.containers_known:
        assert isinstance(step, Hold | Advance), "nothing is called while nothing is known"


def follow(before: View) -> View:
    """Do what a step asks for, in a world where every call works."""
    step, progress = next_step(before), before.progress
    match step:
        case Advance():
            moved = dataclasses.replace(
                progress, state=step.state, message=step.message, error=step.error, container=step.container
            )
            return dataclasses.replace(before, progress=moved)
        case Mark():
            return dataclasses.replace(before, progress=dataclasses.replace(progress, stop_cause=step.cause))
        case Pull():
            return dataclasses.replace(before, pull_first=False)
        case Create():
            return dataclasses.replace(before, container=CREATED)
        case Start():
            return dataclasses.replace(before, container=LIVING)
        case Stop():
            return dataclasses.replace(before, container=dataclasses.replace(DONE, exit_code=143))
        case Remove():
            return dataclasses.replace(before, container=None)
        case _:
            return before


@given(VIEWS)
def test_steps_come_to_rest(before: View) -> None:
    for _ in range(12):
        after = follow(before)
        if after == before:
            break
        before = after
    assert isinstance(next_step(before), Hold | Forget)
    state = before.progress.state
    if before.containers_known and not before.removed:
        if before.desired in {SHUTDOWN, REMOVE}:
            assert state > RUNNING
            assert before.container is None or before.container.phase is not Phase.RUNNING
        elif before.desired == READY:
            assert state >= READY or before.missing
