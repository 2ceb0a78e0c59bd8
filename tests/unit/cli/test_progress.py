"""How far a service is, and how that is drawn."""

from __future__ import annotations

import io
import os

import pytest

from beeyard.image.v1 import image_pb2
from beeyard.swarm.v1 import control_pb2 as pb
from beeyard.swarm.v1 import objects_pb2 as objects
from cli import progress, transfers
from cli.redraw import Redraw


def service(mode: objects.ServiceMode, state: objects.UpdateState.ValueType = 0) -> pb.ServiceWithCounts:  # type: ignore[assignment]
    return pb.ServiceWithCounts(
        desired_tasks=4,
        service=objects.Service(
            id="s",
            spec=objects.ServiceSpec(mode=mode, task=objects.TaskSpec(force_update=2)),
            spec_version=7,
            update_status=objects.UpdateStatus(state=state),
            job=objects.JobStatus(iteration=3),
        ),
    )


def task(
    slot: int, state: objects.TaskState.ValueType, *, age: int = 0, version: int = 7, desired: int = 512
) -> objects.Task:
    made = objects.Task(
        id=f"{slot}-{age}",
        slot=slot,
        spec_version=version,
        spec=objects.TaskSpec(force_update=2 if version == 7 else 1),
        desired_state=desired,  # type: ignore[arg-type]
        status=objects.TaskStatus(
            state=state, error="no node fits" if state == objects.TASK_STATE_PENDING else ""
        ),
        job_iteration=3,
    )
    made.meta.created_at.FromSeconds(1000 - age)
    return made


REPLICATED = objects.ServiceMode(replicated=objects.ReplicatedMode(replicas=3))
RUNNING = objects.TASK_STATE_RUNNING


def test_counts_running_tasks_of_the_newest_specification() -> None:
    tasks = [
        task(1, RUNNING),
        task(1, objects.TASK_STATE_FAILED, age=50, desired=640),
        task(2, RUNNING, version=6),
        task(3, objects.TASK_STATE_PENDING),
    ]
    measured = progress.measure(service(REPLICATED), tasks)
    assert (measured.running, measured.wanted, measured.reached) == (1, 3, False)
    assert measured.slots == (("1", "running", ""), ("2", "running", ""), ("3", "pending", "no node fits"))


def test_reached_when_all_run_and_no_update_goes_on() -> None:
    tasks = [task(slot, RUNNING) for slot in (1, 2, 3)]
    assert progress.measure(service(REPLICATED), tasks).reached
    assert not progress.measure(service(REPLICATED, objects.UPDATE_STATE_UPDATING), tasks).reached
    assert progress.measure(service(REPLICATED, objects.UPDATE_STATE_COMPLETED), tasks).reached


def test_jobs_count_completions_and_global_services_nodes() -> None:
    job = objects.ServiceMode(replicated_job=objects.ReplicatedJobMode(total_completions=2))
    done = [task(slot, objects.TASK_STATE_COMPLETE, desired=576) for slot in (1, 2)]
    measured = progress.measure(service(job), done)
    assert (measured.job, measured.completed, measured.reached) == (True, 2, True)
    everywhere = objects.ServiceMode()
    getattr(everywhere, "global").SetInParent()
    assert progress.measure(service(everywhere), []).wanted == 4
    assert progress.measure(service(everywhere), [], [objects.Node(), objects.Node()]).wanted == 2


def test_progress_is_a_line_for_each_change_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    display = progress.Display(quiet=False)
    for state in (objects.TASK_STATE_PENDING, objects.TASK_STATE_PENDING, RUNNING):
        display.draw(progress.measure(service(REPLICATED), [task(1, state)]), "")
    assert capsys.readouterr().out.splitlines() == [
        "overall progress: 0 out of 3 tasks (no node fits)",
        "overall progress: 1 out of 3 tasks",
    ]
    progress.Display(quiet=True).draw(progress.measure(service(REPLICATED), []), "")
    assert capsys.readouterr().out == ""


def test_lines_are_drawn_over_themselves_and_cut_to_the_width() -> None:
    stream = io.StringIO()
    redraw = Redraw(stream)
    redraw.draw(["one", "x" * 500])
    redraw.draw(["two"])
    first, second = stream.getvalue().split("\x1b[2A")
    assert first == f"\x1b[2Kone\n\x1b[2K{'x' * 79}\n"
    assert second == "\x1b[2Ktwo\n\x1b[J"
    assert redraw.wrap(["", "x" * 80, "y"]) == ["", "x" * 79, "x", "y"]


@pytest.mark.parametrize(
    ("done", "total", "drawn"),
    [
        (0, 0, ""),
        (500, 0, "500B"),
        (0, 100, f"[>{' ' * 24}]  0B/100B"),
        (50, 100, f"[{'=' * 12}>{' ' * 12}]  50B/100B"),
        (100, 100, f"[{'=' * 25}]  100B/100B"),
        (900, 100, f"[{'=' * 25}]  100B/100B"),
    ],
)
def test_bars(done: int, total: int, drawn: str) -> None:
    assert transfers.bar(done, total) == drawn


def test_blobs_are_named_by_the_beginning_of_their_digest() -> None:
    assert transfers.label("sha256:" + "ab" * 32) == "ab" * 6
    assert transfers.label("unpacking") == "unpacking"
    shown = transfers.line(
        image_pb2.Progress(id="x", phase="downloading", done_bytes=1, total_bytes=2, source="peer n")
    )
    assert shown.startswith("x: Downloading") and shown.endswith("from peer n")
    assert transfers.line(image_pb2.Progress(id="x", phase="complete", total_bytes=2)) == "x: Complete"


def test_a_display_keeps_within_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(Redraw, "_size", lambda self: os.terminal_size((40, 10)))
    screen = Screen()
    shown = transfers.Transfers(screen, quiet=False)
    for number in range(50):
        shown.update(image_pb2.Progress(id=f"blob {number}", phase="downloading"))
    shown.finish()
    last = screen.getvalue().rpartition("A\x1b[2K")[2]
    assert last.count("\n") <= 8 and "more" in last
