"""The checker of histories, on histories whose answer is known."""

from __future__ import annotations

import pytest

from tests.sim.raft.linearizability import FOREVER, Operation, explainable


def history(*lines: str) -> list[Operation]:
    """Make a history of lines like `w 1 at 0-5`, `r 1 at 2-9`, `cas 1>2 at 3-4`, `cas! ...` (failed), `w 1 at 3-`."""
    operations = []
    for number, line in enumerate(lines):
        kind, what, _, times = line.split()
        expected, _, value = what.rpartition(">")
        called, _, returned = times.partition("-")
        operations.append(
            Operation(
                id=number,
                key="k",
                kind={"w": "write", "r": "read", "cas": "cas", "cas!": "cas"}[kind],
                value=int(value),
                expected=int(expected or 0),
                called_ms=float(called),
                returned_ms=float(returned or FOREVER),
                succeeded=kind != "cas!",
            )
        )
    return operations


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["r 0 at 0-1"],
        ["w 1 at 0-1", "r 1 at 2-3"],
        ["w 1 at 0-9", "r 0 at 1-2", "r 1 at 3-4"],
        ["w 1 at 0-9", "w 2 at 0-9", "r 1 at 1-2", "r 2 at 3-4"],
        ["w 1 at 0-", "r 0 at 5-6", "r 1 at 7-8"],
        ["w 1 at 0-", "r 0 at 5-6"],
        ["w 1 at 0-1", "cas 1>2 at 2-3", "r 2 at 4-5"],
        ["cas! 7>2 at 2-3", "r 0 at 4-5"],
        ["w 9 at 0-", "cas! 0>2 at 2-3", "w 3 at 4-5"],
        ["w 1 at 0-1", "w 2 at 2-", "cas 2>3 at 4-5", "r 3 at 6-7"],
    ],
)
def test_explainable(lines: list[str]) -> None:
    assert explainable(history(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ["r 1 at 0-1"],
        ["w 1 at 0-1", "r 0 at 2-3"],
        ["w 1 at 0-9", "r 1 at 1-2", "r 0 at 3-4"],
        ["w 1 at 0-1", "w 2 at 2-3", "r 1 at 4-5"],
        ["w 1 at 0-9", "w 2 at 0-9", "r 1 at 1-2", "r 2 at 3-4", "r 1 at 5-6"],
        ["cas! 0>2 at 2-3"],
        ["cas 1>2 at 0-1"],
        ["w 1 at 5-", "r 1 at 0-1"],
        ["w 1 at 0-1", "cas 1>2 at 2-3", "cas 1>3 at 2-3"],
    ],
)
def test_not_explainable(lines: list[str]) -> None:
    assert not explainable(history(*lines))


def test_long_histories_take_no_time() -> None:
    lines = []
    for at in range(2000):
        lines += [f"w {at + 1} at {10 * at}-{10 * at + 15}", f"r {at + 1} at {10 * at + 4}-{10 * at + 9}"]
    assert explainable(history(*lines))
