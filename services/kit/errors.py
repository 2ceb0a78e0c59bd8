"""The closed list of errors that cross a boundary: between modules, processes and nodes.

Each class is one way in which a caller can react; which object and why stands in the message, and the stable
`reason` tells machines. `services.kit.rpc.errors` maps the classes to gRPC statuses, one to one, and nothing else
knows that mapping. Subclass one of these only where somebody catches the subclass.

This module imports nothing of weight: the command line loads it on every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class BeeyardError(Exception):
    """An operating error: something that may happen, told to the caller.

    Args:
        message: For a person: what went wrong, with which object, and what to do about it.
        reason: UPPER_SNAKE, stable, for machines; the default is the name of the class's own condition.
        metadata: Further details for machines; keys in lower_snake.
    """

    default_reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    """Whether the same call, sent again unchanged, may succeed."""

    message: str
    reason: str
    metadata: dict[str, str]

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})

    def __repr__(self) -> str:
        details = f", metadata={self.metadata!r}" if self.metadata else ""
        return f"{type(self).__name__}({self.message!r}, reason={self.reason!r}{details})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message,), {"reason": self.reason, "metadata": self.metadata})


class Invalid(BeeyardError):
    """The request can never succeed as it is written."""

    default_reason = "INVALID"


class NotFound(BeeyardError):
    """The named object does not exist."""

    default_reason = "NOT_FOUND"


class AlreadyExists(BeeyardError):
    """An object with this name or id exists."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(BeeyardError):
    """The object or the system is not in a state that allows this; the caller must change the state first."""

    default_reason = "FAILED_PRECONDITION"


class Conflict(BeeyardError):
    """Somebody else changed the object since it was read: read again and repeat."""

    default_reason = "CONFLICT"  # not retryable as it is: the next call must carry the version just read


class PermissionDenied(BeeyardError):
    """The caller is known, or unknown, and may not do this."""

    default_reason = "PERMISSION_DENIED"


class Exhausted(BeeyardError):
    """A limit is reached: disk, addresses, ports, queue, message size, deadline of a bounded wait."""

    default_reason = "EXHAUSTED"


class Unavailable(BeeyardError):
    """The other side does not answer now: not started, no leader, cut off. Trying again is right."""

    default_reason = "UNAVAILABLE"
    retryable = True


class Unsupported(BeeyardError):
    """This version, kernel or machine cannot do it."""

    default_reason = "UNSUPPORTED"


class Internal(BeeyardError):
    """A fault of ours, or of a program that we run."""

    default_reason = "INTERNAL"
