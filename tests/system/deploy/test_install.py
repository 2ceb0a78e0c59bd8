"""What the installer refuses, before it changes anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.system.deploy.host import ROOT

pytestmark = pytest.mark.root


def _install(stage: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "deploy/install", *arguments],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "DESTDIR": str(stage), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_unknown_flag(tmp_path: Path) -> None:
    done = _install(tmp_path, "--sart")
    assert done.returncode == 2
    assert "deploy/install --uninstall" in done.stderr


def test_old_interpreter(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    done = _install(tmp_path / "stage", PYTHON=str(old))
    assert done.returncode == 1
    assert "Python 3.9.2 is too old" in done.stderr
    assert not (tmp_path / "stage").exists()


def test_no_wheel_of_the_product(tmp_path: Path) -> None:
    done = _install(tmp_path / "stage", BEEYARD_WHEELS=str(tmp_path))
    assert done.returncode == 1
    assert "exactly one beeyard-*.whl" in done.stderr
    assert not (tmp_path / "stage").exists()


def test_uninstall_of_nothing(tmp_path: Path) -> None:
    assert _install(tmp_path, "--uninstall").returncode == 0
