"""What a `RaftNode` needs of others, and what it offers to its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.swarmd.raft.core.membership import Member
    from services.swarmd.raft.core.messages import InstallSnapshot, Message


class StateMachine(Protocol):
    """What the log's commands act on. Deterministic: the same commands give the same state on every member."""

    def apply(self, index: int, data: bytes) -> object:
        """Apply a committed command; what it returns goes to the proposer. It must not raise.

        `index` grows from call to call, with gaps. After a restart, the commands since the last snapshot
        come again.
        """
        ...

    def snapshot(self) -> bytes | Callable[[], bytes]:
        """Return the whole state; or, quickly, a function that returns what the state was now, for another thread."""
        ...

    def restore(self, data: bytes) -> None:
        """Replace the whole state by a snapshot's."""
        ...


class Receiver(Protocol):
    """Who gets what arrives."""

    @property
    def member_id(self) -> int:
        """Whose messages it takes."""
        ...

    def receive(self, messages: Sequence[Message]) -> None:
        """Take messages, in order. Never waits; drops what it has no room for, as a network may."""
        ...

    def unreachable(self, member_id: int) -> None:
        """Hear that messages to this member were lost."""
        ...

    def removed(self) -> None:
        """Hear from another member that this one was taken out of the cluster."""
        ...

    def member(self, member_id: int) -> Member | None:
        """Return what is known of a member; None if it is none."""
        ...

    def was_removed(self, member_id: int) -> bool:
        """Tell whether this member was taken out of the cluster, and that is committed: it cannot be taken back."""
        ...


class Transport(Protocol):
    """The way to the other members. Messages may be lost, repeated and reordered."""

    def attach(self, receiver: Receiver) -> None:
        """Give what arrives to `receiver`; called once, before anything else."""
        ...

    def set_peers(self, peers: Sequence[Member]) -> None:
        """Set who the others are; those that are no longer among them are still reached for a while."""
        ...

    def send(self, to: int, messages: Sequence[Message]) -> None:
        """Send messages to a member, in order. Never waits; drops them if the member is unknown, away or too slow."""
        ...

    async def send_snapshot(self, message: InstallSnapshot) -> None:
        """Send a snapshot; return when it arrived.

        Raises:
            BeeyardError: It did not.
        """
        ...
