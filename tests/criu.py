"""A CRIU that works on this kernel, for tests of the real thing: BEEYARD_TEST_CRIU names one, or it is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

VARIABLE = "BEEYARD_TEST_CRIU"
RUNC = "runc"


def works() -> str:
    """Return the path of a CRIU that works here, with a runtime that uses it; skip the test if there is none."""
    path, reason = look()
    if reason:
        pytest.skip(reason)
    return path


def look() -> tuple[str, str]:
    """Return the path, and why it does not work; empty if it does."""
    wanted = os.environ.get(VARIABLE, "")
    path = shutil.which(wanted or "criu")
    if path is None:
        missing = f"there is no program {wanted}" if wanted else "CRIU is not installed"
        return "", f"{missing}: {VARIABLE} may name one"
    if shutil.which(RUNC) is None:
        return path, "runc is not installed"
    check = subprocess.run([path, "check"], capture_output=True, text=True, check=False)
    said = (check.stderr or check.stdout).splitlines()
    return path, f"`criu check` of {path}: {said[0] if said else 'fails'}" if check.returncode else ""
