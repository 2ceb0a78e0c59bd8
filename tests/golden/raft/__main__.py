"""Checks the scripts; with `--rewrite` writes down what comes of them now: `python -m tests.golden.raft --rewrite`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.golden.raft.script import run

FOLDER = Path(__file__).resolve().parent / "scripts"


def main() -> int:
    different = 0
    for path in sorted(FOLDER.glob("*.txt")):
        text = run(path)
        if text != path.read_text():
            different += 1
            print(path.name)
            if "--rewrite" in sys.argv:
                path.write_text(text)
    return 1 if different and "--rewrite" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
