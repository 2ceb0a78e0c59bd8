"""/proc/self/mountinfo, parsed. Pure; `read` is the one line that is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One line of it."""

    id: int
    parent: int
    root: str
    target: str
    kind: str
    source: str
    shared: bool
    slave: bool = False
    options: str = ""
    super_options: str = ""


def parse(text: str) -> tuple[MountPoint, ...]:
    """Return the mounts in the kernel's order: a later one at the same target lies above an earlier one."""
    return tuple(_parse_line(line) for line in text.splitlines() if " - " in line)


def read(process: str = "self") -> tuple[MountPoint, ...]:
    """Return the mounts that `process` ("self", "thread-self" or a pid) sees."""
    return parse(Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def below(mounts: Iterable[MountPoint], directory: str) -> tuple[MountPoint, ...]:
    """Return the mounts strictly below a directory, the ones to be unmounted first at the front."""
    prefix = directory.rstrip("/") + "/"
    return tuple(reversed([mount for mount in mounts if mount.target.startswith(prefix)]))


def holding(mounts: Iterable[MountPoint], path: str) -> MountPoint | None:
    """Return the mount that an absolute path without links lies on."""
    found: MountPoint | None = None
    for mount in mounts:
        prefix = mount.target.rstrip("/")
        covers = path == prefix or path.startswith(prefix + "/")
        if covers and (found is None or len(mount.target) >= len(found.target)):
            found = mount
    return found


def _parse_line(line: str) -> MountPoint:
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    kind, source, *rest = after.split(" ")
    return MountPoint(
        id=int(fields[0]),
        parent=int(fields[1]),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        kind=kind,
        source=_unescape(source),
        shared=any(tag.startswith("shared:") for tag in fields[6:]),
        slave=any(tag.startswith("master:") for tag in fields[6:]),
        options=fields[5],
        super_options=rest[0] if rest else "",
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text
