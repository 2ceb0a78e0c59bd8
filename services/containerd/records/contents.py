"""The content of the files of containers: secrets and configs. It is kept below the run directory, never on the disk.

One file per container holds the contents of all its files, in their order. It is there before the record that rests on
it, and goes after it, so that a record without contents means that the machine was down meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from services.kit import atomic, errors, log

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from services.containerd.model.spec import ContainerSpec

_log = log.get(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM})


class Contents:
    """The contents in one directory. Blocks: for worker threads, but for `drop`, which takes one system call.

    Args:
        directory: Where they are, best in memory. It is made, and closed to everybody but root.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, container_id: str, spec: ContainerSpec) -> None:
        """Keep what is in the files of a specification, if it has any and knows it.

        Raises:
            errors.Exhausted: There is no room (DISK_FULL).
        """
        known = [file.data for file in spec.files if file.data is not None]
        if not known or len(known) != len(spec.files):
            return
        contents = [base64.b64encode(data).decode("ascii") for data in known]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            # Not synced: what is here is not to outlive the machine.
            atomic.write(self._directory / container_id, json.dumps(contents).encode(), fsync=False)
        except OSError as exc:
            if exc.errno in _FULL:
                raise errors.Exhausted(
                    "there is no room for the files of the container in the run directory", reason="DISK_FULL"
                ) from exc
            raise

    def joined(self, container_id: str, spec: ContainerSpec) -> ContainerSpec:
        """Return a recorded specification with its contents, or without them where they are gone."""
        kept = atomic.read(self._directory / container_id)
        if kept is None:
            return spec
        try:
            contents = [base64.b64decode(text, validate=True) for text in json.loads(kept)]
            pairs = zip(spec.files, contents, strict=True)
            return replace(spec, files=tuple(replace(file, data=data) for file, data in pairs))
        except (ValueError, TypeError, binascii.Error) as exc:
            _log.error("files_damaged", container=container_id, error=str(exc))
            return spec

    def drop(self, container_id: str) -> None:
        """Remove what is kept for a container. Idempotent."""
        (self._directory / container_id).unlink(missing_ok=True)

    def retain(self, container_ids: Collection[str]) -> int:
        """Remove what is kept for any other container; return for how many."""
        if not self._directory.is_dir():
            return 0
        atomic.remove_leftovers(self._directory)
        strays = [entry for entry in self._directory.iterdir() if entry.name not in container_ids]
        for stray in strays:
            stray.unlink(missing_ok=True)
        return len(strays)


def without(spec: ContainerSpec) -> ContainerSpec:
    """Return a specification with the contents taken out of its files: what may be on the disk."""
    if not spec.files:
        return spec
    return replace(spec, files=tuple(replace(file, data=None) for file in spec.files))
