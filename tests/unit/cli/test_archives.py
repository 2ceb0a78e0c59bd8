"""Where archives are written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import archives


def test_a_planted_link_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".a.tar.{os.getpid()}.partial").symlink_to(victim)
    with archives.opened_output(str(tmp_path / "a.tar"), "export") as descriptor:
        os.write(descriptor, b"archive")
    assert victim.read_text() == "precious"

    monkeypatch.setattr("secrets.token_hex", lambda _: "foreseen")
    (tmp_path / ".b.tar.foreseen.partial").symlink_to(victim)
    with (
        pytest.raises(Exception, match="File exists"),
        archives.opened_output(str(tmp_path / "b.tar"), "export"),
    ):
        pass
    assert victim.read_text() == "precious"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 250)
    with pytest.raises(ZeroDivisionError), archives.opened_output(str(target), "export"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with archives.opened_output(str(target), "export") as descriptor:
        os.write(descriptor, b"archive")
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(target, b"archive")]
