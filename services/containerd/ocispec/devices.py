"""Device nodes and the device cgroup's rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.containerd.ocispec.facts import DeviceNode, Section

_RULE = re.compile(r"(?P<kind>[acb]) (?P<major>\d{1,9}|\*):(?P<minor>\d{1,9}|\*) (?P<access>[rwm]{1,3})")

# null, zero, full, random, urandom, tty and ptmx are made by the runtime; these rules let them be opened. The list is
# Docker's: /dev/fuse is denied by name since a wildcard mknod rule of the runtime would otherwise not cover it.
_DEFAULT_ALLOWED = ((1, 3), (1, 5), (1, 8), (1, 9), (5, 0), (5, 1))
_FUSE = (10, 229)


def check_rules(rules: Iterable[str]) -> None:
    """Refuse what is not a rule of the device cgroup.

    Raises:
        errors.Invalid: A rule does not read `a|b|c MAJOR:MINOR rwm`.
    """
    for rule in rules:
        if _RULE.fullmatch(rule) is None:
            raise errors.Invalid(
                f"invalid device cgroup rule {rule!r}: write it as 'c 42:* rwm'", reason="SPEC_INVALID"
            )


def cgroup_rules(devices: Iterable[DeviceNode], extra: Iterable[str], *, privileged: bool) -> list[Section]:
    """Return `linux.resources.devices`: deny everything, then what is allowed."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Section] = [{"allow": False, "access": "rwm"}]
    rules.extend(_rule("c", major, minor, "rwm") for major, minor in _DEFAULT_ALLOWED)
    rules.append({**_rule("c", *_FUSE, "rwm"), "allow": False})
    rules.extend(_rule(node.kind, node.major, node.minor, node.permissions) for node in devices)
    for text in extra:
        match = _RULE.fullmatch(text)
        if match is None:
            raise errors.Invalid(f"invalid device cgroup rule {text!r}", reason="SPEC_INVALID")
        rules.append(_rule(match["kind"], _number(match["major"]), _number(match["minor"]), match["access"]))
    return rules


def nodes(devices: Iterable[DeviceNode]) -> list[Section]:
    """Return `linux.devices`: the nodes to be made beside the runtime's default ones."""
    return [
        {
            "path": node.path,
            "type": node.kind,
            "major": node.major,
            "minor": node.minor,
            "fileMode": node.mode & 0o777,
            "uid": node.uid,
            "gid": node.gid,
        }
        for node in devices
    ]


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> Section:
    rule: Section = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)
