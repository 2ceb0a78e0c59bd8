"""The program `swarmctl`. Only here does the process end."""

from __future__ import annotations

import gc
import os
import sys

from cli import deferrals


def main() -> None:
    """Run one command and leave with its exit code.

    The interpreter is left without its shutdown, which would only cost time.
    """
    gc.disable()  # until the command itself runs (`command.with_session`): imports leave no garbage, only much to visit
    deferrals.install()
    _open_standard_streams()
    from cli import app

    code = app.run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as exc:
            code = code or app.exit_code_of(exc)
    os._exit(code)


def _open_standard_streams() -> None:
    """Give a caller who closed one of our three streams /dev/null for it: else the next file or socket takes its place,
    and is read or written as if it were the user's.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
