"""The name files of the sandboxes, on disk: <run>/netd/files/<sandbox>/{hosts,resolv.conf,hostname}.

Containers have them mounted, so a file that exists is changed in place: a new one under its name would not be seen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.kit import log
from services.netd.core import namefiles
from services.netd.core.namefiles import NameFiles

_log = log.get(__name__)

_MODE = 0o644
_FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where a sandbox's files are."""

    hosts: Path
    resolv_conf: Path
    hostname: Path


class Files:
    """The directory of all sandboxes' files.

    Args:
        directory: It is made if it is not there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)

    def paths(self, sandbox_id: str) -> Paths:
        """Return where the files of a sandbox are, or would be."""
        own = self._directory / sandbox_id
        return Paths(hosts=own / "hosts", resolv_conf=own / "resolv.conf", hostname=own / "hostname")

    def ensure(self, sandbox_id: str, texts: NameFiles) -> None:
        """Write those files that are missing; the others belong to the container by now."""
        paths = self.paths(sandbox_id)
        paths.hosts.parent.mkdir(mode=0o755, exist_ok=True)
        for path, text in (
            (paths.hosts, texts.hosts),
            (paths.resolv_conf, texts.resolv_conf),
            (paths.hostname, texts.hostname),
        ):
            if not path.exists():
                _write_in_place(path, text)

    def amend_hosts(self, sandbox_id: str, removed: Iterable[str], added: Iterable[str]) -> None:
        """Exchange lines of a hosts file; what the container wrote into it stays."""
        path = self.paths(sandbox_id).hosts
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
        if len(data) > _FILE_BYTES_MAX:  # the container has made something else of it
            _log.warning("hosts_file_too_large", sandbox=sandbox_id)
            return
        before = data.decode(errors="surrogateescape")
        after = namefiles.amend_hosts(before, removed, added)
        if after != before:
            _write_in_place(path, after)

    def remove(self, sandbox_id: str) -> None:
        """Remove the files of a sandbox."""
        shutil.rmtree(self._directory / sandbox_id, ignore_errors=True)

    def sandboxes(self) -> set[str]:
        """Return the ids of the sandboxes that have files."""
        return {path.name for path in self._directory.iterdir()}


def _write_in_place(path: Path, text: str) -> None:
    """Write a file whole; who reads it meanwhile sees at worst the end of the old text behind the new."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE)  # not emptied by opening
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode(errors="surrogateescape"))
        file.truncate()
