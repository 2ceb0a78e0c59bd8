"""Atomic files: whole or not at all, and no leftovers."""

import os
from pathlib import Path

import pytest

from services.kit import atomic


def test_a_file_is_written_with_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        atomic.write(tmp_path / "public", b"x", mode=0o644)
        atomic.write(tmp_path / "secret", b"x")
    finally:
        os.umask(umask)
    assert (tmp_path / "public").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "secret").stat().st_mode & 0o7777 == 0o600


def test_a_new_version_replaces_the_old_one_for_new_readers_only(tmp_path: Path) -> None:
    path = tmp_path / "record"
    atomic.write(path, b"old")
    with path.open("rb") as reader:
        atomic.write(path, b"new and longer")
        assert reader.read() == b"old"
    assert atomic.read(path) == b"new and longer"
    assert os.listdir(tmp_path) == ["record"]


@pytest.mark.parametrize("fsync", [True, False])
def test_what_is_synced_and_in_which_order(
    tmp_path: Path, fsync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def record_fsync(fd: int) -> None:
        calls.append(f"sync {'directory' if os.path.isdir(f'/proc/self/fd/{fd}') else 'file'}")
        real_fsync(fd)

    def record_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    atomic.write(tmp_path / "record", b"x", fsync=fsync)
    assert calls == (["sync file", "rename", "sync directory"] if fsync else ["rename"])


def test_a_failed_write_leaves_the_old_version_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record"
    atomic.write(path, b"old")

    def disk_full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", disk_full)
    with pytest.raises(OSError, match="No space"):
        atomic.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
    atomic.write(tmp_path / "record", b"0123456789")
    assert atomic.read(tmp_path / "record") == b"0123456789"


def test_read_tells_missing_from_unreadable(tmp_path: Path) -> None:
    assert atomic.read(tmp_path / "missing") is None
    with pytest.raises(IsADirectoryError):
        atomic.read(tmp_path)


def test_leftovers_of_a_crash_are_removed_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic.write(tmp_path / "record", b"x")
    (tmp_path / ".hidden").touch()
    with monkeypatch.context() as crashing:
        crashing.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        crashing.setattr(Path, "unlink", lambda *_, **__: None)  # the process is gone: nobody tidies up
        with pytest.raises(KeyboardInterrupt):
            atomic.write(tmp_path / "record", b"new")
    assert len(os.listdir(tmp_path)) == 3
    assert atomic.remove_leftovers(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [".hidden", "record"]
