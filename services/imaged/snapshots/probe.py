"""Whether overlayfs works on the file system that holds our directories: tried once, at the start."""

from __future__ import annotations

import ctypes
import os
import shutil
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from pathlib import Path

_MNT_DETACH = 2


def check_overlay(directory: Path) -> None:
    """Mount an overlay in a scratch directory and take it down again.

    Raises:
        errors.FailedPrecondition: With reason OVERLAY_UNUSABLE; the message says what to do.
    """
    scratch = directory / "probe"
    shutil.rmtree(scratch, ignore_errors=True)
    lower, upper, work, merged = (scratch / name for name in ("lower", "upper", "work", "merged"))
    for path in (lower, upper, work, merged):
        path.mkdir(mode=0o700, parents=True)
    (lower / "file").touch()
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off,redirect_dir=off,metacopy=off"
    try:
        mounted = libc.mount(b"overlay", os.fsencode(merged), b"overlay", 0, options.encode())
        if mounted != 0:
            raise _unusable(directory, os.strerror(ctypes.get_errno()))
        try:
            (merged / "file").unlink()  # makes a whiteout, which takes more than a mount
        except OSError as error:
            raise _unusable(directory, str(error)) from error
        finally:
            libc.umount2(os.fsencode(merged), _MNT_DETACH)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unusable(directory: Path, why: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"overlayfs does not work in {directory}: {why}. Put the root on another file system (ext4, xfs, btrfs),"
        ' or set snapshotter = "vfs"',
        reason="OVERLAY_UNUSABLE",
    )
