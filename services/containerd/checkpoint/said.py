"""CRIU's reason from the log that it leaves, which says more than the runtime does. Blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.containerd.checkpoint.words import criu_reason
from services.containerd.runtime import oci_cli

if TYPE_CHECKING:
    from pathlib import Path

_LOG_BYTES_MAX: Final = 1 << 20


def why(log: Path, output: str) -> str:
    """Return why CRIU has failed, or if it has left no log what the runtime wrote."""
    try:
        with log.open("rb") as opened:
            text = opened.read(_LOG_BYTES_MAX).decode(errors="replace")
    except OSError:
        return oci_cli.explain(output)
    return criu_reason(text) if "Error (" in text else oci_cli.explain(output)
