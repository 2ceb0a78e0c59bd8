"""Which CRIU the runtimes use: they look for `criu` on their PATH, and newer ones can be told of none elsewhere.

So they get a directory of ours first on it, with a link to the one that was asked whether it works.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "criu"


def environment(programs: Path) -> dict[str, str]:
    """Return the variables that make the runtimes look in `programs` first."""
    return {"PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}


def offer(programs: Path, criu: str) -> None:
    """Make this the CRIU that the runtimes find."""
    programs.mkdir(mode=0o700, exist_ok=True)
    link = programs / f".{_NAME}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(criu)
    link.rename(programs / _NAME)
