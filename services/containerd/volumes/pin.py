"""A part of a volume or image as a mount of its own, so that the runtime gets exactly what was looked up. Blocks.

The part is opened with the volume as `/`, so no link in it leads out; what was opened is then bound by its descriptor,
so nothing that is renamed or replaced afterwards changes what the container sees.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from services.containerd.kernel import syscalls
from services.containerd.volumes import tree
from services.kit import errors

if TYPE_CHECKING:
    from pathlib import Path


def pin(root: Path, subpath: str, place: Path) -> None:
    """Bind what `subpath` names below `root` to `place`, which is made.

    Raises:
        errors.Invalid: There is no such file or directory (SUBPATH_MISSING).
    """
    with tree.opened(root) as root_fd:
        try:
            fd = syscalls.open_in_root(root_fd, subpath, os.O_PATH)
        except OSError as exc:
            raise errors.Invalid(
                f"cannot access path {subpath} of the volume: {(exc.strerror or '').lower()}",
                reason="SUBPATH_MISSING",
            ) from exc
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                place.mkdir(mode=0o700, exist_ok=True)
            elif stat.S_ISREG(mode):
                place.touch(mode=0o600)
            else:
                raise errors.Invalid(
                    f"the subpath {subpath} is neither a file nor a directory", reason="SUBPATH_MISSING"
                )
            syscalls.mount(f"/proc/self/fd/{fd}", place, "", syscalls.MS_BIND | syscalls.MS_REC)
        finally:
            os.close(fd)
