"""Asking before something is lost."""

from __future__ import annotations

import sys

from cli.errors import invalid


def confirm(warning: str, what: str) -> None:
    """Ask, and return if the answer is yes.

    Args:
        warning: What would happen.
        what: Named in the refusal: "container prune".

    Raises:
        errors.Invalid: The answer is not yes, or there is nobody to ask.
    """
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        print()  # the cursor stands behind the question
        raise
    if answer.strip().lower() not in ("y", "yes"):
        raise invalid(f"{what} has been cancelled")
