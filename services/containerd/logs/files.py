"""The files of one log: `ctr.log` being written, `ctr.log.1` the newest rotated one, and so on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES = 64 << 10


def rotated(path: Path, number: int) -> Path:
    """Return the name of a rotated file; number 1 is the newest."""
    return path.with_name(f"{path.name}.{number}")


def existing(path: Path) -> list[Path]:
    """Return the files of a log, oldest first."""
    numbers = sorted(
        (
            int(suffix)
            for file in path.parent.glob(f"{path.name}.*")
            if (suffix := file.name.removeprefix(f"{path.name}.")).isdecimal()
        ),
        reverse=True,
    )
    files = [rotated(path, number) for number in numbers]
    return [*files, path] if path.exists() else files


def rotate(path: Path, files_max: int) -> None:
    """Shift the files by one and drop the oldest. conmon writes on into the renamed file until it is told to reopen."""
    for file in existing(path):
        suffix = file.name.removeprefix(f"{path.name}.")
        if suffix.isdecimal() and int(suffix) >= files_max - 1:
            file.unlink(missing_ok=True)
    if files_max <= 1:
        os.truncate(path, 0)
        return
    for number in range(files_max - 2, 0, -1):
        older = rotated(path, number)
        if older.exists():
            older.rename(rotated(path, number + 1))
    path.rename(rotated(path, 1))


def total_bytes(path: Path) -> int:
    """Return the size of all files of a log."""
    return sum(file.stat().st_size for file in existing(path))


def tail_offset(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Return where the last `lines` whole lines begin, and how many of them the file has.

    Lines are counted by what ends them (` F `, or the end of the file), so that the parts of a long line count as one.
    """
    position = size = file.seek(0, os.SEEK_END)
    found = 0
    carry = b""
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start) + carry
        first = 0
        if start > 0:
            newline = block.find(b"\n")
            if newline < 0:
                carry, position = block, start
                continue
            first = newline + 1
        for offset in _line_starts_backwards(block, first):
            end = block.find(b"\n", offset)
            last = end < 0 or start + end + 1 == size
            if last or _ends_line(block[offset:end]):
                if found == lines:
                    return start + _after(block, offset), found
                found += 1
        carry, position = block[:first], start
    return 0, found


def _line_starts_backwards(block: bytes, first: int) -> Iterator[int]:
    end = len(block) - 1 if block.endswith(b"\n") else len(block)
    while end >= first:
        newline = block.rfind(b"\n", first, end)
        yield newline + 1 if newline >= 0 else first
        if newline < 0:
            return
        end = newline


def _after(block: bytes, offset: int) -> int:
    newline = block.find(b"\n", offset)
    return newline + 1 if newline >= 0 else len(block)


def _ends_line(raw: bytes) -> bool:
    fields = raw.split(b" ", 3)
    return len(fields) == 4 and fields[2] == b"F"
