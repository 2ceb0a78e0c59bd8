from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.deploy import wheels
from tests.system.deploy.host import CHECKOUT, WHEELS, Host, host


@pytest.fixture(scope="module")
def installed() -> Iterator[Host]:
    """A booted host with Beeyard installed by its installer, and running."""
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not here: install systemd-container")
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(host())
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no copy of this machine can be made here: {exc}")
        if reason := made.probe():
            pytest.skip(reason)
        wheels.make(made.wheels)
        made.boot()
        made.run(f"{CHECKOUT}/deploy/install", BEEYARD_WHEELS=WHEELS)
        yield made
