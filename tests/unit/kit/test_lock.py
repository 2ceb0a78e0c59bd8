"""The lock of a directory: one holder, found out by the second."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.kit import errors, lock


def test_a_second_holder_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    with lock.exclusive(tmp_path / "lock", "imaged"):
        with pytest.raises(errors.FailedPrecondition) as caught, lock.exclusive(tmp_path / "lock", "imaged"):
            pytest.fail("two hold the lock")
        assert caught.value.reason == "ALREADY_RUNNING"
        assert f"another imaged (pid {os.getpid()}) uses {tmp_path}" in caught.value.message
    with lock.exclusive(tmp_path / "lock", "imaged"):
        pass


def test_the_lock_ends_with_its_process_and_not_with_its_children(tmp_path: Path) -> None:
    holder = (
        "import os, subprocess, sys; from pathlib import Path; from services.kit import lock\n"
        "with lock.exclusive(Path(sys.argv[1]), 'imaged'):\n"
        "    child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True)\n"
        "    os._exit(9)\n"
    )
    path = tmp_path / "lock"
    done = subprocess.run(
        [sys.executable, "-c", holder, str(path)], capture_output=True, text=True, check=False
    )
    orphan = int(done.stdout)
    try:
        assert done.returncode == 9
        with lock.exclusive(path, "imaged"):
            assert Path(f"/proc/{orphan}").exists()
    finally:
        os.kill(orphan, 9)


def test_a_holder_that_is_just_going_is_waited_for(tmp_path: Path) -> None:
    """As a child of a killed daemon that has not yet executed its program."""
    path = tmp_path / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    going = threading.Timer(0.1, os.close, [fd])
    going.start()
    with lock.exclusive(path, "daemon"):
        assert path.read_text() == f"{os.getpid()}\n"
    going.join()
