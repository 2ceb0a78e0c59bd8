"""What the store cannot do, as the errors that callers see."""

from __future__ import annotations

from services.kit import errors
from services.swarmd.store.changes import Refusal, Refused

TRANSACTION_BYTES_MAX = 1536 * 1024
CHANGES_MAX = 200


def not_found(kind: str, object_id: str) -> errors.NotFound:
    """Say that an object is not there."""
    return errors.NotFound(
        f"{kind} {object_id} not found", reason=f"{kind.upper()}_NOT_FOUND", metadata={"id": object_id}
    )


def already_exists(kind: str, object_id: str) -> errors.AlreadyExists:
    """Say that an id is taken."""
    return errors.AlreadyExists(f"{kind} {object_id} exists", metadata={"id": object_id})


def name_in_use(kind: str, name: str) -> errors.AlreadyExists:
    """Say that a name is taken."""
    return errors.AlreadyExists(
        f"a {kind} named {name!r} exists, choose another name", reason="NAME_IN_USE", metadata={"name": name}
    )


def out_of_sequence(kind: str, object_id: str) -> errors.Conflict:
    """Say that an object was changed by somebody else."""
    return errors.Conflict(
        f"update out of sequence: {kind} {object_id} was changed meanwhile, read it again and repeat",
        reason="VERSION_MISMATCH",
        metadata={"kind": kind, "id": object_id},
    )


def too_large(size_bytes: int) -> errors.Exhausted:
    """Say that a change does not fit in a raft entry."""
    return errors.Exhausted(
        f"the change is of {size_bytes} bytes, more than the {TRANSACTION_BYTES_MAX} that the swarm's store takes",
        reason="SPEC_TOO_LARGE",
        metadata={"size_bytes": str(size_bytes), "size_bytes_max": str(TRANSACTION_BYTES_MAX)},
    )


def too_many(changes: int) -> errors.Exhausted:
    """Say that a transaction has more changes than a raft entry may hold."""
    return errors.Exhausted(
        f"{changes} changes are more than the {CHANGES_MAX} of one transaction",
        reason="TRANSACTION_TOO_LARGE",
    )


def error_of(refused: Refused) -> errors.BeeyardError:
    """Return the error for an entry that was refused when its place in the order was settled."""
    match refused.refusal:
        case Refusal.VERSION:
            return out_of_sequence(refused.table, refused.id)
        case Refusal.MISSING:
            return not_found(refused.table, refused.id)
        case Refusal.EXISTS:
            return already_exists(refused.table, refused.id)
        case Refusal.NAME:
            return name_in_use(refused.table, refused.name)
        case Refusal.MALFORMED:
            return errors.Internal(
                f"entry {refused.index} of the store cannot be read", reason="ENTRY_MALFORMED"
            )
