"""User and group ids as a container sees them, and as the host does; also where they are written in attributes.

The kernel shows a file's owner, its access control lists and the root user of its capabilities with the host's ids to
whoever reads them from outside of the container's user namespace. An archive holds the container's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

OVERFLOW_ID: Final = 65534
"""What an id becomes that the container has no number for, as in the kernel."""
Range = tuple[int, int, int]
"""First id inside, first id outside, count: a line of /proc/<pid>/uid_map."""

CAPABILITY_XATTR: Final = "security.capability"
_ACL_XATTRS: Final = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
# linux/posix_acl_xattr.h: a version, then tag, permissions and id of each entry
_ACL_VERSION: Final = struct.Struct("<I")
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP = 0x02, 0x08
# linux/capability.h: the revision is the highest byte of the first word; the third one has the id of the namespace's
# root behind what the second has.
_CAPS_OF_ALL: Final = struct.Struct("<IIIII")
_CAPS_OF_NAMESPACE: Final = struct.Struct("<IIIIII")
_REVISION_MASK, _REVISION_2, _REVISION_3 = 0xFF00_0000, 0x0200_0000, 0x0300_0000


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """The mappings of a user namespace; without ranges, ids are the same on both sides."""

    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids as the container has them."""
        return _inside(self.uids, uid), _inside(self.gids, gid)

    def outside(self, uid: int, gid: int) -> tuple[int, int] | None:
        """Return the container's ids as the host has them; None if one has no counterpart."""
        found = _outside(self.uids, uid), _outside(self.gids, gid)
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def xattr_inside(self, name: str, value: bytes) -> bytes:
        """Return an extended attribute with the ids that the container has for those in it.

        Capabilities that the root of the container has given become such that any root gives.
        """
        if not self.uids:
            return value
        if name in _ACL_XATTRS:
            return _map_acl(value, lambda uid: _inside(self.uids, uid), lambda gid: _inside(self.gids, gid))
        if name == CAPABILITY_XATTR and len(value) == _CAPS_OF_NAMESPACE.size:
            first, *masks, root = _CAPS_OF_NAMESPACE.unpack(value)
            root = _inside(self.uids, root)
            if root == 0 and first & _REVISION_MASK == _REVISION_3:
                return _CAPS_OF_ALL.pack(first & ~_REVISION_MASK | _REVISION_2, *masks)
            return _CAPS_OF_NAMESPACE.pack(first, *masks, root)
        return value

    def xattr_outside(self, name: str, value: bytes) -> bytes:
        """Return an extended attribute with the host's ids for those in it; one without counterpart is nobody's."""
        if not self.uids:
            return value
        if name in _ACL_XATTRS:
            return _map_acl(
                value, lambda uid: _or_nobody(self.uids, uid), lambda gid: _or_nobody(self.gids, gid)
            )
        if name == CAPABILITY_XATTR and len(value) == _CAPS_OF_ALL.size:
            first, *masks = _CAPS_OF_ALL.unpack(value)
            if first & _REVISION_MASK == _REVISION_2:
                root = _or_nobody(self.uids, 0)
                return _CAPS_OF_NAMESPACE.pack(first & ~_REVISION_MASK | _REVISION_3, *masks, root)
        if name == CAPABILITY_XATTR and len(value) == _CAPS_OF_NAMESPACE.size:
            *rest, root = _CAPS_OF_NAMESPACE.unpack(value)
            return _CAPS_OF_NAMESPACE.pack(*rest, _or_nobody(self.uids, root))
        return value


IDENTITY = IdMap()


def of_range(start: int, size: int) -> IdMap:
    """Return the mapping of a namespace whose ids, from 0 on, are as many of the host from `start` on."""
    ranges = ((0, start, size),)
    return IdMap(uids=ranges, gids=ranges)


def _inside(ranges: tuple[Range, ...], number: int) -> int:
    for first_inside, first_outside, count in ranges:
        if first_outside <= number < first_outside + count:
            return number - first_outside + first_inside
    return OVERFLOW_ID if ranges else number


def _outside(ranges: tuple[Range, ...], number: int) -> int | None:
    for first_inside, first_outside, count in ranges:
        if first_inside <= number < first_inside + count:
            return number - first_inside + first_outside
    return None if ranges else number


def _or_nobody(ranges: tuple[Range, ...], number: int) -> int:
    found = _outside(ranges, number)
    return OVERFLOW_ID if found is None else found


def _map_acl(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    """Return an access control list with other ids; what is none stays as it is, for the kernel to refuse."""
    if len(value) < _ACL_VERSION.size or (len(value) - _ACL_VERSION.size) % _ACL_ENTRY.size:
        return value
    parts = [value[: _ACL_VERSION.size]]
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(value[_ACL_VERSION.size :]):
        mapped = user(number) if tag == _ACL_USER else group(number) if tag == _ACL_GROUP else number
        parts.append(_ACL_ENTRY.pack(tag, permissions, mapped))
    return b"".join(parts)
