"""How much room a directory tree takes on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes and inodes, a file with several names counted once."""

    size_bytes: int
    inode_count: int


def measure(root: bytes) -> Usage:
    """Return what the tree below `root`, itself included, takes. What vanishes meanwhile is not counted."""
    seen: set[int] = set()
    size_bytes, inode_count = 0, 0
    pending = [root]
    root_device = os.lstat(root).st_dev
    while pending:
        directory = pending.pop()
        status = os.lstat(directory)
        size_bytes += status.st_blocks * 512
        inode_count += 1
        try:
            entries = list(os.scandir(directory))
        except FileNotFoundError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_dev != root_device:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
                continue
            if status.st_nlink > 1:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            size_bytes += status.st_blocks * 512
            inode_count += 1
    return Usage(size_bytes=size_bytes, inode_count=inode_count)
