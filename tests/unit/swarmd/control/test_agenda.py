"""What is due, and when."""

import pytest

from services.swarmd.control.agenda import LOOK_SPACING_S_PER_TASK, Agenda


def test_marks_come_in_their_order_and_once() -> None:
    agenda = Agenda()
    for subject in ("a", "b", "a"):
        agenda.mark(subject)
    assert [agenda.take(1.0) for _ in range(3)] == ["a", "b", None]


def test_what_is_for_later_comes_then() -> None:
    agenda = Agenda()
    agenda.mark_at("late", 9.0)
    agenda.mark_at("soon", 5.0)
    assert agenda.next_moment(1.0) == 5.0
    assert agenda.take(4.9) is None
    assert agenda.take(5.0) == "soon"
    assert agenda.next_moment(5.0) == 9.0


def test_the_earlier_moment_counts() -> None:
    agenda = Agenda()
    agenda.mark_at("a", 9.0)
    agenda.mark_at("a", 5.0)
    agenda.mark_at("a", 7.0)
    assert agenda.take(5.0) == "a"
    assert agenda.take(10.0) is None
    assert agenda.next_moment(10.0) is None


def test_a_look_replaces_the_moment_that_was_asked_for() -> None:
    agenda = Agenda()
    agenda.mark_at("a", 9.0)
    agenda.mark("a")
    assert agenda.take(1.0) == "a"
    assert agenda.next_moment(1.0) is None


def test_large_subjects_rest_between_looks() -> None:
    agenda = Agenda()
    agenda.rest("large", 1.0, 10_000)
    agenda.mark("large")
    agenda.mark("small")
    assert agenda.take(1.0) == "small"
    assert agenda.take(1.0) is None
    awake = 1.0 + 10_000 * LOOK_SPACING_S_PER_TASK
    assert agenda.next_moment(1.0) == pytest.approx(awake)
    assert agenda.take(awake) == "large"
    agenda.rest("large", awake, 0)
    agenda.mark("large")
    assert agenda.next_moment(awake) == awake
