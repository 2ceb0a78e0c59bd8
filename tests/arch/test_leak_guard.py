"""The guard of tests/conftest.py catches what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAKS = {
    "child": (
        "import subprocess\ndef test_x():\n    subprocess.Popen(['sleep', '5'])\n",
        "child processes left behind",
    ),
    "file": ("kept = []\ndef test_x():\n    kept.append(open(__file__))\n", "files left open"),
    "pipe": ("import os\ndef test_x():\n    os.pipe()\n", "files left open"),
    "task": (
        "import asyncio\nasync def test_x():\n    global task\n    task = asyncio.create_task(asyncio.sleep(60))\n",
        "tasks left running",
    ),
    "unseen": (
        (
            "import asyncio\nasync def fail():\n    raise ValueError('nobody saw')\n"
            "async def test_x():\n    asyncio.create_task(fail())\n    await asyncio.sleep(0.01)\n"
        ),
        "nobody saw",
    ),
    "coroutine": ("async def work(): ...\nasync def test_x():\n    work()\n", "was never awaited"),
    "resource": ("import socket\ndef test_x():\n    socket.socket()\n", "unclosed <socket"),
}


def run(directory: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a test file under a copy of the guard that does not wait for long."""
    guard = (ROOT / "tests" / "conftest.py").read_text()
    (directory / "conftest.py").write_text(guard.replace("SETTLE_S_MAX = 2.0", "SETTLE_S_MAX = 0.1"))
    (directory / "test_leak.py").write_text(text)
    pytest_options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(directory),
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *pytest_options, *flags, str(directory)],
        env={**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", LEAKS)
def test_a_leak_fails_its_test(case: str, tmp_path: Path) -> None:
    text, words = LEAKS[case]
    done = run(tmp_path, text)
    assert done.returncode != 0, done.stdout
    assert words in done.stdout


def test_a_clean_test_passes(tmp_path: Path) -> None:
    done = run(
        tmp_path, "import asyncio\nasync def test_x():\n    await asyncio.create_task(asyncio.sleep(0))\n"
    )
    assert done.returncode == 0, done.stdout


def test_without_root_tests_that_need_it_are_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "nobody.py").write_text("import os\nos.geteuid = lambda: 65534\n")
    text = "import pytest\n@pytest.mark.root\ndef test_x():\n    raise AssertionError\n"
    done = run(tmp_path, text, "-p", "nobody")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "needs root" in done.stdout
