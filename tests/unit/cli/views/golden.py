"""Expected output in files: what a user sees, reviewed as a diff. REWRITE_GOLDEN=1 writes what is shown now."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cli.format.values import plain

DIRECTORY = Path(__file__).parents[1] / "golden"


def check(name: str, shown: object) -> None:
    """Compare a text, or a value as JSON, with its file."""
    text = shown if isinstance(shown, str) else json.dumps(plain(shown), indent=2, ensure_ascii=False) + "\n"
    path = DIRECTORY / name
    if os.environ.get("REWRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
