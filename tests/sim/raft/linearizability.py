"""Is there an order of the operations that explains what the clients saw?

After Wing & Gong, with Lowe's memory of states seen. Registers are independent, so each has its own history. An
operation whose outcome is not known may have happened at any time after its call, or never; if in addition nobody ever
saw its value, it can only have made another operation fail, and stands for nothing but that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    @property
    def certain(self) -> bool:
        return self.returned_ms != FOREVER


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
    return _Search(history).succeeds()


@dataclass(frozen=True, slots=True)
class _State:
    """How far an order has come. All certain operations before `base` are in it."""

    base: int
    beyond: frozenset[int]
    """The certain operations after `base` that are in it as well."""
    uncertain: frozenset[int]
    """The uncertain ones that are in it."""
    value: int


class _Search:
    def __init__(self, history: list[Operation]) -> None:
        ordered = sorted(history, key=lambda operation: (operation.called_ms, operation.id))
        self._certain = [operation for operation in ordered if operation.certain]
        seen = {op.value for op in self._certain if op.kind == "read"}
        seen |= {op.expected for op in ordered if op.kind == "cas"}
        uncertain = [operation for operation in ordered if not operation.certain]
        self._uncertain = [operation for operation in uncertain if operation.value in seen]
        self._disturbed_ms = min(
            (op.called_ms for op in uncertain if op.value not in seen), default=FOREVER
        )  # from when on a value that nobody saw may have been there

    def succeeds(self) -> bool:
        seen: set[_State] = set()
        stack = [_State(0, frozenset(), frozenset(), 0)]
        while stack:
            state = stack.pop()
            if state.base == len(self._certain):
                return True
            if state in seen:
                continue
            seen.add(state)
            assert len(seen) < STATES_MAX, "the history is too large to be explained"
            stack.extend(self._after(state))
        return False

    def _after(self, state: _State) -> Iterator[_State]:
        first_return = FOREVER
        open_now: list[int] = []
        for at in range(state.base, len(self._certain)):
            if self._certain[at].called_ms > first_return:
                break
            if at not in state.beyond:
                open_now.append(at)
                first_return = min(first_return, self._certain[at].returned_ms)
        for at, operation in enumerate(self._uncertain):
            if at not in state.uncertain and operation.called_ms <= first_return:
                value = self._value_after(operation, state.value)
                if value is not None and value != state.value:
                    yield _State(state.base, state.beyond, state.uncertain | {at}, value)
        for at in open_now:  # tried first, as the last on the stack
            if self._certain[at].called_ms <= first_return:
                value = self._value_after(self._certain[at], state.value)
                if value is not None:
                    yield self._with(state, at, value)

    @staticmethod
    def _with(state: _State, at: int, value: int) -> _State:
        base, beyond = state.base, state.beyond | {at}
        while base in beyond:
            beyond -= {base}
            base += 1
        return _State(base, beyond, state.uncertain, value)

    def _value_after(self, operation: Operation, value: int) -> int | None:
        """Return the register's value after the operation; None if its client would have seen something else."""
        if operation.kind == "read":
            return value if operation.value == value else None
        if operation.kind == "write":
            return operation.value
        matches = value == operation.expected
        if operation.certain and matches != operation.succeeded:
            disturbed = not operation.succeeded and self._disturbed_ms <= operation.returned_ms
            return value if disturbed else None
        return operation.value if matches else value
