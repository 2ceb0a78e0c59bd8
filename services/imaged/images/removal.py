"""Which names and images go when somebody removes one, by Docker's rules. Pure.

- By name: the name goes. With the last one the image goes too, unless a container uses it: then the removal is
  refused, or with force the name goes and the image stays, nameless.
- By id: all names go and the image with them, unless it has several names or a container uses it: then the removal is
  refused, or with force the names go, and the image if no container uses it.
- A name by digest does not keep an image that has lost its last tag in the same repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.model.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What goes."""

    names: tuple[Reference, ...]
    image: bool


def plan(
    asked: Reference | None,
    shown: str,
    names: Sequence[Reference],
    users: Sequence[str],
    *,
    force: bool,
) -> Removal:
    """Return what a removal takes away.

    Args:
        asked: The name to remove; None means the whole image.
        shown: What the person wrote, for messages.
        names: All names of the image.
        users: Keys of the containers' snapshots that stand on it.
        force: See above.

    Raises:
        errors.FailedPrecondition: With reason IMAGE_IN_USE or IMAGE_HAS_NAMES.
    """
    if asked is not None:
        left = _without(asked, names)
        gone = tuple(name for name in names if name not in left)
        if left:
            return Removal(names=gone, image=False)
        if users and not force:
            raise _in_use(shown, users)
        return Removal(names=gone, image=not users)
    if not force:
        if users:
            raise _in_use(shown, users)
        if len([name for name in names if name.tag]) > 1 or len({name.name for name in names}) > 1:
            listed = ", ".join(name.familiar for name in names)
            raise errors.FailedPrecondition(
                f"image {shown} has several names ({listed}): remove them one by one, or use --force",
                reason="IMAGE_HAS_NAMES",
            )
    return Removal(names=tuple(names), image=not users)


def _without(asked: Reference, names: Sequence[Reference]) -> list[Reference]:
    left = [name for name in names if name != asked]
    if asked.tag and not any(name.tag for name in left if name.name == asked.name):
        left = [name for name in left if name.name != asked.name]
    return left


def _in_use(shown: str, users: Sequence[str]) -> errors.FailedPrecondition:
    container, others = users[0][:12], len(users) - 1
    more = f" and {others} more" if others else ""
    return errors.FailedPrecondition(
        f"image {shown} is used by container {container}{more}: remove that first, or use --force to remove the name",
        reason="IMAGE_IN_USE",
        metadata={"container": users[0]},
    )
