"""Putting the default profile into the kernel, at the daemon's start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from services.containerd.apparmor import profile
from services.kit import errors, log, subproc

_LOADED: Final = Path("/sys/kernel/security/apparmor/profiles")
_SEARCH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT_S: Final = 30.0
_log = log.get(__name__)


def enabled() -> bool:
    """Whether the kernel confines by AppArmor."""
    return _LOADED.exists()


async def load_default() -> str:
    """Load the profile of containers that ask for no other, in the place of what an older daemon has loaded.

    Returns its name; empty, with a word in the log, where that is not possible: containers then run as without it.
    """
    if not enabled():
        return ""
    parser = shutil.which("apparmor_parser", path=_SEARCH)
    if parser is None:
        _log.warning("apparmor_default_missing", hint="install the package apparmor, and restart containerd")
        return ""
    try:
        await subproc.run(
            [parser, "--replace", "--skip-cache"], timeout_s=_TIMEOUT_S, input=profile.text().encode()
        )
    except errors.BeeyardError as exc:
        _log.warning("apparmor_default_missing", error=exc.message)
        return ""
    return profile.NAME


def loaded(name: str) -> bool:
    """Whether the kernel knows a profile; yes where nobody can say."""
    try:
        lines = _LOADED.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    return any(line.rpartition(" (")[0] == name for line in lines)
