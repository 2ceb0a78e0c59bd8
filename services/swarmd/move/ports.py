"""What moves need of the world: hands on the two nodes, and a place to remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from services.swarmd.move.core.move import Chore, Facts, Move, Step

    Report: TypeAlias = Callable[[str, int, int], None]
    """Tells how far a step is: what moves, bytes done, bytes in all (0: not known)."""


class Hands(Protocol):
    """Does on the nodes what a move orders. Every wait in it has an end."""

    async def do(self, move: Move, step: Step, report: Report, /) -> Facts:
        """Do a step.

        Raises:
            errors.BeeyardError: It was not done, or nobody knows.
        """
        ...

    async def settle(self, move: Move, chore: Chore, /) -> str:
        """Do a chore, which may be done already, or have nothing to do; return what people should know of it.

        Raises:
            errors.BeeyardError: It is not done, or nobody knows. NODE_NOT_FOUND: it never will be.
        """
        ...


class Journal(Protocol):
    """Remembers moves."""

    async def save(self, move: Move, /) -> None:
        """Make a move durable."""
        ...

    async def load(self) -> Sequence[Move]:
        """Return all moves, oldest first."""
        ...

    async def forget(self, move_id: str, /) -> None:
        """Forget a move that has ended."""
        ...
