"""Who a container's process runs as: `user[:group]`, resolved against the image's own passwd and group files.

Pure: the texts are arguments. They are the image author's and may hold anything; lines that do not parse are skipped,
as the C library does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.containerd.ocispec.facts import Identity
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.containerd.model.idmap import IdMap

ID_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class _User:
    """A line of passwd."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    """A line of group."""

    name: str
    gid: int
    members: tuple[str, ...]


def resolve(
    user: str,
    *,
    passwd: str,
    group: str,
    groups_add: Iterable[str] = (),
    default: Identity | None = None,
    ids: IdMap | None = None,
) -> Identity:
    """Return the identity that `user` names.

    Names win over numbers, so that a user whose name is digits is found by it. Without a group, the user's primary
    group and every group that lists the user count; with one, only that group. The primary group is always among the
    supplementary ones: without that a process could drop a group by setgroups (CVE-2022-36109).

    Args:
        user: `name|uid[:group|gid]`; empty is root (or `default`).
        passwd: Text of the root file system's /etc/passwd, empty if it has none.
        group: Text of its /etc/group.
        groups_add: Further groups, names or numbers.
        default: What an empty `user` means; for an exec, the container's own identity.
        ids: The ids that the container has; None for all of them.

    Raises:
        errors.Invalid: A name does not exist there, or a number is out of range or none of its ids.
    """
    identity = _resolve(user, passwd, group, groups_add, default)
    if ids is not None:
        _check_ids(identity, ids)
    return identity


def _check_ids(identity: Identity, ids: IdMap) -> None:
    for what, number in (
        ("user", identity.uid),
        *(("group", gid) for gid in (identity.gid, *identity.groups)),
    ):
        if number >= ids.size:
            raise errors.Invalid(
                f"{what} id {number} does not exist in the user namespace of the container: it has 0 to {ids.size - 1};"
                " give it more with --userns auto:size=N",
                reason="ID_NOT_MAPPED",
            )


def _resolve(
    user: str, passwd: str, group: str, groups_add: Iterable[str], default: Identity | None
) -> Identity:
    name, separator, group_name = user.partition(":")
    groups = list(_parse_groups(group))
    if not name and not separator and default is not None:
        extra = [_find_group(extra_name, groups).gid for extra_name in groups_add]
        return Identity(
            uid=default.uid, gid=default.gid, groups=_unique([*default.groups, *extra]), home=default.home
        )
    found = _find_user(name or "0", list(_parse_users(passwd)))
    supplementary: list[int] = []
    if group_name:
        gid = _find_group(group_name, groups).gid
    else:
        gid = found.gid
        supplementary = [entry.gid for entry in groups if found.name and found.name in entry.members]
    supplementary.extend(_find_group(extra_name, groups).gid for extra_name in groups_add)
    return Identity(uid=found.uid, gid=gid, groups=_unique([gid, *supplementary]), home=found.home or "/")


def _find_user(name: str, users: list[_User]) -> _User:
    for user in users:
        if user.name == name:
            return user
    uid = _number(name, "user")
    if uid is None:
        raise errors.Invalid(
            f"unable to find user {name}: no such name in /etc/passwd", reason="USER_NOT_FOUND"
        )
    for user in users:
        if user.uid == uid:
            return user
    return _User("", uid, 0, "/")


def _find_group(name: str, groups: list[_Group]) -> _Group:
    for group in groups:
        if group.name == name:
            return group
    gid = _number(name, "group")
    if gid is None:
        raise errors.Invalid(
            f"unable to find group {name}: no such name in /etc/group", reason="GROUP_NOT_FOUND"
        )
    return _Group("", gid, ())


def _number(text: str, what: str) -> int | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    number = int(text) if len(text) <= len(str(ID_MAX)) else ID_MAX + 1
    if number > ID_MAX:
        raise errors.Invalid(f"{what} id {text} is out of range (0 to {ID_MAX})", reason="SPEC_INVALID")
    return number


def _parse_users(passwd: str) -> Iterator[_User]:
    for fields in _fields(passwd):
        if len(fields) >= 6 and _is_id(fields[2]) and _is_id(fields[3]):
            yield _User(fields[0], int(fields[2]), int(fields[3]), fields[5])


def _parse_groups(group: str) -> Iterator[_Group]:
    for fields in _fields(group):
        if len(fields) >= 3 and _is_id(fields[2]):
            members = tuple(member for member in fields[3].split(",") if member) if len(fields) > 3 else ()
            yield _Group(fields[0], int(fields[2]), members)


def _fields(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped.split(":")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= ID_MAX


def _unique(numbers: list[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(numbers))
