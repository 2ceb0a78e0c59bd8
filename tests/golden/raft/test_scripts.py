"""Every script must give what stands in it; see `script.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.raft.script import run

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    assert run(path) == path.read_text(), (
        "renew with: python -m tests.golden.raft --rewrite, and read the difference"
    )
