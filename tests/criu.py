"""A CRIU that works on this kernel, for tests of the real thing: BEEYARD_TEST_CRIU names one, or it is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

VARIABLE = "BEEYARD_TEST_CRIU"
RUNC = "runc"


def works() -> str:
    """Return the path of a CRIU that works here, with a runtime that uses it; skip the test if there is none."""
    wanted = os.environ.get(VARIABLE, "")
    path = shutil.which(wanted or "criu")
    if path is None:
        _skip(
            f"there is no program {wanted}"
            if wanted
            else f"CRIU is not installed (set {VARIABLE} to use one)"
        )
    if shutil.which(RUNC) is None:
        _skip("runc is not installed")
    check = subprocess.run([path, "check"], capture_output=True, text=True, check=False)
    if check.returncode:
        said = (check.stderr or check.stdout).splitlines()
        _skip(f"`criu check` of {path} says: {said[0] if said else 'nothing'}")
    return path


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason)
