"""The program `swarmctl`. Only here does the process end."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one command and leave with its exit code.

    The interpreter is left without its shutdown: the transport's threads cost 10 ms there, for nothing.
    """
    from cli import app

    code = app.run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    main()
