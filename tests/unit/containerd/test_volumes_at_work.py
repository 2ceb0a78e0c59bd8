"""Volumes with their real directories, driver and records, and what comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.containerd.kernel import syscalls
from services.containerd.runtime.layout import Layout
from services.containerd.volumes.local import LocalDriver


@pytest.fixture
def driver(tmp_path: Path) -> LocalDriver:
    layout = Layout(state=tmp_path / "state", run=tmp_path / "run")
    layout.volumes.mkdir(parents=True)
    return LocalDriver(layout)


def test_content_is_on_the_disk_before_its_name_is(
    driver: LocalDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = driver.aside("receiving-1")
    (aside / "_data").mkdir(parents=True)
    (aside / "_data/file").write_text("content\n")
    target = driver.directory("data")
    target.mkdir(parents=True)
    named: list[bool] = []
    monkeypatch.setattr(syscalls, "syncfs", lambda _: named.append((target / "file").exists()))
    driver.install(aside, "data")
    assert named == [False, True]
    assert not aside.exists()
