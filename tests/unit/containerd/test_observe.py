"""Which processes `top` shows."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

from services.containerd.api import observe
from services.kit import subproc


async def test_ps_shows_processes_on_other_terminals() -> None:
    ours, its = pty.openpty()
    process = subprocess.Popen(["setsid", "-c", "sleep", "60"], stdin=its)
    try:
        pids = {process.pid, os.getpid()}
        for arguments in (["-o", "pid,comm"], ["-ef"], ["aux"], ["f", "-e"]):
            lines = (await observe.run_ps(arguments, pids)).stdout.decode().splitlines()[1:]
            shown = {int(word) for line in lines for word in line.split()[:2] if word.isdecimal()}
            assert pids <= shown, arguments
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


async def test_what_ps_refuses_is_said_without_our_part() -> None:
    with pytest.raises(subproc.Failed) as refused:
        await observe.run_ps(["-o", "nonsense"], {os.getpid()})
    assert "ps -o nonsense exited" in refused.value.message and "-q" not in refused.value.message
