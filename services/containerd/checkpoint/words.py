"""What CRIU and the runtimes say when they fail. Pure."""

from __future__ import annotations

import re

_ERROR = re.compile(r"Error \([^)]*\):\s*(.*)")
_HARMLESS = ("rlimit: Can't setup RLIMIT_NOFILE for self",)
"""What it calls an error, and goes on."""
_REASON_CHARS_MAX = 300


def criu_reason(output: str) -> str:
    """Return the first error of CRIU's output: the later ones follow from it."""
    for line in output.splitlines():
        if (found := _ERROR.search(line)) and not found[1].startswith(_HARMLESS):
            return found[1].strip()[:_REASON_CHARS_MAX]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:_REASON_CHARS_MAX] if lines else "it failed without a message"
