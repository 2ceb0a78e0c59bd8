"""Is there an order of the operations that explains what the clients saw? After Wing & Gong, with Lowe's memory of states seen.

Registers are independent, so each has its own history. An operation whose outcome is not known may have happened at any time after its
call, or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FOREVER = float("inf")
STATES_MAX = 200_000


@dataclass(slots=True)
class Operation:
    """What a client asked for, and what it saw."""

    id: int
    key: str
    kind: str
    """`read`, `write` or `cas`."""
    value: int
    """Written; or read."""
    expected: int
    called_ms: float
    returned_ms: float = FOREVER
    """FOREVER: the outcome is not known."""
    succeeded: bool = True
    """A `cas` that found another value than it expected did not."""


def unexplained_key(history: Iterable[Operation]) -> str | None:
    """Return the key of a register whose history has no explanation; None if all have one."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    for key in sorted(by_key):
        if not explainable(by_key[key]):
            return key
    return None


def explainable(history: list[Operation]) -> bool:
    """Tell whether some order respects real time and gives every operation the result that its client saw."""
    operations = sorted(history, key=lambda operation: (operation.called_ms, operation.id))
    certain = sum(1 << at for at, operation in enumerate(operations) if operation.returned_ms != FOREVER)
    seen: set[tuple[int, int]] = set()
    stack: list[tuple[int, int]] = [(0, 0)]  # (operations done, as bits; the register's value)
    while stack:
        done, value = stack.pop()
        if done & certain == certain:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        assert len(seen) < STATES_MAX, "the history is too large to be explained"
        first_return = min(
            operation.returned_ms for at, operation in enumerate(operations) if not done >> at & 1
        )
        for at, operation in enumerate(operations):
            if operation.called_ms > first_return:
                break
            if done >> at & 1:
                continue
            after = _value_after(operation, value)
            if after is not None:
                stack.append((done | 1 << at, after))
    return False


def _value_after(operation: Operation, value: int) -> int | None:
    """Return the register's value after the operation; None if its client would have seen something else."""
    match operation.kind:
        case "read":
            return value if operation.value == value else None
        case "write":
            return operation.value
        case _:
            matches = value == operation.expected
            if operation.returned_ms != FOREVER and matches != operation.succeeded:
                return None
            return operation.value if matches else value
